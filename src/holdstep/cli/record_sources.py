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
    from holdstep.envs import TorchVectorEnv
    from holdstep.wrappers import EnvHandle
    from holdstep.wrappers.record import Dataset, Episode
    from holdstep.wrappers.record.recorder import RecordEpisodes

_INITIAL = "initial_state/"


class Source(Protocol):
    """Drives an env that is recorded."""

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


def source_of(command: Record, env: TorchVectorEnv, seed: int) -> Source:
    """The source that a command names.

    Raises:
        ConfigError: an option is not for this source.
    """
    from holdstep.cli.policies import make_policy

    if command.replay is not None:
        return ReplaySource(command.replay, success=command.success or "success")
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

    An episode that was replayed by an earlier run is not replayed again: the name of its original
    is one of its attributes (``replay_of``). Where the env itself does not say whether an episode
    succeeded, it is what the original says.

    Args:
        path: of the dataset.
        success: the info entry or termination term that says so.
    """

    def __init__(self, path: Path, *, success: str) -> None:
        from holdstep.wrappers.record import Dataset

        self._dataset: Dataset = Dataset(path)
        self._success = success

    def record(
        self, env: RecordEpisodes, num_episodes: int, seed: int, advance: Callable[[], None]
    ) -> None:
        """Replay episodes, one in each row."""
        from holdstep.wrappers import run_per_env

        done = _replayed(env.path)
        waiting = [
            index
            for index in range(len(self._dataset))
            if self._dataset.entry(index).name not in done
        ]
        if not waiting:
            return
        waiting.reverse()

        async def play(handle: EnvHandle) -> None:
            if waiting:
                await self._play(env, handle, self._dataset[waiting.pop()])
                advance()

        run_per_env(env, play, min(num_episodes, len(waiting)), seed=seed)

    async def _play(self, env: RecordEpisodes, handle: EnvHandle, episode: Episode) -> None:
        row = [handle.env_id]
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
        env.cut(row, env.set_scene_state(state, row))
        env.annotate(row, replay_of=episode.name)
        info: dict[str, Any] = {}
        for action in episode.arrays["actions"]:
            if handle.done:
                break
            _, _, _, info = await handle.step(action)
        if episode.success is not None and not self._is_told(env, info):
            env.mark(row, success=episode.success)

    def _is_told(self, env: RecordEpisodes, info: dict[str, Any]) -> bool:
        terms = getattr(env.backend_env, "termination_manager", None)
        return self._success in info or self._success in getattr(terms, "active_terms", ())

    def close(self) -> None:
        """Close the files."""
        self._dataset.close()


def _replayed(path: Path) -> set[str]:
    """Names of the episodes whose replays are in a recording."""
    from holdstep.wrappers.record import Dataset

    try:
        with Dataset(path) as dataset:
            return {str(entry.attributes.get("replay_of")) for entry in dataset.entries()}
    except (DatasetError, FileNotFoundError):
        return set()
