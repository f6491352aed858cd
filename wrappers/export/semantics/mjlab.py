"""What mjlab's quantities mean. Quaternions are w, x, y, z; frames are MuJoCo's."""

from __future__ import annotations

from typing import Final

from holdstep.wrappers.export.semantics.entry import (
    DERIVED,
    LINEAR_ANGULAR,
    WXYZ,
    XYZ,
    Semantics,
    Table,
    command,
    const,
    refused,
    state,
    write,
)

_POSE = (*XYZ, "qw", "qx", "qy", "qz")


def _frames(prefix: str, elements: str | None) -> dict[str, Semantics]:
    """Pose and velocity of a root (no elements), or of bodies, geoms or sites."""
    which = elements or ""
    noun = {"bodies": "body", "geoms": "geom", "sites": "site"}.get(which, "root")
    axes = {
        "pose_w": ("pose", "m", _POSE),
        "pos_w": ("position", "m", XYZ),
        "quat_w": ("orientation", "1", WXYZ),
        "vel_w": ("velocity", "m/s, rad/s", LINEAR_ANGULAR),
        "lin_vel_w": ("linear_velocity", "m/s", XYZ),
        "ang_vel_w": ("angular_velocity", "rad/s", XYZ),
    }
    return {
        f"{prefix}_{name}": state(
            f"{noun}_{kind}",
            unit,
            frame="world",
            quaternion_order="wxyz" if kind in ("pose", "orientation") else None,
            elements=elements or names,  # type: ignore[arg-type]  # one of the kinds
        )
        for name, (kind, unit, names) in axes.items()
    }


_ENTITY_DATA: Final = {
    **_frames("root_link", None),
    **_frames("root_com", None),
    **_frames("body_link", "bodies"),
    **_frames("body_com", "bodies"),
    **_frames("geom", "geoms"),
    **_frames("site", "sites"),
    "root_link_lin_vel_b": state("root_linear_velocity", "m/s", frame="body", elements=XYZ),
    "root_link_ang_vel_b": state("root_angular_velocity", "rad/s", frame="body", elements=XYZ),
    "root_com_lin_vel_b": state("root_linear_velocity", "m/s", frame="body", elements=XYZ),
    "root_com_ang_vel_b": state("root_angular_velocity", "rad/s", frame="body", elements=XYZ),
    "projected_gravity_b": state("projected_gravity", "1", frame="body", elements=XYZ),
    "heading_w": state("heading", "rad", frame="world"),
    "body_external_wrench": state("body_wrench", "N, N m", frame="world", elements="bodies"),
    "body_external_force": state("body_force", "N", frame="world", elements="bodies"),
    "body_external_torque": state("body_torque", "N m", frame="world", elements="bodies"),
    "joint_pos": state("joint_position", "joint", elements="joints"),
    "joint_pos_biased": state("joint_position", "joint", elements="joints"),
    "joint_vel": state("joint_velocity", "joint/s", elements="joints"),
    "joint_acc": state("joint_acceleration", "joint/s^2", elements="joints"),
    "tendon_len": state("tendon_length", "m", elements="tendons"),
    "tendon_vel": state("tendon_velocity", "m/s", elements="tendons"),
    "actuator_force": state("actuator_force", "joint_effort", elements="actuators"),
    "qfrc_actuator": state("joint_effort", "joint_effort", elements="joints"),
    "qfrc_external": state("joint_effort", "joint_effort", elements="joints"),
    "joint_pos_target": state("joint_position_target", "joint", elements="joints"),
    "joint_vel_target": state("joint_velocity_target", "joint/s", elements="joints"),
    "joint_effort_target": state("joint_effort_target", "joint_effort", elements="joints"),
    "tendon_len_target": state("tendon_length_target", "m", elements="tendons"),
    "tendon_vel_target": state("tendon_velocity_target", "m/s", elements="tendons"),
    "tendon_effort_target": state("tendon_effort_target", "N", elements="tendons"),
    "site_effort_target": state("site_effort_target", "N", elements="sites"),
    "default_root_state": const("root_state"),
    "default_joint_pos": const("joint_position", "joint", elements="joints"),
    "default_joint_vel": const("joint_velocity", "joint/s", elements="joints"),
    "default_joint_pos_limits": const("joint_position_limits", "joint", elements="joints"),
    "joint_pos_limits": const("joint_position_limits", "joint", elements="joints"),
    "soft_joint_pos_limits": const("joint_position_limits", "joint", elements="joints"),
    "gravity_vec_w": const("gravity_direction", "1", frame="world", elements=XYZ),
    "forward_vec_b": const("forward_direction", "1", frame="body", elements=XYZ),
    # The error of a simulated encoder; a real one has its own.
    "encoder_bias": const("joint_position_bias", "joint", elements="joints", nominal=0.0),
}

_ENTITY: Final = {
    "set_joint_position_target": write(
        "joint_position_target", "joint", values=("position",), ids="joint_ids", elements="joints"
    ),
    "set_joint_velocity_target": write(
        "joint_velocity_target", "joint/s", values=("velocity",), ids="joint_ids", elements="joints"
    ),
    "set_joint_effort_target": write(
        "joint_effort_target",
        "joint_effort",
        values=("effort",),
        ids="joint_ids",
        elements="joints",
    ),
    "set_tendon_len_target": write(
        "tendon_length_target", "m", values=("length",), ids="tendon_ids", elements="tendons"
    ),
    "set_tendon_vel_target": write(
        "tendon_velocity_target", "m/s", values=("velocity",), ids="tendon_ids", elements="tendons"
    ),
    "set_tendon_effort_target": write(
        "tendon_effort_target", "N", values=("effort",), ids="tendon_ids", elements="tendons"
    ),
    "set_site_effort_target": write(
        "site_effort_target", "N", values=("effort",), ids="site_ids", elements="sites"
    ),
    "write_ctrl_to_sim": write(
        "control", None, values=("ctrl",), ids="ctrl_ids", elements="actuators"
    ),
    "write_external_wrench_to_sim": write(
        "body_wrench",
        "N, N m",
        values=("forces", "torques"),
        ids="body_ids",
        elements="bodies",
        frame="world",
    ),
}

