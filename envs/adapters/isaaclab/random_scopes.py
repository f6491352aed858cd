"""Which rows an Isaac Lab env's code is about when it draws random numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from holdstep.envs.adapters.isaaclab.direct_reset import other_rows_kept
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
    ``_reset_idx``; the methods of direct envs, in which a lookup of some of the rows (new goals for
    those that have reached theirs) is followed; and ``seed``, which is no draw. A direct env's
    ``_reset_idx`` is also kept from changing other rows, see
    :func:`~holdstep.envs.adapters.isaaclab.direct_reset.other_rows_kept`.

    Draws that stay shared by all rows: the timers of ``is_global_time`` events. Startup events are
    over by then: what they have drawn, with torch's stream, does not change any more.

    Out of reach: direct tasks that ask whether *all* rows are reset at once, and then draw episode
    lengths for them (Isaac Lab's quadcopter and Anymal-C, "to avoid spikes"): that a row gets such
    a length depends on the others. Events with ``min_step_count_between_reset`` count steps of the
    whole env.

    Args:
        env: a ``ManagerBasedRLEnv``, ``DirectRLEnv`` or ``DirectMARLEnv``.
        random: who makes the numbers; nothing happens while it is not active.
    """

    def __init__(self, env: Any, random: PerEnvRandom) -> None:
        super().__init__(random)
        self._hooks.shadow(env, "seed", self._of_seed)
        self._hooks.shadow(env, "reset", self._of_reset)
        self._hooks.shadow(env, "_reset_idx", self._of_rows)
        if not hasattr(env, "termination_manager"):
            self._hooks.shadow(env, "_reset_idx", lambda reset: self._of_direct_reset(env, reset))
        for name in _METHODS_OF_ALL_ROWS:
            if hasattr(env, name):
                self._hooks.shadow(env, name, self._of_all_rows)
        event_manager = getattr(env, "event_manager", None)
        if event_manager is not None:
            self._hook_events(event_manager)
        self._hook_commands(getattr(env, "command_manager", None))

    def _of_reset(self, reset: Callable[..., Any]) -> Callable[..., Any]:
        # As it is called: Isaac Lab passes its multi-agent envs (seed, options) by position.
        def reset_rows(*args: Any, **kwargs: Any) -> Any:
            with self._random.rows(kwargs.get("env_ids")):
                return reset(*args, **kwargs)

        return reset_rows

    def _of_direct_reset(self, env: Any, reset_rows: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def reset_these_rows(env_ids: Any) -> Any:
            if not self._random.is_active or env_ids is None:
                return reset_rows(env_ids)
            with other_rows_kept(env, env_ids):
                return reset_rows(env_ids)

        return reset_these_rows

    def _of_seed(self, seed_all: Callable[..., Any]) -> Callable[..., Any]:
        def seed_global_streams(*args: Any, **kwargs: Any) -> Any:
            self._random.global_state_may_change()
            return seed_all(*args, **kwargs)

        return seed_global_streams
