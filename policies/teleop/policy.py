"""People as a plain policy: actions from observations, in step with the env."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any

import torch

from holdstep.errors import PolicyError
from holdstep.wrappers.pipeline.answers import check_answer
from holdstep.wrappers.pipeline.computing import CheckedActions
from holdstep.wrappers.pipeline.events import NO_EVENTS, ExecutionState, SourceEvents
from holdstep.wrappers.pipeline.groups import RowsOfSource, Sources, grouped
from holdstep.wrappers.pipeline.opening import check_width
from holdstep.wrappers.pipeline.source import SourceRequest, SourceResult

if TYPE_CHECKING:
    from holdstep.envs.contract import Obs, TorchVectorEnv
    from holdstep.envs.env_ids import EnvIds
    from holdstep.wrappers.pipeline.options import ExternalInputs


class TeleopPolicy:
    """Asks action sources in every step, as ``holdstep record`` and ``evaluate`` ask a policy.

    The simulation waits for the sources, and while an operator pauses, it stands still.
    ``PipelinedActions`` is the other way to run them: beside the simulation, with single rows that
    stand still, and resets by the operator; a plain policy can't reset its env, so what operators
    order is kept for whoever steps (:meth:`take_events`). One who stops after having driven, or
    closes the window, ends the call with an error; a source that begins stopped is waited for.

    Where tracking is lost, rows repeat the last action of their episode. Sources are started at
    once, and stopped by :meth:`close` or at the end of a ``with`` block.

    Args:
        env: the env that is stepped.
        sources: one source for all rows, a list of one for each, or ``SourceGroup`` s.
        groups: the rows of the sources, where they are no ``SourceGroup`` s.
        external_inputs: what sources need besides: a mapping, or a callable that returns one for
            the rows of a source, given as ids.
        idle_action: applied where tracking is lost before the episode had any action, ``[A]``;
            zeros by default.
        poll_interval_s: how often a paused source is asked whether it goes on [s].
        sleep: waits so long, for tests.

    Raises:
        ConfigError: sources, rows, or a width of actions that can't be meant.
        BackendUnavailableError: a device or runtime is not there.
    """

    def __init__(
        self,
        env: TorchVectorEnv,
        sources: Sources,
        *,
        groups: Sequence[EnvIds] | Mapping[Any, EnvIds] | None = None,
        external_inputs: ExternalInputs | None = None,
        idle_action: torch.Tensor | Sequence[float] | None = None,
        poll_interval_s: float = 0.02,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._groups = grouped(sources, groups, num_envs=env.num_envs, in_process=False)
        for group in self._groups:
            check_width(group, env)
        self._checks = [
            CheckedActions(env.single_action_space, num_rows=len(group.env_ids), device=env.device)
            for group in self._groups
        ]
        self._external_inputs = external_inputs
        self._poll_interval_s = poll_interval_s
        self._sleep = sleep
        self._step_s = 1.0 if env.step_dt is None else env.step_dt
        self._num_steps = 0
        self._events: dict[Hashable, SourceEvents] = {}
        self._has_begun = [False] * len(self._groups)  # has been in another state than stopped
        self._host_events = [NO_EVENTS] * len(self._groups)
        self._frame_ids = [0] * len(self._groups)
        with torch.inference_mode(False):
            self._idle = torch.zeros(env.single_action_space.shape or (), device=env.device)
            if idle_action is not None:
                self._idle[:] = torch.as_tensor(idle_action, device=env.device)
            self._last = self._idle.repeat(env.num_envs, *[1] * self._idle.ndim)
        self._started: list[RowsOfSource] = []
        self._start()

    def __enter__(self) -> TeleopPolicy:
        """The policy itself."""
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop the sources."""
        self.close()

    def __call__(self, obs: Obs) -> torch.Tensor:
        """Actions, float32 ``[N, A]``.

        Raises:
            PolicyError: a replay has ended, or an operator has stopped.
            InvalidActionError: a source gave actions that the env can't take.
            SourceError: it answered with what can't be.
            Exception: whatever a source raises.
        """
        for number in range(len(self._groups)):
            self._ask(number, obs)
        self._num_steps += 1
        return self._last.clone()

    def reset(self, done_mask: torch.Tensor | None = None) -> None:
        """Episodes of rows have ended (bool ``[N]``; None for all, before the first).

        What their operators did in them is not repeated in the next ones.
        """
        done = None if done_mask is None else set(done_mask.nonzero().flatten().tolist())
        for number, group in enumerate(self._groups):
            rows = group.env_ids if done is None else tuple(done.intersection(group.env_ids))
            if rows:
                self._last[list(rows)] = self._idle
                event = SourceEvents(reset=True, reset_env_ids=tuple(sorted(rows)))
                self._host_events[number] = self._host_events[number].merged_with(event)

    def take_events(self) -> dict[Hashable, SourceEvents]:
        """What operators ordered since the last call: resets of rows, marks, changes of state.

        Returns:
            By source (its position, or its key where sources came as a mapping), of those of which
            there is something; resets name their rows.
        """
        events, self._events = self._events, {}
        return events

    def close(self) -> None:
        """Stop all sources, also where one of them fails to; may be called twice."""
        started, self._started = self._started, []
        with contextlib.ExitStack() as stack:
            for group in started:
                stack.callback(group.source.stop)

    def _start(self) -> None:
        try:
            for group in self._groups:
                self._started.append(group)
                group.source.start(group.env_ids)
        except BaseException:
            self.close()
            raise

    def _ask(self, number: int, obs: Obs) -> None:
        group = self._groups[number]
        while True:
            result = self._compute(number, obs)
            if result.actions is not None:
                rows = list(group.env_ids)
                self._last[rows] = self._checks[number](result.actions)
                return
            if result.end_of_replay:
                raise PolicyError(
                    f"The replay of {group.name} has ended, after {self._num_steps} steps of the "
                    "env. Step it no further, or drive with PipelinedActions, whose info says when "
                    "a replay ends."
                )
            if result.state is ExecutionState.RUNNING:
                return
            if result.state is ExecutionState.STOPPED and self._has_begun[number]:
                raise PolicyError(
                    f"The operator of {group.name} has stopped, after {self._num_steps} steps of "
                    "the env. End here; or, once they have started again, go on from the same "
                    "observations."
                )
            self._sleep(self._poll_interval_s)

    def _compute(self, number: int, obs: Obs) -> SourceResult:
        group = self._groups[number]
        rows = list(group.env_ids)
        given = self._external_inputs
        host_events, self._host_events[number] = self._host_events[number], NO_EVENTS
        request = SourceRequest(
            frame_id=self._frame_ids[number],
            env_ids=group.env_ids,
            obs={key: value[rows] for key, value in obs.items()} if group.source.uses_obs else None,
            external_inputs=(given(group.env_ids) if callable(given) else given) or {},
            host_events=host_events,
            sim_time_s=self._num_steps * self._step_s,
            real_time_s=time.monotonic(),
        )
        self._frame_ids[number] += 1
        result = group.source.compute(request)
        check_answer(result, request)
        if result.state is not ExecutionState.STOPPED:
            self._has_begun[number] = True
        self._keep(group, result.events, host_events)
        return result

    def _keep(self, group: RowsOfSource, events: SourceEvents, host_events: SourceEvents) -> None:
        if events.reset and not events.reset_env_ids:  # all of this source's, not of all
            events = replace(events, reset_env_ids=tuple(sorted(group.env_ids)))
        events = events.without_echo(host_events, group.env_ids)
        if events:
            self._events[group.key] = self._events.get(group.key, NO_EVENTS).merged_with(events)
