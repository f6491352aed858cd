"""``holdstep check``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro


@dataclass
class Check:
    """Check that an env keeps the TorchVectorEnv contract, and list every violation.

    Example: holdstep check mjlab:Mjlab-Cartpole-Balance --num-envs 8
    """

    env_id: Annotated[str, tyro.conf.Positional]
    """Id of the env; `holdstep envs` lists them."""

    num_envs: int = 8
    """Rows."""

    steps: int = 64
    """Steps to take with random actions."""

    device: str | None = None
    """Device, such as cpu or cuda:0; by default the first GPU, or the CPU without one."""

    seed: int = 0
    """Seed of the resets and the actions."""

    set: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """A setting of the env, env.PATH=VALUE; may be given several times."""

    verbose: bool = False
    """Show what the simulator prints."""

    def run(self) -> int:
        """Make the env, check it, and print what was looked at."""
        from rich.console import Console

        from holdstep.cli.quiet import quiet_simulators
        from holdstep.cli.settings import parse_settings
        from holdstep.envs import check_vector_env, make
        from holdstep.errors import ContractViolationError

        console = Console(emoji=False)
        env_settings, _ = parse_settings(self.set)
        with console.status(f"checking {self.env_id}"), quiet_simulators(self.verbose):
            env = make(
                self.env_id,
                num_envs=self.num_envs,
                device=self.device,
                seed=self.seed,
                **env_settings,
            )
            try:
                report = check_vector_env(env, num_steps=self.steps, seed=self.seed, close=True)
            except ContractViolationError as error:
                violations = error.violations
            else:
                violations = ()
        if violations:
            console.print(f"[red]{self.env_id}: {len(violations)} violations[/red]")
            for violation in violations:
                console.print(f"  - {violation}", markup=False)
            return 1
        console.print(
            f"[green]{self.env_id}: ok[/green] ({report.num_steps} steps, "
            f"{report.num_ended} episodes ended)"
        )
        for note in report.notes:
            console.print(f"  note: {note}", markup=False)
        return 0
