"""A cart-pole with the part of the 2.3.2 ``Articulation`` interface that env terms use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from isaaclab.utils.buffers import TimestampedBuffer
from isaaclab.utils.string import resolve_matching_names, resolve_matching_names_values

from tests.isaaclab23.cartpole_physics import JOINT_NAMES, CartPolePhysics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from isaaclab.assets import ArticulationCfg

    Ids = Sequence[int] | slice | torch.Tensor | None

_BODY_NAMES = ("slider", "cart", "pole")
_POSITION_LIMIT = 4.0  # [m, rad]
_VELOCITY_LIMIT = 100.0  # [m/s, rad/s]


@dataclass
class FakeArticulationData:
    """State buffers, float32; wxyz quaternions as in 2.3.

    ``joint_pos`` and ``joint_vel`` are live: each update overwrites them in place, which is what
    PhysX's tensor views do, so code that keeps a reference instead of a copy is found out.
    """

    joint_names: list[str]
    default_root_state: torch.Tensor
    default_joint_pos: torch.Tensor
    default_joint_vel: torch.Tensor
    root_pose_w: torch.Tensor
    root_vel_w: torch.Tensor
    joint_pos: torch.Tensor
    joint_vel: torch.Tensor
    joint_pos_target: torch.Tensor
    joint_vel_target: torch.Tensor
    joint_effort_target: torch.Tensor
    computed_torque: torch.Tensor
    applied_torque: torch.Tensor
    joint_pos_limits: torch.Tensor
    soft_joint_pos_limits: torch.Tensor
    soft_joint_vel_limits: torch.Tensor

    def __post_init__(self) -> None:
        """Start the clock of the lazily computed quantities."""
        self._sim_timestamp = 0.0
        self._tip_position = TimestampedBuffer()

    @property
    def tip_position(self) -> torch.Tensor:
        """Where the pole's tip is [m], shape (num_envs, 2), computed when it is first read.

        As with PhysX's derived quantities, writing a joint state does not invalidate it: read
        before an in-step reset, it is stale until the next physics step.
        """
        if self._tip_position.timestamp < self._sim_timestamp:
            cart, angle = self.joint_pos.unbind(dim=-1)
            tip = torch.stack((cart + angle.sin(), angle.cos()), dim=-1)
            self._tip_position.data = tip
            self._tip_position.timestamp = self._sim_timestamp
        return self._tip_position.data

    @property
    def root_state_w(self) -> torch.Tensor:
        """Root pose and velocity, shape (num_envs, 13)."""
        return torch.cat((self.root_pose_w, self.root_vel_w), dim=-1)


class FakeArticulation:
    """Keeps Isaac Lab's two copies of the state apart: buffers in :attr:`data`, and the simulator.

    ``set_joint_*_target`` only fills buffers, ``write_data_to_sim`` sends them, ``update`` reads
    the state back; ``write_joint_*_to_sim`` changes both at once. An env that skips one of these
    calls misbehaves here as it would over PhysX.
    """

    def __init__(self, cfg: ArticulationCfg, num_envs: int, device: str) -> None:
        self.cfg = cfg
        self.device = device
        self.num_instances = num_envs
        self.is_initialized = True
        self.is_fixed_base = True
        self.joint_names = list(JOINT_NAMES)
        self.body_names = list(_BODY_NAMES)
        self.num_joints = len(JOINT_NAMES)
        self.num_bodies = len(_BODY_NAMES)
        self.actuators: dict[str, object] = {}  # efforts go to the simulator as they are
        self.physics = CartPolePhysics(num_envs, device)
        self._ALL_INDICES = torch.arange(num_envs, device=device)
        self._data = self._allocate()
        self.write_joint_state_to_sim(self.data.default_joint_pos, self.data.default_joint_vel)

    def _allocate(self) -> FakeArticulationData:
        def rows(values: Sequence[float]) -> torch.Tensor:
            return torch.tensor(values, device=self.device).repeat(self.num_instances, 1)

        def joints(values: dict[str, float]) -> torch.Tensor:
            indices, _, matched = resolve_matching_names_values(values, self.joint_names)
            row = [0.0] * self.num_joints
            for index, value in zip(indices, matched, strict=True):
                row[index] = value
            return rows(row)

        init = self.cfg.init_state
        root = rows([*init.pos, *init.rot, *init.lin_vel, *init.ang_vel])
        position, velocity = joints(init.joint_pos), joints(init.joint_vel)
        limits = torch.stack((position - _POSITION_LIMIT, position + _POSITION_LIMIT), dim=-1)
        return FakeArticulationData(
            joint_names=self.joint_names,
            default_root_state=root,
            default_joint_pos=position,
            default_joint_vel=velocity,
            root_pose_w=root[:, :7].clone(),
            root_vel_w=root[:, 7:].clone(),
            joint_pos=position.clone(),
            joint_vel=velocity.clone(),
            joint_pos_target=torch.zeros_like(position),
            joint_vel_target=torch.zeros_like(position),
            joint_effort_target=torch.zeros_like(position),
            computed_torque=torch.zeros_like(position),
            applied_torque=torch.zeros_like(position),
            joint_pos_limits=limits,
            soft_joint_pos_limits=limits.clone(),
            soft_joint_vel_limits=torch.full_like(position, _VELOCITY_LIMIT),
        )

    @property
    def data(self) -> FakeArticulationData:
        """State buffers."""
        return self._data

    def find_joints(
        self, name_keys: str | Sequence[str], preserve_order: bool = False
    ) -> tuple[list[int], list[str]]:
        """Return the indices and names of the joints that match the expressions."""
        indices, names = resolve_matching_names(name_keys, self.joint_names, preserve_order)
        return indices, names

    def find_bodies(
        self, name_keys: str | Sequence[str], preserve_order: bool = False
    ) -> tuple[list[int], list[str]]:
        """Return the indices and names of the bodies that match the expressions."""
        indices, names = resolve_matching_names(name_keys, self.body_names, preserve_order)
        return indices, names

    def reset(self, env_ids: Ids = None) -> None:
        """Reset actuator models; there are none, and the real one keeps effort targets too."""

    def write_data_to_sim(self) -> None:
        """Send the effort targets to the simulator."""
        self.data.computed_torque[:] = self.data.joint_effort_target
        self.data.applied_torque[:] = self.data.joint_effort_target
        self.physics.effort[:] = self.data.joint_effort_target

    def update(self, dt: float) -> None:
        """Read the joint state back, into the same tensors."""
        self.data._sim_timestamp += dt
        self.data.joint_pos[:] = self.physics.position
        self.data.joint_vel[:] = self.physics.velocity

    def write_root_pose_to_sim(self, root_pose: torch.Tensor, env_ids: Ids = None) -> None:
        """Set root poses [m, wxyz], shape (len(env_ids), 7)."""
        self.data.root_pose_w[self._rows(env_ids)] = root_pose

    def write_root_velocity_to_sim(self, root_velocity: torch.Tensor, env_ids: Ids = None) -> None:
        """Set root velocities [m/s, rad/s], shape (len(env_ids), 6)."""
        self.data.root_vel_w[self._rows(env_ids)] = root_velocity

    def write_joint_state_to_sim(
        self,
        position: torch.Tensor,
        velocity: torch.Tensor,
        joint_ids: Ids = None,
        env_ids: Ids = None,
    ) -> None:
        """Set joint positions and velocities, shape (len(env_ids), len(joint_ids))."""
        self.write_joint_position_to_sim(position, joint_ids, env_ids)
        self.write_joint_velocity_to_sim(velocity, joint_ids, env_ids)

    def write_joint_position_to_sim(
        self, position: torch.Tensor, joint_ids: Ids = None, env_ids: Ids = None
    ) -> None:
        """Set joint positions [m, rad], shape (len(env_ids), len(joint_ids))."""
        index = self._index(env_ids, joint_ids)
        self.data.joint_pos[index] = position
        self.physics.position[index] = position

    def write_joint_velocity_to_sim(
        self, velocity: torch.Tensor, joint_ids: Ids = None, env_ids: Ids = None
    ) -> None:
        """Set joint velocities [m/s, rad/s], shape (len(env_ids), len(joint_ids))."""
        index = self._index(env_ids, joint_ids)
        self.data.joint_vel[index] = velocity
        self.physics.velocity[index] = velocity

    def set_joint_effort_target(
        self, target: torch.Tensor, joint_ids: Ids = None, env_ids: Ids = None
    ) -> None:
        """Fill the effort buffer [N, N m], shape (len(env_ids), len(joint_ids))."""
        self.data.joint_effort_target[self._index(env_ids, joint_ids)] = target

    def set_joint_position_target(
        self, target: torch.Tensor, joint_ids: Ids = None, env_ids: Ids = None
    ) -> None:
        """Fill the position target buffer; the toy has no position drive."""
        self.data.joint_pos_target[self._index(env_ids, joint_ids)] = target

    def set_joint_velocity_target(
        self, target: torch.Tensor, joint_ids: Ids = None, env_ids: Ids = None
    ) -> None:
        """Fill the velocity target buffer; the toy has no velocity drive."""
        self.data.joint_vel_target[self._index(env_ids, joint_ids)] = target

    def _rows(self, env_ids: Ids) -> torch.Tensor:
        if env_ids is None or isinstance(env_ids, slice):
            return self._ALL_INDICES[env_ids or slice(None)]
        return torch.as_tensor(env_ids, dtype=torch.long, device=self.device)

    def _index(self, env_ids: Ids, joint_ids: Ids) -> tuple[torch.Tensor, torch.Tensor]:
        joints = torch.arange(self.num_joints, device=self.device)
        if joint_ids is None or isinstance(joint_ids, slice):
            joints = joints[joint_ids or slice(None)]
        else:
            joints = torch.as_tensor(joint_ids, dtype=torch.long, device=self.device)
        return self._rows(env_ids)[:, None], joints
