"""Whether an env, a policy and a scheduler go together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from holdstep.envs.contract import TorchVectorEnv
from holdstep.errors import ConfigError
from holdstep.policies.chunked.protocol import ChunkedPolicy, ObservingPolicy
from holdstep.policies.chunked.schedulers.base import Scheduler

if TYPE_CHECKING:
    from holdstep.policies.chunked.ensemble import TemporalEnsembling
    from holdstep.policies.chunked.protocol import ChunkSpec


def check_policy(policy: Any, env: Any) -> None:
    """Refuse what is no chunked policy, or one of another action space.

    Raises:
        ConfigError: saying what is wrong.
    """
    if not isinstance(env, TorchVectorEnv):
        raise ConfigError(
            f"ChunkRunner drives a holdstep env, got {type(env).__name__}. Adapt it first: "
            "holdstep.envs.adapt(env)."
        )
    if isinstance(policy, type) or not isinstance(policy, ChunkedPolicy):
        raise ConfigError(
            "policy must have a spec, infer(request) and reset(env_ids, episode_ids), see "
            f"holdstep.policies.ChunkedPolicy; got {policy!r}."
        )
    if policy.spec.uses_history and not isinstance(policy, ObservingPolicy):
        raise ConfigError(
            "The policy's spec says uses_history=True, but it has no observe(obs, active_mask), "
            "see holdstep.policies.ObservingPolicy."
        )
    shape = env.single_action_space.shape
    if shape != (policy.spec.action_dim,):
        raise ConfigError(
            f"The policy's actions have {policy.spec.action_dim} numbers (its spec's action_dim), "
            f"the env takes actions of shape {shape}."
        )
    missing = [
        key for key in policy.spec.obs_keys or () if key not in env.single_observation_space.spaces
    ]
    if missing:
        raise ConfigError(
            f"The policy reads the observation groups {missing}, which this env does not have; it "
            f"has {sorted(env.single_observation_space)}."
        )


def checked_execute(
    execute: int | None,
    spec: ChunkSpec,
    scheduler: Scheduler,
    ensemble: TemporalEnsembling | None,
) -> int:
    """The number of actions of a chunk that are executed.

    Args:
        execute: as the user gave it; None for as many as the scheduler allows.
        spec: of the policy.
        scheduler: of the runner.
        ensemble: of the runner, or None.

    Raises:
        ConfigError: it is out of range, or does not go with the others.
    """
    if not isinstance(scheduler, Scheduler):
        raise ConfigError(f"scheduler must be a Scheduler, such as Cohort(), got {scheduler!r}.")
    length = spec.chunk_length
    if execute is None:
        execute = length - scheduler.max_skipped
    if isinstance(execute, bool) or not isinstance(execute, int) or not 1 <= execute <= length:
        raise ConfigError(
            f"execute must be from 1 to the chunk_length of {length} actions, got {execute!r}."
        )
    scheduler.check(execute=execute, chunk_length=length, uses_prefix=spec.uses_prefix)
    if spec.uses_history and scheduler.max_lead > 0:
        raise ConfigError(
            f"The policy looks at the observations up to now, and {scheduler!r} asks it about an "
            "earlier one. Use a scheduler without prefetching."
        )
    if ensemble is not None and scheduler.max_lead > 0:
        raise ConfigError(
            f"Temporal ensembling averages chunks that begin at their observation; {scheduler!r} "
            "asks for them earlier. Use a scheduler without prefetching."
        )
    return execute


def check_numbers(*, seed: object, timeout_s: object) -> None:
    """Refuse a seed that is no integer, and a time-out that is no time.

    Raises:
        ConfigError: saying which.
    """
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise ConfigError(f"seed must be an integer, got {seed!r}.")
    if timeout_s is not None and (
        isinstance(timeout_s, bool)
        or not isinstance(timeout_s, int | float)
        or not 0 < timeout_s < math.inf
    ):
        raise ConfigError(f"timeout_s must be None or a number of seconds > 0, got {timeout_s!r}.")


def checked_numbers(numbers: Sequence[int], num_rows: int) -> np.ndarray:
    """Numbers of rows' episodes, int64 ``[k]``.

    Raises:
        ConfigError: not as many non-negative integers as rows.
    """
    values = np.asarray(numbers)
    if values.shape != (num_rows,) or (
        num_rows and (values.dtype.kind not in "iu" or values.min() < 0)
    ):
        raise ConfigError(
            f"numbers must be non-negative integers, one for each of {num_rows} rows; got "
            f"{numbers!r}."
        )
    return values.astype(np.int64)


def checked_texts(instructions: str | Sequence[str], num_rows: int, spec: ChunkSpec) -> list[str]:
    """One instruction for each of so many rows; none for a policy that needs none.

    Raises:
        ConfigError: another number of texts, or none for a policy that needs them.
    """
    texts = [instructions] * num_rows if isinstance(instructions, str) else list(instructions)
    if not texts and not spec.uses_instructions:
        return texts
    if len(texts) != num_rows or not all(isinstance(text, str) for text in texts):
        raise ConfigError(
            f"instructions must be one text, or {num_rows} of them; got {instructions!r}."
            + (" The policy's spec asks for some." if not texts else "")
        )
    return texts
