"""The objects of an env that exported terms read, and what their attributes lead to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch

from holdstep.wrappers.export.semantics.entry import Semantics

OwnerRole = Literal["state", "sensor", "command", "env"]


@dataclass(frozen=True)
class Owner:
    """An object whose attributes are inputs of the pipeline.

    Attributes:
        key: unique name, such as ``"robot.data"``.
        prefix: what the connections of its attributes begin with, such as ``"state:robot"``.
        role: what undeclared tensors of it are taken for.
        get: the object as it is now; some are made anew in every step.
        named_by: objects that know the names of its elements.
        takes_writes: whether its methods ``set_...`` and ``write_...`` hand targets on.
        contains: attributes that are objects of the same kind, made anew in every step (a sensor's
            ``data``).
        default: what it is to be taken for where a table says nothing else; None for a state.
    """

    key: str
    prefix: str
    role: OwnerRole
    get: Callable[[], Any]
    named_by: tuple[Any, ...] = ()
    takes_writes: bool = False
    contains: tuple[str, ...] = ()
    default: Semantics | None = None

    def connection(self, attribute: str) -> str:
        """The connection of one of its attributes."""
        if self.role == "command" and attribute == "command":
            return self.prefix
        separator = "" if self.prefix.endswith(".") else ":"
        return f"{self.prefix}{separator}{attribute.lstrip('_') or attribute}"


def owner_of(key: str, prefix: str, role: OwnerRole, obj: Any, **kwargs: Any) -> Owner:
    """An owner that is the same object for as long as its env lives.

    Args:
        key: as of :class:`Owner`; the others too.
        prefix: see there.
        role: see there.
        obj: the object.
        **kwargs: see there.
    """
    return Owner(key, prefix, role, lambda: obj, **kwargs)


@dataclass(frozen=True)
class Route:
    """Where an attribute's value comes from in a run.

    Attributes:
        connection: its connection; constants have one too, which is their source.
        owner: whose attribute.
        attribute: its name.
        semantics: what it means; None if no table says so.
        is_constant: whether it is baked in.
        wrap: makes of a tensor what the attribute gives in the simulator.
    """

    connection: str
    owner: Owner
    attribute: str
    semantics: Semantics | None
    is_constant: bool
    wrap: Callable[[torch.Tensor], Any]

    @property
    def is_shared(self) -> bool:
        """Whether one reader sees what another one changed in place: readings of sensors.

        Simulators hand out their own memory of those, once for all readers.
        """
        return self.owner.role == "sensor"

    def live(self) -> torch.Tensor:
        """The env's value now, ``[N, ...]``; may be the simulator's own memory."""
        tensor, _ = unwrapped(getattr(self.owner.get(), self.attribute))
        assert tensor is not None, self.connection
        return tensor


def unwrapped(value: Any) -> tuple[torch.Tensor | None, Callable[[torch.Tensor], Any]]:
    """The tensor inside a simulator's array, and what makes such an array of a tensor.

    Args:
        value: anything; for what is no array, the tensor is None.
    """
    if isinstance(value, torch.Tensor):
        return value, _same
    name = type(value).__name__
    if name == "TorchArray" and isinstance(getattr(value, "_tensor", None), torch.Tensor):
        return value._tensor, _same  # mjlab's, which behaves like its tensor
    if name == "ProxyArray":
        return value.torch, TensorArray  # Isaac Lab 3.0's
    return None, _same


def _same(tensor: torch.Tensor) -> torch.Tensor:
    return tensor


class TensorArray:
    """A tensor in the shape of Isaac Lab 3.0's ``ProxyArray``: read through ``.torch``.

    Attributes:
        torch: the tensor.
    """

    def __init__(self, tensor: torch.Tensor) -> None:
        self.torch = tensor

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "warp":
            raise AttributeError(name)
        return getattr(self.torch, name)

    def __getitem__(self, index: Any) -> torch.Tensor:
        return self.torch[index]

    def __len__(self) -> int:
        return len(self.torch)

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Torch functions work on the tensor inside."""
        tensors = [value.torch if isinstance(value, cls) else value for value in args]
        return func(*tensors, **(kwargs or {}))