_RAYS: Final = {
    "distances": state("ray_distance", "m"),
    "normals_w": state("ray_normal", "1", frame="world"),
    "hit_pos_w": state("ray_hit_position", "m", frame="world"),
    "pos_w": state("sensor_position", "m", frame="world", elements=XYZ),
    "quat_w": state(
        "sensor_orientation", "1", frame="world", quaternion_order="wxyz", elements=WXYZ
    ),
    "frame_pos_w": state("sensor_position", "m", frame="world"),
    "frame_quat_w": state("sensor_orientation", "1", frame="world", quaternion_order="wxyz"),
}

_MOTION: Final = {
    "command": command("motion_reference"),
    "joint_pos": command("joint_position", "joint"),
    "joint_vel": command("joint_velocity", "joint/s"),
    "body_pos_w": command("body_position", "m", frame="world"),
    "body_quat_w": command("body_orientation", "1", frame="world", quaternion_order="wxyz"),
    "body_lin_vel_w": command("body_linear_velocity", "m/s", frame="world"),
    "body_ang_vel_w": command("body_angular_velocity", "rad/s", frame="world"),
    "anchor_pos_w": command("anchor_position", "m", frame="world", elements=XYZ),
    "anchor_quat_w": command(
        "anchor_orientation", "1", frame="world", quaternion_order="wxyz", elements=WXYZ
    ),
    "anchor_lin_vel_w": command("anchor_linear_velocity", "m/s", frame="world", elements=XYZ),
    "anchor_ang_vel_w": command("anchor_angular_velocity", "rad/s", frame="world", elements=XYZ),
    # The robot's own state, which the command term only hands on.
    "robot_joint_pos": DERIVED,
    "robot_joint_vel": DERIVED,
    "robot_body_pos_w": DERIVED,
    "robot_body_quat_w": DERIVED,
    "robot_body_lin_vel_w": DERIVED,
    "robot_body_ang_vel_w": DERIVED,
    "robot_anchor_pos_w": DERIVED,
    "robot_anchor_quat_w": DERIVED,
    "robot_anchor_lin_vel_w": DERIVED,
    "robot_anchor_ang_vel_w": DERIVED,
}

TABLE: Final[Table] = {
    "mjlab.entity.data.EntityData": _ENTITY_DATA,
    "mjlab.entity.entity.Entity": _ENTITY,
    "mjlab.sensor.contact_sensor.ContactData": {
        "found": state("contact_count", "1"),
        "force": state("contact_force", "N"),
        "torque": state("contact_torque", "N m"),
        "dist": state("contact_distance", "m"),
        "pos": state("contact_position", "m", frame="world"),
        "normal": state("contact_normal", "1", frame="world"),
        "tangent": state("contact_tangent", "1", frame="world"),
        "current_air_time": state("air_time", "s"),
        "last_air_time": state("air_time", "s"),
        "current_contact_time": state("contact_time", "s"),
        "last_contact_time": state("contact_time", "s"),
        "force_history": state("contact_force", "N"),
        "torque_history": state("contact_torque", "N m"),
        "dist_history": state("contact_distance", "m"),
    },
    "mjlab.sensor.raycast_sensor.RayCastData": _RAYS,
    "mjlab.sensor.terrain_height_sensor.TerrainHeightData": {"heights": state("height", "m")},
    "mjlab.sensor.camera_sensor.CameraSensorData": {
        "rgb": state("image_rgb", "1"),
        "depth": state("image_depth", "m"),
        "segmentation": state("image_segmentation", "1"),
    },
    "mjlab.managers.command_manager.CommandTerm": {"command": command("command")},
    "mjlab.tasks.velocity.mdp.velocity_command.UniformVelocityCommand": {
        "command": command(
            "base_velocity", "m/s, rad/s", frame="body", elements=("vx", "vy", "wz")
        ),
        "vel_command_b": command(
            "base_velocity", "m/s, rad/s", frame="body", elements=("vx", "vy", "wz")
        ),
    },
    "mjlab.tasks.manipulation.mdp.commands.LiftingCommand": {
        "command": command("object_position", "m", frame="world", elements=XYZ),
        "target_pos": command("object_position", "m", frame="world", elements=XYZ),
    },
    "mjlab.tasks.manipulation.mdp.commands.MultiCubeLiftingCommand": {
        "command": command("object_position", "m", frame="world", elements=XYZ),
        "target_pos": command("object_position", "m", frame="world", elements=XYZ),
        "target_geom_ids": command("geom_ids", "1"),
    },
    "mjlab.tasks.tracking.mdp.commands.MotionCommand": _MOTION,
    "mjlab.envs.manager_based_rl_env.ManagerBasedRlEnv": {
        "episode_length_buf": state("episode_step", "1"),
    },
    "mjlab.scene.scene.Scene": {
        # Where the row's env lies in the simulator's world; curricula move it.
        "env_origins": state("env_origin", "m", frame="world", elements=XYZ),
    },
    "mjlab.envs.mdp.actions.differential_ik.DifferentialIKAction": {
        "*": refused(
            "it asks the simulator for Jacobians in every physics step, which no model file can. "
            "Export a policy of joint targets, or run the inverse kinematics at the host."
        ),
    },
}
