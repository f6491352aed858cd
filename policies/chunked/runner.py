"""Drives an env with a policy that returns chunks of actions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from holdstep.envs.env_ids import EnvIds, canonical_env_ids
from holdstep.policies.chunked.observed_rows import shallow_copy
from holdstep.policies.chunked.runner_checks import checked_numbers, checked_texts
from holdstep.policies.chunked.runner_parts import RunnerParts
from holdstep.policies.chunked.runner_step import RunnerStep

if TYPE_CHECKING:
    from holdstep.envs.contract import Info, Obs
    from holdstep.policies.chunked.schedulers.base import Determinism
    from holdstep.policies.chunked.statistics import RunnerStats


class ChunkRunner(RunnerParts):
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

    @property
    def determinism(self) -> Determinism:
        """What a row's actions depend on, given a policy that is reproducible."""
        return self.scheduler.determinism

    @property
    def live_mask(self) -> np.ndarray:
        """Rows that are neither parked nor suspended by somebody else, bool ``[N]``; a copy."""
        return self._live.mask

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
        self._live.start()
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
        live = self._live.find()
        self._ledger.live_mask[:] = live
        active = self._desk.supply()
        begin_s = self._clock()
        self._live.hold_all_but(active, live)
        actions = self._source.current(active)
        obs, reward, terminated, truncated, info = self.env.step(actions)
        self._is_mid_step = True
        ended_ids = (terminated | truncated).cpu().numpy().nonzero()[0]
        end_s = self._clock()
        num_active = int(np.count_nonzero(active))
        self._counters.waiting_steps += int(np.count_nonzero(live)) - num_active
        self._counters.step_s += end_s - begin_s
        if self._trace is not None:
            self._trace.step(
                active,
                begin_s=begin_s,
                end_s=end_s,
                ages=self._source.ages(),
                parked_mask=self._live.parked_mask,
                reward=reward,
                ended_ids=ended_ids,
                episode_ids=self._ledger.episode_ids,
            )
        self._source.advance(active)
        self._desk.advance(
            active, obs, ended_ids, num_active=num_active, duration_s=end_s - begin_s
        )
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
        self._live.park(self._rows(env_ids))

    def unpark(self, env_ids: EnvIds) -> None:
        """Parked rows go on where they were; usually followed by :meth:`reset_rows`."""
        self._live.unpark(self._rows(env_ids))

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
        if texts := checked_texts(instructions, len(rows), self.policy.spec):
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
        return self._counters.stats(
            self._ledger, executed_ages=self._source.executed_ages(), elapsed_s=elapsed_s
        )

    def _rows(self, env_ids: EnvIds) -> np.ndarray:
        ids = canonical_env_ids(env_ids, num_envs=self._num_envs, device=torch.device("cpu"))
        rows: np.ndarray = ids.numpy()
        return rows
