"""The memory of recurrent networks while some rows stand still."""

from __future__ import annotations

from typing import Any

import torch

Memory = torch.Tensor | tuple[torch.Tensor, ...] | None
"""Of a network, for each row: ``[layers, N, H]`` of a GRU, two of those of an LSTM, or None."""


def memory_before(model: Any, before: Memory) -> Memory:
    """What a network remembered before it was called, where None stands for nothing yet.

    Args:
        model: one of rsl_rl's, that was called since.
        before: its hidden state before that.
    """
    after: Memory = model.get_hidden_state()
    if before is not None or after is None:
        return before
    if isinstance(after, tuple):
        return tuple(torch.zeros_like(part) for part in after)
    return torch.zeros_like(after)


def keep_memory(model: Any, before: Memory, active_mask: torch.Tensor) -> None:
    """Give rows that did not advance their memory back: they have not seen anything new.

    Args:
        model: one of rsl_rl's; those without a memory are left alone.
        before: its hidden state before it was called for this step.
        active_mask: rows that advanced, bool ``[N]``.
    """
    after: Memory = model.get_hidden_state()
    rows = active_mask.unsqueeze(1)
    if isinstance(after, tuple) and isinstance(before, tuple):
        pairs = zip(after, before, strict=True)
        model.reset(hidden_state=tuple(torch.where(rows, new, old) for new, old in pairs))
    elif isinstance(after, torch.Tensor) and isinstance(before, torch.Tensor):
        model.reset(hidden_state=torch.where(rows, after, before))
