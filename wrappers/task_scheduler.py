"""Which rows are stepped together when each is driven by a coroutine of its own."""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Generic, TypeVar

import torch

from holdstep.envs.masked_step import idle_actions
from holdstep.errors import ConfigError, SuspensionError, SuspensionTimeoutError
from holdstep.wrappers.row_info import RowInfos
from holdstep.wrappers.task_handle import EnvHandle
from holdstep.wrappers.task_results import EpisodeRecord, PerEnvResult
from holdstep.wrappers.waits import shortened

if TYPE_CHECKING:
    from collections.abc import Iterable

    from holdstep.envs.contract import Obs, TorchVectorEnv
    from holdstep.wrappers.suspend import SuspendOnWait

T = TypeVar("T")

_TURNS = 10
"""Turns of the event loop before a tick. A coroutine that awaits only ``handle.step`` needs one;
``asyncio.sleep(0)`` costs one more, a lock or a queue one or two, ``asyncio.gather`` three."""


class TaskScheduler(Generic[T]):
    """Runs one coroutine per row until a number of episodes have been run; for one run.

    It goes round in *ticks*. Before each, the event loop is given up to ten turns, fewer when all
    coroutines ask for a step earlier. Then the rows whose coroutines asked are stepped, the others
    being suspended. When none has asked, the loop runs on until one does.

    Args:
        env: the stack to step.
        suspend: the wrapper in it that holds rows.
        coroutine_fn: one episode of one row.
        num_episodes: episodes to run that count.
        counts: which episodes count; for each one that does not, another one is started.
        max_attempts: the most episodes to start, whether they count or not; None for no limit.
        timeout_s: the longest time in which no coroutine does anything [s].
        on_episode: called after each episode, with whether it counts.
    """

    def __init__(
        self,
        env: TorchVectorEnv,
        suspend: SuspendOnWait,
        coroutine_fn: Callable[[EnvHandle], Awaitable[T]],
        *,
        num_episodes: int,
        counts: Callable[[EpisodeRecord[T]], bool],
        max_attempts: int | None,
        timeout_s: float | None,
        on_episode: Callable[[bool], object],
    ) -> None:
        self._env = env
        self._suspend = suspend
        self._coroutine_fn = coroutine_fn
        self._num_to_start = num_episodes
        self._counts = counts
        self._max_attempts = math.inf if max_attempts is None else max_attempts
        self._timeout_s = timeout_s
        self._on_episode = on_episode
        self._handles: dict[int, EnvHandle] = {}
        self._tasks: dict[int, asyncio.Future[T]] = {}
        self._records: list[EpisodeRecord[T]] = []
        self._num_started = 0
        self._num_steps = 0
        self._held: set[int] = set()
        self._woken = asyncio.Event()
        self._obs: Obs = {}
        with torch.inference_mode(False):
            self._idle_actions = idle_actions(env.action_space, env.device)

    async def run(self, seed: int | None) -> PerEnvResult[T]:
        """Reset the env and run all episodes.

        Whatever happens, no row is left suspended and no coroutine running.
        """
        self._obs, _ = self._env.reset(seed=seed)
        try:
            self._start_episodes(range(self._env.num_envs))
            while self._tasks:
                await self._give_turns()
                ready = sorted(row for row, handle in self._handles.items() if _is_ready(handle))
                if ready:
                    self._tick(ready)
                elif self._tasks:
                    await self._wait_for_progress()
        finally:
            await self._stop()
        self._records.sort(key=lambda record: record.episode)
        return PerEnvResult(episodes=tuple(self._records), num_steps=self._num_steps)

    def _start_episodes(self, rows: Iterable[int]) -> None:
        """Give rows, whose episodes have just begun, a coroutine each, as long as any are needed.

        Counted are those episodes that were *started* first. Counting those that end first would
        count short episodes more often than long ones.
        """
        for row in rows:
            if not self._num_left:
                return
            handle = EnvHandle(
                row,
                self._num_started,
                _row_of(self._obs, row),
                like=self._idle_actions[row],
                on_ready=self._woken.set,
            )
            awaitable = self._coroutine_fn(handle)
            if not inspect.isawaitable(awaitable):
                raise ConfigError(
                    "coroutine_fn must be an `async def`, or return something to await; "
                    f"it returned {awaitable!r}."
                )
            self._num_started += 1
            self._handles[row] = handle
            self._tasks[row] = task = asyncio.ensure_future(awaitable)
            task.add_done_callback(lambda _: self._woken.set())

    @property
    def _num_left(self) -> int:
        """Episodes that are still to be started."""
        return int(min(self._num_to_start, self._max_attempts)) - self._num_started

    async def _give_turns(self) -> None:
        self._woken.clear()
        for _ in range(_TURNS):
            await asyncio.sleep(0)
            self._take_finished()
            if all(map(_is_ready, self._handles.values())):
                return

    async def _wait_for_progress(self) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._woken.wait()
        except TimeoutError:
            raise SuspensionTimeoutError(
                f"For {self._timeout_s} s no coroutine has asked for a step; those of envs "
                f"{shortened(sorted(self._tasks))} still wait for something else."
            ) from None

    def _tick(self, ready: list[int]) -> None:
        """Step the rows that are ready."""
        self._hold(set(range(self._env.num_envs)).difference(ready))
        actions = self._idle_actions.clone()
        actions[ready] = torch.stack([_action_of(self._handles[row]) for row in ready])
        self._obs, reward, terminated, truncated, info = self._env.step(actions)
        self._num_steps += 1
        # One transfer for all rows; float32 holds the flags too.
        columns = torch.stack(
            (reward, terminated.float(), truncated.float(), info["active"].float())
        )
        outcomes = columns.T.tolist()
        infos = RowInfos(info, self._env.num_envs)
        for row in ready:
            row_reward, row_terminated, row_truncated, advanced = outcomes[row]
            if advanced:  # else the coroutine suspended its own row: it is asked again
                self._handles[row].deliver(
                    _row_of(self._obs, row),
                    row_reward,
                    terminated=bool(row_terminated),
                    truncated=bool(row_truncated),
                    info=infos.row(row),
                )

    def _take_finished(self) -> None:
        """Record the episodes whose coroutines have returned, and start the next ones."""
        finished = sorted(row for row, task in self._tasks.items() if task.done())
        if not finished:
            return
        self._raise_failures(finished)
        given_up = []
        for row in finished:
            handle, task = self._handles.pop(row), self._tasks.pop(row)
            handle.close()
            record = EpisodeRecord(
                env_id=row,
                episode=handle.episode,
                return_value=task.result(),
                episode_return=handle.episode_return,
                length=handle.length,
                terminated=handle.terminated,
                truncated=handle.truncated,
            )
            self._records.append(record)
            if not handle.done:
                given_up.append(row)
            # Its row starts the one in its stead: there are never more under way than are needed.
            is_counted = self._counts(record)
            self._num_to_start += not is_counted
            self._on_episode(is_counted)
        again = [row for row in given_up if row in finished[: self._num_left]]
        if again:
            self._obs, _ = self._env.reset(options={"env_ids": again})
        self._start_episodes(finished)

    def _raise_failures(self, finished: list[int]) -> None:
        failures = []
        for row in finished:
            task, episode = self._tasks[row], self._handles[row].episode
            error: BaseException | None
            if task.cancelled():
                error = SuspensionError(
                    f"The coroutine of env {row} was cancelled from elsewhere, or what it awaited."
                )
            else:
                error = task.exception()
            if error is not None:
                error.add_note(f"In the coroutine of env {row}, episode {episode}.")
                failures.append(error)
        for other in failures[1:]:
            failures[0].add_note(f"Another one failed in the same step: {other!r}.")
        if failures:
            raise failures[0]

    def _hold(self, rows: set[int]) -> None:
        """Suspend these rows, and no others."""
        if resumed := sorted(self._held - rows):
            self._suspend.resume(resumed)
        self._held &= rows
        if suspended := sorted(rows - self._held):
            self._suspend.suspend(suspended)
        self._held |= rows

    async def _stop(self) -> None:
        """Leave no coroutine running and no row suspended."""
        for handle in self._handles.values():
            handle.close()
        for task in self._tasks.values():
            task.cancel()
        try:
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        finally:
            if not self._suspend.closed:
                still = self._suspend.suspended.tolist()
                self._suspend.resume([row for row in sorted(self._held) if still[row]])


def _is_ready(handle: EnvHandle) -> bool:
    return handle.action is not None


def _action_of(handle: EnvHandle) -> torch.Tensor:
    assert handle.action is not None
    return handle.action


def _row_of(obs: Obs, row: int) -> Obs:
    return {name: tensor[row] for name, tensor in obs.items()}
