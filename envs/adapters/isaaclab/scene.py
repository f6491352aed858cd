"""Where the assets of an Isaac Lab scene are."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

from holdstep.envs.adapters.isaaclab.lazy_data import data_objects, unread
from holdstep.envs.adapters.isaaclab.lazy_rows import LazyRows
from holdstep.envs.adapters.isaaclab.plain import as_tensor
from holdstep.envs.scene_state import ScenePart, SceneState

_KINDS = {"articulation": "_articulations", "rigid_object": "_rigid_objects"}
_ROOT = (
    # Name in a dataset, attribute of the asset's data, setter, and its keyword in Isaac Lab 3.
    ("root_pose", "root_pose_w", "root_pose", "root_pose"),
    ("root_velocity", "root_vel_w", "root_velocity", "root_velocity"),
)
_JOINTS = (
    ("joint_position", "joint_pos", "joint_position", "position"),
    ("joint_velocity", "joint_vel", "joint_velocity", "velocity"),
)


class IsaacLabScene(SceneState):
    """The articulations and rigid objects of a scene, as Isaac Lab's own recorder has them.

    The same numbers as ``scene.get_state(is_relative=True)``: a velocity is that of the root's
    center of mass. As there, collections of rigid objects are not part of it; nor are deformable
    objects and grippers, which have no such state.

    Args:
        core: the env object that owns the scene.
    """

    def __init__(self, core: Any) -> None:
        self._core = core
        scene = core.scene
        parts = {
            f"{kind}/{name}/{part_name}": part
            for kind, attribute in _KINDS.items()
            for name, asset in (getattr(scene, attribute, None) or {}).items()
            for part_name, part in _parts_of(asset, has_joints=kind == "articulation")
        }
        super().__init__(parts, origins=lambda: scene.env_origins)
        # Newton's data are views of what the physics writes; PhysX's are fetched when first read.
        physics = getattr(core.sim, "physics_manager", None)
        self._is_view = "newton" in str(getattr(physics, "__module__", physics))

    def read(self) -> dict[str, torch.Tensor]:
        """By path, float32 ``[N, ...]`` in memory of their own; leaves no trace."""
        with contextlib.nullcontext() if self._is_view else unread(self._core):
            return super().read()

    def settle(self, env_ids: torch.Tensor) -> None:
        """Rows, ids ``[k]``, have been written: make what is derived from them true of them."""
        core = self._core
        for sensor in core.scene.sensors.values():
            sensor.reset(env_ids)
        core.sim.forward()
        mask = torch.zeros(core.num_envs, dtype=torch.bool, device=core.device)
        mask[env_ids.long()] = True
        by_number = {str(number): data for number, data in enumerate(data_objects(core))}
        LazyRows(by_number, core.num_envs).rows_written(mask, ())


def _parts_of(asset: Any, *, has_joints: bool) -> Iterator[tuple[str, ScenePart]]:
    for part_name, attribute, setter, keyword in _ROOT + (_JOINTS if has_joints else ()):
        yield part_name, _part(asset, attribute, setter, keyword, is_pose=part_name == "root_pose")


def _part(asset: Any, attribute: str, setter: str, keyword: str, *, is_pose: bool) -> ScenePart:
    def read() -> torch.Tensor:
        tensor = as_tensor(getattr(asset.data, attribute))
        assert tensor is not None
        return tensor.clone()

    indexed = getattr(asset, f"write_{setter}_to_sim_index", None)

    def write(values: torch.Tensor, env_ids: torch.Tensor) -> None:
        if indexed is not None:  # Isaac Lab 3, whose kernels index with 32 bits
            indexed(**{keyword: values.contiguous(), "env_ids": env_ids.int()})
        else:
            getattr(asset, f"write_{setter}_to_sim")(values, env_ids=env_ids)

    return ScenePart(read=read, write=write, is_pose=is_pose)
