"""Where the actions come from that ``holdstep record`` records."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch

from holdstep.errors import ConfigError, DatasetError

if TYPE_CHECKING:
    from holdstep.cli.record import Record
    from holdstep.cli.told_success import ToldSuccess
    from holdstep.distributed import Rank
    from holdstep.envs import TorchVectorEnv
    from holdstep.wrappers import EnvHandle
    from holdstep.wrappers.record import Dataset
    from holdstep.wrappers.record.recorder import RecordEpisodes
    from holdstep.wrappers.task_results import EpisodeRecord

_INITIAL = "initial_state/"


class Source(Protocol):
    """Drives an env that is recorded.

    Attributes:
        num_left: how many episodes there are for it to run; None if there is no end to them.
    """

    num_left: int | None

    def record(
        self, env: RecordEpisodes, num_episodes: int, seed: int, advance: Callable[[], None]
    ) -> None:
        """Run episodes until as many are kept.

        Args:
            env: the recorder.
            num_episodes: to be kept.
            seed: of the episodes.
            advance: called for each one.
        """
        ...

    def close(self) -> None:
        """Let go of everything."""
        ...


def source_of(command: Record, env: TorchVectorEnv, rank: Rank, seed: int) -> Source:
    """The source that a command names.

    Args:
        command: its options.
        env: that is recorded.
        rank: this process.
        seed: of a policy that draws.

    Raises:
        ConfigError: an option is not for this source.
    """
    from holdstep.cli.policies import make_policy

    if command.replay is not None:
        return ReplaySource(command.replay, command, rank)
    policy = make_policy(
        env,
        env_id=command.env_id,
        checkpoint=command.checkpoint,
        policy=command.policy,
        seed=seed,
    )
    if inspect.iscoroutinefunction(policy):
        if not command.only_successes:
            raise ConfigError(
                "An `async def` says by what it returns whether it succeeded, and those that did "
                "are recorded: add --only-successes."
            )
        return ScriptSource(policy, max_attempts=command.max_attempts)
    return PolicySource(policy, command)


class PolicySource:
    """A policy that acts at every step, or one of chunks.

    Args:
        policy: see :func:`holdstep.evaluate`.
        command: its options.
    """

    num_left: int | None = None

    def __init__(self, policy: Any, command: Record) -> None:
        self._policy = policy
        self._command = command

    def record(
        self, env: RecordEpisodes, num_episodes: int, seed: int, advance: Callable[[], None]
    ) -> None:
        """Run the policy."""
        from holdstep.cli.evaluate import parse_scheduler
        from holdstep.policies.evaluation.collecting import run_episodes

        command = self._command
        texts = command.instruction
        run_episodes(
            env,
            self._policy,
            num_episodes,
            seed,
            counts=lambda episode: not command.only_successes or episode.success is True,
            max_attempts=command.max_attempts,
            scheduler=None if command.scheduler is None else parse_scheduler(command.scheduler),
            execute=command.execute,
            instructions=(lambda episode: texts[episode % len(texts)]) if texts else None,
            success=command.success,
            success_when=command.success_when,
            max_steps=command.max_steps,
            on_episode=lambda _, is_counted: advance() if is_counted else None,
        )

    def close(self) -> None:
        """Close the policy, if it can be."""
        getattr(self._policy, "close", lambda: None)()


class ScriptSource:
    """A coroutine per row, which says whether it has succeeded.

    Args:
        script: for :func:`holdstep.wrappers.run_per_env`.
        max_attempts: the most episodes to start.
    """

    num_left: int | None = None

    def __init__(self, script: Callable[..., Any], *, max_attempts: int | None) -> None:
        self._script = script
        self._max_attempts = max_attempts

    def record(
        self, env: RecordEpisodes, num_episodes: int, seed: int, advance: Callable[[], None]
    ) -> None:
        """Run the script."""
        from holdstep.wrappers.record.generation import run_attempts

        run_attempts(
            env,
            self._script,
            num_episodes,
            seed=seed,
            max_attempts=self._max_attempts,
            on_success=advance,
        )

    def close(self) -> None:
        """Nothing is held."""


class ReplaySource:
    """The actions of a dataset, applied from its initial states.

    Of several processes, each takes every so manieth episode. One that was replayed by an earlier
    run, of however many processes, is not replayed again: the file and the name of its original are
    attributes of it (``replay_of_file``, ``replay_of``). Where the env itself does not say whether
    an episode succeeded, it is what the original says.

    Args:
        path: of the dataset.
        command: its options.
        rank: this process.
    """

    def __init__(self, path: Path, command: Record, rank: Rank) -> None:
        from holdstep.wrappers.record import Dataset

        self._dataset: Dataset = Dataset(path)
        self._command = command
        count = len(self._dataset)
        if command.num_episodes is not None and not command.only_successes:
            count = min(count, command.num_episodes)
        # Which ones are this process's must not depend on how far the others are. Which ones are
        # done is looked up before the recorder is opened, which moves them about.
        done = _replayed(command.out)
        self._waiting = [i for i in rank.numbers(count) if self._original(i) not in done]
        self.num_left: int | None = len(self._waiting)

    def record(
        self, env: RecordEpisodes, num_episodes: int, seed: int, advance: Callable[[], None]
    ) -> None:
        """Replay episodes, one in each row."""
        from holdstep.cli.told_success import ToldSuccess
        from holdstep.wrappers import run_per_env

        waiting = self._waiting[::-1]
        if not waiting:
            return
        attempts = min(len(waiting), self._command.max_attempts or len(waiting))
        told = ToldSuccess(env, self._command.success or "success", self._command.success_when)

        async def play(handle: EnvHandle) -> bool | None:
            return await self._play(env, told, handle, waiting.pop())

        def counts(record: EpisodeRecord[bool | None]) -> bool:
            is_kept = not self._command.only_successes or record.return_value is True
            if is_kept:
                advance()
            return is_kept

        run_per_env(told, play, num_episodes, counts=counts, max_attempts=attempts, seed=seed)

    async def _play(
        self, env: RecordEpisodes, told: ToldSuccess, handle: EnvHandle, index: int
    ) -> bool | None:
        """Replay an episode in a row, and return whether it succeeded, if that is known."""
        row = [handle.env_id]
        episode = self._dataset[index]
        state = {
            path.removeprefix(_INITIAL): torch.from_numpy(episode.arrays[path])
            for path in episode.arrays
            if path.startswith(_INITIAL)
        }
        if not state or "actions" not in episode.arrays:
            raise DatasetError(
                f"Episode {episode.name!r} can't be replayed: it has no initial_state, or no "
                "actions. Record with keys 'states' and 'actions'."
            )
        env.set_scene_state(state, row)
        file, name = self._original(index)
        env.annotate(row, replay_of_file=file, replay_of=name)
        told.begin(handle.env_id)
        for action in episode.arrays["actions"]:
            if handle.done:
                break
            await handle.step(action)
        success = told.success(handle.env_id)
        if success is None and episode.success is not None:
            env.mark(row, success=episode.success)
            success = episode.success
        return success

    def _original(self, index: int) -> tuple[str, str]:
        """What tells an episode from all others: its file, from the dataset on, and its name."""
        folder = self._dataset.path.absolute().parent
        file = self._dataset.file_of(index).absolute().relative_to(folder)
        return str(file), self._dataset.entry(index).name

    def close(self) -> None:
        """Close the files."""
        self._dataset.close()


def _replayed(path: Path) -> set[tuple[str, str]]:
    """Files and names of the episodes whose replays are in a dataset."""
    from holdstep.wrappers.record.acknowledged import acknowledged_attributes

    known = acknowledged_attributes(path)
    return {(str(of.get("replay_of_file")), str(of.get("replay_of"))) for of in known}
