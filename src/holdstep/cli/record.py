"""``holdstep record``."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

if TYPE_CHECKING:
    from rich.console import Console

    from holdstep.distributed import Rank
    from holdstep.envs import TorchVectorEnv
    from holdstep.wrappers.record.recorder import RecordEpisodes


@dataclass
class Record:
    """Record episodes of a policy, of a script, or of another dataset that is played again.

    The first episodes that start are recorded, each to its end. Rows are suspended when there is
    none left for them, where the backend can. Stop it and start it again as you like: it goes on
    until so many episodes are there, and what was recorded stays.

    Under torchrun, or with RANK and WORLD_SIZE set otherwise, each process records its share into
    a folder of its own below --out. One that dies and is started again goes on where it was.

    Example: holdstep record mjlab:Mjlab-Cartpole-Balance --policy random --num-episodes 100
    """

    env_id: Annotated[str, tyro.conf.Positional]
    """Id of the env; `holdstep envs` lists them."""

    out: Path = Path("demos")
    """Where to: a folder, or a file *.hdf5."""

    num_episodes: int | None = None
    """Episodes in the dataset at the end, by default 100; or so many of the dataset to replay, by
    default all."""

    num_envs: int = 64
    """Rows."""

    policy: str | None = None
    """`random`, `zero`, or `module:function`, looked for in the current folder first. It is called
    with the env, and returns a callable obs -> actions, a ChunkedPolicy, or an `async def` for
    run_per_env, whose successes are recorded."""

    checkpoint: Path | None = None
    """Instead: a model_*.pt file of rsl_rl, a run's folder (its latest checkpoint), or an
    experiment's (its latest run on this task)."""

    replay: Path | None = None
    """Instead: a dataset, whose actions are applied once more from its initial states."""

    only_successes: bool = False
    """Keep the episodes that succeed, and go on until there are enough of them."""

    success: str | None = None
    """Info entry or termination term that says whether an episode succeeded; by default `success`,
    if there is one."""

    success_when: Literal["end", "once"] = "end"
    """Whether it must say so at the end of an episode, or once in it."""

    max_attempts: int | None = None
    """Give up after so many episodes, whether they were kept or not."""

    keys: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """What to record, such as obs/policy or states; may be given several times. By default
    observations, actions, rewards, flags, and states where the env can tell them."""

    compression: Literal["none", "lz4", "zstd", "gzip"] = "none"
    """Of the files."""

    seed: int = 0
    """Of the episodes. Each rank, and each start, has seeds of its own."""

    scheduler: str | None = None
    """When a chunked policy infers, see `holdstep evaluate`."""

    execute: int | None = None
    """Actions of a chunk that are executed; by default all."""

    instruction: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """What to do, in words; may be given several times, and episodes take them in turn."""

    max_steps: int | None = None
    """Give up when an episode is longer; by default twice the time limit."""

    suspend: Literal["auto", "skip", "exact", "approximate", "none"] = "auto"
    """How rows are held still, and whether they get random streams of their own."""

    device: str | None = None
    """Device, such as cpu or cuda:0; by default this rank's GPU, or the CPU without one."""

    set: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """A setting of the env, env.PATH=VALUE; may be given several times."""

    live: bool = False
    """Show a table of what each layer of the stack does and costs, instead of a progress bar."""

    verbose: bool = False
    """Show what the simulator prints."""

    def run(self) -> int:
        """Record, and print what is there."""
        from rich.console import Console

        from holdstep.cli.paths import print_path
        from holdstep.cli.stopping import stops_on_signals
        from holdstep.distributed import Rank
        from holdstep.wrappers.record.ranks import listing, rank_folder

        console = Console(emoji=False)
        settings = self._checked_settings()
        rank = Rank.of_environment()
        folder = rank_folder(rank, self.out)
        with listing(folder, self.out), stops_on_signals():
            num_episodes = self._record(rank, folder, settings, console)
        print_path(folder, console, f"{num_episodes} episodes")
        return 0

    def _record(self, rank: Rank, folder: Path, settings: dict[str, Any], console: Console) -> int:
        from holdstep.cli.live import live_table
        from holdstep.cli.quiet import quiet_simulators
        from holdstep.cli.record_sources import source_of
        from holdstep.wrappers.record.opening import next_uid

        wanted = self._share(rank)
        if wanted == 0:
            return 0
        # Seeds depend on all attempts so far, lest a start that kept nothing be made again.
        num_begun = next_uid(folder)
        with contextlib.ExitStack() as stack:
            with console.status(f"building {self.env_id}"), quiet_simulators(self.verbose):
                env = self._make_env(settings, rank, stack)
                source = source_of(self, env, rank, rank.seed(self.seed, 1, num_begun))
                stack.callback(source.close)
                recorder = self._recorder(env, folder, wanted)
                # Last, so that it is closed first, while everything else is there still.
                stack.callback(recorder.close)
                recorder.reset(seed=rank.seed(self.seed))
                recorder.flush()
            there = recorder.stats().num_episodes
            missing = (source.num_left or 0) if wanted is None else wanted - there
            # Several bars or tables would write over each other.
            bar = _progress_bar(there + missing, there, rank, shown=rank.is_first and not self.live)
            table = live_table(recorder, shown=rank.is_first and self.live)
            with bar as advance, table, quiet_simulators(self.verbose):
                if missing > 0:
                    seed = rank.seed(self.seed, 2, num_begun)
                    source.record(recorder, missing, seed, advance)
            recorder.close()
            return recorder.stats().num_episodes

    def _share(self, rank: Rank) -> int | None:
        """Episodes in this rank's folder at the end; None for what the source has left for it.

        Each of the episodes to replay is one rank's, whoever has replayed how many in earlier runs.
        """
        from holdstep.wrappers.record.ranks import rank_share

        if self.replay is not None and (self.num_episodes is None or not self.only_successes):
            return None
        num_episodes = 100 if self.num_episodes is None else self.num_episodes
        return rank_share(rank, self.out, num_episodes)

    def _checked_settings(self) -> dict[str, Any]:
        """The env's settings; what can be, is checked before a simulator is built."""
        from holdstep.cli.settings import parse_settings
        from holdstep.errors import ConfigError

        sources = (self.policy, self.checkpoint, self.replay)
        if sum(source is not None for source in sources) != 1:
            raise ConfigError("Give one of --policy, --checkpoint and --replay.")
        for name in ("num_episodes", "num_envs", "max_attempts"):
            value = getattr(self, name)
            if value is not None and value < 1:
                option = name.replace("_", "-")
                raise ConfigError(f"--{option} must be at least 1, got {value}.")
        if self.replay is not None:
            from holdstep.wrappers.record import Dataset

            Dataset(self.replay).close()  # is there one?
            source, target = self.replay.resolve(), self.out.resolve()
            if source.is_relative_to(target) or target.is_relative_to(source):
                raise ConfigError(
                    f"--out {self.out} is the dataset to replay, {self.replay}; name another one."
                )
        if self.checkpoint is not None:
            from holdstep.policies.rsl_rl.checkpoint import find_checkpoint

            find_checkpoint(self.checkpoint, env_id=self.env_id)
        settings, _ = parse_settings(self.set)
        return settings

    def _make_env(
        self, settings: dict[str, Any], rank: Rank, stack: contextlib.ExitStack
    ) -> TorchVectorEnv:
        from holdstep.cli.evaluate import suspended
        from holdstep.envs import make

        env = make(
            self.env_id,
            num_envs=self.num_envs,
            device=rank.device(self.device),
            seed=rank.seed(self.seed),
            **settings,
        )
        stack.callback(env.close)
        return suspended(env, self.suspend)

    def _recorder(self, env: TorchVectorEnv, folder: Path, wanted: int | None) -> RecordEpisodes:
        from holdstep.wrappers.record.recorder import RecordEpisodes

        keys = list(self.keys) or ["obs", "actions", "rewards", "terminated", "truncated"]
        if not self.keys and env.capabilities.scene_state:
            keys.append("states")
        return RecordEpisodes(
            env,
            folder,
            keys=keys,
            compression=self.compression,
            success=self.success,
            success_when=self.success_when,
            success_filter="succeeded" if self.only_successes else "all",
            max_episodes=wanted,
        )


@contextlib.contextmanager
def _progress_bar(
    total: int, completed: int, rank: Rank, *, shown: bool
) -> Iterator[Callable[[], None]]:
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress

    columns = (*Progress.get_default_columns(), MofNCompleteColumn())
    what = "episodes" if rank.world_size == 1 else "episodes of the first rank"
    with Progress(*columns, console=Console(stderr=True), disable=not shown) as bar:
        task = bar.add_task(what, total=total, completed=completed)
        yield lambda: bar.advance(task)
