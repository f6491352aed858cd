"""Torques computed before each physics step, where a model's own actuators are no spring."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from holdstep.envs.deployment.gains import Gains
    from holdstep.envs.deployment.mujoco_model import MujocoEntity

Array: TypeAlias = npt.NDArray[np.float64]


class ComputedTorques:
    """The law of explicit actuators, for all their joints at once.

    Args:
        data: an ``MjData``.
        entity: whose joints.
        targets: of all its joints, by kind; they are looked at in every :meth:`apply`.
        torques: for each joint that is driven so: its position in the entity, its law, the motor
            that takes its torque (None applies it to the joint itself), and the motor's ``ctrl``
            for a torque of one.
    """

    def __init__(
        self,
        data: Any,
        entity: MujocoEntity,
        targets: dict[str, Array],
        torques: list[tuple[int, Gains, int | None, float]],
    ) -> None:
        self._data = data
        self._targets = targets
        self._joints = np.array([joint for joint, _, _, _ in torques])
        self._qpos_ids = entity.qpos_ids[self._joints]
        self._qvel_ids = entity.qvel_ids[self._joints]

        def numbers(name: str, otherwise: float = 0.0) -> Array:
            return np.array([gains.of(name, otherwise) for _, gains, _, _ in torques])

        self._stiffness, self._damping = numbers("stiffness"), numbers("damping")
        self._limit = numbers("effort_limit", np.inf)
        self._saturation = numbers("saturation_effort", np.inf)
        self._max_speed = numbers("velocity_limit", np.inf)
        self._is_dc = np.array([gains.actuator.kind == "dc_motor" for _, gains, _, _ in torques])
        with_motor = [index for index, entry in enumerate(torques) if entry[2] is not None]
        self._with_motor = np.array(with_motor, np.int64)
        self._controls = np.array([torques[index][2] for index in with_motor], np.int64)
        self._factors = np.array([torques[index][3] for index in with_motor])
        without = [index for index, entry in enumerate(torques) if entry[2] is None]
        self._without_motor = np.array(without, np.int64)

    def apply(self) -> None:
        """Write the torques of the state as it is, for the next physics step."""
        data, joints, targets = self._data, self._joints, self._targets
        position, velocity = data.qpos[self._qpos_ids], data.qvel[self._qvel_ids]
        torque = (
            self._stiffness * (targets["position"][joints] - position)
            + self._damping * (targets["velocity"][joints] - velocity)
            + targets["effort"][joints]
        )
        low, high = -self._limit, self._limit
        if self._is_dc.any():
            low, high = self._dc_limits(velocity)
        torque = np.clip(torque, low, high)
        data.ctrl[self._controls] = torque[self._with_motor] * self._factors
        without = self._without_motor
        data.qfrc_applied[self._qvel_ids[without]] = torque[without]

    def _dc_limits(self, velocity: Array) -> tuple[Array, Array]:
        """The torque-speed curve of a DC motor: full at standstill, none at full speed."""
        is_dc = self._is_dc
        high, low = self._limit.copy(), -self._limit
        saturation, max_speed = self._saturation[is_dc], self._max_speed[is_dc]
        limit = self._limit[is_dc]
        corner = max_speed * (1 + limit / saturation)
        relative = np.clip(velocity[is_dc], -corner, corner) / max_speed
        high[is_dc] = np.minimum(saturation * (1 - relative), limit)
        low[is_dc] = np.maximum(saturation * (-1 - relative), -limit)
        return low, high
