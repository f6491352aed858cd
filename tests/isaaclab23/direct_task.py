"""The direct task: a ``DirectRLEnv`` as users write them, live tensors in its outputs included."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from isaaclab.envs import DirectRLEnv, DirectRLEnvCfg
from isaaclab.managers import EventTermCfg
from isaaclab.scene import InteractiveSceneCfg
from isaaclab.sim import SimulationCfg
from isaaclab.utils import configclass
from isaaclab.utils.noise import GaussianNoiseCfg, NoiseModelCfg

from tests.isaaclab23 import tasks
from tests.isaaclab23.fake_scene import fake_simulation

if TYPE_CHECKING:
    from isaaclab.assets import ArticulationCfg


@configclass
class DirectEventsCfg:
    """The manager-based task's pushes; resets are in the env's own ``_reset_idx``."""

    push = EventTermCfg(
        func=tasks.push_cart,
        mode="interval",
        interval_range_s=(0.3, 0.9),
        params={"velocity_range": (-0.2, 0.2)},
    )


@configclass
class StandinDirectCartpoleEnvCfg(DirectRLEnvCfg):
    """The direct task."""

    scene: InteractiveSceneCfg = InteractiveSceneCfg(num_envs=8, env_spacing=2.0)
    sim: SimulationCfg = SimulationCfg(
        device="cpu", dt=tasks.PHYSICS_DT, render_interval=tasks.DECIMATION
    )
    robot: ArticulationCfg = tasks.CARTPOLE_CFG
    decimation: int = tasks.DECIMATION
    episode_length_s: float = tasks.EPISODE_LENGTH_S
    action_space: int = 1
    observation_space: int = 4
    state_space: int = 2
    events: DirectEventsCfg = DirectEventsCfg()
    observation_noise_model: NoiseModelCfg | None = NoiseModelCfg(
        noise_cfg=GaussianNoiseCfg(mean=0.0, std=tasks.NOISE)
    )


class StandinDirectCartpoleEnv(DirectRLEnv):
    """Balance the pole; observation groups ``policy`` (4 numbers) and ``critic`` (2 numbers)."""

    cfg: StandinDirectCartpoleEnvCfg

    def __init__(
        self,
        cfg: StandinDirectCartpoleEnvCfg,
        render_mode: str | None = None,
        **kwargs: Any,
    ) -> None:
        with fake_simulation():
            super().__init__(cfg, render_mode, **kwargs)

    def _setup_scene(self) -> None:
        self.robot = self.scene.add_articulation("robot", self.cfg.robot)

    def _pre_physics_step(self, actions: torch.Tensor) -> None:
        self.actions = actions.clone()

    def _apply_action(self) -> None:
        self.robot.set_joint_effort_target(10.0 * self.actions, joint_ids=[0])

    def _get_observations(self) -> dict[str, torch.Tensor]:
        data = self.robot.data
        # "critic" is the simulator's live buffer on purpose: many direct tasks return such a
        # view, and an adapter that does not copy hands out tensors that the next step changes.
        return {
            "policy": torch.cat((data.joint_pos, data.joint_vel), dim=-1),
            "critic": data.joint_pos,
        }

    def _get_rewards(self) -> torch.Tensor:
        failed: torch.Tensor = self.reset_terminated
        angle: torch.Tensor = self.robot.data.joint_pos[:, 1]
        return 1.0 - 2.0 * failed.float() - angle.square()

    def _get_dones(self) -> tuple[torch.Tensor, torch.Tensor]:
        position = self.robot.data.joint_pos
        failed = (position[:, 0].abs() > tasks.CART_LIMIT) | (
            position[:, 1].abs() > tasks.POLE_LIMIT
        )
        return failed, self.episode_length_buf >= self.max_episode_length - 1

    def _reset_idx(self, env_ids: torch.Tensor) -> None:
        super()._reset_idx(env_ids)
        self.extras["log"] = {"Episode/num_reset": float(len(env_ids))}
        spread = torch.tensor([1.0, 0.05], device=self.device)
        position = self.robot.data.default_joint_pos[env_ids]
        position += spread * (2.0 * torch.rand_like(position) - 1.0)
        velocity = self.robot.data.default_joint_vel[env_ids]
        self.robot.write_joint_state_to_sim(position, velocity, env_ids=env_ids)
