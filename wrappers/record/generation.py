"""Demonstrations by scripts, until there are as many as are wanted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import torch

from holdstep.distributed import Rank
from holdstep.errors import ConfigError, RecordingError
from holdstep.wrappers.base import VectorWrapper, find_wrapper
from holdstep.wrappers.record.opening import next_uid
from holdstep.wrappers.record.ranks import listing, rank_folder, rank_share
from holdstep.wrappers.record.recorder import RecordEpisodes
from holdstep.wrappers.record.stats import RecordingStats
from holdstep.wrappers.suspend import SuspendOnWait
from holdstep.wrappers.tasks import run_per_env

if TYPE_CHECKING:
    import os

    from holdstep.envs.contract import StepResult, TorchVectorEnv
    from holdstep.wrappers.task_handle import EnvHandle
    from holdstep.wrappers.task_results import EpisodeRecord, PerEnvResult

T = TypeVar("T")

_OWN_OPTIONS = frozenset({"success_filter", "success_when", "max_episodes", "partial"})


@dataclass(frozen=True, kw_only=True)
class Generated(Generic[T]):
    """What a run of :func:`generate` has come to.

    Attributes:
        num_demonstrations: that are in the dataset now; under ``torchrun``, in this rank's part.
        num_added: by this run.
        return_values: what the coroutine of each attempt returned, in the order of their starts.
        num_steps: how often the batch was stepped.
        stats: of the recording.
    """

    num_demonstrations: int = 0
    num_added: int = 0
    return_values: tuple[T, ...] = ()
    num_steps: int = 0
    stats: RecordingStats = field(default_factory=RecordingStats)


def generate(
    env: TorchVectorEnv,
    coroutine_fn: Callable[[EnvHandle], Awaitable[T]],
    path: str | os.PathLike[str],
    num_demonstrations: int,
    *,
    succeeded: Callable[[T], bool] = bool,
    seed: int = 0,
    max_attempts: int | None = None,
    progress: bool = False,
    timeout_s: float | None = None,
    **recording: Any,
) -> Generated[T]:
    """Record attempts of scripts, one per row, and keep those that succeed.

    Each row is driven by a coroutine (:func:`~holdstep.wrappers.run_per_env`); while one waits for
    a planner, its row alone stands still. What it does is recorded (``RecordEpisodes``), and kept
    if the attempt succeeds. For one that fails, its row makes another; each attempt is run to its
    end, so that quick successes are not favoured.

    When it was killed, interrupted, or has done less than asked for, start it again with the same
    path: it goes on until so many demonstrations are there, and never makes the same ones again.
    Under ``torchrun``, each process makes its share, in a folder of its own below the path and from
    seeds of its own.

    Args:
        env: a stack with a :class:`~holdstep.wrappers.SuspendOnWait`, and no recorder; left open.
        coroutine_fn: one attempt. What it returns says whether it succeeded. Once its episode has
            ended (``handle.done``), it must return without waiting for anything.
        path: of the dataset: a folder, or a file ``*.hdf5``.
        num_demonstrations: that are to be in the dataset, those that are there already included.
        succeeded: whether an attempt did, from what its coroutine returned; by default, what is
            returned is true or false.
        seed: of the run.
        max_attempts: the most attempts of this run.
        progress: show a progress bar.
        timeout_s: the longest time for which all coroutines may await other things [s].
        **recording: further options of :class:`~holdstep.wrappers.RecordEpisodes`, such as
            ``keys``, ``compression`` and ``attributes``.

    Raises:
        ConfigError: there is no ``SuspendOnWait``, or an argument can't be used.
        RecordingError: it can't be recorded; or a coroutine waited after its episode's end.

    >>> import tempfile
    >>> from holdstep.envs import make
    >>> env = SuspendOnWait(make("holdstep:PointMass", num_envs=4, device="cpu"))
    >>> async def go_to_the_goal(handle):
    ...     info = {}
    ...     while not handle.done:
    ...         seen = handle.obs["policy"]
    ...         _, _, _, info = await handle.step(2 * seen[4:] - 1.5 * seen[2:4])
    ...     return info["success"]
    >>> generate(env, go_to_the_goal, tempfile.mkdtemp() + "/demos", 6).num_demonstrations
    6
    """
    _check(env, num_demonstrations, recording)
    rank = Rank.of_environment()
    path = Path(path)
    folder, wanted = rank_folder(rank, path), rank_share(rank, path, num_demonstrations)
    if wanted == 0:
        return Generated()
    # Seeds depend on all attempts so far, lest a run that kept nothing be made again.
    num_begun = next_uid(folder)
    recorder = RecordEpisodes(
        env, folder, success_filter="succeeded", max_episodes=wanted, **recording
    )
    records: tuple[EpisodeRecord[tuple[T, bool]], ...] = ()
    num_steps = 0
    with listing(folder, path):
        try:
            recorder.reset(seed=rank.seed(seed))
            recorder.flush()
            num_before = recorder.stats().num_episodes
            if num_before < wanted:
                result = run_attempts(
                    recorder,
                    coroutine_fn,
                    wanted - num_before,
                    succeeded=succeeded,
                    seed=rank.seed(seed, num_begun),
                    max_attempts=max_attempts,
                    progress=progress,
                    timeout_s=timeout_s,
                )
                records, num_steps = result.episodes, result.num_steps
        finally:
            recorder.close_extras()  # not close(), which would close the caller's env
    stats = recorder.stats()
    return Generated(
        num_demonstrations=stats.num_episodes,
        num_added=stats.num_episodes - num_before,
        return_values=tuple(record.return_value[0] for record in records),
        num_steps=num_steps,
        stats=stats,
    )


def run_attempts(
    recorder: RecordEpisodes,
    coroutine_fn: Callable[[EnvHandle], Awaitable[T]],
    num_successes: int,
    *,
    succeeded: Callable[[T], bool] = bool,
    seed: int | None = None,
    max_attempts: int | None = None,
    progress: bool = False,
    timeout_s: float | None = None,
    on_success: Callable[[], object] = lambda: None,
) -> PerEnvResult[tuple[T, bool]]:
    """The attempts of :func:`generate`, with a recorder that exists.

    Args:
        recorder: a stack with a :class:`~holdstep.wrappers.SuspendOnWait` in it; it is reset.
        coroutine_fn: one attempt.
        num_successes: after which it ends.
        succeeded: whether an attempt did, from what its coroutine returned.
        seed: for the reset.
        max_attempts: the most attempts.
        progress: show a progress bar.
        timeout_s: the longest time for which all coroutines may await other things [s].
        on_success: called after each attempt that succeeded.

    Returns:
        The attempts, with what their coroutines returned and whether they succeeded.
    """
    counted = _CountsSteps(recorder)

    def is_success(record: EpisodeRecord[tuple[T, bool]]) -> bool:
        _, has_succeeded = record.return_value
        if has_succeeded:
            on_success()
        return has_succeeded

    return run_per_env(
        counted,
        lambda handle: _attempt(handle, coroutine_fn, succeeded, recorder, counted),
        num_successes,
        counts=is_success,
        max_attempts=max_attempts,
        seed=seed,
        progress=progress,
        timeout_s=timeout_s,
    )


async def _attempt(
    handle: EnvHandle,
    coroutine_fn: Callable[[EnvHandle], Awaitable[T]],
    succeeded: Callable[[T], bool],
    recorder: RecordEpisodes,
    env: _CountsSteps,
) -> tuple[T, bool]:
    """Run an attempt, and tell the recorder what came of it."""
    step, last_step = handle.step, env.num_steps

    async def noted(action: Any) -> Any:
        nonlocal last_step
        answer = await step(action)
        last_step = env.num_steps  # before any other step of the batch
        return answer

    handle.step = noted  # type: ignore[method-assign]
    value = await coroutine_fn(handle)
    if not handle.length:
        return value, False  # there is nothing to keep
    if handle.done and last_step != env.num_steps:
        # The recorder can be told of an episode that has ended until the next step only.
        raise RecordingError(
            f"The coroutine of env {handle.env_id} went on waiting after its episode had ended. "
            "Return at once when handle.done is true, and look at what is needed for that before."
        )
    is_success = bool(succeeded(value))
    recorder.mark([handle.env_id], success=is_success)
    return value, is_success


class _CountsSteps(VectorWrapper):
    """Counts the steps of the batch."""

    num_steps = 0

    def step(self, actions: torch.Tensor) -> StepResult:
        result = self.env.step(actions)
        self.num_steps += 1
        return result


def _check(env: TorchVectorEnv, num_demonstrations: int, recording: dict[str, Any]) -> None:
    if find_wrapper(env, SuspendOnWait) is None:
        raise ConfigError(
            "generate() holds rows still, for which the stack needs a SuspendOnWait: "
            "generate(SuspendOnWait(env), ...)."
        )
    if find_wrapper(env, RecordEpisodes) is not None:
        raise ConfigError("generate() records by itself: give it the env without RecordEpisodes.")
    if isinstance(num_demonstrations, bool) or not (
        isinstance(num_demonstrations, int) and num_demonstrations >= 1
    ):
        raise ConfigError(
            f"num_demonstrations must be an integer of at least 1, got {num_demonstrations!r}."
        )
    taken = _OWN_OPTIONS & recording.keys()
    if taken:
        raise ConfigError(
            f"generate() sets {', '.join(sorted(taken))} itself: it keeps the attempts that "
            "succeed, also those that end before the env ends them."
        )
