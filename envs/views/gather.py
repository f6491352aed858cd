"""Steps that end when every row has taken one, for RL libraries that know no masks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from holdstep.errors import ConfigError
from holdstep.wrappers.base import VectorWrapper, find_wrapper
from holdstep.wrappers.chunk_step import ChunkStep
from holdstep.wrappers.step_hold import StepHold
from holdstep.wrappers.suspend import SuspendOnWait

if TYPE_CHECKING:
    from holdstep.envs.contract import StepResult, TorchVectorEnv


class GatherSteps(VectorWrapper):
    """Steps a stack until every row has advanced once: what views do with ``gather=True``.

    A row that is suspended when the step begins takes its step when what it waits for is done, with
    the action that it was given for this step. Rows that have taken theirs stand still meanwhile,
    also if what *they* wait for is done by now. So a step is one step of each row, no more and no
    less, and ``info["active"]`` is all True. The price is time: a step lasts as long as the longest
    wait of a row in it. Towards its end nothing is stepped while it is waited, so rows must not
    wait for others to go on.

    Rewards and flags are those of each row's one step; other entries of ``info`` are merged as by
    :class:`~holdstep.wrappers.ActionChunkReplay`. A row whose episode ended stands still in the
    first state of the next one, and ``info["final_obs"]`` has its last observation. If a tick
    raises, no row stays suspended by this wrapper, and what was gathered is lost.

    Autoreset: the env's, inside a step. Order: around the whole stack. The host looks at the
    rows' flags in each tick, which waits for a GPU.

    Args:
        env: a stack with a :class:`~holdstep.wrappers.SuspendOnWait` in it.

    Raises:
        ConfigError: there is none.

    >>> from holdstep.envs import make
    >>> inner = SuspendOnWait(make("holdstep:CartPole", num_envs=2, device="cpu", seed=0))
    >>> env = GatherSteps(inner)
    >>> obs, info = env.reset()
    >>> looks = iter([False, False, True])
    >>> inner.suspend([1], until=lambda: next(looks))
    >>> obs, reward, terminated, truncated, info = env.step(torch.zeros(2, 1))
    >>> info["active"], env.episode_length_buf
    (tensor([True, True]), tensor([1, 1]))
    """

    def __init__(self, env: TorchVectorEnv) -> None:
        super().__init__(env)
        suspender = find_wrapper(env, SuspendOnWait)
        if suspender is None:
            raise ConfigError(
                "gather=True lets rows that have taken their step stand still until the others "
                "have, for which the stack needs a SuspendOnWait. Without one no row is ever "
                "suspended, and there is nothing to gather: leave gather out."
            )
        self._suspender = suspender
        self._hold = StepHold(suspender)
        self._lengths = self.new_buffer(self.num_envs, dtype=torch.int64, fill=1)

    def step(self, actions: torch.Tensor) -> StepResult:
        """Let every row take one step.

        Args:
            actions: of all rows, as for the env inside.

        Raises:
            SuspensionError: a row is suspended and waits for nothing, so that it would never take
                its step; or a wait has failed, which is the cause.
            SuspensionTimeoutError: nothing was done within ``SuspendOnWait``'s ``wait_timeout_s``.
        """
        gathered = ChunkStep(actions.unsqueeze(1), None, self._lengths)
        try:
            while True:
                gathered.add(self.env.step(gathered.next_actions()))
                if gathered.all_advanced:
                    break
                self._wait_for_others(gathered.finished)
        except BaseException as error:
            error.add_note(
                f"After {gathered.num_ticks} ticks of a step with gather=True, which lasts until "
                "every row has taken one. It was broken off; what rows gained in it is lost."
            )
            raise
        finally:
            self._hold.release()
        return gathered.result(count_ticks=False)

    def _wait_for_others(self, finished: np.ndarray) -> None:
        """Return when a row that has not taken its step is active, and none that has is.

        All waits are looked at here. In the ticks that follow, those of rows that have taken their
        step are not, so that such a row stays suspended however many ticks the env inside takes.
        """
        timeout_s: float | None = 0.0
        while True:
            self._hold.admit()
            self._suspender.resume_finished(timeout_s)
            self._hold.add(finished)
            free = np.ones(self.num_envs, dtype=bool)
            free[list(self._suspender.suspended_ids)] = False
            if free.any():
                return
            timeout_s = self._suspender.wait_timeout_s
