"""From the sources' frames to what rows do in a step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from holdstep.errors import SuspensionTimeoutError
from holdstep.policies.chunked.row_holder import RowHolder
from holdstep.wrappers.base import find_wrapper
from holdstep.wrappers.pipeline.frame_waits import FrameWaits
from holdstep.wrappers.pipeline.operator_events import OperatorEvents
from holdstep.wrappers.pipeline.pipelines import Pipelines, StepPlan
from holdstep.wrappers.pipeline.step_counts import StepCounts
from holdstep.wrappers.suspend import SuspendOnWait
from holdstep.wrappers.waits import shortened

if TYPE_CHECKING:
    import threading

    import torch

    from holdstep.envs.contract import Obs, TorchVectorEnv
    from holdstep.wrappers.pipeline.options import PipelineOptions
    from holdstep.wrappers.pipeline.source_pipeline import SourcePipeline
    from holdstep.wrappers.waits import WaitClock

_STILL_S = 0.05
"""How long a step in which all rows stand still waits for a frame that changes that."""
_LOOK_AT_OTHERS_S = 0.01
"""Between two looks at what rows wait for that somebody else suspended."""


class StepDriver:
    """One step after another: asks, waits, applies the operator's events, and holds rows.

    Args:
        sources: their pipelines.
        env: the stack inside.
        options: of the wrapper.
        clock: time.
        news: set by workers whenever there is something to look at.

    Attributes:
        counts: of all steps.
        drives_all: every row has a source.
    """

    def __init__(
        self,
        sources: Sequence[SourcePipeline],
        *,
        env: TorchVectorEnv,
        options: PipelineOptions,
        clock: WaitClock,
        news: threading.Event,
    ) -> None:
        self._sources = sources
        self._env = env
        self._is_sync = options.mode == "sync"
        self._suspender = find_wrapper(env, SuspendOnWait)
        self._holder = RowHolder(env)
        self._waits = FrameWaits(sources, options, clock, news, can_hold=self._holder.can_hold)
        self._events = OperatorEvents(env, sources)
        self._clock = clock
        self._all_started = False
        self.counts = StepCounts()
        self._pipelines = Pipelines(
            sources, env=env, options=options, clock=clock, can_hold=self._holder.can_hold
        )
        self.drives_all = self._pipelines.drives_all

    def start(self) -> None:
        """Start the sources."""
        for source in self._sources:
            source.worker.start()

    def reset(self, obs: Obs, env_ids: Sequence[int] | None) -> None:
        """The host has reset rows; None for all."""
        if env_ids is None:
            self._holder.forget()
            env_ids = range(self._env.num_envs)
        self._pipelines.begin_episodes(set(env_ids))
        self._pipelines.observe(obs)

    def next_plan(self, unchanged_obs: Obs | None) -> StepPlan | None:
        """What rows do in this step; those that stand still are held.

        Args:
            unchanged_obs: observations as they are, if :meth:`needs_obs`.

        Returns:
            None if no row can advance, because sources say so.

        Raises:
            SourceError: a source has failed.
            SuspensionTimeoutError: no row can advance for want of fresh frames, for longer than the
                ``SuspendOnWait`` allows.
        """
        if unchanged_obs is not None:
            self._pipelines.observe(unchanged_obs)
        for source in self._sources:
            source.collect()
        self._apply_events()
        self._pipelines.submit()
        has_waited = self._waits.wait()
        if has_waited and self._apply_events() and any(s.must_ask for s in self._sources):
            self._pipelines.submit(first_only=True)
            self._waits.wait()
        self._pipelines.polled()
        plan = self._planned()
        if plan.lacks_actions:  # reset in each frame: the step would wait as long as that goes on
            return None
        if not self._is_blocked(plan):
            return plan
        if plan.awaits_frames:
            plan = self._awaited(plan)
        if self._is_blocked(plan) and any(source.has_work for source in self._sources):
            plan = self._still(plan)
        return None if self._is_blocked(plan) else plan

    def needs_obs(self) -> bool:
        """Whether sources are to be given observations that they were given already.

        Waits until all sources have been started, since one in a process says only then whether it
        looks at observations.
        """
        if not self._all_started:
            self._waits.until(lambda: all(source.worker.ready for source in self._sources))
            self._all_started = True
        return not self._pipelines.can_submit

    def wake_sources(self) -> None:
        """Have sources begin with what this step has asked for, at the latest."""
        for source in self._sources:
            source.worker.wake()

    def actions(self, plan: StepPlan, given: torch.Tensor | None) -> torch.Tensor:
        """Actions of all rows, ``[N, A]``; the caller's for rows without a source."""
        return self._pipelines.whole(plan.actions, given)

    def info(self, plan: StepPlan | None) -> dict[str, Any]:
        """What this step tells; counted, too."""
        now_s = self._clock.now()
        self.counts.add(self._sources, None if plan is None else plan.held, now_s)
        return self._pipelines.info(now_s)

    def stepped(self, obs: Obs, ended_ids: Sequence[int]) -> None:
        """The env has made the step."""
        suspender = self._suspender
        self._pipelines.advance(frozenset() if suspender is None else suspender.suspended_ids)
        if ended_ids:
            self._pipelines.begin_episodes(set(ended_ids))
        self._pipelines.observe(obs)
        self._pipelines.end_step()

    def stood_still(self) -> None:
        """The step is over, and the env has made none."""
        self._pipelines.end_step()

    def _planned(self) -> StepPlan:
        """What rows do as things are now; what has come in is applied.

        Rows that somebody else holds are looked at first: one that the env resumed by itself would
        do what is planned for it though it is to stand still.
        """
        if self._apply_events():
            self._pipelines.submit(first_only=True)
        self._holder.resume_finished()
        plan = self._pipelines.plan()
        if self._holder.can_hold:
            self._holder.hold_exactly(plan.held)
        return plan

    def _apply_events(self) -> bool:
        """Apply what operators did; whether that has reset rows."""
        obs = self._events.apply()
        if obs is not None:
            self._pipelines.observe(obs)
        return obs is not None

    def _collected(self) -> StepPlan:
        for source in self._sources:
            source.collect()
        return self._planned()

    def _is_blocked(self, plan: StepPlan) -> bool:
        """Whether no row can advance, not only because of what somebody else suspended."""
        if not plan.held:
            return False
        assert self._suspender is not None
        return len(self._suspender.suspended_ids) == self._env.num_envs

    def _awaited(self, plan: StepPlan) -> StepPlan:
        """Wait until a row has a fresh frame, or is resumed by somebody else."""
        if self._is_sync:  # a row that is reset in each frame
            return plan
        assert self._suspender is not None

        def can_go_on() -> bool:
            nonlocal plan
            plan = self._collected()
            return not self._is_blocked(plan) or not plan.awaits_frames

        timeout_s = self._suspender.wait_timeout_s
        look_again_s = 60.0 if self._holder.others() is None else _LOOK_AT_OTHERS_S
        if not self._waits.until(can_go_on, timeout_s, look_again_s=look_again_s):
            raise SuspensionTimeoutError(
                f"Rows {shortened(sorted(plan.held))} stand still because their sources have no "
                f"fresh frame, and none came within {timeout_s} s. step() again to wait longer."
            )
        return plan

    def _still(self, plan: StepPlan) -> StepPlan:
        """Wait for the next frame, but not for long: a loop of steps is not to spin."""
        if self._is_sync:
            return plan
        before = [source.frame for source in self._sources]

        def has_come() -> bool:
            nonlocal plan
            plan = self._collected()
            return any(
                source.frame is not old for source, old in zip(self._sources, before, strict=True)
            )

        self._waits.until(has_come, _STILL_S)
        return plan
