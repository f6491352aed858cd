"""Export a policy from an env without managers, and run it on a host that has other joints first.

    python examples/export_direct_env.py
    python examples/export_direct_env.py --out exported --method jit-trace

The env is a double pendulum written in the direct workflow: a class that computes observations and
targets itself (``holdstep.envs.reference.direct_pendulum``). Markers in its code say which tensors
are state, command, memory and targets. The policy, with everything the env does before and after
it, becomes one model and one contract, which is checked against the env for 50 steps with resets;
then it holds another pendulum, whose joints come in the opposite order, at its target. At the end a
marker is left out, to show how that is noticed.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
import tyro
from rich.console import Console

from holdstep.envs.deployment.deployment_env import DeploymentEnv
from holdstep.envs.reference.direct_pendulum import DirectPendulum
from holdstep.envs.reference.pendulum_host import PendulumHost
from holdstep.errors import DiscoveryError
from holdstep.wrappers.export import export_policy
from holdstep.wrappers.export.markers import reads

if TYPE_CHECKING:
    from holdstep.envs.contract import Obs


@dataclass
class Arguments:
    """What to export."""

    method: Literal["onnx-dynamo", "jit-trace", "exported-program"] = "onnx-dynamo"
    """How the model file is made."""

    seconds: float = 6.0
    """How long the host is run [s]."""

    out: Path | None = None
    """Folder of the export; a temporary one by default."""


@dataclass(frozen=True)
class Outcome:
    """What came of it.

    Attributes:
        parity: largest difference between the model and the env.
        inputs: what a host must supply.
        distance: from the target at the end, of the joint that is farther [rad].
        complaint: about the marker that is left out.
    """

    parity: float
    inputs: tuple[str, ...]
    distance: float
    complaint: str


class Controller(torch.nn.Module):
    """A policy: springs and dampers, in units of an action; training would find something alike."""

    def __init__(self) -> None:
        super().__init__()
        self.gains = torch.nn.Parameter(torch.tensor([4.0, -6.0]))

    def forward(self, obs: Obs) -> torch.Tensor:
        """Actions ``[N, 2]``."""
        distance, velocity, _ = obs["policy"].split(2, dim=1)
        return self.gains[0] * distance + self.gains[1] * velocity


class Forgetful(DirectPendulum):
    """The same env, whose author forgot that velocities are state as well."""

    def _get_observations(self) -> Obs:
        joint_pos = reads("state:pendulum:joint_pos", self.joint_pos)
        target = reads("command:target", self.target)
        policy = torch.cat((target - joint_pos, 0.1 * self.joint_vel, 0.0 * joint_pos), dim=1)
        return {"policy": policy, "critic": torch.cat((policy, joint_pos[:, :1]), dim=1)}


def main(arguments: Arguments) -> Outcome:
    """Export, deploy, and leave a marker out."""
    console = Console()
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.out or Path(scratch) / "exported"
        report = export_policy(
            DirectPendulum(8, seed=0),
            Controller(),
            folder,
            backend="torch",
            method=arguments.method,
            overwrite=True,
        )
        console.print(report.table())
        distance = hold_at_target(folder, arguments)
    assert report.contract is not None
    assert report.parity is not None
    inputs = tuple(spec.connection for spec in report.contract.inputs)
    console.print(f"A host supplies {', '.join(inputs)}.")
    console.print(f"After {arguments.seconds:g} s the other pendulum is {distance:.3f} rad away.")
    complaint = complaint_about(Forgetful(8, seed=0))
    console.print(f"\nWithout a marker:\n{complaint}", highlight=False)
    return Outcome(report.parity.max_abs_diff, inputs, distance, complaint)


def hold_at_target(folder: Path, arguments: Arguments) -> float:
    """Run the export on a host; how far from the target it ends [rad]."""
    host = PendulumHost(joint_names=("elbow", "shoulder"))
    target = torch.tensor([0.3, -0.4])  # in the contract's order: shoulder, elbow
    with DeploymentEnv(host, folder, commands={"target": target}, allow_jit=True) as deployed:
        deployed.reset()
        for _ in range(round(arguments.seconds / deployed.step_dt)):
            deployed.step()
        return float((host.joint_pos[0].flip(0) - target).abs().max())


def complaint_about(env: DirectPendulum) -> str:
    """What an export says of an env."""
    with tempfile.TemporaryDirectory() as scratch:
        try:
            export_policy(env, Controller(), Path(scratch) / "exported", backend="torch")
        except DiscoveryError as error:
            return str(error)
    return "nothing"


if __name__ == "__main__":
    main(tyro.cli(Arguments))
