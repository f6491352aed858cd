"""The loop of a run of teleoperation."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from holdstep.envs.deployment.pacing import StepPacer
from holdstep.wrappers.base import find_wrapper
from holdstep.wrappers.pipeline.events import ExecutionState
from holdstep.wrappers.suspend import SuspendOnWait

if TYPE_CHECKING:
    from holdstep.cli.teleop_stack import TeleopStack
    from holdstep.policies.teleop.config import RunConfig

_BETWEEN_STATUS_S = 0.5
_BETWEEN_IMAGES_S = 0.033
_STILL_S = 0.02
"""Between two looks at sources while no row advances."""


@dataclass(frozen=True)
class Driven:
    """How a run went.

    Attributes:
        num_steps: steps of the env.
        why: it is over.
    """

    num_steps: int
    why: str


def drive(
    stack: TeleopStack,
    run: RunConfig,
    is_asked_to_stop: Callable[[], bool],
    *,
    tell: Callable[[str], object],
) -> Driven:
    """Step until the run is over.

    Args:
        stack: what is stepped.
        run: as it was configured.
        is_asked_to_stop: looked at after each step.
        tell: shows a line, twice a second.
    """
    env = stack.env
    env.reset(seed=run.env.seed)
    pacer = StepPacer(env.step_dt) if run.loop.realtime and env.step_dt else None
    screens = [source for source in stack.sources.values() if hasattr(source, "show")]
    draws = _Rate(_BETWEEN_IMAGES_S if screens and run.loop.show else None)
    tells = _Rate(_BETWEEN_STATUS_S)
    ended = _Ended(stack, run)
    num_steps = 0
    while True:
        if pacer is not None:
            pacer.wait()
        *_, info = env.step()
        advances = bool(info["active"].any())
        num_steps += advances
        if draws.is_due():
            images: Any = env.render()
            image = np.asarray(images[0])
            for source in screens:
                source.show(image)
        if tells.is_due():
            tell(_line(stack, num_steps))
        why = "stopped" if is_asked_to_stop() else ended.why(info, num_steps)
        if why is not None:
            return Driven(num_steps, why)
        if not advances and pacer is None:
            time.sleep(_STILL_S)


class _Ended:
    """Knows when a run is over."""

    def __init__(self, stack: TeleopStack, run: RunConfig) -> None:
        self._recorder = stack.recorder
        self._loop = run.loop
        self._have_run = np.zeros(run.env.num_envs, dtype=np.bool_)
        # Rows that can't stand still go on with their last action for ever.
        self._can_stand_still = find_wrapper(stack.env, SuspendOnWait) is not None

    def why(self, info: dict[str, Any], num_steps: int) -> str | None:
        """Why it is over after this step; None if it is not."""
        if self._recorder is not None and self._recorder.finished:
            return "everything recorded"
        if self._loop.max_steps is not None and num_steps >= self._loop.max_steps:
            return "done"
        told = info["pipeline"]
        is_still = not bool(info["active"].any())
        if bool(told["end_of_replay"].all()) and (is_still or not self._can_stand_still):
            return "end of the replay"
        stopped = (told["execution_state"] == ExecutionState.STOPPED).cpu().numpy()
        self._have_run |= ~stopped
        if self._loop.ends_when_stopped and bool((stopped & self._have_run).all()):
            return "stopped by the operators"
        return None


class _Rate:
    """Says when something is due again; never, without an interval."""

    def __init__(self, every_s: float | None) -> None:
        self._every_s = every_s
        self._next_s = time.monotonic()

    def is_due(self) -> bool:
        """Whether it is now."""
        now_s = time.monotonic()
        if self._every_s is None or now_s < self._next_s:
            return False
        self._next_s = now_s + self._every_s
        return True


def _line(stack: TeleopStack, num_steps: int) -> str:
    stats = stack.env.stats()
    line = (
        f"{num_steps} steps, {stats.miss_share:.1%} missed, inputs "
        f"{1000 * stats.mean_input_age_s:.0f} ms old"
    )
    if stack.recorder is not None:
        line += f", {stack.recorder.stats().num_episodes} episodes recorded"
    return line
