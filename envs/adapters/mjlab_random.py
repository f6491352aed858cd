"""Which rows an mjlab env's code is about when it draws random numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from holdstep.envs.adapters.mjlab_reset_write import actuator_delays, only_rows_advance
from holdstep.envs.adapters.random_scopes import RandomScopes

if TYPE_CHECKING:
    from holdstep.envs.state.per_env_random import PerEnvRandom


class MjlabRandomScopes(RandomScopes):
    """Hooks on an mjlab env's own objects, until :meth:`remove`.

    Besides those of the base class: ``_reset_idx``, and ``scene.write_data_to_sim`` where it
    follows a reset, see :func:`~holdstep.envs.adapters.mjlab_reset_write.only_rows_advance`.

    Draws that stay shared by all rows: the timers of ``is_global_time`` events, delays with
    ``delay_per_env=False``, and mjlab's ``gaussian`` randomisation of model fields, which draws one
    number for all rows.

    Args:
        env: a ``mjlab.envs.ManagerBasedRlEnv``.
        random: who makes the numbers; nothing happens while it is not active.
    """

    def __init__(self, env: Any, random: PerEnvRandom) -> None:
        super().__init__(random)
        self._delays = actuator_delays(env)
        self._rows_just_reset: torch.Tensor | None = None
        self._hooks.shadow(env, "reset", self._of_reset)
        self._hooks.shadow(env, "step", self._of_step)
        self._hooks.shadow(env, "_reset_idx", self._of_reset_rows)
        self._hooks.shadow(env.scene, "write_data_to_sim", self._of_write)
        self._hook_events(env.event_manager)
        self._hook_commands(env.command_manager)

    def _of_step(self, step: Callable[..., Any]) -> Callable[..., Any]:
        def forget_resets_and_step(action: torch.Tensor) -> Any:
            self._rows_just_reset = None
            return step(action)

        return forget_resets_and_step

    def _of_reset_rows(self, reset_rows: Callable[..., Any]) -> Callable[..., Any]:
        reset_rows = self._of_rows(reset_rows)

        def reset_and_remember(env_ids: Any = None) -> Any:
            result = reset_rows(env_ids)
            if isinstance(env_ids, torch.Tensor) and self._random.is_active:
                self._rows_just_reset = env_ids
            return result

        return reset_and_remember

    def _of_write(self, write: Callable[[], None]) -> Callable[[], None]:
        def write_rows() -> None:
            env_ids, self._rows_just_reset = self._rows_just_reset, None
            if env_ids is None or not self._random.is_active:
                write()
                return
            with self._random.rows(env_ids), only_rows_advance(self._delays, env_ids):
                write()

        return write_rows
