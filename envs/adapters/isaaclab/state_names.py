"""Names of attributes in Isaac Lab's objects that are not what their shape says."""

from __future__ import annotations

import re

PARAMETERS = frozenset(
    {
        "_default_joint_pos",
        "_default_joint_vel",
        "_default_root_pose",
        "_default_root_state",
        "_default_root_vel",
        "default_joint_pos",
        "default_joint_vel",
        "default_root_state",
        "default_mass",
        "default_inertia",
        "default_joint_stiffness",
        "default_joint_damping",
        "default_joint_armature",
        "default_joint_friction_coeff",
        "default_joint_dynamic_friction_coeff",
        "default_joint_viscous_friction_coeff",
        "default_joint_pos_limits",
        "_joint_pos_limits",
        "_soft_joint_pos_limits",
        "_soft_joint_vel_limits",
        "_actuator_stiffness",
        "_actuator_damping",
        "_joint_dynamic_friction",
        "_joint_viscous_friction",
        "_gear_ratio",
        "joint_pos_limits",
        "joint_vel_limits",
        "joint_effort_limits",
        "joint_stiffness",
        "joint_damping",
        "joint_armature",
        "joint_friction_coeff",
        "joint_dynamic_friction_coeff",
        "joint_viscous_friction_coeff",
        "soft_joint_pos_limits",
        "soft_joint_vel_limits",
        "gear_ratio",
        "stiffness",
        "damping",
        "armature",
        "friction",
        "dynamic_friction",
        "viscous_friction",
        "effort_limit",
        "effort_limit_sim",
        "velocity_limit",
        "velocity_limit_sim",
        "_sim_bind_root_link_pose_w",
        "env_origins",
        "terrain_levels",
        "terrain_types",
        "_scale",
        "_offset",
        "_clip",
    }
)
"""Attributes that events randomise at start-up or at a reset, and no step of a row changes."""

CONSTANTS = frozenset(
    {
        "extras",  # for whoever reads it after a step: made anew, or nobody's state
        "terrain_origins",
        "sea_input",  # filled by each pass through the network
        "_zeros_effort",
        "_vel_at_effort_lim",
        "_reset_mask",
        "_reset_mask_torch",
        "_first_transition",
        "_newton_total_force_view",
        "GRAVITY_VEC_W",
        "GRAVITY_VEC_W_TORCH",
        "FORWARD_VEC_B",
        "FORWARD_VEC_B_TORCH",
        "gravity_vec_w",
        "forward_vec_b",
        "_joint_ids",
        "_body_ids",
        "_joint_indices",
        "clone_mask",
        "_max_len",
        "_ALL_INDICES",
        "_default_env_origins",  # where rows are; nothing moves them
        "_default_env_pose",
        "_shape_indices",  # of a robot, as many as there are rows by chance
        "identity_quat_keypoints",  # of the deployment tasks' rewards, which fill it when they run
        "keypoint_offsets_buffer",
        "sea_hidden_state_per_env",  # views of sea_hidden_state and sea_cell_state
        "sea_cell_state_per_env",
    }
)
"""Attributes that nothing changes, or that are made anew before they are read."""

OUTPUTS = frozenset({"reset_buf", "reward_buf", "reset_terminated", "reset_time_outs", "obs_buf"})
"""Attributes of an env that each step writes before it reads them. They are kept for held rows,
but a snapshot may lack them: a manager-based env makes some of them in its first step."""

ACCELERATIONS = frozenset({"_joint_acc", "_body_com_acc_w"})
"""Quantities with a time stamp that are differences between steps, not functions of the state."""

TOUCHED_BY_SETTERS = (*sorted(ACCELERATIONS), "_previous_joint_vel")
"""What setters of poses and velocities change besides them."""

# The pose of a base that is fixed is memory of its own; that of any other is a view.
_VIEW_NAME = re.compile(
    r".*_ta$|_sim_bind_(?!root_link_pose_w$)|_ALL_|_jacobian|_mass_matrix|_joint_S_s"
    r"|.*_jacobian_w_buf|_permuted"
    r"|_(root|body)_(link|com)_(pos|quat|lin_vel|ang_vel|lin_acc|ang_acc)_[wb]$"
)


def is_view_or_scratch(name: str) -> bool:
    """Whether a Warp array is a view of memory that is known elsewhere, or computed at each read.

    Args:
        name: of the attribute.
    """
    return _VIEW_NAME.match(name) is not None
