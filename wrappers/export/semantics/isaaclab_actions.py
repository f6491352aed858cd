"""Isaac Lab's action terms that no model file can stand for, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from holdstep.wrappers.export.semantics.entry import refused

if TYPE_CHECKING:
    from holdstep.wrappers.export.semantics.entry import Table

_JOINTS_INSTEAD = "Export a policy of joint targets, or run the controller at the host."
_ACTIONS = "isaaclab.envs.mdp.actions"
_NAVIGATION = "isaaclab_tasks.manager_based.navigation.mdp"

REFUSED_ACTIONS: Final[Table] = {
    path: {"*": refused(reason)}
    for path, reason in {
        f"{_ACTIONS}.task_space_actions.DifferentialInverseKinematicsAction": (
            "it asks the simulator for Jacobians in every physics step, which no model file can. "
            f"{_JOINTS_INSTEAD}"
        ),
        f"{_ACTIONS}.task_space_actions.OperationalSpaceControllerAction": (
            "it asks the simulator for Jacobians, mass matrices and gravity in every physics step, "
            f"which no model file can. {_JOINTS_INSTEAD}"
        ),
        f"{_ACTIONS}.rmpflow_task_space_actions.RMPFlowAction": (
            "it plans motions with RMPflow, a library of Isaac Sim that does not compute with "
            f"tensors. {_JOINTS_INSTEAD}"
        ),
        f"{_ACTIONS}.pink_task_space_actions.PinkInverseKinematicsAction": (
            "it solves inverse kinematics with Pink, which does not compute with tensors. "
            f"{_JOINTS_INSTEAD}"
        ),
        f"{_ACTIONS}.surface_gripper_actions.SurfaceGripperBinaryAction": (
            "a suction gripper is no joint, and what it is told can't be read from its commands. "
            "Leave the term out, and switch the gripper at the host by the policy's action."
        ),
        f"{_NAVIGATION}.pre_trained_policy_action.PreTrainedPolicyAction": (
            "it runs another policy inside, with observations and a clock of its own. Export both "
            "policies, each from its own task; the outer one's action is the inner one's command."
        ),
    }.items()
}
"""By class path, as of the tables."""
