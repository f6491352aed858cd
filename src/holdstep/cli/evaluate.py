"""``holdstep evaluate``."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

if TYPE_CHECKING:
    from rich.console import Console

    from holdstep.distributed import Rank
    from holdstep.envs import TorchVectorEnv
    from holdstep.policies import EvalResult, Scheduler


@dataclass
class Evaluate:
    """Measure how good a policy is: the first episodes that start, all of them to their end.

    Counting the first episodes that end instead would favour short ones. Rows are suspended while
    they wait for a chunk or have no episode left, where the backend can. Under torchrun, each
    process runs its share of the same episodes, and the first one prints the result of all.

    Example: holdstep evaluate mjlab:Mjlab-Cartpole-Balance --checkpoint runs/.../model_119.pt
    """

    env_id: Annotated[str, tyro.conf.Positional]
    """Id of the env; `holdstep envs` lists them."""

    checkpoint: Path | None = None
    """A model_*.pt file, a run's folder (its latest checkpoint), or an experiment's (its latest
    run on this task)."""

    policy: str | None = None
    """Instead of a checkpoint: `module:function`, looked for in the current folder first. It is
    called with the env, and returns a callable obs -> actions or a ChunkedPolicy. Or `zero` or
    `random`."""

    num_episodes: int = 200
    """Episodes that count."""

    num_envs: int = 64
    """Rows of each process."""

    seed: int = 0
    """Of the episodes and of a chunked policy's noise."""

    out: Path | None = None
    """Folder for result.json, result.txt and result.png."""

    scheduler: str | None = None
    """When a chunked policy infers: cohort, any_trigger, global_clock[:TICKS], threshold:K,
    continuous[:MAX_BATCH], prefetch:M or adaptive; by default cohort."""

    execute: int | None = None
    """Actions of a chunk that are executed; by default all."""

    instruction: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """What to do, in words; may be given several times, and episodes take them in turn."""

    success: str | None = None
    """Info entry or termination term that says whether an episode succeeded; by default `success`,
    if there is one."""

    success_when: Literal["end", "once"] = "end"
    """Whether it must say so at the end of an episode, or once in it."""

    confidence: float = 0.95
    """Level of the intervals."""

    max_steps: int | None = None
    """Give up when an episode is longer; by default twice the time limit."""

    suspend: Literal["auto", "skip", "exact", "approximate", "none"] = "auto"
    """How rows are held still, and whether they get random streams of their own; auto: as exactly
    as the backend can, and not at all if it can't."""

    force: bool = False
    """Accept a scheduler whose actions depend on how long things take."""

    timeline: Path | None = None
    """Write a trace of a chunked policy's run to this file; under torchrun, other ranks than the
    first write theirs beside it, as rank-00001-FILE."""

    device: str | None = None
    """Device, such as cpu or cuda:0; by default this process's GPU, or the CPU without one."""

    set: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """A setting of the env, env.PATH=VALUE; may be given several times."""

    live: bool = False
    """Show a table of what each layer of the stack does and costs, instead of a progress bar."""

    verbose: bool = False
    """Show what the simulator prints."""

    def run(self) -> int:
        """Evaluate, print the result, and write it."""
        from rich.console import Console

        from holdstep.cli.live import live_table
        from holdstep.cli.quiet import quiet_simulators
        from holdstep.distributed import Rank
        from holdstep.errors import EvaluationError
        from holdstep.policies import evaluate

        rank = Rank.of_environment()
        console = Console(emoji=False, quiet=not rank.is_first)
        scheduler = None if self.scheduler is None else parse_scheduler(self.scheduler)
        env_settings = self._checked_settings()
        with ExitStack() as stack:
            with console.status(f"building {self.env_id}"), quiet_simulators(self.verbose):
                env = self._make_env(env_settings, rank, stack)
                policy = self._make_policy(env, rank)
                stack.callback(getattr(policy, "close", lambda: None))
            try:
                live = live_table(env, shown=self.live and rank.is_first)
                with live, quiet_simulators(self.verbose):
                    result = evaluate(
                        env,
                        policy,
                        self.num_episodes,
                        self.seed,
                        scheduler=scheduler,
                        execute=self.execute,
                        instructions=self._instruction_of if self.instruction else None,
                        success=self.success,
                        success_when=self.success_when,
                        confidence=self.confidence,
                        max_steps=self.max_steps,
                        progress=rank.is_first and not self.live,
                        force=self.force,
                        timeline=self._timeline_of(rank),
                        rank=rank,
                    )
            except EvaluationError as error:
                if error.partial is not None and rank.is_first:
                    self._report(error.partial, console)
                raise
        if rank.is_first:
            self._report(result, console)
        return 0

    def _checked_settings(self) -> dict[str, Any]:
        """The env's settings; what can be, is checked before a simulator is built."""
        from holdstep.cli.settings import parse_settings
        from holdstep.errors import ConfigError

        if (self.checkpoint is None) == (self.policy is None):
            raise ConfigError("Give either --checkpoint or --policy.")
        if self.num_episodes < 1:
            raise ConfigError(f"--num-episodes must be at least 1, got {self.num_episodes}.")
        if self.checkpoint is not None:
            from holdstep.policies.rsl_rl.checkpoint import find_checkpoint

            find_checkpoint(self.checkpoint, env_id=self.env_id)
        env_settings, _ = parse_settings(self.set)
        return env_settings

    def _make_env(self, settings: dict[str, Any], rank: Rank, stack: ExitStack) -> TorchVectorEnv:
        from holdstep.envs import make

        env = make(
            self.env_id,
            num_envs=self.num_envs,
            device=rank.device(self.device),
            seed=rank.seed(self.seed),
            **settings,
        )
        suspending = suspended(env, self.suspend)
        stack.callback(suspending.close)
        return suspending

    def _make_policy(self, env: TorchVectorEnv, rank: Rank) -> Any:
        from holdstep.cli.policies import make_policy

        return make_policy(
            env,
            env_id=self.env_id,
            checkpoint=self.checkpoint,
            policy=self.policy,
            seed=rank.seed(self.seed),
        )

    def _timeline_of(self, rank: Rank) -> Path | None:
        if self.timeline is None or rank.is_first:
            return self.timeline
        return self.timeline.with_name(f"rank-{rank.number:05d}-{self.timeline.name}")

    def _instruction_of(self, episode: int) -> str:
        return self.instruction[episode % len(self.instruction)]

    def _report(self, result: EvalResult, console: Console) -> None:
        import dataclasses

        from rich.console import Console

        # As it was named here, which says more than the name of a class or of a lambda.
        policy = self.policy if self.checkpoint is None else str(self.checkpoint)
        result = dataclasses.replace(result, metadata=result.metadata | {"policy": policy})
        table = result.table()
        console.print(table)
        if self.out is None:
            return
        result.to_json(self.out / "result.json")
        with (self.out / "result.txt").open("w", encoding="utf-8") as file:
            Console(emoji=False, file=file, width=120).print(table)
        if result.episodes:
            result.plot(self.out / "result.png")
        console.print(f"written: {self.out}", markup=False, highlight=False)


