"""The double pendulum as a host for exported policies: nothing but its physics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from holdstep.envs.deployment.host import (
    HostEntity,
    HostSetup,
    HostSource,
    HostTarget,
    HostValue,
    NotAtHostError,
)
from holdstep.envs.device import canonical_device
from holdstep.envs.reference.pendulum_physics import JOINTS, advance_pendulum
from holdstep.errors import ConfigError

if TYPE_CHECKING:
    from holdstep.wrappers.export.connections import Connection
    from holdstep.wrappers.export.tensors import QuaternionOrder

_UNITS = {"joint_pos": "rad", "joint_vel": "rad/s"}
_WRITE = "set_joint_effort_target"


class PendulumHost:
    """Runs an exported policy on the physics of a double pendulum.

    Args:
        num_envs: rows.
        device: where its tensors live.
        joint_names: the joints, in the order in which this host has them; policies find theirs by
            name.
        physics_dt: [s] one step.

    Attributes:
        joint_pos: [rad] ``[N, 2]`` in this host's order; write to it to begin elsewhere.
        joint_vel: [rad/s] ``[N, 2]``.

    Raises:
        ConfigError: these are no names of the pendulum's joints.
    """

    name = "pendulum"
    quaternion_order: QuaternionOrder = "wxyz"

    def __init__(
        self,
        num_envs: int = 1,
        *,
        device: str | torch.device = "cpu",
        joint_names: Sequence[str] = JOINTS,
        physics_dt: float = 0.005,
    ) -> None:
        if sorted(joint_names) != sorted(JOINTS):
            raise ConfigError(f"joint_names must be {JOINTS} in some order, got {joint_names}.")
        self.num_envs = num_envs
        self.device = canonical_device(device)
        self.physics_dt = physics_dt
        self._names = tuple(joint_names)
        # Exchanging two is its own inverse.
        self._order = [self._names.index(name) for name in JOINTS]
        self.joint_pos = torch.zeros(num_envs, 2, device=self.device)
        self.joint_vel = torch.zeros_like(self.joint_pos)
        self._effort = torch.zeros_like(self.joint_pos)

    @property
    def entities(self) -> Mapping[str, HostEntity]:
        """One entity, the pendulum."""
        return {"pendulum": HostEntity(joint_names=self._names)}

    def source(self, connection: Connection) -> HostSource:
        """``state:pendulum:joint_pos`` and ``state:pendulum:joint_vel``."""
        attribute = connection.attribute or ""
        if connection.role != "state" or connection.target != "pendulum" or attribute not in _UNITS:
            raise NotAtHostError("the pendulum has state:pendulum:joint_pos and :joint_vel.")
        value = HostValue((2,), self._names, _UNITS[attribute])
        return HostSource(value, lambda: getattr(self, attribute))

    def target(self, connection: Connection) -> HostTarget:
        """``write:pendulum:set_joint_effort_target``."""
        if (connection.target, connection.attribute) != ("pendulum", _WRITE):
            raise NotAtHostError(f"the pendulum has write:pendulum:{_WRITE}.")
        return HostTarget(HostValue((2,), self._names, "N m"), self._write)

    def prepare(self, setup: HostSetup) -> list[str]:
        """Nothing to prepare."""
        return []

    def step(self) -> None:
        """One physics step."""
        order = self._order
        joint_pos, joint_vel = advance_pendulum(
            self.joint_pos[:, order],
            self.joint_vel[:, order],
            self._effort[:, order],
            self.physics_dt,
        )
        self.joint_pos, self.joint_vel = joint_pos[:, order], joint_vel[:, order]

    def refresh(self) -> None:
        """Nothing is derived from the state."""

    def reset(self, env_ids: torch.Tensor) -> None:
        """Rows hang down at rest."""
        for tensor in (self.joint_pos, self.joint_vel, self._effort):
            tensor[env_ids] = 0.0

    def close(self) -> None:
        """Nothing is held."""

    def _write(self, value: torch.Tensor, element_ids: torch.Tensor | None) -> None:
        if element_ids is None:
            self._effort = value.clone()
        else:
            self._effort[:, element_ids] = value
