"""The view that rsl_rl's runners train on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gymnasium
import torch
from gymnasium.vector.utils import batch_space

from holdstep.envs.contract import Obs, TorchVectorEnv
from holdstep.envs.views.flat_actions import FlatActions
from holdstep.envs.views.gather import GatherSteps
from holdstep.errors import ConfigError
from holdstep.extras import require

if TYPE_CHECKING:
    from rsl_rl.env import VecEnv
    from tensordict import TensorDict
else:
    _PURPOSE = "RslRlVecEnv"
    VecEnv = require("rsl_rl.env", extra="rsl-rl", purpose=_PURPOSE).VecEnv
    TensorDict = require("tensordict", extra="rsl-rl", purpose=_PURPOSE).TensorDict

_UNLIMITED_EPISODE = 2**31 - 1
"""rsl_rl wants a number even where episodes have no time limit."""


class RslRlVecEnv(VecEnv):  # type: ignore[misc]  # rsl_rl is untyped
    """An env as rsl_rl (5.0 to 5.5) expects it; the outermost thing in a stack.

    Differences from the env inside: observations are a ``TensorDict``; ``terminated`` and
    ``truncated`` become one int64 ``dones``; truncations go to ``extras["time_outs"]`` unless the
    task's horizon is finite, so that rsl_rl bootstraps them. rsl_rl never calls ``reset`` before it
    trains, so the view resets once at construction.

    Actions of several dimensions, the chunks of ``ActionChunkReplay``, are flat vectors here.

    rsl_rl's PPO takes a row that stood still for one that took a step. Where rows can be suspended,
    train with :class:`~holdstep.policies.rsl_rl.MaskedPPO`, which reads ``extras["active"]``, or
    set ``gather``.

    rsl_rl never looks at final observations. Unless something in the stack needs them, the view
    switches them off, which saves an observation pass in each step in which a row ends.

    Args:
        env: any holdstep env or stack of wrappers.
        clip_actions: bound of the actions' absolute value, applied before they enter the stack
            (the ``clip_actions`` of mjlab's and Isaac Lab's runner configurations); None for none.
        final_obs: keep ``extras["final_obs"]``.
        gather: let each step last until every row has taken one, so that no row is seen that stood
            still (:class:`~holdstep.envs.views.gather.GatherSteps`); the stack needs a
            ``SuspendOnWait``.

    Raises:
        ConfigError: actions are no arrays of numbers, ``clip_actions`` is negative, or
            ``gather`` is set and nothing in the stack suspends rows.
    """

    def __init__(
        self,
        env: TorchVectorEnv,
        *,
        clip_actions: float | None = None,
        final_obs: bool = False,
        gather: bool = False,
    ) -> None:
        if not isinstance(env, TorchVectorEnv):
            raise ConfigError(
                f"RslRlVecEnv takes a holdstep env, got {type(env).__name__}. "
                "Adapt it first: holdstep.envs.adapt(env)."
            )
        if gather:
            env = GatherSteps(env)
        self._flat_actions = FlatActions(env)
        space = self._flat_actions.space
        if not isinstance(space, gymnasium.spaces.Box) or len(space.shape) != 1:
            raise ConfigError(
                f"rsl_rl's policies are continuous: the action space must be a Box of at least one "
                f"dimension, got {space}."
            )
        if clip_actions is not None and not clip_actions > 0:
            raise ConfigError(f"clip_actions must be positive or None, got {clip_actions!r}.")
        self.env = env
        self.clip_actions = clip_actions
        self.num_envs: int = env.num_envs
        self.num_actions: int = space.shape[0]
        self.device: torch.device = env.device
        self.max_episode_length: int = env.max_episode_length or _UNLIMITED_EPISODE
        self.cfg: Any = env.cfg if env.cfg is not None else {}
        self.render_mode = env.render_mode
        self._bootstrap_time_outs = not env.is_finite_horizon
        if env.capabilities.final_obs and not _needed_inside(env):
            env.final_obs_enabled = final_obs
        self._last_obs: Obs
        self.reset()

    @property
    def unwrapped(self) -> Any:
        """The simulator's own env object, which task-specific runners look into."""
        return self.env.backend_env

    @property
    def observation_space(self) -> gymnasium.spaces.Dict:
        """The batched observation space."""
        return self.env.observation_space

    @property
    def action_space(self) -> gymnasium.Space[Any]:
        """The batched action space, flat: ``[N, num_actions]``."""
        return batch_space(self._flat_actions.space, self.num_envs)

    @property
    def episode_length_buf(self) -> torch.Tensor:
        """Steps since each row's last reset, int64 ``[N]``; rsl_rl randomises it at the start."""
        return self.env.episode_length_buf

    @episode_length_buf.setter
    def episode_length_buf(self, value: torch.Tensor) -> None:
        self.env.episode_length_buf = value

    def get_observations(self) -> TensorDict:
        """The observations that the last ``step`` or ``reset`` returned; computes nothing."""
        return self._tensordict(self._last_obs)

    def reset(self) -> tuple[TensorDict, dict[str, Any]]:
        """Reset all rows."""
        self._last_obs, info = self.env.reset()
        return self._tensordict(self._last_obs), info

    def step(
        self, actions: torch.Tensor
    ) -> tuple[TensorDict, torch.Tensor, torch.Tensor, dict[str, Any]]:
        """Step the stack.

        Args:
            actions: float32 ``[N, num_actions]``.

        Returns:
            Observations, reward float32 ``[N]``, dones int64 ``[N]``, and extras with ``time_outs``
            (bool ``[N]``), ``log`` where the backend logs, and the rest of the stack's info.
        """
        if self.clip_actions is not None:
            actions = actions.clamp(-self.clip_actions, self.clip_actions)
        actions = self._flat_actions.restore(actions)
        self._last_obs, reward, terminated, truncated, info = self.env.step(actions)
        if self._bootstrap_time_outs:
            info["time_outs"] = truncated
        dones = (terminated | truncated).long()
        return self._tensordict(self._last_obs), reward, dones, info

    def close(self) -> None:
        """Close the stack."""
        self.env.close()

    def _tensordict(self, obs: Obs) -> TensorDict:
        return TensorDict(obs, batch_size=[self.num_envs])


def _needed_inside(env: TorchVectorEnv) -> bool:
    """Whether a wrapper in the stack says that it uses final observations."""
    from holdstep.wrappers.order import inner_wrappers

    return any(wrapper.needs_final_obs for wrapper in inner_wrappers(env))
