"""Rows of the reference envs held, copied and put back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdstep.envs.native_skip import NativeSkip
from holdstep.envs.state.snapshot import Snapshot, check_fits

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

    from holdstep.envs.capabilities import FreezeLevel, RngScope
    from holdstep.envs.contract import Obs
    from holdstep.envs.reference.base import ReferenceEnv


class ReferenceRowControl(NativeSkip):
    """Skips rows, and copies their states: those are the rows of ``env.row_buffers``.

    A row's random stream is part of its state. A row that was forked therefore starts its later
    episodes as its source does, until it is reset with a seed of its own.

    Args:
        env: the env.
        level: ``"skip"`` or ``"exact"``, which are the same here.
        rng: rows draw from streams of their own in either case.
    """

    env: ReferenceEnv

    def __init__(self, env: ReferenceEnv, *, level: FreezeLevel, rng: RngScope) -> None:
        super().__init__(env, level=level, rng=rng)
        self._fingerprint = _fingerprint(env)

    def snapshot(self, env_ids: torch.Tensor) -> Snapshot:
        """Copies of rows, int64 ``[k]``."""
        # Indexing with a tensor of ids copies.
        return Snapshot(
            rows={name: buffer[env_ids] for name, buffer in self.env.row_buffers.items()},
            obs={name: obs[env_ids] for name, obs in self.env.observe().items()},
            fingerprint=self._fingerprint,
        )

    def restore(self, snapshot: Snapshot, env_ids: torch.Tensor) -> Obs:
        """Write a snapshot into rows, int64 ``[k]``; observations follow from the state."""
        check_fits(snapshot, self._fingerprint, env_ids.numel())
        for name, buffer in self.env.row_buffers.items():
            buffer[env_ids] = snapshot.rows[name]
        return self.env.observe()

    def fork(self, src_ids: torch.Tensor, dst_ids: torch.Tensor) -> Obs:
        """Copy rows ``src_ids`` over rows ``dst_ids``, both int64 ``[k]``."""
        for buffer in self.env.row_buffers.values():
            buffer[dst_ids] = buffer[src_ids]
        return self.env.observe()


def _fingerprint(env: ReferenceEnv) -> Mapping[str, str]:
    """What a row consists of, and the task that gives it its meaning; not how many rows."""
    rows = {
        name: f"{str(buffer.dtype).removeprefix('torch.')}{list(buffer.shape[1:])}"
        for name, buffer in env.row_buffers.items()
    }
    (num_actions,) = env.single_action_space.shape or ()
    task = (
        f"{type(env).__name__}(max_episode_length={env.max_episode_length}, "
        f"num_actions={num_actions}, step_dt={env.step_dt})"
    )
    return {"task": task} | rows
