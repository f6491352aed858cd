"""Drives an env with a policy that returns chunks of actions."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
import torch

from holdstep.envs.env_ids import EnvIds, canonical_env_ids
from holdstep.errors import ClosedEnvError, ConfigError, ResetNeededError, SuspensionError
from holdstep.policies.chunked.action_source import ActionSource
from holdstep.policies.chunked.chunk_desk import ChunkDesk
from holdstep.policies.chunked.observed_rows import shallow_copy
from holdstep.policies.chunked.row_holder import RowHolder
from holdstep.policies.chunked.run_trace import RunTrace
from holdstep.policies.chunked.runner_checks import (
    check_numbers,
    check_policy,
    checked_execute,
    checked_numbers,
)
from holdstep.policies.chunked.runner_step import RunnerStep
from holdstep.policies.chunked.schedulers.cohort import Cohort
from holdstep.policies.chunked.statistics import RunnerCounters, RunnerStats

if TYPE_CHECKING:
    from holdstep.envs.contract import Info, Obs, TorchVectorEnv
    from holdstep.policies.chunked.ensemble import TemporalEnsembling
    from holdstep.policies.chunked.protocol import ChunkedPolicy
    from holdstep.policies.chunked.schedulers.base import Determinism, Scheduler
    from holdstep.timeline import TimelineWriter


class ChunkRunner:
    """Steps an env with the chunks of a policy, and asks for more when its scheduler says so.

    A row whose actions are used up, or whose episode ended in the middle of a chunk, waits: it is
    suspended, not fed with zeros, so that neither it nor who watches it notices. Only rows that
    need a chunk are inferred, each from its own observation and seed. No action of an ended episode
    is executed, nor a chunk that comes too late for its own.

    Each :meth:`step` is one step of the env, in which at least one row advances; it waits for
    inference when no row could. When inference fails, its rows stay suspended, and the error is
    raised; the next call asks for them again.

    Reads the ends of episodes to the host once per step. Autoreset: same-step, as the env's. Use it
    from one thread. It owns neither the env nor the policy.

    Args:
        env: a stack with a :class:`~holdstep.wrappers.SuspendOnWait`, unless the scheduler holds
            nobody (:class:`AnyTrigger`). With its ``rng="per_env"``, what a row does is
            independent of the other rows, and so of the scheduler.
        policy: whom to ask.
        scheduler: whom to ask for, and when; one that is not in use elsewhere.
        execute: actions of each chunk that are executed, before the next one is asked for (receding
            horizon); all of them by default, less what the scheduler leaves out.
        ensemble: average the chunks that speak of the same step (ACT's temporal ensembling);
            ``execute`` should then be less than the chunk's length.
        seed: of the policy's noise.
        instructions: what the rows are to do: one text for all, or one per row.
        timeline: write a trace of the run to this path, or this writer.
        timeout_s: the longest that a step waits for inference [s]; None for no limit. With one, the
            policy is always called in a thread of its own, which such a step can leave.
        clock: time [s], for tests.

    Raises:
        ConfigError: an argument can't be used, or not with the others.

    >>> import torch
    >>> from holdstep.envs import make
    >>> from holdstep.policies import ChunkResult, ChunkSpec
    >>> from holdstep.wrappers import SuspendOnWait
    >>> class PushBack:
    ...     spec = ChunkSpec(chunk_length=4, action_dim=1)
    ...     def infer(self, request):
    ...         push = request.obs["policy"][:, 2:3].clamp(-1, 1)  # the pole's angle
    ...         return ChunkResult(actions=push[:, None].expand(-1, 4, -1))
    ...     def reset(self, env_ids, episode_ids): ...
    >>> env = SuspendOnWait(make("holdstep:CartPole", num_envs=2, device="cpu", seed=0))
    >>> with ChunkRunner(env, PushBack()) as runner:
    ...     obs, info = runner.reset()
    ...     active = [runner.step().active_mask.all() for _ in range(8)]
    >>> runner.stats().num_inferences
    2
    """

    def __init__(
        self,
        env: TorchVectorEnv,
        policy: ChunkedPolicy,
        scheduler: Scheduler | None = None,
        *,
        execute: int | None = None,
        ensemble: TemporalEnsembling | None = None,
        seed: int = 0,
        instructions: str | Sequence[str] = (),
        timeline: str | Path | TimelineWriter | None = None,
        timeout_s: float | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        scheduler = Cohort() if scheduler is None else scheduler
        check_policy(policy, env)
        check_numbers(seed=seed, timeout_s=timeout_s)
        execute = checked_execute(execute, policy.spec, scheduler, ensemble)
        self.env = env
        self.policy = policy
        self.scheduler = scheduler
        self.execute = execute
        self._holder = RowHolder(env)
        if scheduler.holds_rows and not self._holder.can_hold:
            raise ConfigError(
                f"{type(scheduler).__name__} lets rows wait while others are stepped, for which "
                "the stack needs a SuspendOnWait: SuspendOnWait(env, rng='per_env')."
            )
        self._clock = clock
        self._num_envs = env.num_envs
        self._source = ActionSource(
            env, policy.spec, capacity=execute + scheduler.max_lead, ensemble=ensemble
        )
        self._counters = RunnerCounters()
        self._parked = np.zeros(self._num_envs, dtype=bool)
        self._begun_s: float | None = None
        self._is_mid_step = False  # the env has made a step that is not in the books
        self._closed = False
        with ExitStack() as resources:  # closed here if anything below is refused
            writer = self._opened(timeline, resources)
            self._trace = None if writer is None else RunTrace(writer, env.num_envs)
            self._desk = ChunkDesk(
                env,
                policy,
                scheduler,
                self._source,
                execute=execute,
                seed=seed,
                counters=self._counters,
                trace=self._trace,
                timeout_s=timeout_s,
                clock=clock,
            )
            resources.callback(self._desk.close)
            self._ledger = self._desk.ledger
            self.set_instructions(np.arange(self._num_envs), instructions)
            self._resources = resources.pop_all()

    @property
    def determinism(self) -> Determinism:
        """What a row's actions depend on, given a policy that is reproducible."""
        return self.scheduler.determinism

    @property
    def live_mask(self) -> np.ndarray:
        """Rows that are neither parked nor suspended by somebody else, bool ``[N]``; a copy."""
        others = self._holder.others()
        return ~self._parked if others is None else ~(self._parked | others)

    @property
    def episode_ids(self) -> np.ndarray:
        """The episode of each row, from 0 since the last reset, int64 ``[N]``; a copy."""
        return self._ledger.episode_ids.copy()

    def reset(self, *, seed: int | None = None) -> tuple[Obs, Info]:
        """Reset all rows and begin anew: nobody is parked, what was asked for is dropped.

        Args:
            seed: of the env's reset. The policy's noise begins anew with the runner's own seed: to
                draw other noise, make a runner with another one, or name the episodes.

        Returns:
            As the env's ``reset``; tensors as in :attr:`RunnerStep.obs`.
        """
        self._check_open()
        obs, info = self.env.reset(seed=seed)
        self._holder.forget()
        self._parked[:] = False
        self.scheduler.start(num_envs=self._num_envs, execute=self.execute)
        self._counters.clear()
        self._desk.start(obs)
        if self._trace is not None:
            self._trace.begin_episodes(np.arange(self._num_envs))
        self._begun_s = self._clock()
        self._is_mid_step = False
        return shallow_copy(obs), info

    def step(self) -> RunnerStep:
        """One step of the env, after having waited for inference where nobody could be stepped.

        Raises:
            PolicyError: inference failed, which is the cause, or returned what it must not. No
                row was stepped; rows without a chunk are asked for again at the next call.
            PolicyTimeoutError: inference took longer than ``timeout_s``. It goes on; call again to
                wait for it again.
            SuspensionError: every row is parked.
            ResetNeededError: before the first reset, or after a step that the env made and that was
                interrupted before it was booked.
            ClosedEnvError: after close.
        """
        self._check_ready()
        self._find_live_rows()
        self._desk.supply()
        active = self._ledger.runnable_mask
        begin_s = self._clock()
        self._holder.hold_exactly(self._rows_to_hold(active))
        actions = self._source.current(active)
        obs, reward, terminated, truncated, info = self.env.step(actions)
        self._is_mid_step = True
        ended_ids = np.flatnonzero((terminated | truncated).cpu().numpy())
        end_s = self._clock()
        ages = self._source.ages(self._ledger.row_steps)
        self._counters.step(active, self._ledger.live_mask, ages, duration_s=end_s - begin_s)
        if self._trace is not None:
            self._trace.step(
                active,
                begin_s=begin_s,
                end_s=end_s,
                ages=ages,
                parked_mask=self._parked,
                reward=reward,
                ended_ids=ended_ids,
                episode_ids=self._ledger.episode_ids,
            )
        self._source.advance(active)
        self._desk.advance(active, obs, ended_ids, duration_s=end_s - begin_s)
        self._is_mid_step = False
        return RunnerStep(
            obs=shallow_copy(obs),
            reward=reward,
            terminated=terminated,
            truncated=truncated,
            info=info,
            actions=actions,
            active_mask=active,
            ended_ids=ended_ids,
        )

    def park(self, env_ids: EnvIds) -> None:
        """Rows take no further part: they are suspended, and nobody waits for them.

        Args:
            env_ids: one id, ids, or a bool mask ``[N]``; parked ones may be among them.

        Raises:
            ConfigError: the stack has no :class:`~holdstep.wrappers.SuspendOnWait`.
        """
        rows = self._rows(env_ids)
        if len(rows) and not self._holder.can_hold:
            raise ConfigError("Parking rows needs a SuspendOnWait in the stack.")
        self._parked[rows] = True

    def unpark(self, env_ids: EnvIds) -> None:
        """Parked rows go on where they were; usually followed by :meth:`reset_rows`."""
        self._parked[self._rows(env_ids)] = False

    def reset_rows(self, env_ids: EnvIds, *, seed: int | None = None) -> tuple[Obs, Info]:
        """Reset some rows; what they were going to execute is dropped.

        Args:
            env_ids: one id, ids, or a bool mask ``[N]``.
            seed: of the reset, where the env takes one for some rows.

        Returns:
            As the env's ``reset``; tensors as in :attr:`RunnerStep.obs`.
        """
        self._check_ready()
        rows = self._rows(env_ids)
        ids = torch.from_numpy(rows).to(self.env.device)
        obs, info = self.env.reset(seed=seed, options={"env_ids": ids})
        if len(rows):
            self._desk.begin_episodes(rows, obs)
            if self._trace is not None:
                self._trace.begin_episodes(rows)
        return shallow_copy(obs), info

    def set_instructions(self, env_ids: EnvIds, instructions: str | Sequence[str]) -> None:
        """From their next chunk on, rows are to do something else.

        Args:
            env_ids: one id, ids, or a bool mask ``[N]``.
            instructions: one text for all of them, or one each; empty for none.

        Raises:
            ConfigError: another number of texts, or none for a policy that needs them.
        """
        rows = self._rows(env_ids)
        texts = [instructions] * len(rows) if isinstance(instructions, str) else list(instructions)
        if not texts and not self.policy.spec.uses_instructions:
            return
        if len(texts) != len(rows) or not all(isinstance(text, str) for text in texts):
            raise ConfigError(
                f"instructions must be one text, or {len(rows)} of them; got {instructions!r}."
                + (" The policy's spec asks for some." if not texts else "")
            )
        self._desk.requests.set_instructions(rows, texts)

    def name_episodes(self, env_ids: EnvIds, numbers: Sequence[int]) -> None:
        """Draw the policy's noise in the rows' current episodes by number, not by row and episode.

        So that an episode's noise does not depend on the row in which it happens to be run. Holds
        until the episode ends.

        Args:
            env_ids: one id, ids, or a bool mask ``[N]``.
            numbers: one for each, non-negative.

        Raises:
            ConfigError: another number of numbers, or what is none.
        """
        rows = self._rows(env_ids)
        self._desk.requests.name_episodes(rows, checked_numbers(numbers, len(rows)))

    def stats(self) -> RunnerStats:
        """What was done since the last reset."""
        elapsed_s = 0.0 if self._begun_s is None else self._clock() - self._begun_s
        return self._counters.stats(self._ledger, elapsed_s=elapsed_s)

    def close(self) -> None:
        """Stop inference, resume rows that were suspended here, and end the trace.

        May be called again, and from ``finally``.
        """
        if self._closed:
            return
        self._closed = True
        with self._resources:
            if self._begun_s is not None and not self.env.closed:
                self._holder.let_go()

    def __enter__(self) -> ChunkRunner:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _opened(
        self, timeline: str | Path | TimelineWriter | None, resources: ExitStack
    ) -> TimelineWriter | None:
        if not isinstance(timeline, str | Path):
            return timeline
        from holdstep.timeline import TimelineWriter

        metadata = {
            "task": self.env.unwrapped.task_id,
            "scheduler": type(self.scheduler).__name__,
            "execute": self.execute,
        }
        writer = TimelineWriter(
            timeline, num_envs=self._num_envs, metadata=metadata, clock=self._clock
        )
        resources.callback(writer.close)
        return writer

    def _find_live_rows(self) -> None:
        self._holder.resume_finished()
        while not (live := self.live_mask).any():
            if self._holder.others() is None:
                raise SuspensionError(
                    "Every row is parked, so there is nothing to step: unpark() some."
                )
            self._holder.wait_for_others()
        self._ledger.live_mask[:] = live

    def _rows_to_hold(self, active: np.ndarray) -> set[int]:
        if active.all():
            return set()
        waiting = self._ledger.live_mask & ~active
        return set(np.flatnonzero(waiting | self._parked).tolist())

    def _rows(self, env_ids: EnvIds) -> np.ndarray:
        ids = canonical_env_ids(env_ids, num_envs=self._num_envs, device=torch.device("cpu"))
        rows: np.ndarray = ids.numpy()
        return rows

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedEnvError("The runner is closed. Make a new one.")

    def _check_ready(self) -> None:
        self._check_open()
        if self._begun_s is None:
            raise ResetNeededError("Call the runner's reset() before step().")
        if self._is_mid_step:
            raise ResetNeededError(
                "The env has made a step that was interrupted before it was booked, so what each "
                "row is to do next is unknown. Call the runner's reset()."
            )
