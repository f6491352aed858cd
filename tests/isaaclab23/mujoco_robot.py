"""A task of a walking robot: Isaac Lab 2.3.2's own ``Articulation`` over MuJoCo's physics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import isaaclab.envs.mdp as mdp
import mujoco
from isaaclab.actuators import ImplicitActuatorCfg
from isaaclab.assets import Articulation, ArticulationCfg, ArticulationData
from isaaclab.envs import ManagerBasedRLEnvCfg
from isaaclab.managers import EventTermCfg as EventTerm
from isaaclab.managers import ObservationGroupCfg as ObsGroup
from isaaclab.managers import ObservationTermCfg as ObsTerm
from isaaclab.managers import RewardTermCfg as RewardTerm
from isaaclab.managers import TerminationTermCfg as DoneTerm
from isaaclab.scene import InteractiveSceneCfg
from isaaclab.sim import SimulationCfg
from isaaclab.utils import configclass

from tests.isaaclab23.mujoco_view import MujocoView

if TYPE_CHECKING:
    from pathlib import Path


class MujocoArticulation(Articulation):
    """Isaac Lab's class, with everything but what finds its prims and PhysX's view of them.

    Attributes:
        model_file: an ``.mjb`` file of the robot.
        physics: the view, which the stand-in for the simulation steps.
    """

    model_file: ClassVar[str]

    def __init__(self, cfg: ArticulationCfg, num_envs: int, device: str) -> None:
        # Not super().__init__(): it spawns USD prims. What follows is what its callback does.
        self.cfg = cfg.copy()
        self._device = device
        self._is_initialized = True
        model = mujoco.MjModel.from_binary_path(self.model_file)
        self.physics = self._root_physx_view = MujocoView(model, num_envs)
        self._data = ArticulationData(self.root_physx_view, self.device)
        self._create_buffers()
        self._process_cfg()
        self._process_actuators_cfg()
        self._process_tendons()
        self._validate_cfg()
        self.update(0.0)

    def _clear_callbacks(self) -> None:
        """None were registered."""


@configclass
class ObservationsCfg:
    """One group, of what a robot on legs is told."""

    @configclass
    class PolicyCfg(ObsGroup):
        lin_vel = ObsTerm(func=mdp.base_lin_vel)
        ang_vel = ObsTerm(func=mdp.base_ang_vel)
        quat = ObsTerm(func=mdp.root_quat_w)
        gravity = ObsTerm(func=mdp.projected_gravity)
        joint_pos = ObsTerm(func=mdp.joint_pos_rel, history_length=3)
        joint_vel = ObsTerm(func=mdp.joint_vel_rel, scale=0.1, clip=(-5.0, 5.0))
        last_action = ObsTerm(func=mdp.last_action)

    policy: PolicyCfg = PolicyCfg()


@configclass
class ActionsCfg:
    """Joint targets about the default pose; thighs alone have another scale."""

    joints = mdp.JointPositionActionCfg(
        asset_name="robot", joint_names=[".*"], scale={".*thigh.*": 0.3, ".*(hip|calf).*": 0.2}
    )


@configclass
class EventsCfg:
    """Random starts."""

    reset_root = EventTerm(
        func=mdp.reset_root_state_uniform,
        mode="reset",
        params={"pose_range": {"yaw": (-3.0, 3.0)}, "velocity_range": {"x": (-0.5, 0.5)}},
    )
    reset_joints = EventTerm(
        func=mdp.reset_joints_by_offset,
        mode="reset",
        params={"position_range": (-0.2, 0.2), "velocity_range": (-0.5, 0.5)},
    )


@configclass
class RewardsCfg:
    """One, since there must be."""

    alive = RewardTerm(func=mdp.is_alive, weight=1.0)


@configclass
class TerminationsCfg:
    """By the clock alone."""

    time_out = DoneTerm(func=mdp.time_out, time_out=True)


def robot_cfg(model_file: Path, *, num_envs: int) -> Any:
    """A task of the robot in a file.

    Args:
        model_file: an ``.mjb`` file.
        num_envs: rows.
    """
    articulation = type("Robot", (MujocoArticulation,), {"model_file": str(model_file)})

    @configclass
    class SceneCfg(InteractiveSceneCfg):
        robot: ArticulationCfg = ArticulationCfg(
            class_type=articulation,
            prim_path="{ENV_REGEX_NS}/Robot",
            spawn=None,
            init_state=ArticulationCfg.InitialStateCfg(
                pos=(0.0, 0.0, 0.4),
                joint_pos={".*hip.*": 0.0, ".*thigh.*": 0.9, ".*calf.*": -1.8},
            ),
            actuators={
                "legs": ImplicitActuatorCfg(
                    joint_names_expr=[".*"], stiffness=25.0, damping=0.5, effort_limit_sim=30.0
                )
            },
        )

    @configclass
    class RobotEnvCfg(ManagerBasedRLEnvCfg):
        scene: SceneCfg = SceneCfg(num_envs=num_envs, env_spacing=2.0)
        sim: SimulationCfg = SimulationCfg(device="cpu", dt=0.005, render_interval=4)
        decimation: int = 4
        episode_length_s: float = 20.0
        observations: ObservationsCfg = ObservationsCfg()
        actions: ActionsCfg = ActionsCfg()
        events: EventsCfg = EventsCfg()
        rewards: RewardsCfg = RewardsCfg()
        terminations: TerminationsCfg = TerminationsCfg()

    return RobotEnvCfg()
