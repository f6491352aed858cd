"""``holdstep train``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from holdstep.envs import TorchVectorEnv
    from holdstep.policies.rsl_rl import Iteration, TrainingResult, TrainingSettings


@dataclass
class Train:
    """Train a task with rsl_rl, using the task's own configuration.

    Logs to tensorboard, saves checkpoints and the reward curve under RUNS/EXPERIMENT/TIME. Several
    GPUs: torchrun --nproc-per-node 2 -m holdstep train ... If one of the processes dies, torchrun
    with --max-restarts starts all of them again, and they go on from the run's last checkpoint.

    Example: holdstep train mjlab:Mjlab-Cartpole-Balance --num-envs 64 --iterations 120
    """

    env_id: Annotated[str, tyro.conf.Positional]
    """Id of the env; `holdstep envs` lists them."""

    num_envs: int = 64
    """Rows of each process. On a GPU, robot tasks are usually trained with 4096."""

    iterations: int | None = None
    """Iterations of collecting and learning; by default the task's own number."""

    device: str | None = None
    """Device, such as cpu or cuda:0; by default this process's GPU, or the CPU without one."""

    seed: int = 42
    """Seed of env, networks and sampling. Under torchrun, it is the first rank's; others have seeds
    of their own."""

    log_root: Path = Path("runs")
    """Where the run's folder is made."""

    run_name: str = ""
    """Appended to the name of the run's folder."""

    resume: Path | None = None
    """A checkpoint of this task to go on from, a run's folder (its latest one), or an
    experiment's."""

    set: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """A setting, env.PATH=VALUE or agent.PATH=VALUE; may be given several times."""

    live: bool = False
    """Show a table of what each layer of the stack does and costs, instead of a progress bar."""

    verbose: bool = False
    """Show what the simulator and rsl_rl print: instead of a progress bar, or above the table."""

    def run(self) -> int:
        """Train, and print where the result is."""
        from rich.console import Console

        from holdstep.cli.settings import parse_settings
        from holdstep.cli.train_live import train_with_table
        from holdstep.distributed import Rank
        from holdstep.policies.rsl_rl import TrainingSettings

        env_settings, agent_settings = parse_settings(self.set)
        settings = TrainingSettings(
            env_id=self.env_id,
            num_envs=self.num_envs,
            device=self.device,
            seed=self.seed,
            iterations=self.iterations,
            log_root=self.log_root,
            run_name=self.run_name,
            resume=self.resume,
            env_overrides=env_settings,
            agent_overrides=agent_settings,
            quiet=not self.verbose,
        )
        rank = Rank.of_environment()
        console = Console(emoji=False, quiet=not rank.is_first)
        if self.live and rank.is_first:
            result = train_with_table(settings)
        else:
            result = train_with_progress(settings, console=console)
        if rank.is_first:
            print_result(result, console=console)
        return 0


def train_with_progress(
    settings: TrainingSettings,
    *,
    console: object,
    wrap: Callable[[TorchVectorEnv], TorchVectorEnv] | None = None,
) -> TrainingResult:
    """Train with a progress bar that shows the mean return and the speed.

    Args:
        settings: what to train; with ``quiet=False`` everything is printed and there is no bar.
        console: a ``rich.console.Console``, made before the simulator's output is caught.
        wrap: puts wrappers around the env that was made, and returns the stack to train on.
    """
    from typing import cast

    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from holdstep.cli.quiet import quiet_simulators
    from holdstep.policies.rsl_rl import train

    if not settings.quiet:
        return train(settings, wrap=wrap)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[status]}"),
    )
    with Progress(*columns, console=cast("Console", console)) as progress:
        bar = progress.add_task(
            f"building {settings.env_id}", total=None, status="(compiles kernels the first time)"
        )

        def on_start(iterations: int) -> None:
            progress.update(bar, description="training", total=iterations, status="")

        def on_iteration(iteration: Iteration) -> None:
            progress.update(bar, advance=1, status=status_of(iteration))

        try:
            with quiet_simulators():
                return train(settings, wrap=wrap, on_start=on_start, on_iteration=on_iteration)
        except BaseException:
            progress.remove_task(bar)  # an error message is not to stand under "building ..."
            raise


def status_of(iteration: Iteration) -> str:
    """How the training goes, in a few words."""
    mean = iteration.mean_return
    shown = "..." if mean is None else f"{mean:.1f}"
    return f"return {shown}, {iteration.steps_per_s:,.0f} steps/s"


def print_result(result: TrainingResult, *, console: object) -> None:
    """Print a table of what the training gave, and draw the reward curve into its folder."""
    from typing import cast

    from rich.table import Table

    from holdstep.errors import MissingExtraError
    from holdstep.policies.rsl_rl.plots import plot_reward_curve

    table = Table(show_header=False)
    table.add_column()
    table.add_column(overflow="fold")  # paths that are cut can't be copied
    returns = [i.mean_return for i in result.iterations if i.mean_return is not None]
    table.add_row("mean return (last 100 episodes)", f"{returns[-1]:.2f}" if returns else "-")
    seconds = sum(i.collect_s + i.learn_s for i in result.iterations)
    steps = sum(i.num_steps for i in result.iterations)
    table.add_row("env steps", f"{steps:,}")
    table.add_row("env steps/s", f"{steps / seconds:,.0f}")
    table.add_row("checkpoint", str(result.checkpoint))
    try:
        curve = plot_reward_curve(result.run_dir)
    except MissingExtraError as error:
        table.add_row("reward curve", str(error))
    else:
        table.add_row("reward curve", str(curve))
    cast("Console", console).print(table)
