"""One quantity's names at mjlab and Isaac Lab."""

from __future__ import annotations

# Isaac Lab's shorter names, and mjlab's (which Isaac Lab has too) for the same. Velocities without
# "link" are those of the centre of mass.
_ALIASES = {
    # With the simulated error of an encoder, which only mjlab has: a real one has its own.
    "joint_pos_biased": "joint_pos",
    "root_pose_w": "root_link_pose_w",
    "root_pos_w": "root_link_pos_w",
    "root_quat_w": "root_link_quat_w",
    "root_vel_w": "root_com_vel_w",
    "root_lin_vel_w": "root_com_lin_vel_w",
    "root_ang_vel_w": "root_com_ang_vel_w",
    "root_lin_vel_b": "root_com_lin_vel_b",
    "root_ang_vel_b": "root_com_ang_vel_b",
    "body_pose_w": "body_link_pose_w",
    "body_pos_w": "body_link_pos_w",
    "body_quat_w": "body_link_quat_w",
    "body_vel_w": "body_com_vel_w",
    "body_lin_vel_w": "body_com_lin_vel_w",
    "body_ang_vel_w": "body_com_ang_vel_w",
}
_TARGETS = tuple(f"set_joint_{kind}_target" for kind in ("position", "velocity", "effort"))


def property_names(name: str) -> tuple[str, ...]:
    """Names under which a property may be found, its own first.

    >>> property_names("root_quat_w")
    ('root_quat_w', 'root_link_quat_w')
    """
    return (name, _ALIASES[name]) if name in _ALIASES else (name,)


def method_names(name: str) -> tuple[str, ...]:
    """Names under which a method of targets may be found, the newest first.

    Isaac Lab 3.0 has the old names too, and warns that they will go.

    >>> method_names("set_joint_effort_target")
    ('set_joint_effort_target_index', 'set_joint_effort_target')
    """
    plain = name.removesuffix("_index")
    return (f"{plain}_index", plain) if plain in _TARGETS else (name,)
