"""Single rows of Gymnasium's sync and async vectors left out of a step."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv, VectorEnv
from gymnasium.vector.async_vector_env import AsyncState
from gymnasium.vector.utils import iterate

if TYPE_CHECKING:
    from collections.abc import Iterator

_NO_STEP = (0.0, False, False)
"""Reward, terminated and truncated of a row that does not step."""


def why_no_skip(env: VectorEnv[Any, Any, Any]) -> str | None:
    """Why single rows of a vector env can't be left out of a step, if so."""
    base = env.unwrapped
    if not isinstance(base, SyncVectorEnv | AsyncVectorEnv):
        return (
            f"{type(base).__name__} steps all of its rows together. Build the rows one by one, "
            'where the env can: gymnasium.make_vec(..., vectorization_mode="sync")'
        )
    if env is not base:
        return (
            f"the vector wrapper {type(env).__name__} would count or normalise a step of each row, "
            "also of those that stand still. Wrap the single envs instead: "
            "gymnasium.make_vec(..., wrappers=[...])"
        )
    known: type = SyncVectorEnv if isinstance(base, SyncVectorEnv) else AsyncVectorEnv
    for name in ("step", "step_async", "step_wait"):
        if getattr(type(base), name, None) is not getattr(known, name, None):
            return (
                f"{type(base).__name__} has a {name}() of its own, and what that does with the "
                f"rows is not known. Use gymnasium.vector.{known.__name__} itself"
            )
    return None


@contextlib.contextmanager
def only_rows(env: VectorEnv[Any, Any, Any], active: np.ndarray) -> Iterator[None]:
    """Within it, ``env.step`` reaches only some of the sub-envs.

    The others are not called at all: a stand-in answers in their place, and is gone afterwards.

    Args:
        env: a sync or async vector for which :func:`why_no_skip` knows no reason.
        active: bool ``[N]``, the rows that step.
    """
    base = env.unwrapped
    if isinstance(base, SyncVectorEnv):
        with _only_envs(base, active):
            yield
    else:
        assert isinstance(base, AsyncVectorEnv)
        with _only_workers(base, active):
            yield


class _StillEnv:
    """Stands in for a sub-env of a ``SyncVectorEnv`` that is not to be stepped."""

    def __init__(self, obs: Any) -> None:
        self._obs = obs

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return self._obs, *_NO_STEP, {}


@contextlib.contextmanager
def _only_envs(base: SyncVectorEnv, active: np.ndarray) -> Iterator[None]:
    envs = base.envs
    some: list[Any] = [
        env if moves else _StillEnv(obs)
        for env, obs, moves in zip(envs, base._env_obs, active, strict=True)
    ]
    base.envs = some
    try:
        yield
    finally:
        base.envs = envs


class _StillPipe:
    """The pipe to a worker of an ``AsyncVectorEnv`` whose sub-env is not to be stepped.

    It answers ``"step"`` itself and passes everything else on, so that an env whose step was
    interrupted can still be closed through it.
    """

    def __init__(self, pipe: Any, obs: Any) -> None:
        self.pipe = pipe
        self._obs = obs
        self._asked = False

    def send(self, message: tuple[str, Any]) -> None:
        if message[0] == "step":
            self._asked = True
        else:
            self.pipe.send(message)

    def recv(self) -> Any:
        if not self._asked:
            return self.pipe.recv()
        self._asked = False
        return (self._obs, *_NO_STEP, {}), True

    def poll(self, timeout: float | None = 0.0) -> bool:
        return self._asked or bool(self.pipe.poll(timeout))

    def close(self) -> None:
        self.pipe.close()

    @property
    def closed(self) -> bool:
        return bool(self.pipe.closed)


@contextlib.contextmanager
def _only_workers(base: AsyncVectorEnv, active: np.ndarray) -> Iterator[None]:
    # Without shared memory, the rows' observations are put together from the workers' answers.
    rows: list[Any] = [None] * base.num_envs
    if not base.shared_memory:
        rows = list(iterate(base.observation_space, base.observations))
    some: list[Any] = [
        pipe if moves else _StillPipe(pipe, obs)
        for pipe, obs, moves in zip(base.parent_pipes, rows, active, strict=True)
    ]
    base.parent_pipes = some
    try:
        yield
    finally:
        # A step that was interrupted is still waited for, by close(); it needs the stand-ins.
        if base._state is AsyncState.DEFAULT:
            # From the list as it is now: the env drops the pipes of workers that failed.
            base.parent_pipes = [
                pipe.pipe if isinstance(pipe, _StillPipe) else pipe for pipe in base.parent_pipes
            ]
