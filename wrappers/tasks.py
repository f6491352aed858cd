"""One coroutine per row: ``run_per_env``."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, TypeVar

from holdstep.errors import ConfigError, SuspensionError
from holdstep.wrappers.base import find_wrapper
from holdstep.wrappers.suspend import SuspendOnWait
from holdstep.wrappers.task_scheduler import TaskScheduler

if TYPE_CHECKING:
    from holdstep.envs.contract import TorchVectorEnv
    from holdstep.wrappers.task_handle import EnvHandle
    from holdstep.wrappers.task_results import EpisodeRecord, PerEnvResult

T = TypeVar("T")


def run_per_env(
    env: TorchVectorEnv,
    coroutine_fn: Callable[[EnvHandle], Awaitable[T]],
    num_episodes: int,
    *,
    counts: Callable[[EpisodeRecord[T]], bool] | None = None,
    max_attempts: int | None = None,
    seed: int | None = None,
    progress: bool = False,
    timeout_s: float | None = None,
) -> PerEnvResult[T]:
    """Run one ``async def`` per row of a batched env; a row stands still while its one awaits.

    Each call of ``coroutine_fn`` is one episode of one row. It steps its row with ``await
    handle.step(action)`` and returns when the episode has ended, or to give it up. Rows whose
    coroutines ask for a step are stepped together; those whose coroutines await anything else (a
    planner in an executor, ``asyncio.sleep``, a network) are suspended meanwhile, while the others
    go on. A coroutine that only computes is always part of the next step; so is one that awaits
    what is done after a few turns of the event loop.

    Episodes are counted in the order in which they are *started*, and each one that was started is
    run to its end, so that short ones are not favoured. Rows that have nothing left to do are
    suspended. Afterwards no row is; reset the env before you use it otherwise.

    When a coroutine raises, or this is cancelled or interrupted, the other coroutines are
    cancelled, all rows resumed, and the exception is raised, with a note of the row. A mode of
    torch (``torch.no_grad()``) must not be held across an ``await``: other coroutines would run in
    it. Reads rewards and flags to the host once per step.

    Args:
        env: a stack with a :class:`~holdstep.wrappers.SuspendOnWait` in it; it is reset first.
        coroutine_fn: one episode; gets an :class:`~holdstep.wrappers.EnvHandle`.
        num_episodes: episodes that count, over all rows.
        counts: whether an episode counts, asked when it has ended; by default, each does. For one
            that does not, its row starts another, so that as many count in the end, and those that
            do are not the short ones: an attempt that was started is never dropped.
        max_attempts: the most episodes to start, whether they count or not.
        seed: for the reset.
        progress: show a progress bar.
        timeout_s: the longest time for which all coroutines may await other things [s].

    Returns:
        The episodes, with what their coroutines returned.

    Raises:
        ConfigError: there is no ``SuspendOnWait``, or an argument can't be used.
        SuspensionError: an event loop runs in this thread, as in a notebook; use
            :func:`run_per_env_async`.
        SuspensionTimeoutError: no coroutine has asked for a step in ``timeout_s``.

    >>> from holdstep.envs import make
    >>> env = SuspendOnWait(make("holdstep:CartPole", num_envs=2, device="cpu", seed=0))
    >>> async def push_back(handle):
    ...     obs, done = await handle.reset(), False
    ...     while not done:
    ...         obs, reward, done, info = await handle.step([obs["policy"][2] * 4])
    >>> result = run_per_env(env, push_back, num_episodes=3)
    >>> [record.env_id for record in result.episodes][:2], len(result.episodes)
    ([0, 1], 3)
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(
            run_per_env_async(
                env,
                coroutine_fn,
                num_episodes,
                counts=counts,
                max_attempts=max_attempts,
                seed=seed,
                progress=progress,
                timeout_s=timeout_s,
            )
        )
    raise SuspensionError(
        "An event loop runs in this thread already (a notebook has one). "
        "Use: await run_per_env_async(...)"
    )


async def run_per_env_async(
    env: TorchVectorEnv,
    coroutine_fn: Callable[[EnvHandle], Awaitable[T]],
    num_episodes: int,
    *,
    counts: Callable[[EpisodeRecord[T]], bool] | None = None,
    max_attempts: int | None = None,
    seed: int | None = None,
    progress: bool = False,
    timeout_s: float | None = None,
) -> PerEnvResult[T]:
    """:func:`run_per_env` for use inside an event loop, which stands still during each step."""
    suspend = find_wrapper(env, SuspendOnWait)
    if suspend is None:
        raise ConfigError(
            "run_per_env holds rows still, for which the stack needs a SuspendOnWait: "
            "run_per_env(SuspendOnWait(env), ...)."
        )
    if not callable(coroutine_fn):
        raise ConfigError(
            f"coroutine_fn must be an `async def` that takes a handle, got {coroutine_fn!r}."
        )
    if isinstance(num_episodes, bool) or not isinstance(num_episodes, int) or num_episodes < 1:
        raise ConfigError(f"num_episodes must be an integer of at least 1, got {num_episodes!r}.")
    if max_attempts is not None and max_attempts < 1:
        raise ConfigError(f"max_attempts must be None or at least 1, got {max_attempts!r}.")
    if timeout_s is not None and not (0 < timeout_s < math.inf):
        raise ConfigError(f"timeout_s must be None or a number of seconds > 0, got {timeout_s!r}.")
    with _progress_bar(num_episodes) if progress else contextlib.nullcontext(_nothing) as advance:
        scheduler = TaskScheduler(
            env,
            suspend,
            coroutine_fn,
            num_episodes=num_episodes,
            counts=counts or _every_one,
            max_attempts=max_attempts,
            timeout_s=timeout_s,
            on_episode=advance,
        )
        return await scheduler.run(seed)


def _every_one(record: EpisodeRecord[T]) -> bool:
    return True


def _nothing(is_counted: bool) -> None:
    pass


@contextlib.contextmanager
def _progress_bar(num_episodes: int) -> Iterator[Callable[[bool], None]]:
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress

    columns = (*Progress.get_default_columns(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("episodes", total=num_episodes)
        yield lambda is_counted: bar.advance(task, int(is_counted))
