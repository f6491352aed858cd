"""What Isaac Lab 2.x's quantities mean. Quaternions are w, x, y, z."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from holdstep.wrappers.export.semantics.entry import (
    WXYZ,
    XYZ,
    XYZW,
    Semantics,
    Table,
    command,
    const,
    state,
    write,
)
from holdstep.wrappers.export.semantics.isaaclab_actions import REFUSED_ACTIONS
from holdstep.wrappers.export.semantics.isaaclab_cameras import camera_entries

if TYPE_CHECKING:
    from holdstep.wrappers.export.tensors import QuaternionOrder


def rigid_body_entries(order: QuaternionOrder) -> dict[str, Semantics]:
    """Properties of the data of anything with a root and bodies.

    Args:
        order: of quaternions.
    """
    entries = _motion("root", "root", order, None) | _motion("body", "body", order, "bodies")
    for point in ("link_", "com_", ""):
        for name, unit in (("lin", "m/s"), ("ang", "rad/s")):
            kind = f"root_{_NOUNS[name]}_velocity"
            entries[f"root_{point}{name}_vel_b"] = _vector(kind, unit, "body", None)
    return entries | {
        "projected_gravity_b": _vector("projected_gravity", "1", "body", None),
        "heading_w": state("heading", "rad", frame="world"),
        "default_root_state": const("root_state"),
        "default_root_pose": const("root_pose"),
        "default_root_vel": const("root_velocity"),
        "GRAVITY_VEC_W": const("gravity_direction", "1", frame="world", elements=XYZ),
        "FORWARD_VEC_B": const("forward_direction", "1", frame="body", elements=XYZ),
    }


def _motion(
    prefix: str, noun: str, order: QuaternionOrder, elements: str | None
) -> dict[str, Semantics]:
    """Poses and velocities in the world, of link frames and of centres of mass."""
    quat = WXYZ if order == "wxyz" else XYZW
    pose = (*XYZ, *(f"q{axis}" for axis in quat))
    entries: dict[str, Semantics] = {}
    for point in ("link_", "com_", ""):
        start = f"{prefix}_{point}"
        entries |= {
            f"{start}pose_w": state(
                f"{noun}_pose",
                "m",
                frame="world",
                quaternion_order=order,
                elements=elements or pose,  # type: ignore[arg-type]  # one of the kinds
            ),
            f"{start}pos_w": _vector(f"{noun}_position", "m", "world", elements),
            f"{start}quat_w": state(
                f"{noun}_orientation",
                "1",
                frame="world",
                quaternion_order=order,
                elements=elements or quat,  # type: ignore[arg-type]  # one of the kinds
            ),
            f"{start}lin_vel_w": _vector(f"{noun}_linear_velocity", "m/s", "world", elements),
            f"{start}ang_vel_w": _vector(f"{noun}_angular_velocity", "rad/s", "world", elements),
        }
    return entries


def _vector(kind: str, unit: str, frame: str, elements: str | None) -> Semantics:
    return state(kind, unit, frame=frame, elements=elements or XYZ)  # type: ignore[arg-type]


_NOUNS = {"lin": "linear", "ang": "angular"}

JOINT_ENTRIES: Final = {
    "joint_pos": state("joint_position", "joint", elements="joints"),
    "joint_vel": state("joint_velocity", "joint/s", elements="joints"),
    "joint_acc": state("joint_acceleration", "joint/s^2", elements="joints"),
    "applied_torque": state("joint_effort", "joint_effort", elements="joints"),
    "computed_torque": state("joint_effort", "joint_effort", elements="joints"),
    "joint_pos_target": state("joint_position_target", "joint", elements="joints"),
    "joint_vel_target": state("joint_velocity_target", "joint/s", elements="joints"),
    "joint_effort_target": state("joint_effort_target", "joint_effort", elements="joints"),
    "default_joint_pos": const("joint_position", "joint", elements="joints"),
    "default_joint_vel": const("joint_velocity", "joint/s", elements="joints"),
    "default_joint_pos_limits": const("joint_position_limits", "joint", elements="joints"),
    "joint_pos_limits": const("joint_position_limits", "joint", elements="joints"),
    "soft_joint_pos_limits": const("joint_position_limits", "joint", elements="joints"),
    "joint_vel_limits": const("joint_velocity_limits", "joint/s", elements="joints"),
    "soft_joint_vel_limits": const("joint_velocity_limits", "joint/s", elements="joints"),
    "joint_effort_limits": const("joint_effort_limits", "joint_effort", elements="joints"),
    "joint_stiffness": const("joint_stiffness", elements="joints"),
    "joint_damping": const("joint_damping", elements="joints"),
}

_TARGETS = {
    "position": ("joint_position_target", "joint"),
    "velocity": ("joint_velocity_target", "joint/s"),
    "effort": ("joint_effort_target", "joint_effort"),
}


def target_entries(suffix: str = "") -> dict[str, Semantics]:
    """The methods that take joint targets.

    Args:
        suffix: of their names.
    """
    return {
        f"set_joint_{name}_target{suffix}": write(
            kind, unit, values=("target",), ids="joint_ids", elements="joints"
        )
        for name, (kind, unit) in _TARGETS.items()
    }


def sensor_entries(package: str, order: QuaternionOrder) -> dict[str, dict[str, Semantics]]:
    """The sensors' data.

    Args:
        package: of the sensors.
        order: of quaternions.
    """
    pose = {
        "pos_w": state("sensor_position", "m", frame="world", elements=XYZ),
        "quat_w": state("sensor_orientation", "1", frame="world", quaternion_order=order),
    }
    return {
        **{
            f"{package}.{name}": pose | _motion_entries()
            for name in ("imu.imu_data.ImuData", "pva.pva_data.PvaData")
        },
        f"{package}.contact_sensor.contact_sensor_data.ContactSensorData": pose
        | {
            "net_forces_w": state("contact_force", "N", frame="world", elements="bodies"),
            "net_forces_w_history": state("contact_force", "N", frame="world"),
            "force_matrix_w": state("contact_force", "N", frame="world", elements="bodies"),
            "last_air_time": state("air_time", "s", elements="bodies"),
            "current_air_time": state("air_time", "s", elements="bodies"),
            "last_contact_time": state("contact_time", "s", elements="bodies"),
            "current_contact_time": state("contact_time", "s", elements="bodies"),
        },
        f"{package}.joint_wrench.joint_wrench_sensor_data.JointWrenchSensorData": {
            "force": state("joint_force", "N"),
            "torque": state("joint_torque", "N m"),
        },
        f"{package}.ray_caster.ray_caster_data.RayCasterData": pose
        | {"ray_hits_w": state("ray_hit_position", "m", frame="world")},
        f"{package}.frame_transformer.frame_transformer_data.FrameTransformerData": {
            f"{what}_{kind}_{frame}": state(
                f"frame_{noun}",
                unit,
                frame="world" if frame == "w" else "source",
                quaternion_order=order if noun == "orientation" else None,
            )
            for what, frame in (("source", "w"), ("target", "w"), ("target", "source"))
            for kind, noun, unit in (("pos", "position", "m"), ("quat", "orientation", "1"))
        },
    }


def _motion_entries() -> dict[str, Semantics]:
    """What a sensor of motion tells, in its own axes."""
    return {
        "lin_vel_b": state("linear_velocity", "m/s", frame="sensor", elements=XYZ),
        "ang_vel_b": state("angular_velocity", "rad/s", frame="sensor", elements=XYZ),
        "lin_acc_b": state("linear_acceleration", "m/s^2", frame="sensor", elements=XYZ),
        "ang_acc_b": state("angular_acceleration", "rad/s^2", frame="sensor", elements=XYZ),
        "projected_gravity_b": state("projected_gravity", "1", frame="sensor", elements=XYZ),
    }


def env_entries() -> dict[str, dict[str, Semantics]]:
    """The env, its scene, and commands; the same in all versions."""
    velocity = command("base_velocity", "m/s, rad/s", frame="body", elements=("vx", "vy", "wz"))
    commands = "isaaclab.envs.mdp.commands"
    return {
        "isaaclab.envs.manager_based_rl_env.ManagerBasedRLEnv": {
            "episode_length_buf": state("episode_step", "1"),
        },
        "isaaclab.scene.interactive_scene.InteractiveScene": {
            "env_origins": state("env_origin", "m", frame="world", elements=XYZ),
        },
        "isaaclab.managers.command_manager.CommandTerm": {"command": command("command")},
        f"{commands}.velocity_command.UniformVelocityCommand": {
            "command": velocity,
            "vel_command_b": velocity,
        },
        f"{commands}.pose_command.UniformPoseCommand": {
            "command": command("body_pose", "m", frame="body"),
        },
    }


_ASSETS = "isaaclab.assets"
_STATE = ("vx", "vy", "vz", "wx", "wy", "wz")


def _root_states() -> dict[str, Semantics]:
    """Root poses with velocities, in one tensor."""
    elements = (*XYZ, *(f"q{axis}" for axis in WXYZ), *_STATE)
    return {
        f"root_{point}state_w": state(
            "root_state", frame="world", quaternion_order="wxyz", elements=elements
        )
        for point in ("", "link_", "com_")
    }


def _of_generation_2(entries: dict[str, Semantics]) -> dict[str, Semantics]:
    """Without what only Isaac Lab 3.0 has."""
    return {name: entries[name] for name in entries if name not in _ONLY_IN_3}


_ONLY_IN_3 = {"default_root_pose", "default_root_vel"}
_SENSORS_ONLY_IN_3 = ("PvaData", "JointWrenchSensorData")

TABLE: Final[Table] = {
    f"{_ASSETS}.articulation.articulation_data.ArticulationData": (
        _of_generation_2(rigid_body_entries("wxyz"))
        | _root_states()
        | JOINT_ENTRIES
        | {
            "body_incoming_joint_wrench_b": state(
                "joint_wrench", "N, N m", frame="body", elements="bodies"
            ),
        }
    ),
    f"{_ASSETS}.rigid_object.rigid_object_data.RigidObjectData": (
        _of_generation_2(rigid_body_entries("wxyz")) | _root_states()
    ),
    f"{_ASSETS}.rigid_object_collection.rigid_object_collection_data.RigidObjectCollectionData": (
        _motion("object", "object", "wxyz", None)
    ),
    f"{_ASSETS}.articulation.articulation.Articulation": target_entries(),
    **{
        path: entries
        for path, entries in sensor_entries("isaaclab.sensors", "wxyz").items()
        if not path.endswith(_SENSORS_ONLY_IN_3)
    },
    "isaaclab.sensors.camera.camera_data.CameraData": camera_entries("wxyz"),
    **env_entries(),
    **REFUSED_ACTIONS,
}
