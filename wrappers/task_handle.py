"""One row of a batched env, as a coroutine sees it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import torch

from holdstep.errors import InvalidActionError, SuspensionError

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdstep.envs.contract import Info, Obs


class EnvHandle:
    """One episode of one row; :func:`~holdstep.wrappers.run_per_env` gives it to a coroutine.

    Attributes:
        env_id: the row.
        episode: number of the episode, in the order in which episodes are started.
        obs: the row's current observation, tensors by group without the batch dimension. After the
            episode has ended: the first one of the next.
        done: whether the episode has ended. The coroutine returns then.
        episode_return: summed rewards so far.
        length: env steps so far.
        terminated: whether the task ended the episode.
        truncated: whether the time limit did.

    Args:
        env_id: the row.
        episode: number of the episode.
        obs: its first observation.
        like: an action of the right shape, dtype and device.
        on_ready: called when an action was given.
    """

    def __init__(
        self,
        env_id: int,
        episode: int,
        obs: Obs,
        *,
        like: torch.Tensor,
        on_ready: Callable[[], None],
    ) -> None:
        self.env_id = env_id
        self.episode = episode
        self.obs = obs
        self.episode_return = 0.0
        self.length = 0
        self.terminated = False
        self.truncated = False
        self._action: torch.Tensor | None = None
        self._like = like
        self._on_ready = on_ready
        self._answer: asyncio.Future[tuple[Obs, float, bool, Info]] | None = None
        self._over = False

    @property
    def done(self) -> bool:
        """Whether the episode has ended."""
        return self.terminated or self.truncated

    @property
    def action(self) -> torch.Tensor | None:
        """What was asked for and has not been stepped yet, or None."""
        # Whoever cancels a step cancels its answer at once, and the step itself a turn later.
        waiting = self._answer is not None and not self._answer.done()
        return self._action if waiting else None

    async def reset(self) -> Obs:
        """The first observation of the episode. The row was reset when the episode before ended.

        Raises:
            SuspensionError: the episode has begun. To give it up, return: the row is reset then,
                and the next call of the coroutine has the next episode.
        """
        self._check_open()
        if self.length or self._answer is not None:
            raise SuspensionError(
                f"Env {self.env_id} is in the middle of episode {self.episode}. Each call of the "
                "coroutine is one episode: return to give it up, and the row is reset for the next."
            )
        return self.obs

    async def step(self, action: Any) -> tuple[Obs, float, bool, Info]:
        """Step this row, together with all others that are ready by then.

        Args:
            action: for this row, without the batch dimension; a tensor, array, list or number.

        Returns:
            The row's observation (of the next episode when this one ended; ``info["final_obs"]``
            has the last one then), reward, whether the episode ended, and the row's own info with
            ``"terminated"`` and ``"truncated"``.

        Raises:
            InvalidActionError: an action of another shape, or no numbers.
            SuspensionError: the episode is over, or another step of this row is under way.
        """
        self._check_open()
        if self.done:
            raise SuspensionError(
                f"Episode {self.episode} of env {self.env_id} is over. Return: the next call of "
                "the coroutine has the next episode."
            )
        if self._answer is not None:
            raise SuspensionError(
                f"A step of env {self.env_id} is under way already: await it before the next one."
            )
        self._action = self._checked(action)
        self._answer = asyncio.get_running_loop().create_future()
        self._on_ready()
        try:
            return await self._answer
        finally:
            # Also when the coroutine gave up waiting, for a step that was not made then.
            self._answer = self._action = None

    def deliver(
        self, obs: Obs, reward: float, *, terminated: bool, truncated: bool, info: Info
    ) -> None:
        """Answer the step that is under way; for ``run_per_env``."""
        self.obs = obs
        self.episode_return += reward
        self.length += 1
        self.terminated, self.truncated = terminated, truncated
        self._action = None
        if self._answer is not None and not self._answer.done():
            info |= {"terminated": terminated, "truncated": truncated}
            self._answer.set_result((obs, reward, self.done, info))

    def close(self) -> None:
        """Refuse everything from now on; for ``run_per_env``."""
        self._over = True
        self._action = None

    def _check_open(self) -> None:
        if self._over:
            raise SuspensionError(
                f"Episode {self.episode} of env {self.env_id} is over: its coroutine has returned, "
                "or the run has ended."
            )

    def _checked(self, action: Any) -> torch.Tensor:
        like = self._like
        try:
            given = torch.as_tensor(action, device=like.device)
        except (TypeError, ValueError, RuntimeError) as error:
            raise InvalidActionError(
                f"The action of env {self.env_id} must be numbers of shape {tuple(like.shape)}, "
                f"got {action!r}."
            ) from error
        if given.shape != like.shape:
            raise InvalidActionError(
                f"The action of env {self.env_id} must have shape {tuple(like.shape)}, "
                f"got {tuple(given.shape)}."
            )
        if not like.is_floating_point() and (given.is_floating_point() or given.is_complex()):
            raise InvalidActionError(
                f"The action of env {self.env_id} must be integers, got {given.dtype}."
            )
        # Looked at here, while it is known whose it is; on a GPU that would wait for the device.
        if given.device.type == "cpu" and not given.isfinite().all():
            raise InvalidActionError(
                f"The action of env {self.env_id} must be finite, got {given.tolist()}."
            )
        # A copy, since the coroutine may go on to edit what it gave before the step is made.
        return given.detach().to(like.dtype, copy=True)
