"""A trace of what each row of any stack does."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from holdstep.envs.env_ids import canonical_env_ids
from holdstep.timeline.writer import TimelineWriter
from holdstep.wrappers.base import VectorWrapper
from holdstep.wrappers.host_copies import Arrays, HostCopies

if TYPE_CHECKING:
    from holdstep.envs.contract import Info, Obs, StepResult, TorchVectorEnv


class RecordTimeline(VectorWrapper):
    """Writes a trace of every step: which rows advanced, when, and which episodes ended.

    ``holdstep timeline FILE`` draws it. What a policy does between steps is not seen from here:
    report it to :attr:`timeline`, as in ``with env.timeline.measure(env_ids): ...``.

    Autoreset: as the env's. Order: anywhere. Around :class:`~holdstep.wrappers.SuspendOnWait`, a
    tick contains the waits of a step in which every row is suspended; inside it, only the
    simulator's step; around a wrapper that replays chunks, whole chunks.

    Reads masks and rewards to the host. From a GPU they are copied beside the computation, so that
    no step waits for them; a tick's times are the host's, which may be ahead of the GPU.

    Args:
        env: the env to wrap.
        path: of the trace; an existing file is replaced.
        metadata: what else the trace should say; the task is added.
        max_bytes: the most that is written.
        clock: time [s], for tests.

    Attributes:
        timeline: the writer of the trace.

    Raises:
        ConfigError: an argument can't be used.
        OSError: the file can't be made.

    >>> import tempfile
    >>> from holdstep.envs import make
    >>> from holdstep.timeline import read_timeline
    >>> path = Path(tempfile.mkdtemp(), "run.jsonl")
    >>> env = RecordTimeline(make("holdstep:CartPole", num_envs=3, device="cpu", seed=0), path)
    >>> obs, info = env.reset()
    >>> with env.timeline.measure([0, 1, 2], kind="policy"):
    ...     actions = torch.zeros(3, 1)
    >>> result = env.step(actions)
    >>> env.close()
    >>> timeline = read_timeline(path)
    >>> timeline.num_ticks, timeline.calls[0].kind, timeline.metadata["task"]
    (1, 'policy', 'holdstep:CartPole')
    """

    def __init__(
        self,
        env: TorchVectorEnv,
        path: str | Path,
        *,
        metadata: Mapping[str, Any] | None = None,
        max_bytes: int = 1 << 30,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        super().__init__(env)
        task = self.unwrapped.task_id or type(self.unwrapped).__name__
        self.timeline = TimelineWriter(
            path,
            num_envs=self.num_envs,
            metadata={"task": task, **(metadata or {})},
            max_bytes=max_bytes,
            clock=clock,
        )
        self._clock = clock
        self._copies = HostCopies(self.device)
        # On the host, about the ticks that are written.
        self._num_ticks = 0
        self._returns = np.zeros(self.num_envs)
        self._begin_ticks = np.zeros(self.num_envs, dtype=np.int64)
        self._episode_ids = np.zeros(self.num_envs, dtype=np.int64)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Obs, Info]:
        """Reset all rows, or those of ``options["env_ids"]``; episodes cut short are not traced."""
        result = self.env.reset(seed=seed, options=options)
        self._copies.finish()
        env_ids = (options or {}).get("env_ids")
        ids = canonical_env_ids(
            torch.arange(self.num_envs) if env_ids is None else env_ids,
            num_envs=self.num_envs,
            device=self.device,
        )
        rows = ids.cpu().numpy()
        self._returns[rows] = 0.0
        self._episode_ids[rows] += self._begin_ticks[rows] < self._num_ticks
        self._begin_ticks[rows] = self._num_ticks
        return result

    def step(self, actions: torch.Tensor) -> StepResult:
        """Step the env inside, and trace it."""
        begin_s = self._clock()
        result = self.env.step(actions)
        self._trace(result, begin_s)
        return result

    def step_masked(self, actions: torch.Tensor, active_mask: torch.Tensor) -> StepResult:
        """Step some rows of the env inside, and trace it."""
        begin_s = self._clock()
        result = self.env.step_masked(actions, active_mask)
        self._trace(result, begin_s)
        return result

    def close_extras(self, **kwargs: Any) -> None:
        """Finish the file."""
        try:
            self._copies.finish()
        finally:
            self.timeline.close()

    def _trace(self, result: StepResult, begin_s: float) -> None:
        end_s = self._clock()
        _, reward, terminated, truncated, info = result
        tensors = [info["active"], reward, terminated, truncated]
        success = info.get("success")
        if isinstance(success, torch.Tensor) and success.shape == reward.shape:
            tensors.append(success)
        self._copies.hand_over(tensors, partial(self._write, begin_s, end_s))

    def _write(self, begin_s: float, end_s: float, arrays: Arrays) -> None:
        active, reward, terminated, truncated, *success = arrays
        self.timeline.tick(active, begin_s=begin_s, end_s=end_s)
        self._returns += reward
        rows = (terminated | truncated).nonzero()[0]
        if rows.size:
            self._write_episodes(rows, success[0][rows].tolist() if success else None)
        self._num_ticks += 1

    def _write_episodes(self, rows: npt.NDArray[np.int64], success: list[bool] | None) -> None:
        ids, begins, returns = (
            of_rows[rows].tolist()
            for of_rows in (self._episode_ids, self._begin_ticks, self._returns)
        )
        for index, row in enumerate(rows.tolist()):
            self.timeline.episode(
                row,
                ids[index],
                begin_tick=begins[index],
                end_tick=self._num_ticks,
                episode_return=returns[index],
                success=None if success is None else success[index],
            )
        self._episode_ids[rows] += 1
        self._begin_ticks[rows] = self._num_ticks + 1
        self._returns[rows] = 0.0
