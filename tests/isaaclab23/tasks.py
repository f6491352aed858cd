"""Two cart-pole tasks over the fake scene, registered with Gymnasium as isaaclab_tasks does.

``Isaac-Standin-Cartpole-v0`` is a plain ``ManagerBasedRLEnv`` with every manager in use;
``Isaac-Standin-Cartpole-Direct-v0`` is a ``DirectRLEnv``. Episodes are short and rows start in
different states, so that rows fail and time out at different steps within a few hundred.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import gymnasium
import isaaclab.envs.mdp as mdp
import torch
from isaaclab.assets import ArticulationCfg
from isaaclab.envs import ManagerBasedRLEnv, ManagerBasedRLEnvCfg
from isaaclab.envs.mdp.recorders import ActionStateRecorderManagerCfg
from isaaclab.managers import CommandTerm, CommandTermCfg, SceneEntityCfg
from isaaclab.managers import EventTermCfg as EventTerm
from isaaclab.managers import ObservationGroupCfg as ObsGroup
from isaaclab.managers import ObservationTermCfg as ObsTerm
from isaaclab.managers import RewardTermCfg as RewardTerm
from isaaclab.managers import TerminationTermCfg as DoneTerm
from isaaclab.scene import InteractiveSceneCfg
from isaaclab.sim import SimulationCfg
from isaaclab.utils import configclass
from isaaclab.utils.noise import AdditiveUniformNoiseCfg

from tests.isaaclab23.fake_scene import fake_simulation

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

MANAGER_BASED_ID = "Isaac-Standin-Cartpole-v0"
DIRECT_ID = "Isaac-Standin-Cartpole-Direct-v0"
STATEFUL_DIRECT_ID = "Isaac-Standin-Cartpole-Stateful-Direct-v0"

HISTORY_LENGTH = 3
NOISE = 0.01  # [m, rad]
DECIMATION = 2
PHYSICS_DT = 1 / 120  # [s]
EPISODE_LENGTH_S = 0.8  # 48 steps
CART_LIMIT = 2.0  # [m]
POLE_LIMIT = 0.6  # [rad]

CARTPOLE_CFG = ArticulationCfg(prim_path="{ENV_REGEX_NS}/Robot", spawn=None, actuators={})


def push_cart(
    env: ManagerBasedRLEnv, env_ids: torch.Tensor, velocity_range: tuple[float, float]
) -> None:
    """Add a random velocity [m/s] to the carts of ``env_ids``."""
    robot = env.scene["robot"]
    velocity = robot.data.joint_vel[env_ids]
    velocity[:, 0] += torch.empty_like(velocity[:, 0]).uniform_(*velocity_range)
    robot.write_joint_velocity_to_sim(velocity, env_ids=env_ids)


def pole_fallen(env: ManagerBasedRLEnv, limit: float) -> torch.Tensor:
    """Return the rows whose pole leans more than ``limit`` [rad]."""
    result: torch.Tensor = env.scene["robot"].data.joint_pos[:, 1].abs() > limit
    return result


def cart_at_target(env: ManagerBasedRLEnv, tolerance: float) -> torch.Tensor:
    """Return the rows whose cart is within ``tolerance`` [m] of the commanded position."""
    position = env.scene["robot"].data.joint_pos[:, :1]
    target = env.command_manager.get_command("cart_target")
    result: torch.Tensor = (position - target).abs().squeeze(-1) < tolerance
    return result


class CartTargetCommand(CommandTerm):
    """A cart position to go to, resampled within the episode."""

    cfg: CartTargetCommandCfg

    def __init__(self, cfg: CartTargetCommandCfg, env: ManagerBasedRLEnv) -> None:
        super().__init__(cfg, env)
        self._target = torch.zeros(self.num_envs, 1, device=self.device)
        self.metrics["error"] = torch.zeros(self.num_envs, device=self.device)

    @property
    def command(self) -> torch.Tensor:
        """The target [m], shape (num_envs, 1)."""
        return self._target

    def _update_metrics(self) -> None:
        position = self._env.scene["robot"].data.joint_pos[:, :1]
        self.metrics["error"][:] = (position - self._target).abs().squeeze(-1)

    def _resample_command(self, env_ids: Sequence[int]) -> None:
        self._target[env_ids] = torch.empty_like(self._target[env_ids]).uniform_(*self.cfg.range_m)

    def _update_command(self) -> None:
        pass


@configclass
class CartTargetCommandCfg(CommandTermCfg):
    """Config of :class:`CartTargetCommand`."""

    class_type: type = CartTargetCommand
    resampling_time_range: tuple[float, float] = (0.4, 0.8)
    range_m: tuple[float, float] = (-1.0, 1.0)


@configclass
class CommandsCfg:
    """The commands."""

    cart_target: CartTargetCommandCfg = CartTargetCommandCfg()


@configclass
class StandinSceneCfg(InteractiveSceneCfg):
    """One cart-pole per row."""

    robot: ArticulationCfg = CARTPOLE_CFG


@configclass
class ActionsCfg:
    """A force on the cart [N]."""

    joint_effort = mdp.JointEffortActionCfg(
        asset_name="robot", joint_names=["slider_to_cart"], scale=10.0
    )


@configclass
class PolicyGroupCfg(ObsGroup):
    """What a policy sees: 2 noisy + 2 x 3 history + 1 command + 1 action = 10 numbers."""

    joint_pos = ObsTerm(
        func=mdp.joint_pos_rel, noise=AdditiveUniformNoiseCfg(n_min=-NOISE, n_max=NOISE)
    )
    joint_vel = ObsTerm(func=mdp.joint_vel_rel, history_length=HISTORY_LENGTH)
    target = ObsTerm(func=mdp.generated_commands, params={"command_name": "cart_target"})
    last_action = ObsTerm(func=mdp.last_action)

    def __post_init__(self) -> None:
        """Turn the noise on."""
        self.enable_corruption = True
        self.concatenate_terms = True


@configclass
class CriticGroupCfg(ObsGroup):
    """The true state: 4 numbers without noise."""

    joint_pos = ObsTerm(func=mdp.joint_pos_rel)
    joint_vel = ObsTerm(func=mdp.joint_vel_rel)


@configclass
class TermsGroupCfg(ObsGroup):
    """A group that is not concatenated: its observation is a dict by term."""

    joint_pos = ObsTerm(func=mdp.joint_pos_rel, clip=(-2.0, 2.0))
    joint_vel = ObsTerm(func=mdp.joint_vel_rel, history_length=2, flatten_history_dim=False)

    def __post_init__(self) -> None:
        """Keep the terms apart."""
        self.concatenate_terms = False


@configclass
class ObservationsCfg:
    """The groups; ``terms`` is off unless a test sets it."""

    policy: PolicyGroupCfg = PolicyGroupCfg()
    critic: CriticGroupCfg = CriticGroupCfg()
    terms: TermsGroupCfg | None = None


def reset_joint(joint: str, position: float, velocity: float) -> EventTerm:
    """Return a reset event that draws one joint's state from +-``position``, +-``velocity``."""
    return EventTerm(
        func=mdp.reset_joints_by_offset,
        mode="reset",
        params={
            "asset_cfg": SceneEntityCfg("robot", joint_names=[joint]),
            "position_range": (-position, position),
            "velocity_range": (-velocity, velocity),
        },
    )


