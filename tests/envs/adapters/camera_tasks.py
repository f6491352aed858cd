"""mjlab tasks with small cameras."""

from __future__ import annotations

import copy
from typing import Any

from holdstep.envs.adapters.mjlab import MjlabEnv, task_registry
from tests.conftest import silenced
from tests.envs.adapters.mjlab_hard_tasks import hard_cfg

CARTPOLE = "Mjlab-Cartpole-Balance"
IMAGES = {"camera", "views/depth", "views/pole"}


def camera_cfg(*, num_envs: int = 4, size: int = 12, **options: Any) -> Any:
    """Cartpole with noise, delays, histories and pushes, seen by two cameras."""
    return _with_cameras(hard_cfg(CARTPOLE, num_envs=num_envs, **options), size)


def calm_camera_cfg(*, num_envs: int = 4, size: int = 12) -> Any:
    """Cartpole as it is, seen by the same cameras."""
    cfg = copy.deepcopy(task_registry().load_env_cfg(CARTPOLE))
    cfg.scene.num_envs, cfg.seed = num_envs, 3
    return _with_cameras(cfg, size)


def _with_cameras(cfg: Any, size: int) -> Any:
    """Adds a group that is a picture alone, and one of pictures with a state term between them."""
    from mjlab.envs.mdp import joint_pos_rel
    from mjlab.managers.observation_manager import ObservationGroupCfg, ObservationTermCfg
    from mjlab.managers.scene_entity_config import SceneEntityCfg
    from mjlab.sensor import CameraSensorCfg
    from mjlab.tasks.manipulation import mdp

    shape = {"width": size, "height": size, "enabled_geom_groups": (0, 1, 2)}
    cfg.scene.sensors = (
        *(cfg.scene.sensors or ()),
        CameraSensorCfg(name="front", pos=(0.0, -3.0, 1.2), quat=(0.707, 0.707, 0.0, 0.0), **shape),
        CameraSensorCfg(
            name="pole",
            parent_body="cartpole/pole_1",
            pos=(0.0, -1.0, 0.5),
            quat=(0.707, 0.707, 0.0, 0.0),
            data_types=("rgb", "depth"),
            **shape,
        ),
    )
    depth = {"sensor_name": "pole", "cutoff_distance": 5.0}
    cfg.observations["camera"] = ObservationGroupCfg(
        terms={"rgb": ObservationTermCfg(func=mdp.camera_rgb, params={"sensor_name": "front"})}
    )
    cfg.observations["views"] = ObservationGroupCfg(
        terms={
            "depth": ObservationTermCfg(func=mdp.camera_depth, params=depth, clip=(0.0, 0.9)),
            "joints": ObservationTermCfg(
                func=joint_pos_rel,
                params={"asset_cfg": SceneEntityCfg("cartpole")},
                history_length=2,
            ),
            "pole": ObservationTermCfg(
                func=mdp.camera_rgb, params={"sensor_name": "pole"}, scale=2.0
            ),
        },
        concatenate_terms=False,
    )
    return cfg


def build(cfg: Any, *, lazy: bool = False, device: str = "cpu") -> MjlabEnv:
    """An env of this configuration."""
    from mjlab.envs import ManagerBasedRlEnv

    with silenced():
        env = MjlabEnv(ManagerBasedRlEnv(cfg=cfg, device=device))
    env.lazy_rendering = lazy
    return env
