"""Which ``gymnasium.vector`` envs can reset single rows, and so be given same-step autoreset."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv, VectorWrapper
from gymnasium.wrappers.vector import (
    NormalizeObservation,
    NormalizeReward,
    RecordEpisodeStatistics,
)

from holdstep.errors import CapabilityError

if TYPE_CHECKING:
    from collections.abc import Iterator

# As of gymnasium 1.4, the first refuses to reset single rows, the second forgets the returns of all
# rows then, and the third too, since SyncVectorEnv takes the mask out of the options that it reads.
_NEEDS_ALL_ROWS = (NormalizeObservation, NormalizeReward, RecordEpisodeStatistics)


def autoreset_mode(env: VectorEnv[Any, Any, Any]) -> AutoresetMode:
    """The env's autoreset mode.

    Raises:
        CapabilityError: the env doesn't say.
    """
    base = env.unwrapped
    if isinstance(base, SyncVectorEnv | AsyncVectorEnv):
        # Gymnasium before 1.3 keeps the mode in metadata that all envs of a class share, so that
        # the metadata may be another env's.
        return base.autoreset_mode
    mode = env.metadata.get("autoreset_mode")
    try:
        return AutoresetMode(mode)
    except ValueError:
        raise CapabilityError(
            f"{_name(env)} does not say when it resets rows that end: "
            f"metadata['autoreset_mode'] is {mode!r}. Set it to the gymnasium.vector.AutoresetMode "
            "that the env implements."
        ) from None


def check_translatable(env: VectorEnv[Any, Any, Any], mode: AutoresetMode) -> None:
    """Refuse an env whose rows can't be reset in the step in which they end.

    Raises:
        CapabilityError: with the reason and what to do.
    """
    if mode is AutoresetMode.SAME_STEP:
        return
    reason = why_no_row_reset(env)
    base = env.unwrapped
    if (
        mode is AutoresetMode.NEXT_STEP
        and isinstance(base, AsyncVectorEnv)
        and not base.shared_memory
    ):
        # Its workers forget that a reset was a reset (gymnasium 1.2 to 1.4), and would reset once
        # more in place of the next step.
        reason = "AsyncVectorEnv(shared_memory=False) repeats a reset in its next step"
    if reason is not None:
        raise CapabilityError(
            f"{_name(env)} autoresets in mode {mode.name}, holdstep needs SAME_STEP, and can't "
            f"translate: {reason}. Build the env with autoreset_mode=AutoresetMode.SAME_STEP, or "
            'its rows one by one with gymnasium.make_vec(..., vectorization_mode="sync").'
        )


def why_no_row_reset(env: VectorEnv[Any, Any, Any]) -> str | None:
    """Why ``reset(options={"reset_mask": mask})`` would not reset just the masked rows, if so."""
    for layer in _layers(env):
        if isinstance(layer, _NEEDS_ALL_ROWS):
            return (
                f"the vector wrapper {type(layer).__name__} loses track of the other rows when "
                "single rows are reset (wrap the single envs instead: "
                "gymnasium.make_vec(..., wrappers=[...]))"
            )
    base = env.unwrapped
    if isinstance(base, AsyncVectorEnv) and base.worker is not None:
        return "what AsyncVectorEnv's custom worker does at a reset is not known"
    if isinstance(base, SyncVectorEnv | AsyncVectorEnv):
        return None
    return (
        f"only SyncVectorEnv and AsyncVectorEnv are known to reset single rows "
        f"(options['reset_mask']), and {type(base).__name__} is neither"
    )


def _layers(env: VectorEnv[Any, Any, Any]) -> Iterator[VectorEnv[Any, Any, Any]]:
    while isinstance(env, VectorWrapper):
        yield env
        env = env.env
    yield env


def _name(env: VectorEnv[Any, Any, Any]) -> str:
    return type(env.unwrapped).__name__
