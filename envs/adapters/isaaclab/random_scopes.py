"""Which rows an Isaac Lab env's code is about when it draws random numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from holdstep.envs.adapters.random_scopes import RandomScopes

if TYPE_CHECKING:
    from holdstep.envs.state.per_env_random import PerEnvRandom

_METHODS_OF_ALL_ROWS = (
    "_pre_physics_step",
    "_apply_action",
    "_get_dones",
    "_get_rewards",
    "_get_observations",
    "_get_states",
)


class IsaacLabRandomScopes(RandomScopes):
    """Hooks on an Isaac Lab env's own objects, until :meth:`remove`.

    For manager-based, direct and multi-agent envs of 2.3 and 3.0. Besides those of the base class:
    ``_reset_idx``, and the methods of direct envs, in which a lookup of some of the rows (new goals
    for those that have reached theirs) is followed.

    Args:
        env: a ``ManagerBasedEnv``, ``DirectRLEnv`` or ``DirectMARLEnv``.
        random: who makes the numbers; nothing happens while it is not active.
    """

    def __init__(self, env: Any, random: PerEnvRandom) -> None:
        super().__init__(random)
        self._hooks.shadow(env, "reset", self._of_reset)
        self._hooks.shadow(env, "_reset_idx", self._of_rows)
        for name in _METHODS_OF_ALL_ROWS:
            if hasattr(env, name):
                self._hooks.shadow(env, name, self._of_all_rows)
        event_manager = getattr(env, "event_manager", None)
        if event_manager is not None:
            self._hook_events(event_manager)
        self._hook_commands(getattr(env, "command_manager", None))
