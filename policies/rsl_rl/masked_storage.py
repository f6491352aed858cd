"""A rollout in which each row has its own number of transitions."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from holdstep.extras import require
from holdstep.policies.rsl_rl.sequences import RaggedSequences

if TYPE_CHECKING:
    from collections.abc import Callable

    from rsl_rl.storage import RolloutStorage
else:
    RolloutStorage = require("rsl_rl.storage", extra="rsl-rl", purpose="MaskedPPO").RolloutStorage

_BUFFERS = (
    "observations",
    "actions",
    "rewards",
    "dones",
    "values",
    "actions_log_prob",
    "distribution_params",
    "returns",
    "advantages",
)
"""What rsl_rl's storage holds of each transition, ``[T, N, ...]``."""

StorageT = TypeVar("StorageT")


class MaskedRolloutStorage(RolloutStorage):  # type: ignore[misc]  # rsl_rl is untyped
    """rsl_rl's storage with a cursor for each row, so that transitions lie without gaps.

    Slot ``k`` of row ``i`` is the row's ``k``-th transition of the rollout. A row that stands still
    is written, too, which saves waiting for a GPU to learn which rows do; but its cursor stays, and
    its next transition takes the slot.

    Args:
        storage: rsl_rl's, unused; its buffers become this one's.

    Attributes:
        counts: transitions of each row so far, int64 ``[N]``: their cursors.
        discounts: what the value after each transition is worth, float32 ``[T, N, 1]``.
    """

    distribution_params: tuple[torch.Tensor, ...] | None
    saved_hidden_state_a: list[torch.Tensor] | None
    saved_hidden_state_c: list[torch.Tensor] | None

    def __init__(self, storage: RolloutStorage) -> None:
        # Not the base's __init__, which would allocate everything once more.
        self.__dict__.update(storage.__dict__)
        self.counts = torch.zeros(self.num_envs, dtype=torch.int64, device=self.device)
        self.discounts = torch.zeros_like(self.values)
        self._rows = torch.arange(self.num_envs, device=self.device)

    def add(self, transition: Any, *, active_mask: torch.Tensor, discount: torch.Tensor) -> None:
        """Append a transition to the rows that advanced.

        Args:
            transition: rsl_rl's, of all rows.
            active_mask: rows that advanced, bool ``[N]``.
            discount: float32 ``[N]``.

        Raises:
            OverflowError: there were as many steps as fit, as from rsl_rl's storage.
        """
        if self.step >= self.num_transitions_per_env:
            raise OverflowError(
                f"The rollout has its {self.num_transitions_per_env} steps: update() it first."
            )
        for name, observation in transition.observations.items():
            self._put(self.observations.get(name), observation)
        for buffer, value in (
            (self.actions, transition.actions),
            (self.rewards, transition.rewards),
            (self.dones, transition.dones),
            (self.values, transition.values),
            (self.actions_log_prob, transition.actions_log_prob),
            (self.discounts, discount),
        ):
            self._put(buffer, value)
        if self.distribution_params is None:
            self.distribution_params = tuple(
                torch.zeros(self.num_transitions_per_env, *p.shape, device=self.device)
                for p in transition.distribution_params
            )
        for buffer, value in zip(
            self.distribution_params, transition.distribution_params, strict=True
        ):
            self._put(buffer, value)
        self.saved_hidden_state_a, self.saved_hidden_state_c = (
            self._put_memory(saved, memory)
            for saved, memory in zip(
                (self.saved_hidden_state_a, self.saved_hidden_state_c),
                transition.hidden_states,
                strict=True,
            )
        )
        self.counts += active_mask
        self.step += 1

    def clear(self) -> None:
        """Start the next rollout."""
        super().clear()
        self.counts.zero_()

    @property
    def transition_mask(self) -> torch.Tensor:
        """Slots that hold a transition, bool ``[T, N]``."""
        slots = torch.arange(self.num_transitions_per_env, device=self.device)
        return slots.unsqueeze(1) < self.counts

    def dense(self, *, recurrent: bool, num_mini_batches: int) -> RolloutStorage:
        """The transitions, and nothing else, as a storage that rsl_rl's update can draw from.

        If all rows have the same number ``K``, it is rsl_rl's own storage of ``K`` steps, of views
        of these buffers. Otherwise, for networks without a memory, it is one step of as many rows
        as there are transitions (copied, in the order of slots, then rows), and for recurrent ones
        :class:`~holdstep.policies.rsl_rl.sequences.RaggedSequences`.

        Args:
            recurrent: a network has a memory.
            num_mini_batches: how many are drawn; so few transitions that a mini-batch would have
                less than two are repeated.
        """
        counts = self.counts.tolist()
        num_slots, total = max(counts), sum(counts)
        drawn_from = self.num_envs if recurrent else total
        if num_slots == min(counts) and drawn_from >= num_mini_batches:
            dense = self._with(RolloutStorage, lambda buffer: buffer[:num_slots])
            dense.num_transitions_per_env = num_slots
            for name in ("saved_hidden_state_a", "saved_hidden_state_c"):
                if (saved := getattr(self, name)) is not None:
                    setattr(dense, name, [part[:num_slots] for part in saved])
            return dense
        if recurrent:
            return self._with(RaggedSequences, lambda buffer: buffer)
        index = self.transition_mask.flatten().nonzero().squeeze(1)
        index = index.repeat(max(1, math.ceil(2 * num_mini_batches / total)))
        dense = self._with(RolloutStorage, lambda buffer: buffer.flatten(0, 1)[index].unsqueeze(0))
        dense.num_transitions_per_env, dense.num_envs = 1, len(index)
        return dense

    def _with(self, storage_class: type[StorageT], change: Callable[[Any], Any]) -> StorageT:
        """A storage of another class, with these buffers changed in the same way."""
        other = storage_class.__new__(storage_class)
        other.__dict__.update(self.__dict__)
        for name in _BUFFERS:
            buffer = getattr(self, name)
            changed = tuple(map(change, buffer)) if isinstance(buffer, tuple) else change(buffer)
            setattr(other, name, changed)
        return other

    def _put(self, buffer: torch.Tensor, value: torch.Tensor) -> None:
        """Write a value of each row into the slot under the row's cursor."""
        value = value.reshape(buffer.shape[1:]).to(buffer.dtype)
        buffer.index_put_((self.counts, self._rows), value)

    def _put_memory(self, saved: list[torch.Tensor] | None, memory: Any) -> Any:
        """The same of what a network remembers, ``[layers, N, H]`` once or twice."""
        if memory is None:
            return saved
        parts = memory if isinstance(memory, tuple) else (memory,)
        if saved is None:
            length = self.num_transitions_per_env
            saved = [torch.zeros(length, *part.shape, device=self.device) for part in parts]
        for buffer, part in zip(saved, parts, strict=True):
            self._put(buffer.transpose(1, 2), part.transpose(0, 1))
        return saved
