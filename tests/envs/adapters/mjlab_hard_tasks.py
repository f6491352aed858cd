"""mjlab tasks in which much happens in few steps: all that a suspended row must be kept from."""

from __future__ import annotations

import copy
import random
from typing import Any

import numpy as np
import torch

from holdstep.envs.adapters.mjlab import MjlabEnv, task_registry
from tests.conftest import silenced


def hard_cfg(
    task: str, *, num_envs: int, episode_steps: int = 25, seed: int = 3, **overrides: Any
) -> Any:
    """A task's configuration with noise, delays, histories, pushes and new commands everywhere.

    Args:
        task: mjlab's id.
        num_envs: number of rows.
        episode_steps: time limit [env steps].
        seed: mjlab's.
        **overrides: further settings of the configuration, by name.
    """
    from mjlab.utils.noise import (
        GaussianNoiseCfg,
        NoiseModelWithAdditiveBiasCfg,
        UniformNoiseCfg,
    )

    cfg = copy.deepcopy(task_registry().load_env_cfg(task))
    cfg.scene.num_envs = num_envs
    cfg.seed = seed
    step_dt = cfg.sim.mujoco.timestep * cfg.decimation
    cfg.episode_length_s = episode_steps * step_dt
    for group in cfg.observations.values():
        group.enable_corruption = True
        for index, term in enumerate(group.terms.values()):
            term.noise = [
                UniformNoiseCfg(n_min=-0.02, n_max=0.02),
                GaussianNoiseCfg(std=0.01),
                NoiseModelWithAdditiveBiasCfg(
                    noise_cfg=UniformNoiseCfg(n_min=-0.01, n_max=0.01),
                    bias_noise_cfg=GaussianNoiseCfg(std=0.1),
                ),
            ][index % 3]
            term.history_length = (0, 3)[index % 2]
            if index % 3 == 1:
                term.delay_min_lag, term.delay_max_lag = 0, 3
                term.delay_hold_prob, term.delay_update_period = 0.3, 2
    for command in cfg.commands.values():
        command.resampling_time_range = (2 * step_dt, 7 * step_dt)
    _add_push(cfg, step_dt)
    _add_kick_one_by_one(cfg)
    for entity in cfg.scene.entities.values():
        for actuator in (
            getattr(entity.articulation, "actuators", ()) if entity.articulation else ()
        ):
            if type(actuator).__name__ != "XmlActuatorCfg":
                actuator.delay_min_lag, actuator.delay_max_lag = 0, 3
                actuator.delay_hold_prob, actuator.delay_update_period = 0.2, 3
    for name, value in overrides.items():
        setattr(cfg, name, value)
    return cfg


def make_hard(task: str, *, device: str = "cpu", **options: Any) -> MjlabEnv:
    """Build a task with :func:`hard_cfg`."""
    from mjlab.envs import ManagerBasedRlEnv

    with silenced():
        return MjlabEnv(ManagerBasedRlEnv(cfg=hard_cfg(task, **options), device=device))


def _add_push(cfg: Any, step_dt: float) -> None:
    """A frequent disturbance: the task's own push, or random joint offsets without one."""
    from mjlab.managers import EventTermCfg

    push = cfg.events.get("push_robot")
    if push is None:
        push = cfg.events["push_robot"] = EventTermCfg(func=_kick_joints, mode="interval")
    push.interval_range_s = (3 * step_dt, 9 * step_dt)


def _kick_joints(env: Any, env_ids: Any) -> None:
    shape = (len(env_ids), _jointed(env).num_joints)
    _add_velocity(env, env_ids, 0.2 * (torch.rand(shape, device=env.device) - 0.5))


def _add_kick_one_by_one(cfg: Any) -> None:
    """Velocities at the start of an episode, drawn as tasks do that write Python loops."""
    from mjlab.managers import EventTermCfg

    cfg.events["kick_one_by_one"] = EventTermCfg(func=_kick_one_by_one, mode="reset")


def _kick_one_by_one(env: Any, env_ids: torch.Tensor) -> None:
    num_joints = _jointed(env).num_joints
    at_once = 0.1 * np.random.uniform(-1, 1, size=(len(env_ids), num_joints))
    for index, row in enumerate(env_ids.tolist()):
        kick = at_once[index] + 0.1 * np.random.normal() + random.choice([-0.1, 0.0, 0.1])
        added = torch.as_tensor(kick, dtype=torch.float32, device=env.device)
        _add_velocity(env, torch.tensor([row], device=env.device), added.unsqueeze(0))


def _jointed(env: Any) -> Any:
    return next(entity for entity in env.scene.entities.values() if entity.num_joints)


def _add_velocity(env: Any, env_ids: torch.Tensor, added: torch.Tensor) -> None:
    entity = _jointed(env)
    joint_pos, joint_vel = entity.data.joint_pos[env_ids], entity.data.joint_vel[env_ids]
    entity.write_joint_state_to_sim(joint_pos, joint_vel + added, env_ids=env_ids)
