"""Targets of joints turned into what MuJoCo's actuators take, by the contract's actuators."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from holdstep.extras import require
from holdstep.wrappers.export.contract import Actuator, Contract

if TYPE_CHECKING:
    from holdstep.envs.deployment.mujoco_model import MujocoEntity

Array: TypeAlias = npt.NDArray[np.float64]

TARGETS = ("position", "velocity", "effort")

MotorKind: TypeAlias = Literal["position", "velocity", "motor", "other"]


@dataclass(frozen=True)
class Gains:
    """The law of one joint, as the contract has it: torque [N m] or force [N] from targets."""

    actuator: Actuator
    index: int

    def of(self, name: str, otherwise: float = 0.0) -> float:
        """This joint's number."""
        values: tuple[float, ...] = getattr(self.actuator, name)
        return values[self.index] if values else otherwise


class JointDrives:
    """Drives the joints of one entity.

    Args:
        model: an ``MjModel`` of the host's own: gains and limits in it are set to the contract's.
        data: its ``MjData``.
        entity: whose joints.
    """

    def __init__(self, model: Any, data: Any, entity: MujocoEntity) -> None:
        self._model = model
        self._data = data
        self._entity = entity
        self._mujoco = require("mujoco", extra="mujoco", purpose="The MuJoCo host")
        num_joints = len(entity.joint_names)
        self.targets: dict[str, Array] = {name: np.zeros(num_joints) for name in TARGETS}
        self._written: dict[str, npt.NDArray[np.bool_]] = {
            name: np.zeros(num_joints, bool) for name in TARGETS
        }
        # Copied straight to `ctrl`: (which target, joints, ctrl positions, factors).
        self._direct: list[tuple[Array, npt.NDArray[np.int64], npt.NDArray[np.int64], Array]] = []
        self._computed: _ComputedTorques | None = None

    def declare(self, target: str, joint_ids: tuple[int, ...] | None) -> None:
        """Say which joints' targets the policy writes (None for all); others are left alone."""
        self._written[target][slice(None) if joint_ids is None else list(joint_ids)] = True

    def prepare(self, contract: Contract, notes: list[str], *, use_gains: bool) -> list[str]:
        """Choose how each joint is driven.

        Args:
            contract: whose actuators are followed.
            notes: gets sentences about what is driven otherwise than where it was trained.
            use_gains: set the model's gains and limits to the contract's.

        Returns:
            What can't be driven, one sentence each.
        """
        problems: list[str] = []
        direct: list[tuple[str, int, int, float]] = []
        torques: list[tuple[int, Gains, int | None, float]] = []
        for joint in np.flatnonzero(np.any(list(self._written.values()), axis=0)).tolist():
            name = self._entity.joint_names[joint]
            written = [target for target in TARGETS if self._written[target][joint]]
            gains = _gains(contract, self._entity.name, name)
            motors = list(self._motors(joint))
            kinds = [kind for kind, _, _ in motors]
            if "other" in kinds or len(set(kinds)) < len(kinds):
                problems.append(f"joint {name!r} has actuators that targets can't drive: {kinds}.")
            elif gains is not None and gains.actuator.kind == "other":
                problems.append(
                    f"joint {name!r} was driven by an actuator of its own kind, which plain MuJoCo "
                    "does not have."
                )
            elif gains is None:
                problems += [
                    f"joint {name!r} has {_listed(kinds)}, the contract writes {target} targets "
                    "for it, and does not say how they become torques (actuators)."
                    for target in written
                    if not self._add_direct(target, joint, motors, direct)
                ]
            elif gains.actuator.kind == "implicit" and _has_spring(kinds, gains):
                if use_gains:
                    self._set_gains(name, gains, motors, notes)
                self._add_direct("position", joint, motors, direct)
                self._add_direct("velocity", joint, motors, direct)
            else:
                torques.append((joint, gains, *self._torque_outlet(name, motors, notes)))
                if gains.actuator.kind == "implicit":
                    notes.append(
                        f"joint {name!r}: its spring and damper, which were part of the physics, "
                        "are computed before each physics step here; stiff ones may ring."
                    )
            if gains is not None and gains.actuator.delay not in (None, (0, 0)):
                notes.append(f"joint {name!r}: the delay of its targets is not simulated here.")
        if not problems:
            self._build(direct, torques)
        return problems

    def hold(self) -> None:
        """Make the targets what the joints do now, until the policy writes others."""
        if len(self._entity.qpos_ids) == len(self._entity.joint_ids):
            self.targets["position"][:] = self._data.qpos[self._entity.qpos_ids]
        self.targets["velocity"][:] = 0.0
        self.targets["effort"][:] = 0.0

    def apply(self) -> None:
        """Write controls and torques for the next physics step."""
        for targets, joints, controls, factors in self._direct:
            self._data.ctrl[controls] = targets[joints] * factors
        if self._computed is not None:
            self._computed.apply()

    def _motors(self, joint: int) -> Iterator[tuple[MotorKind, int, float]]:
        """The model's actuators on a joint: kind, position in ``ctrl``, gear."""
        model, mujoco = self._model, self._mujoco
        joint_id = int(self._entity.joint_ids[joint])
        of_joints = (mujoco.mjtTrn.mjTRN_JOINT, mujoco.mjtTrn.mjTRN_JOINTINPARENT)
        for index in range(model.nu):
            if model.actuator_trntype[index] not in of_joints:
                continue
            if int(model.actuator_trnid[index, 0]) == joint_id:
                yield _motor_kind(model, mujoco, index), index, float(model.actuator_gear[index, 0])

    def _add_direct(
        self,
        target: str,
        joint: int,
        motors: list[tuple[MotorKind, int, float]],
        direct: list[tuple[str, int, int, float]],
    ) -> bool:
        wanted = "motor" if target == "effort" else target
        for kind, index, gear in motors:
            if kind == wanted:
                # A motor's force is gain * ctrl; lengths and velocities are those of the joint
                # times the gear, and the joint's torque is the force times the gear.
                gain = float(self._model.actuator_gainprm[index, 0])
                factor = 1 / (gain * gear) if kind == "motor" else gear
                direct.append((target, joint, index, factor))
                return True
        return False

    def _set_gains(
        self,
        name: str,
        gains: Gains,
        motors: list[tuple[MotorKind, int, float]],
        notes: list[str],
    ) -> None:
        model = self._model
        paired = any(kind == "velocity" for kind, _, _ in motors)
        for kind, index, gear in motors:
            if kind == "motor":
                continue
            stiffness, damping = gains.of("stiffness") / gear**2, gains.of("damping") / gear**2
            limit = gains.of("effort_limit", np.inf) / abs(gear)
            gain, bias = (
                (stiffness, (0.0, -stiffness, 0.0 if paired else -damping))
                if kind == "position"
                else (damping, (0.0, 0.0, -damping))
            )
            before = (model.actuator_gainprm[index, 0], *model.actuator_biasprm[index, :3])
            if not np.allclose(before, (gain, *bias), rtol=1e-5):
                notes.append(
                    f"joint {name!r}: the model's gains (stiffness {-before[2]:g}, damping "
                    f"{-before[3]:g}) are replaced by the contract's ({stiffness:g}, {damping:g})."
                )
            model.actuator_gainprm[index, 0] = gain
            model.actuator_biasprm[index, :3] = bias
            if model.actuator_ctrllimited[index]:
                notes.append(
                    f"joint {name!r}: the model's control range is not enforced, as where the "
                    "policy was trained; forces are limited all the same."
                )
                model.actuator_ctrllimited[index] = 0
            if paired:
                continue  # the limit is on their sum, which the joint itself has
            model.actuator_forcelimited[index] = int(np.isfinite(limit))
            model.actuator_forcerange[index] = (-limit, limit) if np.isfinite(limit) else (0, 0)

    def _torque_outlet(
        self, name: str, motors: list[tuple[MotorKind, int, float]], notes: list[str]
    ) -> tuple[int | None, float]:
        """Where a computed torque goes: a motor's ``ctrl`` with a factor, or to the joint."""
        for kind, index, gear in motors:
            if kind == "motor":
                return index, 1 / (float(self._model.actuator_gainprm[index, 0]) * gear)
        for _, index, _ in motors:
            self._model.actuator_gainprm[index] = 0
            self._model.actuator_biasprm[index] = 0
            notes.append(
                f"joint {name!r}: its actuator in the model is switched off, and the contract's "
                "law applied to the joint."
            )
        return None, 1.0

    def _build(
        self,
        direct: list[tuple[str, int, int, float]],
        torques: list[tuple[int, Gains, int | None, float]],
    ) -> None:
        for target in TARGETS:
            of_target = [entry for entry in direct if entry[0] == target]
            if of_target:
                _, joints, controls, factors = zip(*of_target, strict=True)
                self._direct.append(
                    (
                        self.targets[target],
                        np.array(joints),
                        np.array(controls),
                        np.array(factors),
                    )
                )
        if torques:
            self._computed = _ComputedTorques(self._data, self._entity, self.targets, torques)


