"""Export a policy with everything around it, and run it without its env.

    python examples/export_and_deploy.py
    python examples/export_and_deploy.py --task Mjlab-Velocity-Flat-Unitree-G1 --method onnx-dynamo

A network with random weights stands in for a trained one. It is exported together with the task's
observation terms and action terms, checked against the env in new states, and then run on mjlab and
on plain MuJoCo, where there are no managers.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro
from rich.console import Console

from holdstep.cli.quiet import quiet_simulators
from holdstep.envs import DeploymentEnv, MjlabHost, MujocoHost, make
from holdstep.policies import RslRlPolicy
from holdstep.wrappers.export import ExportReport, export_policy


@dataclass
class Arguments:
    """What to export."""

    task: str = "Mjlab-Cartpole-Balance"
    """An mjlab task."""

    backend: str = "torch"
    """torch or leapp."""

    method: str = "onnx-torchscript"
    """How the model is written."""

    steps: int = 50
    """Control steps of each run."""

    out: Path | None = None
    """The export's folder; by default one that is thrown away."""


def main(arguments: Arguments) -> dict[str, Any]:
    """Export, deploy twice; returns the report and the targets of both runs."""
    console = Console()
    out = arguments.out or Path(tempfile.mkdtemp()) / "export"
    report = export(arguments, out)
    console.print(report.table())

    # Without managers: on the simulator that it was trained in, and on another one.
    targets = {
        "mjlab": deploy(MjlabHost(arguments.task), out, arguments.steps),
        "plain MuJoCo": deploy(MujocoHost.from_mjlab(arguments.task), out, arguments.steps),
    }
    for host, of_host in targets.items():
        console.print(f"{host}: {len(of_host)} control steps, last targets {of_host[-1].tolist()}")
    return {"report": report, "targets": targets}


def export(arguments: Arguments, out: Path) -> ExportReport:
    """The task's own network and terms, in one folder."""
    env_id = f"mjlab:{arguments.task}"
    with quiet_simulators():
        env = make(env_id, num_envs=3, device="cpu", seed=0)
        try:
            policy = RslRlPolicy.untrained(env, env_id=env_id)
            return export_policy(
                env,
                policy,
                out,
                backend=arguments.backend,  # type: ignore[arg-type]  # checked there
                method=arguments.method,
                num_steps=arguments.steps,
            )
        finally:
            env.close()


def deploy(host: Any, out: Path, num_steps: int) -> torch.Tensor:
    """Targets of one robot, ``[steps, joints]``."""
    targets = []
    with quiet_simulators(), DeploymentEnv(host, out) as robot:
        # Whoever deploys decides where to go; a policy never gets a command of zeros by itself.
        for spec in robot.contract.inputs:
            if spec.connection.startswith("command:"):
                command = spec.connection.removeprefix("command:")
                robot.set_command(command, torch.zeros(spec.shape))
        robot.reset()
        for _ in range(num_steps):
            outputs = robot.step()
            targets.append(outputs[robot.contract.writes[0].connection][0].clone())
    return torch.stack(targets)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(tyro.cli(Arguments))
