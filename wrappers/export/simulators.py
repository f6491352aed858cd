"""Which simulator an env is of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdstep.errors import DiscoveryError

if TYPE_CHECKING:
    from holdstep.envs.contract import TorchVectorEnv
    from holdstep.wrappers.export.workflow import Workflow

DIRECT_METHODS = ("_get_observations", "_pre_physics_step", "_apply_action")
"""What an env without managers has; Isaac Lab's ``DirectRLEnv`` gave them their names."""


def workflow_of(env: TorchVectorEnv) -> Workflow:
    """What an env consists of, whichever way it is written.

    Args:
        env: an adapter.

    Raises:
        DiscoveryError: it is written in a way that can't be exported.
    """
    backend = env.backend_env
    if all(callable(getattr(backend, name, None)) for name in DIRECT_METHODS):
        from holdstep.wrappers.export.direct.workflow import direct_workflow

        return direct_workflow(env)
    missing = [
        name
        for name in ("observation_manager", "action_manager", "scene")
        if not hasattr(backend, name)
    ]
    simulator = getattr(env, "simulator", "")
    if missing or simulator not in ("mjlab", "Isaac Lab"):
        raise DiscoveryError(
            f"{type(env).__name__} has no observation and action managers, so that what its "
            "observations are made of can't be found out. Export works for manager-based envs of "
            "mjlab and Isaac Lab, and for envs that compute them in _get_observations(), "
            "_pre_physics_step() and _apply_action(), with markers on what those read and write "
            "(holdstep.wrappers.export.markers)."
        )
    if simulator == "mjlab":
        from holdstep.wrappers.export.mjlab_workflow import MjlabWorkflow

        return MjlabWorkflow(backend)
    from holdstep.wrappers.export.isaaclab_workflow import isaaclab_workflow

    return isaaclab_workflow(backend)
