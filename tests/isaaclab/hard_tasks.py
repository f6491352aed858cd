"""Tasks in which much happens in few steps, and tasks in which nothing is random."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch

CARTPOLE, ANT, GO2 = "Isaac-Cartpole-v0", "Isaac-Ant-v0", "Isaac-Velocity-Flat-Unitree-Go2-v0"
ANT_DIRECT, CARTPOLE_DIRECT = "Isaac-Ant-Direct-v0", "Isaac-Cartpole-Direct-v0"
MULTI_AGENT = "Isaac-Cart-Double-Pendulum-Direct-v0"


def busy(cfg: Any) -> None:
    """Pushes and new commands every few steps, on top of the task's noise and random resets."""
    cfg.events.push_robot.interval_range_s = (0.02, 0.15)
    cfg.commands.base_velocity.resampling_time_range = (0.02, 0.2)
    cfg.observations.policy.history_length = 3


def fixed(cfg: Any) -> None:
    """Nothing is random: resets put rows where they were, commands and pushes stay away."""
    for event in vars(cfg.events).values():
        params = getattr(event, "params", None)
        if params and getattr(event, "mode", None) == "reset":
            for name in ("position_range", "velocity_range"):
                if isinstance(params.get(name), tuple):
                    middle = sum(params[name]) / 2
                    params[name] = (middle + 0.05, middle + 0.05)
    cfg.observations.policy.history_length = 3


def on_newton(cfg: Any) -> None:
    """Physics without Isaac Sim, for a task without presets."""
    from isaaclab_newton.physics import MJWarpSolverCfg, NewtonCfg

    cfg.sim.physics = NewtonCfg(solver_cfg=MJWarpSolverCfg())


def without_kit(cfg: Any) -> None:
    """Whatever the task: physics and images without Isaac Sim, and little of each kind of ground.

    A preset for Newton is kept; where there is none, the task may be made for PhysX alone.
    """
    from isaaclab_newton.physics import NewtonCfg
    from isaaclab_newton.renderers import NewtonWarpRendererCfg

    if not isinstance(cfg.sim.physics, NewtonCfg):
        on_newton(cfg)
    cfg.scene.replicate_physics = True  # the only way for Newton
    for sensor in vars(cfg.scene).values():
        if any(base.__name__ == "CameraCfg" for base in type(sensor).__mro__):
            sensor.renderer_cfg = NewtonWarpRendererCfg()
    generator = getattr(getattr(cfg.scene, "terrain", None), "terrain_generator", None)
    if generator is not None:
        generator.num_rows = generator.num_cols = 2


def quiet_go2(cfg: Any) -> None:
    """Noise, pushes, new commands and ends are off; histories on."""
    cfg.observations.policy.enable_corruption = False
    cfg.observations.policy.history_length = 3
    cfg.events.push_robot = None
    cfg.terminations.base_contact = None
    cfg.commands.base_velocity.resampling_time_range = (1000.0, 1000.0)
    cfg.episode_length_s = 1000.0


def actions_for(env: Any, num_steps: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.rand((num_steps, *env.action_space.shape), generator=generator) - 0.5


def hard_go2(cfg: Any) -> None:
    """Noise, histories, and ends, pushes and new commands every few steps."""
    busy(cfg)
    cfg.episode_length_s = 0.6  # 30 steps


def hard_cartpole(cfg: Any) -> None:
    """Noise, histories and ends; rows start anywhere."""
    from isaaclab.managers import EventTermCfg
    from isaaclab.utils.noise import UniformNoiseCfg

    policy = cfg.observations.policy
    policy.history_length = 3
    policy.enable_corruption = True
    for term in (policy.joint_pos_rel, policy.joint_vel_rel):
        term.noise = UniformNoiseCfg(n_min=-0.02, n_max=0.02)
    cfg.episode_length_s = 0.4  # 24 steps
    cfg.events.placed_one_by_one = EventTermCfg(func=_place_one_by_one, mode="reset")


def _place_one_by_one(env: Any, env_ids: torch.Tensor) -> None:
    """As the tasks that stack cubes draw: with Python and NumPy, in a loop over rows."""
    from isaaclab.envs import mdp

    positions = np.random.uniform(-0.2, 0.2, size=len(env_ids))
    for row, position in zip(env_ids.tolist(), positions, strict=True):
        position, velocity = float(position), random.choice([-0.1, 0.1]) * np.random.random()
        ids = torch.tensor([row], dtype=env_ids.dtype, device=env_ids.device)
        mdp.reset_joints_by_offset(env, ids, (position, position), (velocity, velocity))


def short(cfg: Any) -> None:
    """Ends after half a second."""
    cfg.episode_length_s = 0.5


def short_on_newton(cfg: Any) -> None:
    """The same for a task without presets."""
    on_newton(cfg)
    short(cfg)
