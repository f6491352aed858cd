"""What a network keeps between two calls, taken out of it and put into it."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from holdstep.errors import ConfigError, DiscoveryError

POLICY = "policy"
"""What messages call the policy, where they name a term."""


@dataclass(frozen=True)
class HiddenState:
    """A tensor that a network keeps between two calls.

    Attributes:
        module: dotted name of the submodule that keeps it; empty for the network itself.
        attribute: its name there.
        index: position in it, where it is a tuple (an LSTM's hidden and cell state); else None.
        row_dim: the dimension that runs over the rows.
        shape: of one row, its dimensions before and after ``row_dim`` together.
        dtype: of its entries.
        reset: a row of it after a reset, flattened; None for zeros.
    """

    module: str
    attribute: str
    index: int | None
    row_dim: int
    shape: tuple[int, ...]
    dtype: torch.dtype
    reset: tuple[float, ...] | None

    @property
    def name(self) -> str:
        """Unique in its network."""
        path = f"{self.module}.{self.attribute}" if self.module else self.attribute
        return path if self.index is None else f"{path}.{self.index}"


def copied_network(network: Callable[..., Any]) -> Callable[..., Any]:
    """A copy of a network for inference: after a reset, in evaluation mode, without gradients.

    It is not compiled, since no tracer follows ``torch.compile``.

    Args:
        network: a module; any other callable is returned as it is.

    Raises:
        ConfigError: it can't be copied.
    """
    if not isinstance(network, torch.nn.Module):
        return network
    # Hidden states of a training network are results of computations, which can't be copied.
    memo: dict[int, Any] = {
        id(tensor): tensor.detach().clone()
        for module in network.modules()
        for value in (*vars(module).values(), *module._buffers.values())
        for _, tensor in tensors_of(value)
        if not tensor.is_leaf
    }
    try:
        copied = copy.deepcopy(network, memo)
    except Exception as error:
        raise ConfigError(
            f"The policy, a {type(network).__name__}, can't be copied ({error}). An export works "
            "on a copy, so that yours stays as it is."
        ) from error
    copied = _uncompiled(copied).eval().requires_grad_(False)
    if can_forget(copied):
        copied.reset()  # type: ignore[operator]  # torch knows modules' attributes as tensors
    return copied


def can_forget(network: Any) -> bool:
    """Whether a network has a ``reset(dones=None)``, for all rows or single ones."""
    reset = getattr(network, "reset", None)
    if not callable(reset):
        return False
    try:
        inspect.signature(reset).bind(None)
        inspect.signature(reset).bind()
    except (TypeError, ValueError):
        return False
    return True


def _uncompiled(network: torch.nn.Module) -> torch.nn.Module:
    """A network without ``torch.compile``'s wrappers around it, or around parts of it."""
    for path, module in list(network.named_modules()):
        if path and hasattr(module, "_orig_mod"):
            network.set_submodule(path, module._orig_mod)
    return getattr(network, "_orig_mod", network)


def may_be_state(value: Any) -> bool:
    """Whether an attribute can be what a network keeps: a tensor, a tuple of them, or none yet."""
    if value is None or isinstance(value, torch.Tensor):
        return True
    return (
        isinstance(value, tuple)
        and bool(value)
        and all(isinstance(entry, torch.Tensor) for entry in value)
    )


def tensors_of(value: Any) -> Iterator[tuple[int | None, torch.Tensor]]:
    """The tensors of such an attribute, with their positions in a tuple."""
    if isinstance(value, torch.Tensor):
        yield None, value
    elif isinstance(value, tuple):
        yield from ((i, part) for i, part in enumerate(value) if isinstance(part, torch.Tensor))


def cloned(value: Any) -> Any:
    """A copy of such an attribute."""
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    return tuple(entry.detach().clone() for entry in value) if isinstance(value, tuple) else value


def with_one_more_row(value: Any, num_rows: int) -> Any:
    """Such an attribute for one row more, where exactly one dimension can be the rows."""
    if isinstance(value, tuple):
        return tuple(with_one_more_row(entry, num_rows) for entry in value)
    if not isinstance(value, torch.Tensor) or list(value.shape).count(num_rows) != 1:
        return value
    row_dim = list(value.shape).index(num_rows)
    return torch.cat([value, value.narrow(row_dim, 0, 1)], row_dim)


def versions_of(value: Any) -> tuple[int, ...]:
    """Numbers that grow when a tensor of it is changed in place."""
    return tuple(tensor._version for _, tensor in tensors_of(value))


def get_attribute(module: torch.nn.Module, name: str) -> Any:
    """A buffer or plain attribute of a module."""
    return module._buffers[name] if name in module._buffers else vars(module).get(name)


def set_attribute(module: torch.nn.Module, name: str, value: Any) -> None:
    """Set a buffer or plain attribute of a module."""
    # Straight into the dictionaries: torch's own setter would register tensors, or refuse None.
    if name in module._buffers:
        module._buffers[name] = value
    else:
        vars(module)[name] = value


def reset_row(value: torch.Tensor, row_dim: int, place: str) -> tuple[float, ...] | None:
    """A row of what a network keeps after a reset, flattened; None for zeros.

    Args:
        value: what it keeps then.
        row_dim: the dimension of the rows.
        place: where it keeps it, for messages.

    Raises:
        DiscoveryError: rows differ.
    """
    rows = value.movedim(row_dim, 0)
    if not torch.equal(rows, rows[:1].expand_as(rows)):
        raise DiscoveryError(
            f"After a reset the policy keeps other values of {place!r} in each row, so that there "
            "is no value to start an episode with.",
            term=POLICY,
        )
    row = tuple(float(number) for number in rows[0].flatten().tolist())
    return row if any(row) else None
