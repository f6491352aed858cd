"""``holdstep export``."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

if TYPE_CHECKING:
    from rich.console import Console

    from holdstep.envs import TorchVectorEnv
    from holdstep.wrappers.export import ExportReport


@dataclass
class Export:
    """Export a policy with its observation terms and action terms: one contract, one model.

    What is written runs without managers: holdstep deploy. Before it is handed over it is checked
    against the env, in steps that it never saw, with resets; each check is reported.

    Example: holdstep export mjlab:Mjlab-Cartpole-Balance --checkpoint runs/.../model_119.pt
    --out exported/cartpole
    """

    env_id: Annotated[str | None, tyro.conf.Positional] = None
    """Id of the env; `holdstep envs` lists them."""

    checkpoint: Path | None = None
    """A model_*.pt file, a run's folder (its latest checkpoint), or an experiment's (its latest
    run on this task)."""

    random_weights: bool = False
    """Instead of a checkpoint: the task's network as it is before training, to try things out."""

    out: Path | None = None
    """Folder for contract.yaml and the model; by default exported/TASK."""

    backend: Literal["torch", "leapp"] = "leapp"
    """What makes model files of the pipeline."""

    method: Literal[
        "onnx-dynamo", "onnx-torchscript", "jit-script", "jit-trace", "exported-program"
    ] = "onnx-dynamo"
    """How. ONNX runs fastest, exported-program is bit-equal to the env, jit files can do harm."""

    num_envs: int = 4
    """Rows of the env in which the export is made and checked."""

    steps: int = 50
    """Env steps in which the model is compared with the env."""

    tolerance: float | None = None
    """Largest difference that is allowed; by default 0 for jit-trace and exported-program, else
    1e-5, relative to values that are larger than 1."""

    skip_validation: bool = False
    """Hand the export over without checking it against the env."""

    overwrite: bool = False
    """Replace an earlier export in the same folder."""

    seed: int = 0
    """Of the env and of random weights."""

    device: str | None = None
    """Device, such as cpu or cuda:0; by default the first GPU, or the CPU without one."""

    diff: tuple[Path, Path] | None = None
    """Instead of exporting: show what two exports differ in."""

    set: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """A setting of the env, env.PATH=VALUE; may be given several times."""

    verbose: bool = False
    """Show what the simulator and the exporters print."""

    def run(self) -> int:
        """Export, and print how the checks went."""
        from rich.console import Console

        from holdstep.cli.quiet import quiet_simulators
        from holdstep.errors import ExportError

        console = Console(emoji=False)
        if self.diff is not None:
            return _show_diff(*self.diff)
        env_id, out, settings = self._checked()
        with ExitStack() as stack:
            with console.status(f"building {env_id}"), quiet_simulators(self.verbose):
                env = self._make_env(env_id, settings)
                stack.callback(env.close)
                policy = self._make_policy(env, env_id)
            try:
                report = self._export(env, policy, out, console)
            except ExportError as error:
                if error.report is not None:
                    _print_report(error.report, console)
                raise
        _print_report(report, console)
        return 0

    def _checked(self) -> tuple[str, Path, dict[str, Any]]:
        """The arguments; all that can be wrong is reported before a simulator is built."""
        from holdstep.cli.settings import parse_settings
        from holdstep.errors import ConfigError
        from holdstep.policies.rsl_rl.checkpoint import find_checkpoint
        from holdstep.wrappers.export.backends import make_backend
        from holdstep.wrappers.export.out_folder import check_out_folder

        if self.env_id is None:
            raise ConfigError("Say which env the policy is for, or give two exports to --diff.")
        if (self.checkpoint is None) != self.random_weights:
            raise ConfigError("Give either --checkpoint or --random-weights.")
        if self.num_envs < 1 or self.steps < 1:
            raise ConfigError(
                f"--num-envs and --steps must be at least 1, got {self.num_envs} and {self.steps}."
            )
        make_backend(self.backend, self.method)
        if self.checkpoint is not None:
            find_checkpoint(self.checkpoint, env_id=self.env_id)
        out = self.out or Path("exported") / self.env_id.rpartition(":")[2]
        check_out_folder(out, overwrite=self.overwrite)
        settings, _ = parse_settings(self.set)
        return self.env_id, out, settings

    def _make_env(self, env_id: str, settings: dict[str, Any]) -> TorchVectorEnv:
        from holdstep.distributed import Rank
        from holdstep.envs import make

        return make(
            env_id,
            num_envs=self.num_envs,
            device=Rank.of_environment().device(self.device),
            seed=self.seed,
            **settings,
        )

    def _make_policy(self, env: TorchVectorEnv, env_id: str) -> Any:
        from holdstep.envs.views.rsl_rl import RslRlVecEnv
        from holdstep.policies.rsl_rl import RslRlPolicy
        from holdstep.policies.rsl_rl.checkpoint import find_checkpoint
        from holdstep.policies.rsl_rl.run_dir import RunDir
        from holdstep.policies.rsl_rl.trained_config import trained_config

        if self.checkpoint is None:
            return RslRlPolicy.untrained(env, env_id=env_id, seed=self.seed)
        file = find_checkpoint(self.checkpoint, env_id=env_id)
        config = trained_config(RunDir.of_checkpoint(file), env_id=env_id, env=env)
        view = RslRlVecEnv(env, clip_actions=config.get("clip_actions"))
        return RslRlPolicy.load(file, view, env_id=env_id)

    def _export(
        self, env: TorchVectorEnv, policy: Any, out: Path, console: Console
    ) -> ExportReport:
        from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        from holdstep.cli.quiet import quiet_simulators
        from holdstep.wrappers.export import export_policy
        from holdstep.wrappers.export.validation.ladder import RUNGS

        columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        with (
            quiet_simulators(self.verbose),
            Progress(*columns, console=console, transient=True) as progress,
        ):
            bar = progress.add_task("exporting", total=len(RUNGS))
            return export_policy(
                env,
                policy,
                out,
                backend=self.backend,
                method=self.method,
                validate=not self.skip_validation,
                num_steps=self.steps,
                tolerance=self.tolerance,
                seed=self.seed,
                overwrite=self.overwrite,
                on_rung=lambda name: progress.update(bar, description=name, advance=1),
            )


def _show_diff(before: Path, after: Path) -> int:
    from holdstep.cli.contract import print_diff

    return print_diff(before, after)


def _print_report(report: ExportReport, console: Console) -> None:
    console.print(report.table())
    for warning in report.warnings:
        console.print(f"note: {warning}", markup=False, style="yellow", soft_wrap=True)
    for file in report.files:
        size = file.stat().st_size / 1e3
        console.print(f"{file} ({size:.0f} kB)", markup=False, soft_wrap=True, highlight=False)
