"""Which simulator an env is of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdstep.errors import DiscoveryError

if TYPE_CHECKING:
    from holdstep.envs.contract import TorchVectorEnv
    from holdstep.wrappers.export.managers import ManagerBasedEnv

DIRECT_METHODS = ("_get_observations", "_pre_physics_step", "_apply_action")
"""What an env without managers has; Isaac Lab's ``DirectRLEnv`` gave them their names."""


def managers_of(env: TorchVectorEnv) -> ManagerBasedEnv:
    """The managers of an env.

    Args:
        env: an adapter.

    Raises:
        DiscoveryError: it has none that can be exported.
    """
    backend = env.backend_env
    if all(callable(getattr(backend, name, None)) for name in DIRECT_METHODS):
        from holdstep.wrappers.export.direct.workflow import direct_env

        return direct_env(env)
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
        from holdstep.wrappers.export.terms_mjlab import MjlabManagers

        return MjlabManagers(backend)
    from holdstep.wrappers.export.terms_isaaclab import isaaclab_managers

    return isaaclab_managers(backend)
