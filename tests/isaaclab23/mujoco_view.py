"""PhysX's view of articulations, over MuJoCo: real physics under Isaac Lab 2.3's own asset classes.

Only what those call is here, in PhysX's conventions: quaternions x, y, z, w; root and link
velocities at centres of mass; getters that fill the same tensor each time; and an order of joints
and links of its own, which is not MuJoCo's.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import mujoco
import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

_XYZW = [1, 2, 3, 0]
_WXYZ = [3, 0, 1, 2]


class MujocoView:
    """``omni.physics.tensors``' ``ArticulationView`` of one floating robot per row.

    Args:
        model: with a free joint, and joints of one axis.
        count: rows.
    """

    max_fixed_tendons = 0
    max_spatial_tendons = 0
    _backend = "mujoco"

    def __init__(self, model: mujoco.MjModel, count: int) -> None:
        model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_ACTUATION  # drives are PhysX's here
        self.count = count
        self.model = model
        self.datas = [mujoco.MjData(model) for _ in range(count)]
        free = [j for j in range(model.njnt) if model.jnt_type[j] == mujoco.mjtJoint.mjJNT_FREE]
        self._root = int(model.jnt_bodyid[free[0]])
        self._root_q = int(model.jnt_qposadr[free[0]])
        self._root_v = int(model.jnt_dofadr[free[0]])
        joints = [j for j in range(model.njnt) if j not in free][::-1]
        self._q = model.jnt_qposadr[joints]
        self._v = model.jnt_dofadr[joints]
        links = [b for b in range(model.nbody) if model.body_rootid[b] == self._root]
        self._links = [self._root, *[b for b in links if b != self._root][::-1]]
        slides = mujoco.mjtJoint.mjJNT_SLIDE
        self.shared_metatype = SimpleNamespace(
            fixed_base=False,
            dof_count=len(joints),
            dof_names=[_last_part(model.joint(j).name) for j in joints],
            dof_types=[int(model.jnt_type[j] == slides) for j in joints],
            link_count=len(self._links),
            link_names=[_last_part(model.body(b).name) for b in self._links],
        )
        rows, dofs = (count, len(joints)), len(joints)
        limits = torch.from_numpy(model.jnt_range[joints]).float()
        limited = torch.from_numpy(model.jnt_limited[joints]).bool()[:, None]
        self._limits = torch.where(limited, limits, torch.tensor([-1e9, 1e9])).repeat(count, 1, 1)
        self._kept = {
            name: torch.full(rows, value)
            for name, value in {
                "stiffnesses": 0.0,
                "dampings": 0.0,
                "armatures": 0.0,
                "max_forces": 1e9,
                "max_velocities": 1e9,
            }.items()
        }
        self._friction = torch.zeros(count, dofs, 3)
        self._efforts = torch.zeros(rows)
        self._position_targets = torch.zeros(rows)
        self._velocity_targets = torch.zeros(rows)
        self._buffers: dict[str, torch.Tensor] = {}
        self._forward()

    def __getattr__(self, name: str) -> Any:
        """``get_dof_<what>()`` and ``set_dof_<what>(values, indices)`` of kept properties."""
        verb, _, what = name.partition("_dof_")
        kept = self.__dict__.get("_kept", {})
        if what not in kept or verb not in ("get", "set"):
            raise AttributeError(name)
        if verb == "get":
            return lambda: kept[what]

        def set_rows(values: torch.Tensor, indices: torch.Tensor) -> None:
            kept[what][indices] = values[indices]

        return set_rows

    def step(self, dt: float) -> None:
        """One step of physics [s], with the drives of implicit actuators."""
        self.model.opt.timestep = dt
        position, velocity = self._joints("qpos", self._q), self._joints("qvel", self._v)
        efforts = self._efforts + self._kept["stiffnesses"] * (self._position_targets - position)
        efforts = efforts + self._kept["dampings"] * (self._velocity_targets - velocity)
        for data, effort in zip(self.datas, efforts.double().numpy(), strict=True):
            data.qfrc_applied[self._v] = effort
            mujoco.mj_step(self.model, data)
        self._forward()

    def get_dof_limits(self) -> torch.Tensor:
        """``[N, J, 2]``."""
        return self._limits

    def set_dof_limits(self, limits: torch.Tensor, indices: torch.Tensor) -> None:
        """Keep them."""
        self._limits[indices] = limits[indices]

    def get_dof_friction_properties(self) -> torch.Tensor:
        """``[N, J, 3]``."""
        return self._friction

    def set_dof_friction_properties(self, values: torch.Tensor, indices: torch.Tensor) -> None:
        """Keep them."""
        self._friction[indices] = values[indices]

    def get_dof_positions(self) -> torch.Tensor:
        """``[N, J]`` [rad, m], each time in the same tensor."""
        return self._filled("positions", self._joints("qpos", self._q))

    def get_dof_velocities(self) -> torch.Tensor:
        """``[N, J]`` [rad/s, m/s], each time in the same tensor."""
        return self._filled("velocities", self._joints("qvel", self._v))

    def set_dof_positions(self, values: torch.Tensor, indices: torch.Tensor) -> None:
        """Move rows."""
        for row, data in self._chosen(indices):
            data.qpos[self._q] = values[row].double().numpy()

    def set_dof_velocities(self, values: torch.Tensor, indices: torch.Tensor) -> None:
        """Set rows moving."""
        for row, data in self._chosen(indices):
            data.qvel[self._v] = values[row].double().numpy()

    def set_dof_actuation_forces(self, values: torch.Tensor, indices: torch.Tensor) -> None:
        """Efforts of the next steps."""
        self._efforts[indices] = values[indices]

    def set_dof_position_targets(self, values: torch.Tensor, indices: torch.Tensor) -> None:
        """Of implicit actuators."""
        self._position_targets[indices] = values[indices]

    def set_dof_velocity_targets(self, values: torch.Tensor, indices: torch.Tensor) -> None:
        """Of implicit actuators."""
        self._velocity_targets[indices] = values[indices]

    def get_root_transforms(self) -> torch.Tensor:
        """``[N, 7]``: position, and x, y, z, w."""
        poses = self._stacked(lambda data: data.qpos[self._root_q : self._root_q + 7])
        return self._filled("root", torch.cat([poses[:, :3], poses[:, 3:][:, _XYZW]], dim=1))

    def set_root_transforms(self, poses: torch.Tensor, indices: torch.Tensor) -> None:
        """Put roots elsewhere."""
        for row, data in self._chosen(indices):
            pose = poses[row].double().numpy()
            data.qpos[self._root_q : self._root_q + 7] = [*pose[:3], *pose[3:][_WXYZ]]

    def get_root_velocities(self) -> torch.Tensor:
        """``[N, 6]`` of the centre of mass, in the world."""
        return self._filled("root_velocity", self._stacked(self._root_velocity))

    def set_root_velocities(self, velocities: torch.Tensor, indices: torch.Tensor) -> None:
        """Set roots moving."""
        for row, data in self._chosen(indices):
            velocity = velocities[row].double().numpy()
            rotation, offset = self._root_frame(data)
            linear = velocity[:3] - np.cross(velocity[3:], offset)
            data.qvel[self._root_v : self._root_v + 6] = [*linear, *(rotation.T @ velocity[3:])]

    def get_link_transforms(self) -> torch.Tensor:
        """``[N, L, 7]``."""
        return self._stacked(
            lambda data: np.concatenate(
                [data.xpos[self._links], data.xquat[self._links][:, _XYZW]], axis=1
            )
        )

    def get_link_velocities(self) -> torch.Tensor:
        """``[N, L, 6]`` of centres of mass."""

        def of(data: mujoco.MjData) -> np.ndarray:
            found = np.zeros((len(self._links), 6))
            for velocity, body in zip(found, self._links, strict=True):
                kind = mujoco.mjtObj.mjOBJ_BODY
                mujoco.mj_objectVelocity(self.model, data, kind, body, velocity, 0)
            return found[:, [3, 4, 5, 0, 1, 2]]

        return self._stacked(of)

    def get_link_accelerations(self) -> torch.Tensor:
        """Not computed: zeros ``[N, L, 6]``."""
        return torch.zeros(self.count, len(self._links), 6)

    def get_coms(self) -> torch.Tensor:
        """``[N, L, 7]`` in link frames, which they are parallel to."""
        position = torch.from_numpy(self.model.body_ipos[self._links]).float()
        upright = torch.tensor([0.0, 0.0, 0.0, 1.0]).expand(len(self._links), 4)
        return torch.cat([position, upright], dim=1).repeat(self.count, 1, 1)

    def get_masses(self) -> torch.Tensor:
        """``[N, L]`` [kg]."""
        return torch.from_numpy(self.model.body_mass[self._links]).float().repeat(self.count, 1)

    def get_inertias(self) -> torch.Tensor:
        """Nobody's business here: ``[N, L, 9]``."""
        return torch.zeros(self.count, len(self._links), 9)

    def _root_frame(self, data: mujoco.MjData) -> tuple[np.ndarray, np.ndarray]:
        """The root's rotation, and where its centre of mass lies from its origin, in the world."""
        rotation = np.zeros(9)
        mujoco.mju_quat2Mat(rotation, data.qpos[self._root_q + 3 : self._root_q + 7])
        rotation = rotation.reshape(3, 3)
        return rotation, rotation @ self.model.body_ipos[self._root]

    def _root_velocity(self, data: mujoco.MjData) -> np.ndarray:
        velocity = data.qvel[self._root_v : self._root_v + 6]
        rotation, offset = self._root_frame(data)
        angular = rotation @ velocity[3:]
        return np.concatenate([velocity[:3] + np.cross(angular, offset), angular])

    def _joints(self, array: str, addresses: np.ndarray) -> torch.Tensor:
        return self._stacked(lambda data: getattr(data, array)[addresses])

    def _stacked(self, read: Any) -> torch.Tensor:
        return torch.from_numpy(np.stack([read(data) for data in self.datas])).float()

    def _filled(self, name: str, value: torch.Tensor) -> torch.Tensor:
        return self._buffers.setdefault(name, value.clone()).copy_(value)

    def _chosen(self, indices: torch.Tensor) -> Iterator[tuple[int, mujoco.MjData]]:
        for row in indices.tolist():
            yield row, self.datas[row]
            mujoco.mj_forward(self.model, self.datas[row])

    def _forward(self) -> None:
        for data in self.datas:
            mujoco.mj_forward(self.model, data)


def _last_part(name: str) -> str:
    return name.rpartition("/")[2]