class _ComputedTorques:
    """The law of explicit actuators, for all their joints at once."""

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


def _gains(contract: Contract, entity: str, joint: str) -> Gains | None:
    for actuator in contract.actuators:
        if actuator.entity != entity:
            continue
        short = joint.rpartition("/")[2]
        for index, name in enumerate(actuator.joint_names):
            if name == joint or name.rpartition("/")[2] == short:
                return Gains(actuator, index)
    return None


def _has_spring(kinds: list[MotorKind], gains: Gains) -> bool:
    """Whether the model's own actuators can be the spring and damper of a joint."""
    return "position" in kinds or ("velocity" in kinds and gains.of("stiffness") == 0)


def _motor_kind(model: Any, mujoco: Any, index: int) -> MotorKind:
    fixed = model.actuator_gaintype[index] == mujoco.mjtGain.mjGAIN_FIXED
    if not fixed or model.actuator_dyntype[index] != mujoco.mjtDyn.mjDYN_NONE:
        return "other"
    gain, bias = model.actuator_gainprm[index, 0], model.actuator_biasprm[index]
    if model.actuator_biastype[index] == mujoco.mjtBias.mjBIAS_NONE:
        return "motor"
    if model.actuator_biastype[index] != mujoco.mjtBias.mjBIAS_AFFINE or bias[0] != 0:
        return "other"
    if bias[1] == -gain:
        return "position"
    return "velocity" if bias[1] == 0 and bias[2] == -gain else "other"


def _listed(kinds: list[MotorKind]) -> str:
    return f"actuators of kind {', '.join(kinds)}" if kinds else "no actuator"