@configclass
class EventsCfg:
    """Random starts, and pushes at random times that differ by row."""

    reset_cart = reset_joint("slider_to_cart", position=1.0, velocity=0.5)
    reset_pole = reset_joint("cart_to_pole", position=0.05, velocity=0.05)
    push = EventTerm(
        func=push_cart,
        mode="interval",
        interval_range_s=(0.3, 0.9),
        params={"velocity_range": (-0.2, 0.2)},
    )


@configclass
class RewardsCfg:
    """Stay alive and upright."""

    alive = RewardTerm(func=mdp.is_alive, weight=1.0)
    failed = RewardTerm(func=mdp.is_terminated, weight=-2.0)
    pole_pos = RewardTerm(
        func=mdp.joint_vel_l1,
        weight=-0.01,
        params={"asset_cfg": SceneEntityCfg("robot", joint_names=["cart_to_pole"])},
    )


@configclass
class TerminationsCfg:
    """One truncation, two failures; ``success`` is off unless a test sets it."""

    time_out = DoneTerm(func=mdp.time_out, time_out=True)
    cart_out_of_bounds = DoneTerm(
        func=mdp.joint_pos_out_of_manual_limit,
        params={
            "asset_cfg": SceneEntityCfg("robot", joint_names=["slider_to_cart"]),
            "bounds": (-CART_LIMIT, CART_LIMIT),
        },
    )
    pole_fallen = DoneTerm(func=pole_fallen, params={"limit": POLE_LIMIT})
    success: DoneTerm | None = None


