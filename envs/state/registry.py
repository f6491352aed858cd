"""Everything that belongs to a row: the table of its slots, and copies of rows through it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import torch

from holdstep.envs.state.slot import Slot, gather_rows, scatter_rows
from holdstep.envs.state.snapshot import NOT_MADE_YET
from holdstep.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator


class StateRegistry:
    """The slots of one env, by name.

    Args:
        slots: where row state lives.
        num_envs: number of rows.
        constant_sizes: sizes of the task that are no number of rows (joints, bodies, actions). A
            tensor whose leading dimension is ``num_envs`` may be one of those by accident when
            ``num_envs`` is among them; one that never changes is then not taken for row state when
            rows are *copied*. (To put a row back where it was does no harm to a constant.)

    Raises:
        ConfigError: two slots have the same name.
    """

    def __init__(
        self, slots: Iterable[Slot], *, num_envs: int, constant_sizes: Iterable[int] = ()
    ) -> None:
        self._slots: dict[str, Slot] = {}
        self._num_envs = num_envs
        self._first_values: dict[str, torch.Tensor] = {}
        ambiguous = num_envs in set(constant_sizes)
        for slot in slots:
            self.add(slot)
            tensor = slot.get()
            if ambiguous and slot.is_guess and tensor is not None:
                self._first_values[slot.name] = tensor.clone()

    def add(self, slot: Slot) -> None:
        """One more slot.

        Raises:
            ConfigError: there is one of this name.
        """
        if slot.name in self._slots:
            raise ConfigError(f"Row state {slot.name!r} is registered already.")
        self._slots[slot.name] = slot

    def __iter__(self) -> Iterator[Slot]:
        """All slots."""
        return iter(self._slots.values())

    def __len__(self) -> int:
        """The number of slots."""
        return len(self._slots)

    def moving(self) -> list[Slot]:
        """The slots that a step can change: those that are put back after each one."""
        return [slot for slot in self if not slot.is_parameter]

    def tensors(self) -> Iterator[tuple[Slot, torch.Tensor]]:
        """Slots whose tensors exist now, with them."""
        for slot in self:
            tensor = slot.get()
            if tensor is not None:
                yield slot, tensor

    def gather(self, env_ids: torch.Tensor) -> dict[str, torch.Tensor]:
        """Copies of rows, tensors ``[k, ...]`` by slot name.

        Args:
            env_ids: int64 ``[k]``; may repeat.
        """
        return {slot.name: gather_rows(slot, tensor, env_ids) for slot, tensor in self.tensors()}

    def scatter(self, rows: Mapping[str, torch.Tensor], env_ids: torch.Tensor) -> None:
        """Write copies of rows over rows.

        Args:
            rows: what :meth:`gather` returned, on this env's device.
            env_ids: int64 ``[k]``.
        """
        # Backends leave tensors behind that were made in inference mode (Isaac Lab's actuator
        # networks), which can be written to in that mode only; others can be in both.
        with torch.inference_mode():
            for slot, tensor in self.tensors():
                if slot.name in rows and not self._is_constant(slot, tensor):
                    scatter_rows(slot, tensor, env_ids, rows[slot.name])

    def fingerprint(self) -> dict[str, str]:
        """What a row looks like: dtype and shape by slot name, the same for any number of rows.

        A tensor that is not made yet is :data:`~holdstep.envs.state.snapshot.NOT_MADE_YET`.
        """
        described = {slot.name: NOT_MADE_YET for slot in self if not slot.is_derived}
        for slot, tensor in self.tensors():
            if slot.is_derived:
                continue
            dtype = str(tensor.dtype).removeprefix("torch.")
            described[slot.name] = f"{dtype}{_row_shape(slot, tensor)}"
        return described

    def _is_constant(self, slot: Slot, tensor: torch.Tensor) -> bool:
        first = self._first_values.get(slot.name)
        return first is not None and torch.equal(first, tensor)


def _row_shape(slot: Slot, tensor: torch.Tensor) -> list[int]:
    shape = list(tensor.shape)
    shape[slot.layout.dim] = slot.layout.repeat
    if slot.layout.repeat == 1:
        del shape[slot.layout.dim]
    return shape
