"""What the reference envs share: a batch of episodes over a physics of a few elementwise lines."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from holdstep.envs.action_guard import ActionGuard
from holdstep.envs.capabilities import Capabilities
from holdstep.envs.contract import Info, Obs, StepResult, TorchVectorEnv
from holdstep.envs.device import canonical_device
from holdstep.envs.env_ids import canonical_env_ids
from holdstep.envs.masked_step import check_active_mask, without_held_rows
from holdstep.envs.native_skip import NativeSkipOwner
from holdstep.envs.observations import add_final_obs, add_final_state, batched
from holdstep.envs.reference.row_control import ReferenceRowControl
from holdstep.envs.registry import checked_num_envs
from holdstep.envs.scene_state import checked_state
from holdstep.envs.state.rng import PerEnvRng
from holdstep.errors import (
    CapabilityError,
    ClosedEnvError,
    ConfigError,
    ResetNeededError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from holdstep.envs.capabilities import FreezeLevel, RngScope

Transition = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""Next state ``[N, S]``, reward float32 ``[N]`` and terminated bool ``[N]``, all new tensors."""


class ReferenceEnv(TorchVectorEnv):
    """A simulator-free env: all of a row's state is one row of one tensor, and its random stream.

    Subclasses give the physics (:meth:`_advance`), the first states (:meth:`_initial_state`), and
    the observations (:meth:`_observe`). Those are functions of the row alone, so that observations
    need not be kept: an inactive row's are computed again from its unchanged state. Whoever writes
    to :attr:`row_buffers` sees the new state's observations from the next call on.

    A step never waits for a GPU: there, initial states are drawn for all rows and taken by the rows
    that ended. On a CPU it is cheaper to look first whether one did. Buffers are made once, outside
    inference mode, and written in place: they can be edited from anywhere, whatever mode steps.

    Args:
        num_envs: number of rows.
        device: where everything lives.
        seed: of the random streams until ``reset(seed=...)`` names another; None draws one.
        render_mode: None or ``"rgb_array"``.
        max_episode_length: time limit [env steps]; None takes the class's own.

    Raises:
        ConfigError: an argument can't be used.
    """

    step_dt: float

    _default_max_episode_length: int
    _single_policy_space: gymnasium.spaces.Box
    _single_critic_space: gymnasium.spaces.Box
    _num_actions: int
    _num_states: int

    def __init__(
        self,
        num_envs: int = 1,
        *,
        device: str | torch.device = "cpu",
        seed: int | None = None,
        render_mode: str | None = None,
        max_episode_length: int | None = None,
    ) -> None:
        if max_episode_length is None:
            max_episode_length = self._default_max_episode_length
        if isinstance(max_episode_length, bool) or not (
            isinstance(max_episode_length, int) and max_episode_length >= 1
        ):
            raise ConfigError(
                "max_episode_length must be an integer of at least 1 (env steps), "
                f"got {max_episode_length!r}."
            )
        if render_mode not in (None, "rgb_array"):
            raise ConfigError(f"render_mode must be None or 'rgb_array', got {render_mode!r}.")
        self.num_envs = num_envs = checked_num_envs(num_envs)
        self.device = canonical_device(device)
        self.render_mode = render_mode
        self.max_episode_length: int = max_episode_length
        self.metadata = {
            "autoreset_mode": AutoresetMode.SAME_STEP,
            "render_modes": ["rgb_array"],
            "render_fps": round(1 / self.step_dt),
        }
        self.backend_env = self
        self.capabilities = Capabilities(
            freeze="skip",
            rng="per_env",
            final_obs=True,
            render=render_mode is not None,
            snapshot=True,
            scene_state=True,
        )
        self.single_observation_space = gymnasium.spaces.Dict(
            {"policy": self._single_policy_space, "critic": self._single_critic_space}
        )
        self.observation_space = batched(self.single_observation_space, num_envs)
        self.single_action_space = gymnasium.spaces.Box(-1.0, 1.0, (self._num_actions,), np.float32)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._action_guard = ActionGuard(self.action_space, self.device)
        self._rng = PerEnvRng(num_envs, self.device, seed)
        with torch.inference_mode(False):
            self._state = torch.zeros(num_envs, self._num_states, device=self.device)
            self._episode_length = torch.zeros(num_envs, dtype=torch.int64, device=self.device)
            self._idle_actions = torch.zeros(num_envs, self._num_actions, device=self.device)
            self._allocate()
        self._controls = NativeSkipOwner()
        self._final_obs_enabled = True
        self._final_state_enabled = False
        self._ready = False

    def _allocate(self) -> None:
        """Make what a subclass keeps besides the state; nothing by default."""

    @property
    def episode_length_buf(self) -> torch.Tensor:
        """Steps since each row's last reset, int64 ``[N]``; settable, the time limit follows it."""
        return self._episode_length

    @episode_length_buf.setter
    def episode_length_buf(self, value: torch.Tensor) -> None:
        self._episode_length.copy_(value)

    @property
    def final_obs_enabled(self) -> bool:
        """Whether ``info["final_obs"]`` is filled in; on until it is switched off."""
        return self._final_obs_enabled

    @final_obs_enabled.setter
    def final_obs_enabled(self, value: bool) -> None:
        self._final_obs_enabled = value

    @property
    def final_state_enabled(self) -> bool:
        """Whether ``info["final_state"]`` is filled in; off until somebody asks for it."""
        return self._final_state_enabled

    @final_state_enabled.setter
    def final_state_enabled(self, value: bool) -> None:
        self._final_state_enabled = value

    def scene_state(self) -> dict[str, torch.Tensor]:
        """All that a row's future depends on: ``"row/<buffer>"`` for each of the row buffers."""
        if not self._ready:
            self._refuse_step()
        return {f"row/{name}": buffer.clone() for name, buffer in self.row_buffers.items()}

    def set_scene_state(
        self, state: Mapping[str, torch.Tensor], env_ids: torch.Tensor | Sequence[int] | None = None
    ) -> Obs:
        """Put rows into states that :meth:`scene_state` told; they continue as those would have."""
        if not self._ready:
            self._refuse_step()
        rows: Any = range(self.num_envs) if env_ids is None else env_ids
        ids = canonical_env_ids(rows, num_envs=self.num_envs, device=self.device)
        buffers = {f"row/{name}": buffer for name, buffer in self.row_buffers.items()}
        for path, values in checked_state(state, buffers, ids.numel()).items():
            buffers[path][ids] = values
        return self.observe()

    @property
    def row_buffers(self) -> Mapping[str, torch.Tensor]:
        """All that a row's future depends on, tensors ``[N, ...]`` by name, written in place."""
        return {
            "state": self._state,
            "episode_length": self._episode_length,
            "rng_counter": self._rng.counter,
            "rng_key": self._rng.key,
            "rng_gamma": self._rng.gamma,
        }

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Obs, Info]:
        """Reset all rows, or those of ``options["env_ids"]``.

        ``seed`` restarts the random streams of the rows that are reset; without it they go on.
        """
        self._check_open()
        env_ids = (options or {}).get("env_ids")
        mask = torch.ones(self.num_envs, dtype=torch.bool, device=self.device)
        if env_ids is not None:
            if not self._ready:
                raise ResetNeededError("The first reset must be of all rows: call reset() first.")
            env_ids = canonical_env_ids(env_ids, num_envs=self.num_envs, device=self.device)
            mask.fill_(False).index_fill_(0, env_ids, True)
        if seed is not None:
            self._rng.reseed(seed, env_ids)
        self._state.copy_(torch.where(mask.unsqueeze(1), self._initial_state(mask), self._state))
        self._episode_length.masked_fill_(mask, 0)
        self._ready = True
        return self.observe(), {}

    def step(self, actions: torch.Tensor) -> StepResult:
        """Advance every row by one step of :attr:`step_dt`.

        Args:
            actions: float32 ``[N, A]``; values beyond [-1, 1] act as the nearest bound.
        """
        if not self._ready:
            self._refuse_step()
        actions = self._action_guard.check(actions)
        state, reward, terminated = self._advance(actions.detach())
        length = self._episode_length + 1
        truncated = length >= self.max_episode_length
        active = torch.ones_like(terminated)
        return self._finish_step(state, length, reward, terminated, truncated, active)

    def step_masked(self, actions: torch.Tensor, active_mask: torch.Tensor) -> StepResult:
        """Advance the rows of ``active_mask`` (bool ``[N]``) and leave no trace on the others."""
        if not self._ready:
            self._refuse_step()
        check_active_mask(active_mask, num_envs=self.num_envs, device=self.device)
        rows = active_mask.unsqueeze(1)
        actions = self._action_guard.check(
            without_held_rows(actions, active_mask, self._idle_actions)
        )
        state, reward, terminated = self._advance(actions)
        state = torch.where(rows, state, self._state)
        reward.masked_fill_(~active_mask, 0.0)
        terminated &= active_mask
        length = self._episode_length + active_mask
        truncated = (length >= self.max_episode_length) & active_mask
        active = active_mask.clone()
        return self._finish_step(state, length, reward, terminated, truncated, active)

    def row_control(self, *, level: FreezeLevel, rng: RngScope) -> ReferenceRowControl:
        """Holds rows by not stepping them, and copies row states.

        Raises:
            CapabilityError: another level than ``"skip"`` or ``"exact"``, or there is one already.
            ClosedEnvError: the env is closed.
        """
        self._check_open()
        return self._controls.hand_out(ReferenceRowControl(self, level=level, rng=rng))

    def observe(self) -> Obs:
        """Observations of the rows as they are now, as new tensors; changes nothing."""
        return self._observe(self._state, self._episode_length)

    def render(self) -> tuple[np.ndarray, ...]:
        """One RGB frame per row, uint8 ``[H, W, 3]``.

        Raises:
            CapabilityError: the env was made without ``render_mode="rgb_array"``.
            ResetNeededError: there is nothing to see before the first reset.
            ClosedEnvError: the env is closed.
        """
        self._check_open()
        if self.render_mode is None:
            raise CapabilityError(
                'The env was made without rendering: make it with render_mode="rgb_array".'
            )
        if not self._ready:
            raise ResetNeededError("Call reset() before the first render().")
        return tuple(self._draw(row) for row in self._state.cpu().numpy())

    def close_extras(self, **kwargs: Any) -> None:
        """Nothing is held; later calls are refused."""
        self._ready = False

    @abstractmethod
    def _advance(self, actions: torch.Tensor) -> Transition:
        """The physics of one step from ``self._state``, for all rows."""

    @abstractmethod
    def _initial_state(self, mask: torch.Tensor) -> torch.Tensor:
        """First states ``[N, S]``; only the masked rows' random streams advance."""

    @abstractmethod
    def _observe(self, state: torch.Tensor, length: torch.Tensor) -> Obs:
        """Observations of states ``[N, S]`` at episode lengths int64 ``[N]``, as new tensors."""

    @abstractmethod
    def _draw(self, state: np.ndarray) -> np.ndarray:
        """A frame, uint8 ``[H, W, 3]``, of one row's state ``[S]``."""

    def _annotate(self, info: Info, terminated: torch.Tensor, done: torch.Tensor) -> None:
        """Add a task's own entries to a step's info."""

    def _remaining_time(self, length: torch.Tensor) -> torch.Tensor:
        """Fraction of the time limit that is left, float32 ``[N, 1]`` in [0, 1]."""
        left = (length * (-1.0 / self.max_episode_length)).add_(1.0)
        # Clamped, because a length that was set from outside may lie beyond the limit.
        return left.clamp_(0.0, 1.0).unsqueeze(1)

    def _finish_step(
        self,
        state: torch.Tensor,
        length: torch.Tensor,
        reward: torch.Tensor,
        terminated: torch.Tensor,
        truncated: torch.Tensor,
        active: torch.Tensor,
    ) -> StepResult:
        done = terminated | truncated
        must_reset = self.device.type != "cpu" or bool(done.any())
        info: Info = {"active": active}
        final_obs = None
        if self._final_obs_enabled:
            final_obs = self._observe(state, length)
            add_final_obs(info, final_obs, done)
        self._annotate(info, terminated, done)
        if self._final_state_enabled and must_reset:
            before_reset = {"row/state": state, "row/episode_length": length}
            add_final_state(info, self.scene_state() | before_reset, done)
        if must_reset:
            state = torch.where(done.unsqueeze(1), self._initial_state(done), state)
            length = length.masked_fill(done, 0)
        self._state.copy_(state)
        self._episode_length.copy_(length)
        if final_obs is None or must_reset:
            obs = self._observe(state, length)
        else:  # the same values; of their own, since both belong to the caller
            obs = {name: value.clone() for name, value in final_obs.items()}
        return obs, reward, terminated, truncated, info

    def _refuse_step(self) -> None:
        self._check_open()
        raise ResetNeededError("Call reset() before the first step().")

    def _check_open(self) -> None:
        if self.closed:
            raise ClosedEnvError("The env is closed. Make a new one.")
