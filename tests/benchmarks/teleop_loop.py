"""A loop at a fixed rate that applies stamped actions, and what it measures of them."""

from __future__ import annotations

import bisect
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from holdstep.wrappers.base import VectorWrapper
from tests.benchmarks.teleop_sources import spend

if TYPE_CHECKING:
    from holdstep.envs.contract import Info, Obs, StepResult, TorchVectorEnv
    from tests.wrappers.pipeline.pacing.loop_simulation import Load

WARM_UP_STEPS = 30


class WorkingEnv(VectorWrapper):
    """Takes the time of a simulator for each step, and notes when which action was applied.

    Args:
        env: for its spaces; it is not stepped.
        load: what a step takes.
        seed: of what is random in it.
        epoch_s: that stamps count from.

    Attributes:
        input_ages_s: of each applied action.
        polled_s: when its inputs were polled.
        worked_s: how long each step took.
    """

    def __init__(self, env: TorchVectorEnv, load: Load, *, seed: int, epoch_s: float) -> None:
        super().__init__(env)
        self._load = load
        self._rng = random.Random(seed)
        self._epoch_s = epoch_s
        self.input_ages_s: list[float] = []
        self.polled_s: list[float] = []
        self.worked_s: list[float] = []

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Obs, Info]:
        """Reset the env inside, once."""
        self._obs, info = super().reset(seed=seed, options=options)
        return self._obs, info

    def step(self, actions: torch.Tensor) -> StepResult:
        """Look at the action's stamp, and work."""
        applied_s = time.monotonic()
        polled_s = self._epoch_s + float(actions[0, 0])
        self.polled_s.append(polled_s)
        self.input_ages_s.append(applied_s - polled_s)
        spend(self._load.work(len(self.polled_s), self._rng), busy=self._load.hindered)
        obs = {key: value.clone() for key, value in self._obs.items()}
        false = torch.zeros(self.num_envs, dtype=torch.bool)
        result = obs, torch.zeros(self.num_envs), false, false.clone(), {"active": ~false}
        self.worked_s.append(time.monotonic() - applied_s)
        return result


@dataclass
class Measured:
    """One run.

    Attributes:
        input_ages_s: from the polling of inputs to the application of the action.
        ages_frames: submissions between that of the frame and the step that applied it.
        blocked_s: in each step, time that is not the env's own.
        period_s: mean time from step to step.
    """

    input_ages_s: np.ndarray
    ages_frames: np.ndarray
    blocked_s: np.ndarray
    period_s: float = field(default=0.0)

    @property
    def num_missed(self) -> int:
        """Steps that applied a frame older than that of the step before."""
        return int(np.count_nonzero(self.ages_frames > 1))


def run_loop(step: Callable[[], object], env: WorkingEnv, load: Load, *, steps: int) -> Measured:
    """Step at the load's rate.

    Args:
        step: submits, takes an action and has ``env`` apply it.
        env: what it steps.
        load: says at which rate.
        steps: how many count, after a warm-up.
    """
    rng = random.Random(0)
    submitted_s, ended_s = [], []
    next_s = time.monotonic()
    for index in range(WARM_UP_STEPS + steps):
        left_s = next_s - time.monotonic()
        if left_s > 0:
            time.sleep(left_s)
        submitted_s.append(time.monotonic())
        step()
        ended_s.append(time.monotonic())
        if load.free_running:
            next_s = ended_s[-1]
        else:  # a loop that is late goes on at once, and doesn't catch up
            next_s = max(next_s + load.period(index + 1, rng), ended_s[-1])
    # A worker takes the newest request, so the frame is that of the last submission before polling.
    frames = [bisect.bisect_right(submitted_s, polled_s) - 1 for polled_s in env.polled_s]
    ages = np.arange(len(frames)) - np.array(frames)
    blocked_s = np.array(ended_s) - np.array(submitted_s) - np.array(env.worked_s)
    counted = slice(WARM_UP_STEPS, None)
    return Measured(
        input_ages_s=np.array(env.input_ages_s)[counted],
        ages_frames=ages[counted],
        blocked_s=blocked_s[counted],
        period_s=float(np.diff(submitted_s[WARM_UP_STEPS:]).mean()),
    )
