"""The view that skrl's agents train on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from holdstep.envs.contract import Info, Obs, TorchVectorEnv
from holdstep.envs.views.flat_actions import FlatActions
from holdstep.envs.views.gather import GatherSteps
from holdstep.envs.views.groups import joined, joined_space, select_groups
from holdstep.errors import ConfigError
from holdstep.extras import require

if TYPE_CHECKING:
    from collections.abc import Sequence

    import gymnasium
    from skrl.envs.wrappers.torch import Wrapper
else:
    Wrapper = require("skrl.envs.wrappers.torch", extra="skrl", purpose="SkrlEnv").Wrapper


class SkrlEnv(Wrapper):  # type: ignore[misc]  # skrl is untyped, so mypy takes its classes for Any
    """An env as skrl (2.0 and later) expects it, in tensors; the outermost thing in a stack.

    Differences from the env inside: observations are one tensor ``[N, features]``, flat as in all
    of skrl's wrappers (its models shape images back by ``observation_space``); rewards and flags
    are ``[N, 1]``; spaces are those of one env. Actions of several dimensions, the chunks of
    ``ActionChunkReplay``, are flat vectors, too. The view resets once at construction, since some
    envs know their observation space only then; ``reset`` returns the present observation, because
    skrl calls it between phases while autoreset goes on inside.
    Where the task's horizon is finite, the time limit counts as a termination, so that nothing is
    bootstrapped there.

    skrl has no place for final observations: with ``time_limit_bootstrap`` its agents value the
    *first* observation of the next episode where the last one of the ended episode is meant (as
    with every autoreset env in skrl 2.1). Unless something in the stack needs them, the view
    switches final observations off, which saves an observation pass in each step in which a row
    ends.

    Args:
        env: any holdstep env or stack of wrappers.
        obs_group: the observation group that the policy sees, or several vectors, put end to end.
            None takes ``"policy"``, else ``"actor"``, else the only one.
        state_group: the group or groups that an asymmetric critic sees; None for none.
        seed: of the reset at construction; None leaves the seed that the env was made with.
        final_obs: keep ``info["final_obs"]``.
        gather: let each step last until every row has taken one, so that no row is seen that stood
            still (:class:`~holdstep.envs.views.gather.GatherSteps`); the stack needs a
            ``SuspendOnWait``.

    Raises:
        ConfigError: no holdstep env, no such group, groups that cannot be put end to end, or
            ``gather`` is set and nothing in the stack suspends rows.
    """

    def __init__(
        self,
        env: TorchVectorEnv,
        *,
        obs_group: str | Sequence[str] | None = None,
        state_group: str | Sequence[str] | None = None,
        seed: int | None = None,
        final_obs: bool = False,
        gather: bool = False,
    ) -> None:
        if not isinstance(env, TorchVectorEnv):
            raise ConfigError(
                f"SkrlEnv takes a holdstep env, got {type(env).__name__}. "
                "Adapt it first: holdstep.envs.adapt(env)."
            )
        if gather:
            env = GatherSteps(env)
        super().__init__(env)
        if env.capabilities.final_obs and not _needed_inside(env):
            env.final_obs_enabled = final_obs
        # Before the spaces are read: Isaac Lab's direct tasks are corrected at the first reset.
        obs, self._info = env.reset(seed=seed)
        space = env.single_observation_space
        self._obs_groups = select_groups(space, obs_group)
        self._observation_space = joined_space(space, self._obs_groups)
        self._state_groups: tuple[str, ...] = ()
        self._state_space: gymnasium.spaces.Box | None = None
        if state_group is not None:
            self._state_groups = select_groups(space, state_group)
            self._state_space = joined_space(space, self._state_groups)
        self._action_space = FlatActions(env).space
        self._obs: torch.Tensor
        self._state: torch.Tensor | None = None
        self._keep(obs)

    @property
    def observation_space(self) -> gymnasium.spaces.Box:
        """The observation space of one env."""
        return self._observation_space

    @property
    def state_space(self) -> gymnasium.spaces.Box | None:
        """The critic's observation space of one env, or None without ``state_group``."""
        return self._state_space

    @property
    def action_space(self) -> gymnasium.Space[Any]:
        """The action space of one env, flat."""
        return self._action_space

    def reset(self) -> tuple[torch.Tensor, Info]:
        """The current observation and info; the rows were reset when the view was made.

        Returns:
            Observation ``[N, features]`` and info.
        """
        return self._obs, self._info

    def step(
        self, actions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, Info]:
        """Step the stack.

        Args:
            actions: ``[N, A]``, flat; ``[N, 1]`` where they are discrete.

        Returns:
            Observation ``[N, features]``, reward float32 ``[N, 1]``, terminated and truncated bool
            ``[N, 1]``, and the stack's info.
        """
        actions = actions.detach().reshape(self._env.action_space.shape)
        with torch.no_grad():
            obs, reward, terminated, truncated, self._info = self._env.step(actions)
        if self._env.is_finite_horizon:
            terminated, truncated = terminated | truncated, torch.zeros_like(truncated)
        return (
            self._keep(obs),
            reward.unsqueeze(1),
            terminated.unsqueeze(1),
            truncated.unsqueeze(1),
            self._info,
        )

    def state(self) -> torch.Tensor | None:
        """The critic's observation ``[N, features]`` that belongs to the last step or reset."""
        return self._state

    def render(self, *args: Any, **kwargs: Any) -> Any:
        """What the env renders, or None when it was made without a render mode."""
        return self._env.render() if self._env.render_mode is not None else None

    def close(self) -> None:
        """Close the stack."""
        self._env.close()

    def _keep(self, obs: Obs) -> torch.Tensor:
        self._obs = joined(obs, self._obs_groups)
        if self._state_groups:
            self._state = joined(obs, self._state_groups)
        return self._obs


def _needed_inside(env: TorchVectorEnv) -> bool:
    """Whether a wrapper in the stack says that it uses final observations."""
    from holdstep.wrappers.order import inner_wrappers

    return any(wrapper.needs_final_obs for wrapper in inner_wrappers(env))
