"""What an evaluation found."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdstep.errors import ConfigError
from holdstep.policies.evaluation.intervals import Interval, bootstrap_interval, wilson_interval

if TYPE_CHECKING:
    from rich.table import Table

FORMAT_VERSION = 1
"""Of the JSON files; counted up when an older holdstep could no longer read them."""


@dataclass(frozen=True, kw_only=True)
class EpisodeResult:
    """One episode.

    Attributes:
        episode: its number, in the order in which episodes were started.
        env_id: the row that ran it; those of several ranks are counted on from one to the next.
        seed: what its random numbers followed from, if it had a seed of its own: a new env of one
            row, reset with it, starts this episode.
        episode_return: summed rewards.
        length: env steps in which the row advanced.
        success: whether it succeeded; None if nothing said so.
        terminated: whether the task ended it.
        truncated: whether something else did, such as a time limit.
        instruction: what it was to do, or None.
        wall_time_s: from its start to its end, beside all other rows [s].
    """

    episode: int
    env_id: int
    seed: int | None
    episode_return: float
    length: int
    success: bool | None
    terminated: bool
    truncated: bool
    instruction: str | None
    wall_time_s: float


@dataclass(frozen=True, kw_only=True)
class EvalResult:
    """The first n episodes that were started, and what they say about a policy.

    Attributes:
        episodes: in the order in which they were started.
        num_episodes: how many were asked for; there are fewer where the evaluation was given up.
        confidence: level of the intervals.
        determinism: what the actions depended on. ``"exact"``: on the observation that they are
            for; ``"delayed"``: on one a fixed number of steps old; ``"timing"``: on how long things
            took, so that another run may find something else.
        seed_scope: ``"episode"``: an episode depends on its own seed, and not on the number of rows
            or on other episodes; ``"run"``: all of them follow from one seed together.
        success_source: where it was looked up whether an episode succeeded.
        idle_rows: what rows did that had no episode left: ``"suspended"`` or ``"stepped"``.
        seed: of the run.
        num_envs: rows, of all ranks.
        num_steps: how often the env was stepped; the sum where there were several.
        wall_time_s: of the whole evaluation [s].
        num_by_instruction: how many episodes were to do what; empty without instructions.
        metadata: the env's id, the policy's name, the scheduler, versions, the device, the date.
    """

    episodes: tuple[EpisodeResult, ...]
    num_episodes: int
    confidence: float
    determinism: str
    seed_scope: str
    success_source: str
    idle_rows: str
    seed: int
    num_envs: int
    num_steps: int
    wall_time_s: float
    num_by_instruction: dict[str, int] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def is_complete(self) -> bool:
        """Whether all episodes have ended; the numbers of others are biased to short episodes."""
        return len(self.episodes) == self.num_episodes

    @property
    def num_successes(self) -> int | None:
        """Episodes that succeeded; None if no episode ever said whether it did."""
        if all(episode.success is None for episode in self.episodes):
            return None
        return sum(episode.success is True for episode in self.episodes)

    @property
    def success_rate(self) -> float | None:
        """Successes over episodes; None, not 0, if no episode ever said whether it succeeded."""
        num_successes = self.num_successes
        return None if num_successes is None else num_successes / len(self.episodes)

    @property
    def confidence_interval(self) -> Interval | None:
        """Of the success rate (Wilson); None without one."""
        num_successes = self.num_successes
        if num_successes is None:
            return None
        return wilson_interval(num_successes, len(self.episodes), self.confidence)

    @property
    def mean_return(self) -> float:
        """Mean of the episodes' summed rewards."""
        return _mean([episode.episode_return for episode in self.episodes])

    @property
    def return_interval(self) -> Interval | None:
        """Of the mean return (bootstrap); None for fewer than two episodes."""
        return bootstrap_interval([e.episode_return for e in self.episodes], self.confidence)

    @property
    def mean_length(self) -> float:
        """Mean of the episodes' lengths [env steps]."""
        return _mean([episode.length for episode in self.episodes])

    @property
    def num_terminated(self) -> int:
        """Episodes that the task ended."""
        return sum(episode.terminated for episode in self.episodes)

    @property
    def num_truncated(self) -> int:
        """Episodes that something else ended, such as a time limit, and the task did not."""
        return sum(episode.truncated and not episode.terminated for episode in self.episodes)

    def by_instruction(self) -> dict[str, EvalResult]:
        """The result of each instruction, in the order in which they first came up."""
        groups: dict[str, list[EpisodeResult]] = {}
        for episode in self.episodes:
            if episode.instruction is not None:
                groups.setdefault(episode.instruction, []).append(episode)
        return {
            text: dataclasses.replace(
                self,
                episodes=tuple(episodes),
                num_episodes=self.num_by_instruction.get(text, len(episodes)),
            )
            for text, episodes in groups.items()
        }

    def to_json(self, path: str | Path) -> Path:
        """Write everything to a file; :meth:`from_json` reads it.

        The numbers that follow from the episodes are in it as well, for other programs. What is not
        finite is written as null.

        Args:
            path: folders on the way are made.
        """
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {
            "holdstep_evaluation": FORMAT_VERSION,
            "summary": self.summary(),
            **{item.name: getattr(self, item.name) for item in dataclasses.fields(self)},
            "episodes": [dataclasses.asdict(episode) for episode in self.episodes],
        }
        text = json.dumps(_finite(content), indent=1, allow_nan=False)
        path.write_text(text + "\n", encoding="utf-8")
        return path

    @staticmethod
    def from_json(path: str | Path) -> EvalResult:
        """Read what :meth:`to_json` wrote.

        Raises:
            ConfigError: the file holds something else.
        """
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
            version = content.pop("holdstep_evaluation")
            if version != FORMAT_VERSION:
                raise ConfigError(
                    f"{path} has evaluation format {version!r}, this holdstep reads "
                    f"{FORMAT_VERSION}. Read it with the holdstep that wrote it, or upgrade."
                )
            del content["summary"]
            episodes = tuple(
                EpisodeResult(**_with_nan(episode, "episode_return"))
                for episode in content.pop("episodes")
            )
            return EvalResult(episodes=episodes, **content)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            if isinstance(error, ConfigError):
                raise
            raise ConfigError(
                f"{path} is no result of an evaluation ({type(error).__name__}: {error}); "
                "EvalResult.to_json() writes those."
            ) from error

    def summary(self) -> dict[str, Any]:
        """The numbers that follow from the episodes, by name."""
        names = (
            "is_complete",
            "success_rate",
            "confidence_interval",
            "num_successes",
            "mean_return",
            "return_interval",
            "mean_length",
            "num_terminated",
            "num_truncated",
        )
        return {name: getattr(self, name) for name in names}

    def table(self) -> Table:
        """A table for rich to print."""
        from holdstep.policies.evaluation.tables import result_table

        return result_table(self)

    def plot(self, path: str | Path) -> Path:
        """Draw returns, lengths, and the success rate over the episodes, as a PNG.

        Args:
            path: ends in ``.png``; folders on the way are made.

        Raises:
            ConfigError: another ending, or there are no episodes.
            MissingExtraError: matplotlib is not installed.
        """
        from holdstep.policies.evaluation.plots import plot_result

        return plot_result(self, Path(path))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def _finite(value: Any) -> Any:
    """A value for JSON, which has no NaN and no infinity."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def _with_nan(fields: dict[str, Any], name: str) -> dict[str, Any]:
    return fields | {name: math.nan} if fields[name] is None else fields


def running_rates(result: EvalResult) -> Iterator[tuple[float, Interval]]:
    """The success rate of the first k episodes that were started, and its interval, for each k."""
    num_successes = 0
    for count, episode in enumerate(result.episodes, start=1):
        num_successes += episode.success is True
        interval = wilson_interval(num_successes, count, result.confidence)
        yield num_successes / count, interval
