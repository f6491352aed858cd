"""``holdstep deploy``."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

if TYPE_CHECKING:
    from rich.console import Console

    from holdstep.envs import DeploymentEnv
    from holdstep.envs.deployment.host import Host
    from holdstep.wrappers.export.contract import Contract

_SECONDS_BETWEEN_PLOTS = 3.0


@dataclass
class Deploy:
    """Run an exported policy without the env's managers: on mjlab, plain MuJoCo or Isaac Lab.

    Joints are matched by name, quaternions converted, units and shapes compared; whatever does not
    fit is listed before anything moves. Ctrl-C ends it, and closes the simulator.

    Example: holdstep deploy runs/g1/export --host mujoco --model g1.xml --command twist=0.5,0,0
    """

    out_dir: Annotated[Path, tyro.conf.Positional]
    """The folder of an export."""

    host: Literal["mjlab", "mujoco", "isaaclab"] = "mjlab"
    """What to run on."""

    task: str | None = None
    """Whose scene to take; by default the exported task's. With --host mujoco, an mjlab task whose
    scene is compiled for plain MuJoCo."""

    model: Path | None = None
    """With --host mujoco: the robot's MJCF or MJB file."""

    robot: str | None = None
    """With --host mujoco: what the contract calls the robot, if not what its names begin with."""

    num_envs: int = 1
    """Rows."""

    steps: int | None = None
    """Control steps; by default until Ctrl-C."""

    command: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """A command, NAME=V or NAME=V,V,V; may be given several times. All that the policy takes must
    be given: none is zero by default."""

    rename: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """What the host calls a connection, a joint or a body otherwise, NAME_IN_CONTRACT=NAME_AT_HOST;
    may be given several times."""

    realtime: bool = False
    """Pace the control steps by the clock."""

    plot: Path | None = None
    """Draw the first row's targets to this PNG: every few seconds and at the end; with --realtime
    only at the end, since drawing takes longer than a control step."""

    device: str = "cpu"
    """Device, such as cpu or cuda:0."""

    seed: int = 0
    """Of the resets."""

    set: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """A setting of the scene, env.PATH=VALUE; may be given several times."""

    allow_jit: bool = False
    """Load TorchScript models, whose authors can write files here."""

    verbose: bool = False
    """Show what the simulator prints."""

    def run(self) -> int:
        """Connect, run, and say how it went."""
        from rich.console import Console

        from holdstep.cli.quiet import quiet_simulators
        from holdstep.cli.stopping import stops_on_signals
        from holdstep.envs import DeploymentEnv
        from holdstep.errors import ConfigError
        from holdstep.wrappers.export.contract_file import read_contract

        if self.steps is not None and self.steps < 1:
            raise ConfigError(f"--steps must be at least 1, got {self.steps}.")
        if self.plot is not None and self.plot.suffix != ".png":
            raise ConfigError(f"A plot's path must end in .png, got {str(self.plot)!r}.")
        console = Console(emoji=False)
        contract = read_contract(self.out_dir)
        commands = parse_commands(self.command)
        rename = _parse_pairs(self.rename, "--rename")
        with ExitStack() as stack:
            stack.enter_context(stops_on_signals())
            with console.status(f"building {self.host}"), quiet_simulators(self.verbose):
                host = self._make_host(contract)
                stack.callback(host.close)
                env = DeploymentEnv(
                    host,
                    self.out_dir,
                    num_envs=self.num_envs,
                    commands=commands,
                    rename={name: to for name, to in rename.items() if ":" in name},
                    rename_elements={name: to for name, to in rename.items() if ":" not in name},
                    realtime=self.realtime,
                    allow_jit=self.allow_jit,
                )
                stack.enter_context(env)
            for note in env.notes:
                console.print(f"note: {note}", markup=False, highlight=False, soft_wrap=True)
            return self._run(env, console)

    def _run(self, env: DeploymentEnv, console: Console) -> int:
        from rich.progress import MofNCompleteColumn, Progress, TextColumn

        from holdstep.cli.quiet import quiet_simulators
        from holdstep.envs.deployment.target_log import TargetLog

        log = TargetLog(env.contract)
        num_steps, interrupted = 0, False
        began = drawn = time.monotonic()
        columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TextColumn("steps"))
        try:
            with (
                quiet_simulators(self.verbose),
                Progress(*columns, console=console, transient=True) as progress,
            ):
                bar = progress.add_task(f"on {env.host.name}", total=self.steps)
                env.reset()
                began = time.monotonic()
                while self.steps is None or num_steps < self.steps:
                    log.add(env.step())
                    num_steps += 1
                    progress.update(bar, completed=num_steps)
                    is_due = time.monotonic() - drawn > _SECONDS_BETWEEN_PLOTS
                    if self.plot and not self.realtime and is_due:
                        log.draw(self.plot)
                        drawn = time.monotonic()
        except KeyboardInterrupt:
            interrupted = True
        took = time.monotonic() - began
        simulated = num_steps * env.step_dt
        console.print(
            f"{num_steps} control steps of {env.num_envs} rows: {simulated:.2f} s simulated in "
            f"{took:.2f} s"
        )
        if env.pacer is not None and env.pacer.late_steps:
            worst = 1000 * env.pacer.worst_delay_s
            console.print(f"{env.pacer.late_steps} steps began late, the worst by {worst:.1f} ms")
        if self.plot and num_steps:
            console.print(f"plot: {log.draw(self.plot)}", markup=False, soft_wrap=True)
        return 130 if interrupted and self.steps is not None else 0

    def _make_host(self, contract: Contract) -> Host:
        from holdstep.cli.settings import parse_settings
        from holdstep.errors import ConfigError

        settings, _ = parse_settings(self.set)
        if self.host == "mujoco":
            return self._make_mujoco_host(contract, settings)
        if self.model is not None:
            raise ConfigError(f"--model is for --host mujoco, not {self.host}; give a --task.")
        task = self.task or contract.task.rpartition(":")[2]
        options: dict[str, Any] = {
            "num_envs": self.num_envs,
            "device": self.device,
            "seed": self.seed,
            "overrides": settings,
        }
        if self.host == "mjlab":
            from holdstep.envs.deployment.mjlab_host import MjlabHost

            return MjlabHost(task, **options)
        from holdstep.envs.deployment.isaaclab_host import IsaacLabHost

        return IsaacLabHost(task, **options)

    def _make_mujoco_host(self, contract: Contract, settings: dict[str, Any]) -> Host:
        from holdstep.envs.deployment.mujoco_host import MujocoHost
        from holdstep.errors import ConfigError

        if settings:
            raise ConfigError("--set is for mjlab and Isaac Lab; change the MJCF file instead.")
        options: dict[str, Any] = {"robot": self.robot, "physics_dt": contract.physics_dt}
        if self.model is not None:
            return MujocoHost(self.model, **options)
        if contract.simulator != "mjlab" and self.task is None:
            raise ConfigError("--host mujoco needs --model, the robot's MJCF file.")
        return MujocoHost.from_mjlab(self.task or contract.task.rpartition(":")[2], **options)


def parse_commands(texts: tuple[str, ...]) -> dict[str, list[float] | float]:
    """Commands by name.

    >>> parse_commands(("twist=0.5,0,0", "height=0.3"))
    {'twist': [0.5, 0.0, 0.0], 'height': 0.3}
    """
    from holdstep.errors import ConfigError

    commands: dict[str, list[float] | float] = {}
    for name, text in _parse_pairs(texts, "--command").items():
        try:
            numbers = [float(part) for part in text.split(",")]
        except ValueError as error:
            raise ConfigError(
                f"--command takes NAME=V or NAME=V,V,V with numbers, got {name}={text!r}."
            ) from error
        commands[name] = numbers if "," in text else numbers[0]
    return commands


def _parse_pairs(texts: tuple[str, ...], option: str) -> dict[str, str]:
    from holdstep.errors import ConfigError

    pairs = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name or not value:
            raise ConfigError(f"{option} takes NAME=VALUE, got {text!r}.")
        if name in pairs:
            raise ConfigError(f"{option} {name} was given twice.")
        pairs[name] = value
    return pairs
