"""Isaac Lab 2.3.2's own actuator models on the stand-in cart-pole, and delayed observations."""

from __future__ import annotations

from types import MethodType
from typing import TYPE_CHECKING, Any

import torch
from isaaclab.actuators import ActuatorNetLSTMCfg, ActuatorNetMLPCfg, DelayedPDActuatorCfg
from isaaclab.managers import ManagerTermBase
from isaaclab.managers import ObservationTermCfg as ObsTerm
from isaaclab.utils.buffers import DelayBuffer
from isaaclab.utils.types import ArticulationActions

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from isaaclab.envs import ManagerBasedRLEnv

MAX_LAG = 4


class Recurrent(torch.nn.Module):
    """The kind of network that ``ActuatorNetLSTM`` loads."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = torch.nn.LSTM(2, 5, num_layers=2, batch_first=True)
        self.head = torch.nn.Linear(5, 1)

    def forward(
        self, x: torch.Tensor, state: tuple[torch.Tensor, torch.Tensor]
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
        """Torques ``[B, 1]`` and the next state."""
        x, state = self.lstm(x, state)
        return self.head(x[:, -1]), state


def network_file(path: Path, network: torch.nn.Module) -> str:
    """Save a network as the actuator models want it."""
    for index, weight in enumerate(network.parameters()):
        generator = torch.Generator().manual_seed(index)
        torch.nn.init.uniform_(weight, -0.8, 0.8, generator=generator)
    torch.jit.script(network).save(str(path))
    return str(path)


def actuate(robot: Any, kind: str, directory: Path) -> None:
    """Let actuator models turn a stand-in robot's targets into efforts.

    Args:
        robot: the stand-in articulation.
        kind: ``"delay"``, ``"lstm"`` or ``"mlp"``.
        directory: where networks are written.
    """
    common: dict[str, Any] = {"joint_names_expr": [".*"], "effort_limit": 50.0}
    common |= {"velocity_limit": 100.0, "stiffness": 3.0, "damping": 0.2}
    net = {"saturation_effort": 60.0}
    cfg: Any
    if kind == "delay":
        cfg = DelayedPDActuatorCfg(**common, min_delay=0, max_delay=MAX_LAG)
    elif kind == "lstm":
        file = network_file(directory / "lstm.pt", Recurrent())
        cfg = ActuatorNetLSTMCfg(**common, **net, network_file=file)
    else:
        file = network_file(directory / "mlp.pt", torch.nn.Sequential(torch.nn.Linear(6, 1)))
        cfg = ActuatorNetMLPCfg(
            **common,
            **net,
            network_file=file,
            pos_scale=1.0,
            vel_scale=1.0,
            torque_scale=1.0,
            input_order="pos_vel",
            input_idx=[0, 1, 2],
        )
    actuator = cfg.class_type(
        cfg, robot.joint_names, slice(None), robot.num_instances, robot.device
    )
    robot.actuators = {"all": actuator}

    def write_data_to_sim(self: Any) -> None:
        data = self.data
        targets = ArticulationActions(
            joint_positions=0.1 * data.joint_effort_target,
            joint_velocities=data.joint_vel_target.clone(),
            joint_efforts=data.joint_effort_target.clone(),
        )
        efforts = actuator.compute(targets, data.joint_pos, data.joint_vel).joint_efforts
        data.applied_torque[:] = efforts
        self.physics.effort[:] = efforts

    def reset(self: Any, env_ids: Any = None) -> None:
        del self
        actuator.reset(slice(None) if env_ids is None else env_ids)

    robot.write_data_to_sim = MethodType(write_data_to_sim, robot)
    robot.reset = MethodType(reset, robot)
    robot.reset()


class DelayedVelocity(ManagerTermBase):
    """Joint velocities that arrive late, each row with a delay of its own."""

    def __init__(self, cfg: ObsTerm, env: ManagerBasedRLEnv) -> None:
        super().__init__(cfg, env)
        self.buffer = DelayBuffer(MAX_LAG, self.num_envs, self.device)
        self.buffer.set_time_lag(torch.arange(self.num_envs, dtype=torch.int) % (MAX_LAG + 1))

    def reset(self, env_ids: Sequence[int] | None = None) -> None:
        """Start anew in rows."""
        self.buffer.reset(env_ids)

    def __call__(self, env: ManagerBasedRLEnv) -> torch.Tensor:
        """The velocities of some steps ago."""
        return self.buffer.compute(env.scene["robot"].data.joint_vel.clone())


def add_delayed_group(cfg: Any) -> None:
    """Add the late velocities to the critic's observations."""
    cfg.observations.critic.late = ObsTerm(func=DelayedVelocity)
