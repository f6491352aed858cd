"""Targets of joints turned into what MuJoCo's actuators take, by the contract's actuators."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from holdstep.envs.deployment.gains import Gains, find_gains
from holdstep.envs.deployment.mujoco_torques import ComputedTorques
from holdstep.extras import require

if TYPE_CHECKING:
    from holdstep.envs.deployment.host import HostSetup
    from holdstep.envs.deployment.mujoco_model import MujocoEntity

Array: TypeAlias = npt.NDArray[np.float64]

TARGETS = ("position", "velocity", "effort")
_MOTOR_OF = {"effort": "motor"}  # the kind of actuator that takes a target, if not called the same

MotorKind: TypeAlias = Literal["position", "velocity", "motor", "other"]


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
        self._computed: ComputedTorques | None = None

    def declare(self, target: str, joint_ids: tuple[int, ...] | None) -> None:
        """Say which joints' targets the policy writes (None for all); others are left alone."""
        self._written[target][slice(None) if joint_ids is None else list(joint_ids)] = True

    def prepare(self, setup: HostSetup, *, use_gains: bool) -> list[str]:
        """Choose how each joint is driven.

        Args:
            setup: with the contract whose actuators are followed; its notes get sentences about
                what is driven otherwise than where it was trained.
            use_gains: set the model's gains and limits to the contract's.

        Returns:
            What can't be driven, one sentence each.
        """
        notes, problems = setup.notes, list[str]()
        model_gains: list[str] = []
        direct: list[tuple[str, int, int, float]] = []
        torques: list[tuple[int, Gains, int | None, float]] = []
        for joint in np.flatnonzero(np.any(list(self._written.values()), axis=0)).tolist():
            name = self._entity.joint_names[joint]
            written = [target for target in TARGETS if self._written[target][joint]]
            gains, unclear = find_gains(setup, self._entity.name, name)
            motors = list(self._motors(joint))
            kinds = [kind for kind, _, _ in motors]
            if unclear:
                problems += unclear
            elif "other" in kinds or len(set(kinds)) < len(kinds):
                problems.append(f"joint {name!r} has actuators that targets can't drive: {kinds}.")
            elif gains is not None and gains.actuator.kind == "other":
                problems.append(
                    f"joint {name!r} was driven by an actuator of its own kind, which plain MuJoCo "
                    "does not have."
                )
            elif gains is None:
                undriven = [
                    target
                    for target in written
                    if not self._add_direct(target, joint, motors, direct)
                ]
                problems += [
                    f"joint {name!r} has {_listed(kinds)}, the contract writes {target} targets "
                    "for it, and does not say how they become torques (actuators)."
                    for target in undriven
                ]
                if not undriven and written != ["effort"]:
                    model_gains.append(name)
            elif gains.actuator.kind == "implicit" and _is_driven(written, kinds, gains):
                if use_gains:
                    self._set_gains(joint, gains, motors, notes)
                for target in TARGETS:
                    self._add_direct(target, joint, motors, direct)
            else:
                torques.append((joint, gains, *self._torque_outlet(name, motors, notes)))
                if gains.actuator.kind == "implicit":
                    notes.append(
                        f"joint {name!r}: its spring and damper, which were part of the physics, "
                        "are computed before each physics step here; stiff ones may ring."
                    )
            if gains is not None and gains.actuator.delay not in (None, (0, 0)):
                notes.append(f"joint {name!r}: the delay of its targets is not simulated here.")
        if model_gains:
            notes.append(
                f"joints {', '.join(model_gains)}: the contract does not say how targets become "
                "torques (actuators): the model's own gains are used. Compare them with those of "
                "the training."
            )
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
        wanted = _MOTOR_OF.get(target, target)
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
        joint: int,
        gains: Gains,
        motors: list[tuple[MotorKind, int, float]],
        notes: list[str],
    ) -> None:
        model, name = self._model, self._entity.joint_names[joint]
        paired = any(kind == "velocity" for kind, _, _ in motors)
        for kind, index, gear in motors:
            if kind == "motor":
                continue
            stiffness, damping = gains.of("stiffness") / gear**2, gains.of("damping") / gear**2
            limit = gains.of("effort_limit", np.inf)
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
            limited, limits = _limits(limit)
            if len(motors) > 1:  # the limit is on their sum, which only the joint itself can have
                joint_id = int(self._entity.joint_ids[joint])
                model.jnt_actfrclimited[joint_id] = limited
                model.jnt_actfrcrange[joint_id] = limits
                model.actuator_forcelimited[index] = False
                continue
            model.actuator_forcelimited[index] = limited
            model.actuator_forcerange[index] = limits / abs(gear)

    def _torque_outlet(
        self, name: str, motors: list[tuple[MotorKind, int, float]], notes: list[str]
    ) -> tuple[int | None, float]:
        """Where a computed torque goes: a motor's ``ctrl`` with a factor, or to the joint."""
        outlet: tuple[int | None, float] = (None, 1.0)
        for kind, index, gear in motors:
            if kind == "motor":
                outlet = index, 1 / (float(self._model.actuator_gainprm[index, 0]) * gear)
                continue
            self._model.actuator_gainprm[index] = 0
            self._model.actuator_biasprm[index] = 0
            notes.append(
                f"joint {name!r}: its {kind} actuator in the model is switched off, and the "
                "contract's law applied to the joint."
            )
        return outlet

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
            self._computed = ComputedTorques(self._data, self._entity, self.targets, torques)


def _is_driven(written: list[str], kinds: list[MotorKind], gains: Gains) -> bool:
    """Whether the model's own actuators are a joint's spring and damper, and take its targets."""
    has_spring = "position" in kinds or ("velocity" in kinds and gains.of("stiffness") == 0)
    return has_spring and {_MOTOR_OF.get(target, target) for target in written} <= set(kinds)


def _limits(limit: float) -> tuple[bool, Array]:
    """A limit as MuJoCo has it: whether there is one, and its range."""
    limited = bool(np.isfinite(limit))
    return limited, np.array([-limit, limit] if limited else [0.0, 0.0])


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
