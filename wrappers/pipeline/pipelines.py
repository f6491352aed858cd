"""All sources of an env, driven together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from holdstep.errors import ConfigError
from holdstep.policies.chunked.transfers import uploaded
from holdstep.wrappers.pipeline.observed import ObservedForSources
from holdstep.wrappers.pipeline.row_plan import RowPlan, RowPlanner
from holdstep.wrappers.pipeline.snapshots import snapshot
from holdstep.wrappers.pipeline.step_info import StepInfo

if TYPE_CHECKING:
    from holdstep.envs.contract import Obs, TorchVectorEnv
    from holdstep.wrappers.pipeline.options import PipelineOptions
    from holdstep.wrappers.pipeline.source_pipeline import SourcePipeline
    from holdstep.wrappers.waits import WaitClock


class StepPlan(NamedTuple):
    """What all rows do.

    Attributes:
        actions: of the rows that have a source, ``[K, A]``, in the order of the sources.
        held: rows that stand still, as env ids.
        awaits_frames: all of those do so only until a fresh frame is there.
        lacks_actions: there are rows with nothing to do that can't stand still.
    """

    actions: torch.Tensor
    held: set[int]
    awaits_frames: bool
    lacks_actions: bool


class Pipelines:
    """Asks all sources, and puts together what they say.

    Args:
        pipelines: one for each source.
        env: the stack inside.
        options: of the wrapper.
        clock: time.
        can_hold: whether rows can stand still.

    Attributes:
        drives_all: every row has a source.
    """

    def __init__(
        self,
        pipelines: Sequence[SourcePipeline],
        *,
        env: TorchVectorEnv,
        options: PipelineOptions,
        clock: WaitClock,
        can_hold: bool,
    ) -> None:
        self._pipelines = pipelines
        self._options = options
        self._clock = clock
        self._planner = RowPlanner(env, options, can_hold=can_hold)
        self._info = StepInfo(env.num_envs, env.device, max_age_frames=options.max_age_frames)
        self._observed = ObservedForSources(pipelines, for_hold=callable(options.hold_action))
        self._step_s = env.step_dt or 1.0
        rows = np.concatenate([pipeline.rows for pipeline in pipelines])
        self.drives_all = len(rows) == env.num_envs
        self._in_order = self.drives_all and bool((rows == np.arange(env.num_envs)).all())
        self._rows = uploaded(rows, env.device)
        self._order = uploaded(np.argsort(rows), env.device)

    @property
    def can_submit(self) -> bool:
        """Whether there are observations that no source was given yet."""
        return self._observed.is_complete

    def observe(self, obs: Obs) -> None:
        """Rows see this now."""
        self._observed.update(obs)

    def submit(self, *, first_only: bool = False) -> None:
        """Ask every source that can work for the frame of this step.

        Args:
            first_only: only those which were not asked since rows of theirs began an episode.

        Raises:
            UncopyableValueError: external inputs can't be copied.
            ConfigError: or are no mapping.
        """
        asked = [
            (index, pipeline)
            for index, pipeline in enumerate(self._pipelines)
            if (pipeline.must_ask if first_only else pipeline.wants_request)
        ]
        given = [self._external_inputs(pipeline) for _, pipeline in asked]
        for (index, pipeline), inputs in zip(asked, given, strict=True):
            pipeline.submit(
                obs=self._observed.give(index),
                external_inputs=inputs,
                sim_time_s=pipeline.num_row_steps * self._step_s,
                now_s=self._clock.now(),
            )

    def polled(self) -> None:
        """Tell the pacing what this step got."""
        now_s = self._clock.now()
        for pipeline in self._pipelines:
            if pipeline.failure is None:
                pipeline.worker.polled(now_s, pipeline.age_frames)

    def plan(self) -> StepPlan:
        """What rows do, as things are now."""
        plans: list[RowPlan] = [
            self._planner.plan(pipeline, self._observed.of_held(index))
            for index, pipeline in enumerate(self._pipelines)
        ]
        if len(plans) == 1:
            (only,) = plans
            return StepPlan(
                only.actions, set(only.held), only.awaits_frame or not only.held, only.lacks_action
            )
        held = {row for plan in plans for row in plan.held}
        actions = torch.cat([plan.actions for plan in plans])
        awaits = all(plan.awaits_frame for plan in plans if plan.held)
        return StepPlan(actions, held, awaits, any(plan.lacks_action for plan in plans))

    def whole(self, actions: torch.Tensor, given: torch.Tensor | None) -> torch.Tensor:
        """Actions of all rows, in memory of their own: the sources', and those of the caller."""
        if self._in_order:
            return actions.clone()
        if self.drives_all:
            return actions[self._order]
        assert given is not None
        return given.index_copy(0, self._rows, actions.to(given.dtype))

    def info(self, now_s: float) -> dict[str, Any]:
        """What this step tells."""
        return self._info.of_step(self._pipelines, now_s=now_s)

    def end_step(self) -> None:
        """It has been told."""
        for pipeline in self._pipelines:
            pipeline.end_step()

    def advance(self, held: frozenset[int]) -> None:
        """The env has made a step in which these rows stood still, whoever held them."""
        for pipeline in self._pipelines:
            if not held or not held.issuperset(pipeline.env_ids):
                pipeline.advance()

    def begin_episodes(self, env_ids: set[int]) -> None:
        """The host, or the env itself, has reset rows."""
        for pipeline in self._pipelines:
            pipeline.begin_episodes(env_ids)

    def _external_inputs(self, pipeline: SourcePipeline) -> Mapping[str, Any]:
        given = self._options.external_inputs
        if given is None:
            return {}
        inputs = given if isinstance(given, Mapping) else given(pipeline.env_ids)
        if not isinstance(inputs, Mapping):
            raise ConfigError(
                f"external_inputs(env_ids) must return a mapping, got {type(inputs).__name__}."
            )
        if self._options.mode == "sync":
            return inputs
        copied: Mapping[str, Any] = snapshot(inputs, "external_inputs")
        return copied
