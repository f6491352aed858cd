"""Any ``gymnasium.vector.VectorEnv``: NumPy data on a CPU, behind the torch contract."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gymnasium
import torch
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv

from holdstep.envs.action_guard import ActionGuard
from holdstep.envs.adapters.gymnasium_autoreset import (
    autoreset_mode,
    check_translatable,
    why_no_row_reset,
)
from holdstep.envs.adapters.gymnasium_infos import infos_to_torch, same_step_infos
from holdstep.envs.adapters.gymnasium_rows import only_rows, why_no_skip
from holdstep.envs.adapters.gymnasium_spaces import ActionArrays, ObsGroups
from holdstep.envs.capabilities import Capabilities
from holdstep.envs.contract import Info, Obs, StepResult, TorchVectorEnv
from holdstep.envs.device import canonical_device
from holdstep.envs.env_ids import canonical_env_ids
from holdstep.envs.last_obs import LastObs
from holdstep.envs.masked_step import check_active_mask, idle_actions, without_held_rows
from holdstep.envs.native_skip import NativeSkip, NativeSkipOwner
from holdstep.envs.observations import add_final_obs, merge_rows
from holdstep.errors import (
    CapabilityError,
    ClosedEnvError,
    ConfigError,
    ResetNeededError,
)

if TYPE_CHECKING:
    import numpy as np

    from holdstep.envs.capabilities import FreezeLevel, RngScope


class GymnasiumVectorEnv(TorchVectorEnv):
    """A ``gymnasium.vector`` env as a :class:`~holdstep.envs.TorchVectorEnv`.

    Observations: one array is the group ``"policy"``; dictionaries are flattened to ``"a/b"``.
    Float64 becomes float32, in the spaces too. Actions: Box takes float32 ``[N, ...]``, discrete
    spaces take integers of the batched space's shape. Infos: numeric arrays become tensors, with
    their masks; object arrays stay.

    Autoreset: an env in same-step mode is passed through, with the observations of ended episodes
    as one batch; ``info["final_info"]`` has the other infos of the step that ended a row. An env in
    another mode whose rows can be reset singly (``SyncVectorEnv``, ``AsyncVectorEnv``) has the rows
    that end reset within the step; it is not to be stepped from elsewhere meanwhile.

    Rows of a sync or async vector are envs with a random generator each, which is what
    ``capabilities.rng == "per_env"`` says; an env that draws from NumPy's global generator breaks
    that promise of Gymnasium's.

    Rows of a plain sync or async vector can be left out of a step: their envs are not called. With
    vector wrappers around, which see all rows in each step, rows can't be held.

    Args:
        env: the vector env, Gymnasium's wrappers around it included.
        device: where the tensors go; the env itself computes on the CPU.
        seed: for the first ``reset``, where that names none.

    Raises:
        CapabilityError: a space that is no array, or an autoreset mode that can't be translated.
        ConfigError: not a vector env.
    """

    observation_space: gymnasium.spaces.Dict
    single_observation_space: gymnasium.spaces.Dict

    def __init__(
        self,
        env: VectorEnv[Any, Any, Any],
        *,
        device: str | torch.device = "cpu",
        seed: int | None = None,
    ) -> None:
        if not isinstance(env, VectorEnv):
            raise ConfigError(
                f"GymnasiumVectorEnv takes a gymnasium.vector.VectorEnv, got {type(env).__name__}."
            )
        mode = autoreset_mode(env)
        check_translatable(env, mode)
        self._resets_itself = mode is AutoresetMode.SAME_STEP
        self._env = env
        self._first_seed = seed
        self.backend_env = env
        self.device = canonical_device(device)
        self.num_envs = env.num_envs
        self.spec = env.unwrapped.spec
        self.render_mode = env.render_mode
        self.metadata = dict(env.metadata) | {"autoreset_mode": AutoresetMode.SAME_STEP}
        base = env.unwrapped
        self._rows = base if isinstance(base, SyncVectorEnv | AsyncVectorEnv) else None
        self._why_no_skip = why_no_skip(env)
        self.capabilities = Capabilities(
            freeze="skip" if self._why_no_skip is None else "none",
            rng="global" if self._rows is None else "per_env",
            final_obs=self._rows is not None,
            render=env.render_mode not in (None, "human"),
        )
        self._obs_groups = ObsGroups(env.single_observation_space, self.device)
        self.single_observation_space = self._obs_groups.space(env.single_observation_space)
        self.observation_space = self._obs_groups.space(env.observation_space)
        self._action_arrays = ActionArrays(env.single_action_space, env.action_space)
        self.single_action_space = self._action_arrays.single_space
        self.action_space = self._action_arrays.space
        self._action_guard = ActionGuard(self.action_space, self.device)
        self._has_time_limit = self._rows is not None and all(
            self._rows.call("has_wrapper_attr", "_elapsed_steps")
        )
        self.max_episode_length = self._time_limit()
        with torch.inference_mode(False):
            self._episode_length = torch.zeros(self.num_envs, dtype=torch.int64, device=self.device)
            self._idle_actions = idle_actions(self.action_space, self.device)
        self._final_obs_enabled = True
        self._last_obs = LastObs()
        self._controls = NativeSkipOwner()

    @property
    def episode_length_buf(self) -> torch.Tensor:
        """Steps since each row's last reset, int64 ``[N]``, counted here.

        Setting it sets the clocks of the rows' ``TimeLimit`` wrappers too.

        Raises:
            CapabilityError: when set, and the time limit is kept where it can't be reached.
        """
        return self._episode_length

    @episode_length_buf.setter
    def episode_length_buf(self, value: torch.Tensor) -> None:
        if self._has_time_limit and self._rows is not None:
            self._rows.set_attr("_elapsed_steps", value.tolist())
        elif self.max_episode_length is not None:
            raise CapabilityError(
                f"{type(self._env.unwrapped).__name__} keeps its time limit to itself, so episode "
                "lengths can't be set. Train without random initial episode lengths "
                "(rsl_rl: init_at_random_ep_len=False)."
            )
        self._episode_length.copy_(value)

    @property
    def final_obs_enabled(self) -> bool:
        """Whether ``info["final_obs"]`` is filled in; on until it is switched off."""
        return self._final_obs_enabled

    @final_obs_enabled.setter
    def final_obs_enabled(self, value: bool) -> None:
        self._final_obs_enabled = value

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Obs, Info]:
        """Reset all rows, or those of ``options["env_ids"]``; the other options go to the env.

        Row ``i`` of a sync or async vector is seeded with ``seed + i``. Rows that are not reset
        keep the observation that they last returned.

        Raises:
            CapabilityError: single rows of this env can't be reset.
        """
        self._check_open()
        options = dict(options or {})
        env_ids = options.pop("env_ids", None)
        if env_ids is None:
            seed = self._first_seed if seed is None else seed
            self._first_seed = None
            obs, infos = self._env.reset(seed=seed, options=options or None)
            self._episode_length.zero_()
            returned = self._last_obs.keep(self._obs_groups.tensors(obs))
            return returned, infos_to_torch(infos, self.device)
        if not self._last_obs:
            raise ResetNeededError("The first reset must be of all rows: call reset() first.")
        reason = why_no_row_reset(self._env)
        if reason is not None:
            raise CapabilityError(f"Only all rows can be reset together: {reason}.")
        ids = canonical_env_ids(env_ids, num_envs=self.num_envs, device=self.device)
        if ids.numel() == 0:
            return self._last_obs.copy(), {}
        mask = torch.zeros(self.num_envs, dtype=torch.bool, device=self.device)
        mask[ids] = True
        # The env takes its own mask out of the dictionary and may write to it.
        options["reset_mask"] = mask.cpu().numpy().copy()
        new_obs, infos = self._env.reset(seed=seed, options=options)
        self._episode_length.masked_fill_(mask, 0)
        obs = self._last_obs.merged(mask, self._obs_groups.tensors(new_obs))
        return obs, infos_to_torch(infos, self.device)

    def step(self, actions: torch.Tensor) -> StepResult:
        """Advance every row by one step, and reset the rows that ended."""
        self._check_ready()
        actions = self._action_guard.check(actions)
        result = self._env.step(self._action_arrays.array(actions))
        return self._finish_step(
            *result, active=torch.ones(self.num_envs, dtype=torch.bool, device=self.device)
        )

    def step_masked(self, actions: torch.Tensor, active_mask: torch.Tensor) -> StepResult:
        """Advance the rows of ``active_mask`` (bool ``[N]``); the other envs are not called.

        Raises:
            CapabilityError: single rows of this env can't be left out of a step.
        """
        self._check_skips()
        self._check_ready()
        check_active_mask(active_mask, num_envs=self.num_envs, device=self.device)
        actions = self._action_guard.check(
            without_held_rows(actions, active_mask, self._idle_actions)
        )
        with only_rows(self._env, active_mask.cpu().numpy()):
            result = self._env.step(self._action_arrays.array(actions))
        return self._finish_step(*result, active=active_mask.clone())

    def row_control(self, *, level: FreezeLevel, rng: RngScope) -> NativeSkip:
        """Holds rows by not stepping their envs.

        Raises:
            CapabilityError: the env can't do that, another level than ``"skip"`` or ``"exact"`` was
                asked for, or there is a control already.
            ClosedEnvError: the env is closed.
        """
        self._check_open()
        self._check_skips()
        return self._controls.hand_out(NativeSkip(self, level=level, rng=rng))

    def _why_no_scene_state(self) -> str:
        return (
            f"{type(self._env.unwrapped).__name__} keeps the state of its envs to itself: it can "
            "neither be told nor set (capabilities.scene_state is False). An episode can be "
            "repeated by reset(seed=...) and its actions."
        )

    def render(self) -> Any:
        """The env's own frames: one per row, for a sync or async vector.

        Raises:
            CapabilityError: the env was made without a render mode.
        """
        self._check_open()
        if self.render_mode is None:
            raise CapabilityError(
                'The env was made without rendering: make it with render_mode="rgb_array".'
            )
        return self._env.render()

    def close_extras(self, **kwargs: Any) -> None:
        """Close the env; arguments are passed on to it."""
        self._last_obs.clear()
        self._env.close(**kwargs)

    def _finish_step(
        self,
        env_obs: Any,
        reward: np.ndarray,
        terminated: np.ndarray,
        truncated: np.ndarray,
        infos: Info,
        *,
        active: torch.Tensor,
    ) -> StepResult:
        obs = self._obs_groups.tensors(env_obs)
        ended = terminated | truncated
        ended_mask = self._tensor(ended, torch.bool)
        final_obs: Obs | None = None
        if self._resets_itself:
            infos = dict(infos)
            env_final_obs = infos.pop("final_obs", None)
            infos.pop("_final_obs", None)
            if self._final_obs_enabled and env_final_obs is not None:
                final_obs = self._obs_groups.final_tensors(env_obs, env_final_obs, ended)
        elif ended.any():
            new_obs, reset_infos = self._env.reset(options={"reset_mask": ended.copy()})
            if self._final_obs_enabled:
                final_obs = obs
            obs = merge_rows(ended_mask, self._obs_groups.tensors(new_obs), obs)
            infos = same_step_infos(infos, reset_infos, ended)
        info = infos_to_torch(infos, self.device)
        info["active"] = active
        if final_obs is not None:
            add_final_obs(info, final_obs, ended_mask)
        self._episode_length.add_(active).masked_fill_(ended_mask, 0)
        return (
            self._last_obs.keep(obs),
            self._tensor(reward, torch.float32),
            self._tensor(terminated, torch.bool),
            self._tensor(truncated, torch.bool),
            info,
        )

    def _check_ready(self) -> None:
        if not self._last_obs:
            self._check_open()
            raise ResetNeededError("Call reset() before the first step().")

    def _check_skips(self) -> None:
        if self._why_no_skip is not None:
            raise CapabilityError(f"Single rows can't be held: {self._why_no_skip}.")

    def _check_open(self) -> None:
        if self.closed:
            raise ClosedEnvError("The env is closed. Make a new one.")

    def _tensor(self, array: np.ndarray, dtype: torch.dtype) -> torch.Tensor:
        return torch.tensor(array, dtype=dtype, device=self.device)

    def _time_limit(self) -> int | None:
        if self._has_time_limit and self._rows is not None:
            limits = set(self._rows.get_attr("_max_episode_steps"))
            return limits.pop() if len(limits) == 1 else None
        if self.spec is None:
            return None
        limit: int | None = self.spec.kwargs.get("max_episode_steps", self.spec.max_episode_steps)
        return limit if limit is not None and limit > 0 else None
