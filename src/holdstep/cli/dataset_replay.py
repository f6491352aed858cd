"""``holdstep dataset replay``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from rich.table import Table

    from holdstep.envs import TorchVectorEnv
    from holdstep.wrappers.record import Dataset
    from holdstep.wrappers.record.tools.replay import ReplayedEpisode


@dataclass
class Replay:
    """Apply recorded actions from the recorded initial states, and tell how far the env gets away.

    The exit status is 1 if an episode differs by more than --tolerance, or ends otherwise than it
    did.

    Example: holdstep dataset replay demos --num-episodes 8 --png replay.png
    """

    path: Annotated[Path, tyro.conf.Positional]
    """A folder that was recorded into, or an .hdf5 file."""

    env_id: str | None = None
    """Id of the env; by default the one that was recorded from."""

    num_episodes: int | None = None
    """The first so many episodes; by default all."""

    num_envs: int = 16
    """Rows: episodes that are replayed at a time."""

    tolerance: float = 1e-3
    """The largest difference that passes [the units of what is compared]."""

    png: Path | None = None
    """Draw the differences over time into this file."""

    device: str | None = None
    """Device, such as cpu or cuda:0; by default the first GPU, or the CPU without one."""

    set: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """A setting of the env, env.PATH=VALUE; may be given several times."""

    verbose: bool = False
    """Show what the simulator prints."""

    def run(self) -> int:
        """Replay, print the differences, and draw them."""
        from rich.console import Console

        from holdstep.cli.dataset_notes import print_pending
        from holdstep.cli.dataset_progress import episode_progress
        from holdstep.cli.paths import print_path
        from holdstep.cli.quiet import quiet_simulators
        from holdstep.wrappers.record import Dataset
        from holdstep.wrappers.record.tools.replay import plot_replay, replay

        console = Console(emoji=False)
        with Dataset(self.path) as dataset:
            count = len(dataset) if self.num_episodes is None else self.num_episodes
            indices = range(min(count, len(dataset)))
            with console.status("building the env"), quiet_simulators(self.verbose):
                env = self._make_env(dataset, len(indices))
            try:
                with (
                    episode_progress(console, "replaying", len(indices)) as step,
                    quiet_simulators(self.verbose),
                ):
                    episodes = replay(dataset, env, indices=indices, on_episode=step)
            finally:
                env.close()
        console.print(_table(episodes, self.tolerance))
        print_pending(console, dataset)
        if self.png is not None:
            plot_replay(episodes, self.png, title=f"replay of {self.path}")
            print_path(self.png, console, "differences")
        return 0 if all(_passes(episode, self.tolerance) for episode in episodes) else 1

    def _make_env(self, dataset: Dataset, num_episodes: int) -> TorchVectorEnv:
        from holdstep.cli.settings import parse_settings
        from holdstep.envs import make
        from holdstep.errors import ConfigError

        recorded_from = str(dataset.env_args.get("env_name") or "")
        env_id = self.env_id or recorded_from
        if not env_id:
            raise ConfigError(
                f"{self.path} does not say what it was recorded from; give --env-id, an id that "
                "`holdstep envs` lists."
            )
        if self.env_id is None and recorded_from.count(":") > 1:
            # What a file says must not choose the code that runs.
            raise ConfigError(
                f"{self.path} names {recorded_from!r}, which would import a module. If you trust "
                f"that, add --env-id {recorded_from}"
            )
        if num_episodes < 1:
            raise ConfigError(f"There are no episodes to replay in {self.path}.")
        settings, _ = parse_settings(self.set)
        num_envs = max(1, min(self.num_envs, num_episodes))
        return make(env_id, num_envs=num_envs, device=self.device, seed=0, **settings)


def _passes(episode: ReplayedEpisode, tolerance: float) -> bool:
    return episode.ended_as_recorded and episode.first_divergence(tolerance) is None


def _table(episodes: Sequence[ReplayedEpisode], tolerance: float) -> Table:
    from rich.table import Table

    table = Table("episode", title=f"differences; {tolerance:g} passes")
    columns = "steps", "obs at start", "state", "obs", "reward", "first beyond", "ended as recorded"
    for column in columns:
        table.add_column(column, justify="right")
    for episode in episodes:
        first = episode.first_divergence(tolerance)
        table.add_row(
            episode.name,
            f"{episode.replayed_steps} of {episode.num_steps}",
            _largest(episode.initial_obs_error),
            *(_largest(getattr(episode, f"{kind}_error")) for kind in ("state", "obs", "reward")),
            "-" if first is None else f"step {first}",
            "yes" if episode.ended_as_recorded else "no",
        )
    return table


def _largest(errors: npt.ArrayLike) -> str:
    import numpy as np

    values = np.atleast_1d(np.asarray(errors))
    values = values[~np.isnan(values)]
    return f"{values.max():.3g}" if values.size else "-"
