"""Rows that stand still while something is awaited, and the copying of row states."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

import torch

from holdstep.envs.capabilities import FreezeLevel, RngScope
from holdstep.errors import ConfigError, SuspensionError
from holdstep.wrappers.held_rows import HeldRows
from holdstep.wrappers.order import Stage
from holdstep.wrappers.suspension_stats import SuspensionStats
from holdstep.wrappers.waits import FinishedWait, Wait, WaitClock, Waits, checked_waits, shortened

if TYPE_CHECKING:
    from holdstep.envs.contract import Info, Obs, StepResult, TorchVectorEnv
    from holdstep.envs.env_ids import EnvIds

_LEVELS = tuple(level for level in get_args(FreezeLevel) if level != "none")
_SCOPES = get_args(RngScope)


class SuspendOnWait(HeldRows):
    """Holds single rows still while the others are stepped, until what they wait for is done.

    A suspended row does not advance: its state stays as it is bit for bit (at the levels ``"skip"``
    and ``"exact"``), it has its last observation, no reward and no flag, is not counted or reset,
    and whatever its action holds is ignored. ``info["active"]`` are the rows that advanced.

    ``step`` first resumes the rows whose wait is done, so give such rows an action that may be
    applied, or call :meth:`resume_finished` before it. While *every* row is suspended, there is
    nothing to step: ``step`` then waits.

    Autoreset: as the env's; a suspended row is never reset by a step. Order: directly around the
    adapter; wrappers inside must know how to step only some rows. Used from one thread; what rows
    wait for may be completed in any.

    Args:
        env: the env to wrap.
        level: how rows are held (see :class:`~holdstep.envs.Capabilities`): ``"skip"``, ``"exact"``
            or ``"approximate"``. What is asked for is what is given, or construction fails. A
            backend that skips rows natively takes ``"exact"`` too, since that is what it is.
        rng: ``"per_env"`` gives each row a random stream of its own, so that what a row draws does
            not depend on who was suspended; ``"global"`` leaves the backend's streams as they are.
        wait_timeout_s: the longest time for which a step waits [s]; None for no limit.
        clock: time, for tests.

    Raises:
        ConfigError: an argument can't be used.
        CapabilityError: the backend can't do that, it has such a wrapper already, or a wrapper
            inside can't step only some rows.

    >>> from holdstep.envs import make
    >>> env = SuspendOnWait(make("holdstep:CartPole", num_envs=3, device="cpu", seed=0))
    >>> obs, info = env.reset()
    >>> env.suspend([1])
    >>> obs, reward, terminated, truncated, info = env.step(torch.zeros(3, 1))
    >>> info["active"], reward
    (tensor([ True, False,  True]), tensor([1., 0., 1.]))
    >>> env.resume([1])
    """

    stage: ClassVar[Stage | None] = Stage.SUSPEND

    def __init__(
        self,
        env: TorchVectorEnv,
        level: FreezeLevel = "exact",
        rng: RngScope = "global",
        *,
        wait_timeout_s: float | None = None,
        clock: WaitClock | None = None,
    ) -> None:
        _check_choice("level", level, _LEVELS)
        _check_choice("rng", rng, _SCOPES)
        _check_timeout("wait_timeout_s", wait_timeout_s, "> 0")
        super().__init__(env, level=level, rng=rng)
        self.wait_timeout_s = wait_timeout_s
        self._waits = Waits(clock)
        self._looked = False  # by resume_finished(), for the next step
        self._num_steps = self._held_row_steps = 0
        self._waited_s = 0.0
        if rng == "per_env":
            self.capabilities = dataclasses.replace(self.capabilities, rng="per_env")

    def suspend(self, env_ids: EnvIds, until: Wait | Sequence[Wait] | None = None) -> None:
        """From the next step on, rows stand still.

        Args:
            env_ids: one id, ids, or a bool mask ``[N]``; rows that are not suspended.
            until: what the rows wait for; looked at once at the start of each step. A
                ``concurrent.futures.Future``, an ``asyncio.Future`` or ``Task``, a callable without
                arguments that returns True when it is time (it should be quick), or a list of one
                such per row. None: until :meth:`resume`.

        Raises:
            InvalidEnvIdsError: ids that can't be meant.
            SuspensionError: a row is suspended already. Nothing was changed; nor is it by the other
                errors.
            ConfigError: ``until`` is none of these.
            ResetNeededError: before the first reset of this wrapper.
            ClosedEnvError: after close.
        """
        _, rows = self._rows(env_ids)
        again = [row for row in rows if row in self._suspensions]
        if again:
            raise SuspensionError(
                f"Rows {shortened(again)} are suspended already. Resume them first, if they are to "
                "wait for something else; env.suspended says which ones are."
            )
        waits = [] if until is None else checked_waits(until, len(rows))
        if rows:
            self._hold(rows)
        if waits:
            self._waits.add(rows, waits)

    def resume(self, env_ids: EnvIds) -> None:
        """From the next step on, rows advance again; what they waited for is forgotten.

        The futures that they waited for are not cancelled.

        Args:
            env_ids: one id, ids, or a bool mask ``[N]``; rows that are suspended.

        Raises:
            InvalidEnvIdsError: ids that can't be meant.
            SuspensionError: a row is not suspended. Nothing was changed.
            ResetNeededError: before the first reset of this wrapper.
            ClosedEnvError: after close.
        """
        _, rows = self._rows(env_ids)
        running = [row for row in rows if row not in self._suspensions]
        if running:
            raise SuspensionError(
                f"Rows {shortened(running)} are not suspended, so they can't be resumed; "
                "env.resume(env.suspended) resumes all that are."
            )
        self._resume(rows)

    def resume_finished(self, timeout_s: float | None = 0.0) -> torch.Tensor:
        """Resume the rows whose wait is done, and say which, so that they get a fresh action.

        :meth:`step` does the same at its start, with the action that such a row was given anyway;
        but not the next one after this call: what is done in between is left for the step after
        that, or the next call, so that no row advances with an action that nobody chose for it.
        Only if every row is suspended by then, that step waits all the same.

        Args:
            timeout_s: how long to wait for a first one [s]; 0 only looks, None waits without a
                limit.

        Returns:
            The rows that were resumed, int64 ``[k]``; none if it only looked and nothing was done.

        Raises:
            SuspensionError: a wait has failed, which is the cause, and its rows are resumed; or it
                is to wait and no row waits for anything that could be done.
            SuspensionTimeoutError: nothing was done in time.
            ConfigError: ``timeout_s`` is no number of seconds.
            ResetNeededError: before the first reset of this wrapper.
            ClosedEnvError: after close.
        """
        self._check_usable()
        _check_timeout("timeout_s", timeout_s, ">= 0")
        self._looked = True
        if timeout_s == 0:
            finished = self._waits.take_finished() if self._waits else []
        else:
            finished = self._waits.block(timeout_s)
        return self._ids(sorted(self._apply(finished)))

    async def wait_any(self, timeout_s: float | None = None) -> torch.Tensor:
        """Wait, without stopping the event loop, until something that rows wait for is done.

        Its rows are resumed, as :meth:`step` would do; as after :meth:`resume_finished`, the next
        step leaves what is done in between for later. Waits also while some rows are active.

        Args:
            timeout_s: the longest wait [s]; by default the wrapper's ``wait_timeout_s``.

        Returns:
            The rows that were resumed, int64 ``[k]``.

        Raises:
            SuspensionError: no row waits for anything; or a wait has failed, which is the cause,
                and its rows are resumed.
            SuspensionTimeoutError: nothing was done in time.
            ConfigError: ``timeout_s`` is no number of seconds.
            ResetNeededError: before the first reset of this wrapper.
            ClosedEnvError: after close.
        """
        self._check_usable()
        _check_timeout("timeout_s", timeout_s, ">= 0")
        finished = await self._waits.finished(
            self.wait_timeout_s if timeout_s is None else timeout_s
        )
        self._looked = True
        return self._ids(sorted(self._apply(finished)))

    @property
    def postponed_ids(self) -> set[int]:
        """Rows that stay suspended for now, also if their wait is done; for who changes this set.

        A wrapper puts rows there that are not to advance before the end of its own step.
        """
        return self._waits.postponed

    def stats(self) -> SuspensionStats:
        """How much rows stood still so far."""
        row_steps = self._num_steps * self.num_envs
        return SuspensionStats(
            num_steps=self._num_steps,
            num_suspended=len(self._suspensions),
            suspended_share=self._held_row_steps / row_steps if row_steps else 0.0,
            waited_s=self._waited_s,
        )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Obs, Info]:
        """Reset all rows, or those of ``options["env_ids"]``.

        A reset of all rows starts everything over: every row is resumed, every wait forgotten. A
        suspended row among ``env_ids`` stays suspended, in the first state of its new episode, and
        goes on waiting for what it waited for.
        """
        obs, info = self.env.reset(seed=seed, options=options)
        env_ids = (options or {}).get("env_ids")
        if env_ids is None:
            self._ready = True
            self._looked = False
            self._resume(sorted(self._suspensions))
        elif self._suspensions:
            self._hold_again(self._canonical(env_ids).tolist())
        return obs, info

    def step(self, actions: torch.Tensor) -> StepResult:
        """Advance the rows that are not suspended, and those whose wait is done by now.

        The step after :meth:`resume_finished` does not look at the waits again: the rows that were
        active or resumed then advance. While every row is suspended, it waits in any case.

        Args:
            actions: as for the env inside; those of rows that stay suspended may be anything.

        Raises:
            SuspensionError: every row is suspended, and none waits for anything that could be done;
                or a wait has failed, which is the cause. The rows that waited for that are resumed
                then, and no row was stepped: handle it and step again.
            SuspensionTimeoutError: every row is suspended, and nothing was done in time.
        """
        if self._suspensions:
            self._resume_finished()
        if self._suspensions:
            result = self.env.step_masked(actions, self._active_mask)
        else:
            result = self.env.step(actions)
        self._stepped()
        return result

    def step_masked(self, actions: torch.Tensor, active_mask: torch.Tensor) -> StepResult:
        """Step some rows, where the backend skips natively; suspended ones stay so in any case."""
        if self._suspensions:
            self._resume_finished()
            active_mask = active_mask & self._active_mask
        result = self.env.step_masked(actions, active_mask)
        self._stepped()
        return result

    def close_extras(self, **kwargs: Any) -> None:
        """Forget what rows wait for, let go of them, and unhook the backend."""
        self._waits.clear()
        super().close_extras(**kwargs)

    def _stepped(self) -> None:
        self._looked = False  # not before: a step that was refused is tried again
        self._num_steps += 1
        self._held_row_steps += len(self._suspensions)

    def _resume_finished(self) -> None:
        """Resume the rows whose wait is done; wait for one when there is no other row to step."""
        self._check_usable()
        if self._waits and not self._looked and not self._all_suspended():
            self._apply(self._waits.take_finished())
        while self._all_suspended():  # maybe by a condition that was just looked at
            self._looked = False
            begin_s = time.perf_counter()
            try:
                finished = self._waits.block(self.wait_timeout_s, needed=self._all_suspended)
            finally:
                self._waited_s += time.perf_counter() - begin_s
            self._apply(finished)

    def _all_suspended(self) -> bool:
        return len(self._suspensions) == self.num_envs

    def _apply(self, finished: list[FinishedWait]) -> list[int]:
        rows = [row for wait in finished for row in wait.env_ids if row in self._suspensions]
        self._resume(rows)
        failed = [wait for wait in finished if wait.error is not None]
        if failed:
            raise _failure(failed)
        return rows

    def _resume(self, rows: list[int]) -> None:
        if rows:
            self._release(rows)
            self._waits.drop(rows)


def _failure(failed: list[FinishedWait]) -> SuspensionError:
    rows = sorted(row for wait in failed for row in wait.env_ids)
    errors = [wait.error for wait in failed if wait.error is not None]
    message = "; ".join(f"{type(error).__name__}: {error}" for error in errors[:4])
    failure = SuspensionError(
        f"What rows {shortened(rows)} waited for has failed ({message}). They are resumed, and no "
        "row was stepped."
    )
    # Set here, since there is no `raise ... from` where the cause is a group.
    failure.__cause__ = errors[0] if len(errors) == 1 else BaseExceptionGroup("waits", errors)
    return failure


def _check_timeout(name: str, value: object, bound: Literal["> 0", ">= 0"]) -> None:
    if value is None:
        return
    if (
        not isinstance(value, int | float)
        or isinstance(value, bool)
        or not math.isfinite(value)
        or value < 0
        or (value == 0 and bound == "> 0")
    ):
        raise ConfigError(f"{name} must be None or a number of seconds {bound}, got {value!r}.")


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        valid = ", ".join(map(repr, choices))
        raise ConfigError(f"{name} must be one of {valid}, got {value!r}.")