@configclass
class StandinCartpoleEnvCfg(ManagerBasedRLEnvCfg):
    """The manager-based task."""

    scene: StandinSceneCfg = StandinSceneCfg(num_envs=8, env_spacing=2.0)
    sim: SimulationCfg = SimulationCfg(device="cpu", dt=PHYSICS_DT, render_interval=DECIMATION)
    decimation: int = DECIMATION
    episode_length_s: float = EPISODE_LENGTH_S
    observations: ObservationsCfg = ObservationsCfg()
    actions: ActionsCfg = ActionsCfg()
    commands: CommandsCfg = CommandsCfg()
    events: EventsCfg = EventsCfg()
    rewards: RewardsCfg = RewardsCfg()
    terminations: TerminationsCfg = TerminationsCfg()


def record_to(cfg: StandinCartpoleEnvCfg, directory: Path, filename: str = "dataset") -> None:
    """Turn Isaac Lab's own recorder on: ``directory/filename.hdf5``, one group per episode."""
    cfg.recorders = ActionStateRecorderManagerCfg(
        dataset_export_dir_path=str(directory), dataset_filename=filename
    )


def add_success(cfg: StandinCartpoleEnvCfg, tolerance: float = 0.02) -> None:
    """End episodes at the target with a term named ``success``, which the recorder looks for."""
    cfg.terminations.success = DoneTerm(func=cart_at_target, params={"tolerance": tolerance})


def make_manager_based(cfg: ManagerBasedRLEnvCfg, **kwargs: Any) -> ManagerBasedRLEnv:
    """Build the real ``ManagerBasedRLEnv`` over the fakes; the result is not a subclass."""
    with fake_simulation():
        return ManagerBasedRLEnv(cfg=cfg, **kwargs)


def register() -> None:
    """Register both ids; ``kit_standins.uninstall`` removes them."""
    package = __name__.rpartition(".")[0]
    for env_id, entry_point, cfg in (
        (MANAGER_BASED_ID, f"{__name__}:make_manager_based", f"{__name__}:StandinCartpoleEnvCfg"),
        (
            DIRECT_ID,
            f"{package}.direct_task:StandinDirectCartpoleEnv",
            f"{package}.direct_task:StandinDirectCartpoleEnvCfg",
        ),
        (
            STATEFUL_DIRECT_ID,
            f"{package}.stateful_direct_task:StatefulDirectCartpoleEnv",
            f"{package}.stateful_direct_task:StatefulDirectCartpoleEnvCfg",
        ),
    ):
        if env_id not in gymnasium.registry:
            gymnasium.register(
                id=env_id,
                entry_point=entry_point,
                disable_env_checker=True,
                kwargs={
                    "env_cfg_entry_point": cfg,
                    "rsl_rl_cfg_entry_point": f"{package}.agents:StandinCartpolePPORunnerCfg",
                },
            )


NUM_STEPS_PER_EPISODE = math.ceil(EPISODE_LENGTH_S / (DECIMATION * PHYSICS_DT))

register()
