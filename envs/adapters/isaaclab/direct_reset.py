"""Resets of a direct env's rows that leave the attributes of the other rows as they are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from holdstep.envs.adapters.preserve import is_expanded


@contextmanager
def other_rows_kept(core: Any, env_ids: Any) -> Iterator[None]:
    """What the block does to the env object's row tensors, it does to these rows only.

    The ``_reset_idx`` of direct tasks often ends with computing the task's quantities anew, for all
    rows. That is harmless where they depend on the physics alone. It is not where they are
    differences between steps: Isaac Lab's locomotion tasks (Ant, Humanoid) set
    ``prev_potentials`` to ``potentials`` there, so that it would show whether *another* row was
    reset in the same step.

    A tensor that is replaced by another one is replaced once more, not written to: it may be
    another attribute's too. A new view of the same memory, as Isaac Lab's data objects give out, is
    left in place, since the task expects to see there what the simulator writes.

    Args:
        core: a ``DirectRLEnv`` or ``DirectMARLEnv``.
        env_ids: the rows that are reset, ids ``[k]``.
    """
    num_envs, device = core.num_envs, core.device
    if len(env_ids) == num_envs:
        yield
        return
    before = {
        name: (value, value.clone())
        for name, value in vars(core).items()
        if isinstance(value, torch.Tensor) and value.shape[:1] == (num_envs,)
        if not is_expanded(value)
    }
    yield
    reset_mask = torch.zeros(num_envs, dtype=torch.bool, device=device)
    reset_mask[torch.as_tensor(env_ids, device=device).long()] = True
    for name, (owner, old) in before.items():
        now = vars(core).get(name)
        if not isinstance(now, torch.Tensor) or now.shape != old.shape or now.dtype != old.dtype:
            continue
        kept = torch.where(reset_mask.view(-1, *[1] * (now.ndim - 1)), now, old.to(now.device))
        if _is_same_memory(now, owner):
            with torch.inference_mode():  # whatever mode it was made in
                now.copy_(kept)
        else:
            setattr(core, name, kept)


def _is_same_memory(first: torch.Tensor, second: torch.Tensor) -> bool:
    return first is second or (
        first.data_ptr() == second.data_ptr()
        and first.stride() == second.stride()
        and first.device == second.device
    )
