"""``holdstep teleop``."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

if TYPE_CHECKING:
    from rich.console import Console

    from holdstep.cli.teleop_loop import Driven
    from holdstep.cli.teleop_stack import TeleopStack
    from holdstep.policies.teleop.config import RunConfig


@dataclass
class Teleop:
    """Drive an env with a keyboard, a gamepad, a headset or any slow source, and record it.

    What drives what, and what is recorded, stands in a YAML file. A run ends when its episodes are
    recorded, operators have stopped their sources, a replay is over, or on Ctrl-C, and keeps
    everything. Started again, it adds to what is there.

    Example: holdstep teleop --example > run.yaml; holdstep teleop run.yaml
    """

    config: Annotated[Path | None, tyro.conf.Positional] = None
    """The file."""

    example: bool = False
    """Print a file to begin with. It runs without hardware."""

    check: bool = False
    """Only say what is wrong with the file, each problem with its line and column."""

    live: bool = False
    """Show a table of what each layer of the stack does and costs, instead of a line."""

    verbose: bool = False
    """Show what the simulator prints."""

    def run(self) -> int:
        """Drive, and print what is there."""
        from rich.console import Console

        from holdstep.errors import ConfigError
        from holdstep.policies.teleop.config import EXAMPLE, read_run

        if self.example:
            print(EXAMPLE, end="")
            return 0
        if self.config is None:
            raise ConfigError("Give a file, holdstep teleop run.yaml; --example prints one.")
        run = read_run(self.config)
        console = Console(emoji=False)
        if self.check:
            console.print(f"{self.config} is fine", markup=False, highlight=False, soft_wrap=True)
            return 0
        self._drive(run, console)
        return 0

    def _drive(self, run: RunConfig, console: Console) -> None:
        from rich.console import Console

        from holdstep.cli.live import live_table
        from holdstep.cli.quiet import quiet_simulators
        from holdstep.cli.stopping import stop_requests
        from holdstep.cli.teleop_loop import drive
        from holdstep.cli.teleop_stack import make_stack

        with stop_requests() as is_asked_to_stop:
            with console.status(f"building {run.env.id}"), quiet_simulators(self.verbose):
                stack = make_stack(run)
            with contextlib.closing(stack.env):
                console.print(
                    f"{', '.join(map(str, stack.sources))}: driving {run.env.id}. Ctrl-C ends it.",
                    markup=False,
                    highlight=False,
                    soft_wrap=True,
                )
                status = Console(stderr=True, quiet=self.live).status("starting the sources")
                table = live_table(stack.env, shown=self.live)
                with table, status, quiet_simulators(self.verbose):
                    driven = drive(stack, run, is_asked_to_stop, tell=status.update)
        _report(stack, driven, console)


def _report(stack: TeleopStack, driven: Driven, console: Console) -> None:
    from holdstep.cli.paths import print_path

    stats = stack.env.stats()
    lines = (
        f"{driven.why} after {driven.num_steps} steps of {stack.env.num_envs} rows",
        f"{stats.num_frames} frames of {1000 * stats.mean_compute_s:.1f} ms; the newest one was "
        f"{stats.mean_age_frames:.2f} steps old, its inputs {1000 * stats.mean_input_age_s:.1f} ms",
        f"{stats.misses} misses ({stats.miss_share:.1%}), {stats.dropped_submissions} requests "
        f"replaced; rows stood still in {stats.suspended_share:.1%} of their steps",
    )
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if stack.recorder is not None:
        episodes = stack.recorder.stats().num_episodes
        print_path(stack.recorder.path, console, f"{episodes} episodes")
