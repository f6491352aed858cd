"""Random numbers that a network draws, found wherever they are drawn."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from holdstep.errors import PolicyError

WHAT_TO_DO = (
    "Draw them by torch.rand, randn or normal for each row, take noise as an argument "
    "(noise_shape=...), or pass row_noise=False: then a row's actions depend on what else was "
    "drawn."
)

# Arguments with which an operation that could draw random numbers doesn't.
_OFF = {"dropout_p": 0.0, "dropout": 0.0, "p": 0.0, "train": False, "training": False}


class RandomOpsRefused(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While it is active, an operation that draws from torch's generators is an error.

    It sees every operation that reaches torch's dispatcher, however deep it was called, and costs
    some microseconds for each: fit to look at one inference, not at all of them.

    >>> with RandomOpsRefused():
    ...     torch.nn.functional.gumbel_softmax(torch.zeros(2, 3))
    Traceback (most recent call last):
    ...
    holdstep.errors.PolicyError: The network draws random numbers by aten.exponential_...
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Do what ``func`` does, unless it draws."""
        kwargs = kwargs or {}
        if torch.Tag.nondeterministic_seeded in func.tags and not _is_off(func, args, kwargs):
            raise PolicyError(
                f"The network draws random numbers by {func}, which can't be made row by row. "
                f"{WHAT_TO_DO}"
            )
        return func(*args, **kwargs)


def _is_off(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether it is a dropout that is switched off, or attention with such a one."""
    for position, argument in enumerate(func._schema.arguments):
        if argument.name not in _OFF:
            continue
        default = argument.default_value if argument.has_default_value() else None
        value = args[position] if position < len(args) else kwargs.get(argument.name, default)
        if value is not None and value == _OFF[argument.name]:
            return True
    return False
