"""A slot whose rows are being kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

import numpy as np
import torch
from numpy.typing import NDArray

from holdstep.envs.state.row_memory import Form, RowMemory
from holdstep.envs.state.slot import Slot


class _LetGo(Enum):
    LET_GO = auto()


LET_GO = _LetGo.LET_GO
"""In place of a tensor that was not kept: whatever is there now is to be looked at anew."""


class CopiedBy(Enum):
    """Who copies a slot's rows."""

    NOBODY = auto()
    """There is nothing to copy."""
    COPIER = auto()
    """The fused copy."""
    TORCH = auto()
    """What the fused copy can't do: odd memory, other devices, some of the held rows only."""


@dataclass(eq=False, slots=True)
class SavedSlot:
    """What a :class:`~holdstep.envs.state.row_store.RowStore` knows of a slot.

    Attributes:
        slot: the slot.
        get: its getter.
        seen: what the getter returned last. It is kept alive, so that another tensor can't have its
            identity.
        pointer: its address, since ``tensor.data = ...`` keeps the identity.
        form: of the last tensor there was.
        live: ``seen`` as long as rows of it can be copied, otherwise None.
        memory: how its rows lie; None if torch must copy them.
        saved: the held rows, in a contiguous tensor of the same shape; a ring's oldest entry first.
        strands: its part of the fused copy's table.
        first_entry: the oldest entry of a ring, as the table has it.
        copied_by: who copies it.
        mask: bool ``[N]``, the held rows that have been saved; None when all have been.
        env_ids: the same as int64 ``[k]``, for torch.
        packed: these rows of ``saved``, for torch; None until they are needed.
    """

    slot: Slot
    get: Callable[[], torch.Tensor | None]
    seen: torch.Tensor | _LetGo | None = None
    pointer: int = 0
    form: Form | None = None
    live: torch.Tensor | None = None
    memory: RowMemory | None = None
    saved: torch.Tensor | None = None
    strands: slice | None = None
    first_entry: int = 0
    copied_by: CopiedBy = CopiedBy.NOBODY
    mask: NDArray[np.bool_] | None = None
    env_ids: torch.Tensor | None = None
    packed: torch.Tensor | None = None

    @property
    def oldest_entry(self) -> int:
        """Of the ring as it is now; 0 for other layouts."""
        position = self.slot.position
        if position is None or self.live is None:
            return 0
        return (position() + 1) % self.live.shape[0]
