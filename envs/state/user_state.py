"""Row state of a user's own, which no table can know."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import torch

from holdstep.envs.state.slot import Layout, Slot
from holdstep.errors import ConfigError

if TYPE_CHECKING:
    from holdstep.envs.state.put_back import PutBackControl

RowView = Callable[[torch.Tensor], torch.Tensor]
"""Gives a view ``[N, ...]`` of a tensor, through which its rows can be read and written."""


class UserState:
    """What users have registered with one adapter, until its row control asks for it.

    Args:
        num_envs: number of rows.
        device: where the env's tensors live.
    """

    def __init__(self, num_envs: int, device: torch.device) -> None:
        self._num_envs = num_envs
        self._device = device
        self.slots: dict[str, Slot] = {}

    def register(
        self,
        name: str,
        get: Callable[[], torch.Tensor | None],
        *,
        dim: int = 0,
        repeat: int = 1,
        layout: Literal["rows", "ring"] | RowView = "rows",
        position: Callable[[], int] | None = None,
        parameter: bool = False,
        control: PutBackControl | None = None,
    ) -> None:
        """See ``register_state`` of the adapters."""
        name = f"user.{name}"
        if name in self.slots:
            raise ConfigError(f"Row state {name.removeprefix('user.')!r} is registered already.")
        slot = self._slot(name, get, dim, repeat, layout, position, parameter)
        self._check(slot)
        if control is not None:
            control.tables_changed()
        self.slots[name] = slot

    def _slot(
        self,
        name: str,
        get: Callable[[], torch.Tensor | None],
        dim: int,
        repeat: int,
        layout: Literal["rows", "ring"] | RowView,
        position: Callable[[], int] | None,
        parameter: bool,
    ) -> Slot:
        if layout == "ring":
            if position is None:
                raise ConfigError(
                    f"{name}: a ring needs position=..., the index that was written last, which "
                    "its rows share."
                )
            ring = Layout(dim=dim or 1, repeat=repeat, ring=True)
            return Slot(name, get, ring, position=position, is_parameter=parameter)
        if position is not None:
            raise ConfigError(f"{name}: only layout='ring' takes a position.")
        if layout == "rows":
            return Slot(name, get, Layout(dim=dim, repeat=repeat), is_parameter=parameter)
        if not callable(layout):
            raise ConfigError(
                f"{name}: layout must be 'rows', 'ring' or a callable that gives a view "
                f"[num_envs, ...] of the tensor, got {layout!r}."
            )
        view = layout

        tensor = get()
        if tensor is not None and not _is_view(view(tensor), tensor):
            raise ConfigError(
                f"{name}: layout(tensor) must be a view of the tensor, so that rows can be written "
                "through it; it returned a copy. Use view(), transpose() and the like."
            )

        def get_view() -> torch.Tensor | None:
            tensor = get()
            return None if tensor is None else view(tensor)

        return Slot(name, get_view, is_parameter=parameter)

    def _check(self, slot: Slot) -> None:
        tensor = slot.get()
        if tensor is None:
            return
        if not isinstance(tensor, torch.Tensor):
            raise ConfigError(f"{slot.name}: get() must return a tensor, got {type(tensor)}.")
        layout = slot.layout
        expected = self._num_envs * layout.repeat
        if tensor.ndim <= layout.dim or tensor.shape[layout.dim] != expected:
            raise ConfigError(
                f"{slot.name}: dimension {layout.dim} must have size {expected} (num_envs * "
                f"repeat), got shape {tuple(tensor.shape)}. Name the row dimension with dim=..., "
                "entries per row with repeat=..., or pass a view as layout."
            )
        if tensor.device != self._device:
            raise ConfigError(
                f"{slot.name}: must live on {self._device}, got {tensor.device}: rows are put back "
                "without waiting for a device."
            )


def _is_view(rows: object, tensor: torch.Tensor) -> bool:
    return (
        isinstance(rows, torch.Tensor)
        and rows.untyped_storage().data_ptr() == tensor.untyped_storage().data_ptr()
    )
