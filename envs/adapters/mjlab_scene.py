"""Where the entities of an mjlab scene are, read from the integrator's own state."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from holdstep.envs.scene_state import ScenePart, SceneState


def scene_of(env: Any) -> SceneState:
    """The scene of a ``mjlab.envs.ManagerBasedRlEnv``.

    Entities with joints of their own are articulations, the others rigid objects, as Isaac Lab
    names them. Only what can be set is part of it: an entity with a free joint has a root pose and
    velocity, one on a mocap body a pose, one that is fixed to the world neither.

    Everything is read from ``qpos``, ``qvel`` and the mocap bodies' poses, which are true at any
    time; mjlab's derived quantities (``root_link_pose_w``) lag a physics step behind until the next
    ``forward()``, and so would a state before a reset.
    """
    parts = {
        f"{'articulation' if entity.is_articulated else 'rigid_object'}/{name}/{part_name}": part
        for name, entity in env.scene.entities.items()
        for part_name, part in _parts_of(entity)
    }
    return SceneState(parts, origins=lambda: env.scene.env_origins)


def _parts_of(entity: Any) -> Iterator[tuple[str, ScenePart]]:
    data = entity.data
    if not entity.is_fixed_base:
        yield "root_pose", _free_pose(data)
        yield "root_velocity", _free_velocity(data)
    elif data.indexing.mocap_id is not None:
        yield "root_pose", _mocap_pose(data)
    if entity.is_articulated:
        yield (
            "joint_position",
            ScenePart(
                read=lambda: data.joint_pos,  # gathered, so in memory of its own
                write=lambda values, ids: data.write_joint_position(values, env_ids=ids),
            ),
        )
        yield (
            "joint_velocity",
            ScenePart(
                read=lambda: data.joint_vel,
                write=lambda values, ids: data.write_joint_velocity(values, env_ids=ids),
            ),
        )


def _free_pose(data: Any) -> ScenePart:
    addresses = data.indexing.free_joint_q_adr
    return ScenePart(
        read=lambda: data.data.qpos[:, addresses], write=data.write_root_pose, is_pose=True
    )


def _free_velocity(data: Any) -> ScenePart:
    quaternion, addresses = data.indexing.free_joint_q_adr[3:7], data.indexing.free_joint_v_adr

    def read() -> torch.Tensor:
        # MuJoCo keeps a free joint's angular velocity in the body's axes.
        velocity: torch.Tensor = data.data.qvel[:, addresses]
        velocity[:, 3:] = _rotated(data.data.qpos[:, quaternion], velocity[:, 3:])
        return velocity

    return ScenePart(read=read, write=data.write_root_velocity)


def _mocap_pose(data: Any) -> ScenePart:
    index = data.indexing.mocap_id

    def read() -> torch.Tensor:
        simulated = data.data
        return torch.cat((simulated.mocap_pos[:, index], simulated.mocap_quat[:, index]), dim=-1)

    def write(values: torch.Tensor, env_ids: torch.Tensor) -> None:
        data.data.mocap_pos[env_ids, index] = values[:, :3]
        data.data.mocap_quat[env_ids, index] = values[:, 3:]

    return ScenePart(read=read, write=write, is_pose=True)


def _rotated(quaternion: torch.Tensor, vector: torch.Tensor) -> torch.Tensor:
    """Vectors ``[N, 3]`` turned by unit quaternions ``[N, 4]`` (wxyz)."""
    axis = quaternion[:, 1:]
    twice: torch.Tensor = 2 * torch.linalg.cross(axis, vector)
    turned: torch.Tensor = vector + quaternion[:, :1] * twice + torch.linalg.cross(axis, twice)
    return turned
