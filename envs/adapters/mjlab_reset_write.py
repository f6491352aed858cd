"""mjlab's second ``write_data_to_sim`` of a step, for the rows that were reset only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from holdstep.envs.state.hooks import InstanceHooks


def actuator_delays(env: Any) -> list[Any]:
    """The delay buffers of an mjlab env's actuators, each once."""
    buffers = {
        id(actuator._delay_buffer): actuator._delay_buffer
        for entity in env.scene.entities.values()
        for actuator in entity.actuators
        if getattr(actuator, "_delay_buffer", None) is not None
    }
    return list(buffers.values())


@contextmanager
def only_rows_advance(delays: list[Any], env_ids: torch.Tensor) -> Iterator[None]:
    """Actuator delays move for these rows only.

    When any row is reset in a step, mjlab writes actuator commands a second time, for all rows
    (``ManagerBasedRlEnv.step``). Delay buffers take that for another physics step: the commands of
    rows that were *not* reset are appended twice and their lags are drawn again, so that a row's
    actuators depend on the resets of others. The rows that were reset are handled as mjlab does:
    their buffers are empty, so that an append fills all of their history.

    Args:
        delays: ``mjlab.utils.buffers.DelayBuffer``, of rows that have just been reset.
        env_ids: int64 or int32 ``[k]``.
    """
    hooks = InstanceHooks()
    for delay in delays:
        if delay.is_initialized:
            hooks.shadow(delay, "append", _append(delay, env_ids))
            hooks.shadow(delay, "compute", _compute(delay, env_ids))
    try:
        yield
    finally:
        hooks.remove()


def _append(delay: Any, env_ids: torch.Tensor) -> Callable[..., Callable[..., None]]:
    def make(append: Callable[..., None]) -> Callable[..., None]:
        def append_to_rows(data: torch.Tensor) -> None:
            delay.backfill(data, env_ids)

        return append_to_rows

    return make


def _compute(delay: Any, env_ids: torch.Tensor) -> Callable[..., Callable[..., Any]]:
    def make(compute: Callable[..., Any]) -> Callable[..., Any]:
        def compute_for_rows() -> Any:
            lags, count = delay._current_lags, delay._step_count.clone()
            compute()
            count[env_ids] = delay._step_count[env_ids]
            delay._step_count.copy_(count)
            lags = lags.clone()
            lags[env_ids] = delay._current_lags[env_ids]
            delay._current_lags = lags
            return delay.peek()

        return compute_for_rows

    return make
