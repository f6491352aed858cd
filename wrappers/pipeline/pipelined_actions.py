"""Slow sources of actions, run beside the env."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from holdstep.envs.action_guard import ActionGuard
from holdstep.envs.env_ids import canonical_env_ids
from holdstep.errors import (
    ClosedEnvError,
    ConfigError,
    ResetNeededError,
    WrapperOrderError,
)
from holdstep.wrappers.base import VectorWrapper, find_wrapper
from holdstep.wrappers.order import Stage
from holdstep.wrappers.pipeline.given_actions import given_actions
from holdstep.wrappers.pipeline.groups import grouped
from holdstep.wrappers.pipeline.opening import opened
from holdstep.wrappers.pipeline.options import PipelineOptions
from holdstep.wrappers.pipeline.pacing.immediate import Immediate
from holdstep.wrappers.pipeline.snapshots import snapshot
from holdstep.wrappers.pipeline.step_driver import StepDriver
from holdstep.wrappers.pipeline.step_info import recorded_values
from holdstep.wrappers.pipeline.still_steps import StillSteps
from holdstep.wrappers.pipeline.stopping import stop_sources
from holdstep.wrappers.placed_rows import PlacedRows
from holdstep.wrappers.record.recorder import RecordEpisodes
from holdstep.wrappers.suspend import SuspendOnWait
from holdstep.wrappers.waits import WaitClock

if TYPE_CHECKING:
    from holdstep.envs.contract import Info, Obs, StepResult, TorchVectorEnv
    from holdstep.envs.env_ids import EnvIds
    from holdstep.wrappers.pipeline.events import SourceEvents
    from holdstep.wrappers.pipeline.groups import Sources
    from holdstep.wrappers.pipeline.options import (
        ExternalInputs,
        HoldAction,
        Mode,
        OnError,
        OnStale,
        WorkerKind,
    )
    from holdstep.wrappers.pipeline.pacing.pacer import Pacing
    from holdstep.wrappers.pipeline.source_pipeline import SourcePipeline
    from holdstep.wrappers.pipeline.step_counts import PipelineStats


class PipelinedActions(VectorWrapper):
    """Drives rows by sources that compute beside the env, and says how old their actions are.

    Each step submits a request (a frame) to every source, and applies the newest frame that is
    finished, usually that of the step before. A source works on one request at a time; another one
    waits; a newer one takes its place. ``docs/pipeline.md`` follows a frame on its way.

    ``info["pipeline"]`` holds, of each row's source, tensors ``[N]``, in a dictionary that makes
    them when somebody looks (:class:`~holdstep.envs.lazy_dict.LazyDict`), of its own step in any
    case:

    - ``returned_frame_id``, ``submitted_frame_id``, int64: of the newest frame, and of the last
      request; -1 for none, and for rows without a source.
    - ``returned_age_frames``, int64: steps that the rows have made since the newest frame was
      submitted. Where rows are never held, that is the difference of the two ids.
    - ``returned_age_s``, ``input_age_s``, float32 [s]: since it was submitted, and since what it
      rests on was read.
    - ``compute_duration_s``, float32 [s].
    - ``ran_synchronously``, bool: it was submitted in this very step, which has waited for it.
    - ``frame_deadline_miss``, bool: it is more than one step old. ``stale``, bool: more than
      ``max_age_frames``, or of an episode that is over, or there is none yet.
    - ``dropped_submissions``, int64: requests of this step and before that were replaced in it.
    - ``execution_state``, int64: an :class:`~holdstep.wrappers.pipeline.ExecutionState`.
    - ``end_of_replay``, bool: there will be no further frames.
    - ``operator_reset``, ``operator_discard``, bool, and ``operator_success``, int64 (1, 0, or -1
      for no mark): what the operator did; applied in this step, each once.
    - ``host_reset``, bool: the source was told that the env had reset the row; likewise.
    - ``worker_exception``, a NumPy array of objects: what the source raised, or None.

    No action of an ended episode is applied to the next one: the first frame of an episode is
    waited for, unless the row can be held or has a ``hold_action``. A frame that carries an
    operator's reset is the first of the new episode, unless the source looks at observations or
    external inputs: those were of the old one, so it is asked anew.

    Rows whose source is not ``RUNNING``, gives no actions, or is at its end stand still if there is
    a :class:`SuspendOnWait` in the stack. Otherwise they do ``hold_action``, or repeat what they
    last did. If no row can advance because sources say so, a step returns without one: ``active``
    is all False, and observations are the last ones. If it is for want of fresh frames, it waits.

    Autoreset: the env's; sources are told of it. Order: outside of :class:`SuspendOnWait` and
    :class:`RecordEpisodes`, of which held rows' ticks are no part. Reads the rows' flags to the
    host once per step, which waits for a GPU. Used from one thread.

    Args:
        env: the env to wrap.
        source: one :class:`~holdstep.wrappers.pipeline.ActionSource` for all rows; a list of N, one
            for each; or a list or mapping of several with ``groups``, or of
            :class:`~holdstep.wrappers.pipeline.SourceGroup`. With ``worker="process"``, functions
            that make them. Rows without a source do what the caller says.
        groups: the rows of each source.
        mode: ``"pipelined"``, or ``"sync"``: computed in the step, without copies or threads.
        pacing: when work on a request begins; :class:`~holdstep.wrappers.pipeline.Immediate` by
            default.
        on_stale: what a row does if its newest frame is older than ``max_age_frames``:
            ``"repeat"`` it; ``"hold"``: do ``hold_action``; ``"wait"``: the step waits for a fresh
            one; ``"suspend"``: the row stands still until one is there, while others are stepped.
        max_age_frames: the age of a frame that is fresh [steps of its rows].
        wait_budget_s: how long a step waits for fresh frames before that applies [s]; by default
            without a limit for ``"wait"`` (which repeats when the time is over), else not at all.
        hold_action: an action ``[A]``, or a function of the source's rows' observations that
            returns ``[k, A]``.
        on_error: what happens when a source fails: ``"raise"`` it in the next step; ``"suspend"``
            its rows, until :meth:`restart_sources`; ``"restart"`` it.
        max_restarts: of each source, in all; then the failure is raised.
        stop_timeout_s: how long :meth:`close` waits for all sources together [s].
        worker: where sources compute: ``"thread"``, or ``"process"`` for those that are busy in
            Python.
        external_inputs: what requests carry besides: a mapping, or a function of ``env_ids`` that
            returns one, called for each source in each step.
        clock: time, for tests.

    Raises:
        ConfigError: an argument can't be used.
        WrapperOrderError: something inside belongs outside, or rows are to be suspended and there
            is no ``SuspendOnWait`` inside.

    >>> from holdstep.envs import make
    >>> from holdstep.wrappers.pipeline import FunctionSource
    >>> env = make("holdstep:CartPole", num_envs=2, device="cpu", seed=0)
    >>> planner = FunctionSource(lambda obs: -obs["policy"][:, :1].sign())
    >>> env = PipelinedActions(env, planner)
    >>> obs, info = env.reset()
    >>> obs, reward, terminated, truncated, info = env.step()
    >>> info["pipeline"]["returned_frame_id"], info["pipeline"]["ran_synchronously"]
    (tensor([0, 0]), tensor([True, True]))
    >>> env.close()
    """

    stage: ClassVar[Stage | None] = Stage.DRIVE

    def __init__(
        self,
        env: TorchVectorEnv,
        source: Sources,
        *,
        groups: Sequence[EnvIds] | Mapping[Any, EnvIds] | None = None,
        mode: Mode = "pipelined",
        pacing: Pacing | None = None,
        on_stale: OnStale = "repeat",
        max_age_frames: int = 1,
        wait_budget_s: float | None = None,
        hold_action: HoldAction | None = None,
        on_error: OnError = "raise",
        max_restarts: int = 3,
        stop_timeout_s: float = 5.0,
        worker: WorkerKind = "thread",
        external_inputs: ExternalInputs | None = None,
        clock: WaitClock | None = None,
    ) -> None:
        super().__init__(env)
        options = PipelineOptions(
            mode=mode,
            pacing=pacing or Immediate(),
            on_stale=on_stale,
            max_age_frames=max_age_frames,
            wait_budget_s=wait_budget_s,
            hold_action=hold_action,
            on_error=on_error,
            max_restarts=max_restarts,
            stop_timeout_s=stop_timeout_s,
            worker=worker,
            external_inputs=external_inputs,
        )
        needs_suspension = [
            name for name in ("on_stale", "on_error") if getattr(options, name) == "suspend"
        ]
        if needs_suspension and find_wrapper(env, SuspendOnWait) is None:
            raise WrapperOrderError(
                f'{needs_suspension[0]}="suspend" needs a SuspendOnWait in the stack: '
                "PipelinedActions(SuspendOnWait(env), ...)."
            )
        found = grouped(source, groups, num_envs=self.num_envs, in_process=worker == "process")
        news = threading.Event()
        clock = clock or WaitClock()
        self._options = options
        self._sources = opened(found, options, env=env, clock=clock, news=news)
        self._driver = StepDriver(self._sources, env=env, options=options, clock=clock, news=news)
        self._guard = ActionGuard(self.action_space, self.device)
        self._step_info: dict[str, Any] = {}
        self._operator_events: dict[Hashable, SourceEvents] = {}
        self._still = StillSteps(env)
        self._placed = PlacedRows(env)
        self._recorder = find_wrapper(env, RecordEpisodes)
        self._ready = False
        # One that is thrown away, or left open at the end of a script, stops its sources too.
        self._stop = weakref.finalize(self, stop_sources, self._sources, stop_timeout_s)

    @property
    def last_context(self) -> dict[Hashable, Any]:
        """The context of each source's newest frame, by the source's key.

        A source's key is that of the mapping, or its position in the list; 0 for a single one. Each
        call returns a copy (with ``mode="sync"``, the context itself).
        """
        contexts = {}
        for pipeline in self._sources:
            context = None if pipeline.frame is None else pipeline.frame.result.context
            if self._options.mode != "sync":
                context = snapshot(context, "result.context")
            contexts[pipeline.key] = context
        return contexts

    @property
    def operator_events(self) -> dict[Hashable, SourceEvents]:
        """What each source's operator did, as applied in the last step, by the source's key."""
        return dict(self._operator_events)

    @property
    def step_info(self) -> dict[str, Any]:
        """``info["pipeline"]`` of the step that is under way, or of the last one."""
        return self._step_info

    def stats(self) -> PipelineStats:
        """How the sources are doing, over all steps; see :func:`holdstep.stats`."""
        return self._driver.counts.stats()

    def tell(self, events: SourceEvents, *, source: Hashable | None = None) -> None:
        """Have sources' next requests carry events of yours, such as a pause.

        The env is not touched; that :meth:`reset` and autoresets happened is told anyway, and so is
        a ``restore`` or ``fork`` of the ``SuspendOnWait`` inside, as a reset of the rows.

        Args:
            events: told once, whatever becomes of single requests.
            source: the key of one source; None for all.
        """
        for pipeline in self._chosen(source):
            pipeline.tell(events)

    def restart_sources(self, source: Hashable | None = None) -> None:
        """Start sources anew; what they had been told and had not answered is told again.

        Args:
            source: the key of one source; None for all that have failed.
        """
        self._check_usable()
        for pipeline in self._chosen(source):
            if source is not None or pipeline.failure is not None:
                pipeline.restart()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Obs, Info]:
        """Reset all rows, or those of ``options["env_ids"]``; sources are told of it.

        The first call starts the sources.
        """
        obs, info = self.env.reset(seed=seed, options=options)
        env_ids = (options or {}).get("env_ids")
        if not self._ready and not self._closed:
            self._ready = True
            self._driver.start()
        if env_ids is None:
            self._placed.take()  # of episodes that are over
        self._driver.reset(obs, None if env_ids is None else self._host_ids(env_ids))
        self._still.moved()
        return obs, info

    def set_scene_state(
        self, state: Mapping[str, torch.Tensor], env_ids: torch.Tensor | Sequence[int] | None = None
    ) -> Obs:
        """Put rows into states that :meth:`scene_state` told; for sources, that is a reset."""
        obs = self.env.set_scene_state(state, env_ids)
        self._driver.reset(
            obs, self._host_ids(range(self.num_envs) if env_ids is None else env_ids)
        )
        self._still.moved()
        return obs

    def step(self, actions: torch.Tensor | None = None) -> StepResult:
        """Apply the sources' newest frames, and ask for the next ones.

        Args:
            actions: ``[N, A]``, for rows that have no source; the others' are ignored. May be left
                out where every row has one.

        Raises:
            SourceError: a source has failed, which is the cause. No row was stepped.
            InvalidActionError: actions are missing, or are none.
            UncopyableValueError: an external input can't be copied.
            SuspensionTimeoutError: as from ``SuspendOnWait.step``.
        """
        self._check_usable()
        given = None
        if not self._driver.drives_all:
            shape = tuple(self.action_space.shape or ())
            given = given_actions(actions, shape=shape, device=self.device)
        elif actions is not None:  # not used, but a mistake is a mistake
            self._guard.check(actions)
        if placed := self._placed.take():
            self._still.moved()
            self._driver.reset(self._still.obs(), placed)
        plan = self._driver.next_plan(self._still.obs() if self._driver.needs_obs() else None)
        self._step_info = self._driver.info(plan)
        self._operator_events = {
            source.key: source.operator_events for source in self._sources if source.operator_events
        }
        if plan is None:
            if self._operator_events:  # which may have reset rows
                self._still.moved()
            self._driver.stood_still()
            self._driver.wake_sources()
            return self._still.result(self._step_info)
        if self._recorder is not None:
            self._recorder.accompany(recorded_values(self._step_info))
        chosen = self._driver.actions(plan, given)
        self._driver.wake_sources()
        obs, reward, terminated, truncated, info = self.env.step(chosen)
        self._still.moved()
        # The one wait for a GPU: sources live on the host, and are told there which rows ended.
        ended = (terminated | truncated).cpu().numpy().nonzero()[0]
        self._driver.stepped(obs, ended.tolist())
        return obs, reward, terminated, truncated, {**info, "pipeline": self._step_info}

    def close_extras(self, **kwargs: Any) -> None:
        """Stop all sources, within ``stop_timeout_s``; what hangs is left behind with a warning."""
        self._stop()

    def _host_ids(self, env_ids: EnvIds) -> list[int]:
        host = torch.device("cpu")
        ids: list[int] = canonical_env_ids(env_ids, num_envs=self.num_envs, device=host).tolist()
        return ids

    def _chosen(self, source: Hashable | None) -> list[SourcePipeline]:
        chosen = [
            pipeline for pipeline in self._sources if source is None or pipeline.key == source
        ]
        if not chosen:
            keys = [pipeline.key for pipeline in self._sources]
            raise ConfigError(f"There is no source {source!r}; there are {keys}.")
        return chosen

    def _check_usable(self) -> None:
        if self._closed:
            raise ClosedEnvError("The env is closed. Make a new one.")
        if not self._ready:
            raise ResetNeededError(f"Call reset() of {type(self).__name__} first.")