def suspended(env: TorchVectorEnv, how: str) -> TorchVectorEnv:
    """An env whose rows can be suspended, with random streams of their own where that can be.

    Args:
        env: an adapter.
        how: a freeze level; ``"none"``; or ``"auto"`` for the env's own, if it is exact.

    Raises:
        CapabilityError: the level was asked for, and the backend can't do that.
    """
    from holdstep.errors import CapabilityError
    from holdstep.wrappers import SuspendOnWait

    level: Any = how
    if how == "auto":
        level = env.capabilities.freeze if env.capabilities.freeze != "approximate" else "none"
    if level == "none":
        return env
    try:
        return SuspendOnWait(env, level=level, rng="per_env")
    except CapabilityError:
        return SuspendOnWait(env, level=level)


def parse_scheduler(text: str) -> Scheduler:
    """A scheduler by name, with a number where it takes one.

    Raises:
        ConfigError: there is no such scheduler, or it takes no such number.

    >>> parse_scheduler("threshold:8")
    Threshold(k=8, max_wait_ticks=None)
    """
    from holdstep import policies
    from holdstep.errors import ConfigError, nearest_names

    name, colon, number = text.partition(":")
    without_number = {
        "cohort": policies.Cohort,
        "any_trigger": policies.AnyTrigger,
        "global_clock": policies.GlobalClock,
        "continuous": policies.Continuous,
        "adaptive": policies.Adaptive,
    }
    with_number: dict[str, Any] = {
        "threshold": policies.Threshold,
        "prefetch": policies.Prefetch,
        "continuous": policies.Continuous,
        "global_clock": policies.GlobalClock,
    }
    names = sorted(without_number | with_number)
    if name not in names:
        raise ConfigError(
            f"--scheduler takes one of {', '.join(names)}; got {text!r}."
            f"{nearest_names(name, names)}"
        )
    if not colon and name in without_number:
        return without_number[name]()
    if name not in with_number:
        raise ConfigError(f"--scheduler {name} takes no number, got {text!r}.")
    if not number.isdecimal():
        raise ConfigError(f"--scheduler {name} needs a number, such as {name}:4; got {text!r}.")
    return with_number[name](int(number))  # type: ignore[no-any-return]
