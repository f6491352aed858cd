"""Sequences of different lengths for recurrent networks, in flat mini-batches."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from holdstep.extras import require

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rsl_rl.storage import RolloutStorage
else:
    RolloutStorage = require("rsl_rl.storage", extra="rsl-rl", purpose="MaskedPPO").RolloutStorage


class RaggedSequences(RolloutStorage):  # type: ignore[misc]  # rsl_rl is untyped
    """Mini-batches of rows with different numbers of transitions, for recurrent networks.

    rsl_rl's own generator wants rows of equal lengths: a network's outputs are put back into a
    rectangle of rows. Here a mini-batch is flat, ``[M]`` transitions as without recurrence, and the
    sequences that they form reach the recurrent layers as :class:`PaddedSequences`, in the place of
    the hidden state; :func:`flat_sequences` has the layers understand it.

    A sequence begins with a row's first transition of the rollout, or after one that ended an
    episode, with what the network remembered there.

    Made by :meth:`~holdstep.policies.rsl_rl.masked_storage.MaskedRolloutStorage.dense`, of the same
    buffers.
    """

    counts: torch.Tensor
    distribution_params: tuple[torch.Tensor, ...]

    @property
    def observations(self) -> Any:
        """Those of all transitions, TensorDict ``[1, M]``: rsl_rl 5.5 normalises by them."""
        row, slot = self._places(torch.arange(self.num_envs, device=self.device))
        return self._padded_observations[slot, row].unsqueeze(0)

    @observations.setter
    def observations(self, value: Any) -> None:
        self._padded_observations = value

    def recurrent_mini_batch_generator(
        self, num_mini_batches: int, num_epochs: int = 8
    ) -> Iterator[Any]:
        """Yield the same groups of rows in each epoch, as rsl_rl does."""
        groups = [self._batch(rows) for rows in self._groups_of_rows(num_mini_batches)]
        for _ in range(num_epochs):
            for fields in groups:
                yield RolloutStorage.Batch(**fields)  # a new one, since rsl_rl writes into it

    def _groups_of_rows(self, num_groups: int) -> list[torch.Tensor]:
        """Rows in groups with about as many transitions each, and none without any.

        A mini-batch counts as much as another, whatever its size. So in a group of rows that hardly
        advanced, each transition would count more than others do. Rows are dealt to the groups from
        the longest to the shortest, forth and back. Too few rows are dealt more than once.
        """
        order = self.counts.argsort(descending=True, stable=True)
        rows = order[: int((self.counts > 0).sum())]
        rows = rows.repeat(math.ceil(num_groups / len(rows)))[: max(num_groups, len(rows))]
        place = torch.arange(len(rows), device=self.device)
        seat = place % num_groups
        group = torch.where(place // num_groups % 2 == 0, seat, num_groups - 1 - seat)
        return [rows[group == number] for number in range(num_groups)]

    def _places(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Row and slot of each transition of some rows, int64 ``[M]``, row by row."""
        counts = self.counts[rows]
        row = rows.repeat_interleave(counts)
        first = (counts.cumsum(0) - counts).repeat_interleave(counts)
        return row, torch.arange(len(row), device=self.device) - first

    def _batch(self, rows: torch.Tensor) -> dict[str, Any]:
        row, slot = self._places(rows)
        if len(row) == 1:  # which has no standard deviation
            row, slot = row.repeat(2), slot.repeat(2)
        at = (slot, row)
        ended = self.dones[at].squeeze(1) > 0
        starts = slot == 0
        starts[1:] |= ended[:-1]
        start = starts.nonzero().squeeze(1)
        sequence = starts.cumsum(0) - 1
        position = torch.arange(len(row), device=self.device) - start[sequence]
        length = int(position.max()) + 1

        def sequences(saved: list[torch.Tensor] | None) -> PaddedSequences | None:
            if saved is None:
                return None
            begin = (slot[start], row[start])
            memory = tuple(part.transpose(1, 2)[begin].transpose(0, 1) for part in saved)
            return PaddedSequences(
                memory=tuple(part.contiguous() for part in memory),
                index=position * len(start) + sequence,
                shape=(length, len(start)),
            )

        return {
            "observations": self._padded_observations[at],
            "actions": self.actions[at],
            "values": self.values[at],
            "advantages": self.advantages[at],
            "returns": self.returns[at],
            "old_actions_log_prob": self.actions_log_prob[at],
            "old_distribution_params": tuple(p[at] for p in self.distribution_params),
            "hidden_states": (
                sequences(self.saved_hidden_state_a),
                sequences(self.saved_hidden_state_c),
            ),
            # One "step" of M rows: rsl_rl's recurrent models take this out and find it whole.
            "masks": torch.ones(1, len(row), dtype=torch.bool, device=self.device),
        }


@dataclass(frozen=True, kw_only=True)
class PaddedSequences:
    """How flat inputs ``[M, F]`` are laid out as padded sequences ``[L, S, F]``.

    Attributes:
        memory: what the network remembered at the start of each, ``[layers, S, H]``, one or two.
        index: place of each transition in the flattened ``[L * S]``, int64 ``[M]``.
        shape: ``L`` and ``S``.
    """

    memory: tuple[torch.Tensor, ...]
    index: torch.Tensor
    shape: tuple[int, int]

    def pad(self, flat: torch.Tensor) -> torch.Tensor:
        """From ``[M, F]`` to ``[L, S, F]``, zero elsewhere."""
        length, number = self.shape
        padded = flat.new_zeros(length * number, flat.shape[1])
        return padded.index_put((self.index,), flat).view(length, number, -1)

    def unpad(self, padded: torch.Tensor) -> torch.Tensor:
        """From ``[L, S, F]`` to ``[1, M, F]``."""
        return padded.flatten(0, 1)[self.index].unsqueeze(0)


@contextlib.contextmanager
def flat_sequences(*models: Any) -> Iterator[None]:
    """Let networks take the mini-batches of :class:`RaggedSequences` for as long as this lasts.

    Recurrent layers get the sequences padded and their outputs are flat again. Networks without a
    memory need to know nothing of sequences. Done by PyTorch's own hooks of modules.

    Args:
        *models: of rsl_rl.
    """
    with contextlib.ExitStack() as hooks:
        for model in models:
            if model.is_recurrent:
                layer = _SequenceLayer()
                hooks.enter_context(model.rnn.rnn.register_forward_pre_hook(layer.before))
                hooks.enter_context(model.rnn.rnn.register_forward_hook(layer.after))
            else:
                hooks.enter_context(
                    model.register_forward_pre_hook(_without_masks, with_kwargs=True)
                )
        yield


class _SequenceLayer:
    """The hooks of one recurrent layer."""

    def before(self, module: torch.nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        flat, self._sequences = args
        memory = self._sequences.memory
        is_lstm = isinstance(module, torch.nn.LSTM)
        return self._sequences.pad(flat), memory if is_lstm else memory[0]

    def after(self, module: torch.nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        padded, memory = output
        return self._sequences.unpad(padded), memory


def _without_masks(
    module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return args, kwargs | {"masks": None}
