"""How a simulator's actuators turn targets into torques, for the contract."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import torch

from holdstep.wrappers.export.contract import Actuator, ActuatorKind

# By class name, walked by MRO: the nearest one counts. None of these modules is imported.
_MJLAB: Mapping[str, ActuatorKind] = {
    "mjlab.actuator.builtin_actuator.BuiltinPositionActuator": "implicit",
    "mjlab.actuator.builtin_actuator.BuiltinPdActuator": "implicit",
    "mjlab.actuator.builtin_actuator.BuiltinVelocityActuator": "implicit",
    "mjlab.actuator.builtin_actuator.BuiltinMotorActuator": "effort",
    "mjlab.actuator.learned_actuator.LearnedMlpActuator": "other",
    "mjlab.actuator.dc_actuator.DcMotorActuator": "dc_motor",
    "mjlab.actuator.pd_actuator.IdealPdActuator": "explicit",
}
_ISAACLAB: Mapping[str, ActuatorKind] = {
    "ImplicitActuator": "implicit",
    "ActuatorNetMLP": "other",
    "ActuatorNetLSTM": "other",
    "RemotizedPDActuator": "other",
    "DCMotor": "dc_motor",
    "IdealPDActuator": "explicit",
}

_Numbers: TypeAlias = Callable[[str], tuple[float, ...]]


def scene_actuators(simulator: str, scene: Any) -> tuple[Actuator, ...]:
    """The actuators of joints in a scene.

    Args:
        simulator: ``"mjlab"``, ``"isaaclab3"`` or ``"isaaclab"``.
        scene: mjlab's or Isaac Lab's.
    """
    if simulator == "mjlab":
        return mjlab_actuators(scene.entities)
    return isaaclab_actuators(scene.articulations)


def mjlab_actuators(entities: Mapping[str, Any]) -> tuple[Actuator, ...]:
    """The actuators of joints in an mjlab scene.

    Gains are the nominal ones of the configuration, whatever was randomised per env.

    Args:
        entities: mjlab's, by name.
    """
    return tuple(
        _mjlab_actuator(name, actuator)
        for name, entity in entities.items()
        for actuator in getattr(entity, "actuators", ())
        if actuator.transmission_type.value == "joint"
    )


def isaaclab_actuators(articulations: Mapping[str, Any]) -> tuple[Actuator, ...]:
    """The actuators of an Isaac Lab scene.

    Args:
        articulations: Isaac Lab's, by name.
    """
    return tuple(
        _isaaclab_actuator(name, actuator)
        for name, articulation in articulations.items()
        for actuator in articulation.actuators.values()
    )


def _mjlab_actuator(entity: str, actuator: Any) -> Actuator:
    cfg, joints = actuator.cfg, tuple(actuator.target_names)
    if any(cls.__name__ == "XmlActuator" for cls in type(actuator).__mro__):
        return _xml_actuator(entity, joints, actuator)
    kind = _kind(actuator, _MJLAB, lambda cls: f"{cls.__module__}.{cls.__qualname__}")

    def numbers(name: str) -> tuple[float, ...]:
        value = getattr(cfg, name, None)
        finite = isinstance(value, int | float) and abs(value) != float("inf")
        return (float(value),) * len(joints) if finite and value is not None else ()

    stiffness = numbers("stiffness") or (0.0,) * len(joints)  # a velocity actuator has none
    lag = (int(cfg.delay_min_lag), int(cfg.delay_max_lag))
    return _actuator(entity, joints, kind, numbers, stiffness, lag if lag[1] else None)


def _xml_actuator(entity: str, joints: tuple[str, ...], actuator: Any) -> Actuator:
    """One of the robot's own file; its numbers are in MuJoCo's fields."""
    motors = actuator._mjs_actuators
    lag = (int(actuator.cfg.delay_min_lag), int(actuator.cfg.delay_max_lag))
    limits = tuple(float(motor.forcerange[1]) for motor in motors)
    limited = all(
        high > 0 and motor.forcerange[0] == -high
        for motor, high in zip(motors, limits, strict=True)
    )
    field = actuator.command_field
    if field == "effort":
        return Actuator(entity, joints, "effort", delay=lag if lag[1] else None)
    return Actuator(
        entity,
        joints,
        "implicit",
        tuple(float(motor.gainprm[0]) if field == "position" else 0.0 for motor in motors),
        tuple(-float(motor.biasprm[2]) for motor in motors),
        limits if limited else (),
        delay=lag if lag[1] else None,
    )


def _isaaclab_actuator(entity: str, actuator: Any) -> Actuator:
    joints = tuple(actuator.joint_names)
    kind = _kind(actuator, _ISAACLAB, lambda cls: cls.__name__)

    def numbers(name: str) -> tuple[float, ...]:
        own_name = "_saturation_effort" if name == "saturation_effort" else name
        value = getattr(actuator, own_name, None)
        if isinstance(value, torch.Tensor):
            row = value[0].tolist() if value.ndim > 1 else value.tolist()
            row = row if isinstance(row, list) else [row] * len(joints)
        elif isinstance(value, int | float):
            row = [float(value)] * len(joints)
        else:
            return ()
        return tuple(row) if all(abs(entry) != float("inf") for entry in row) else ()

    least = int(getattr(actuator.cfg, "min_delay", 0) or 0)
    most = int(getattr(actuator.cfg, "max_delay", 0) or 0)
    lag = (least, most) if most else None
    return _actuator(entity, joints, kind, numbers, numbers("stiffness"), lag)


def _actuator(
    entity: str,
    joints: tuple[str, ...],
    kind: ActuatorKind,
    numbers: _Numbers,
    stiffness: tuple[float, ...],
    delay: tuple[int, int] | None,
) -> Actuator:
    if kind in ("effort", "other"):
        limit = numbers("effort_limit") if kind == "effort" else ()
        return Actuator(entity, joints, kind, effort_limit=limit, delay=delay)
    is_dc = kind == "dc_motor"
    return Actuator(
        entity,
        joints,
        kind,
        stiffness,
        numbers("damping"),
        numbers("effort_limit"),
        numbers("saturation_effort") if is_dc else (),
        numbers("velocity_limit") if is_dc else (),
        delay,
    )


def _kind(
    actuator: Any, kinds: Mapping[str, ActuatorKind], name_of: Callable[[type], str]
) -> ActuatorKind:
    for cls in type(actuator).__mro__:
        if name_of(cls) in kinds:
            return kinds[name_of(cls)]
    return "other"
