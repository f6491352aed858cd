"""The view that Stable-Baselines3 trains on."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
import torch

from holdstep.envs.contract import Info, Obs, TorchVectorEnv
from holdstep.envs.views.episode_stats import EpisodeStats
from holdstep.envs.views.finite_actions import finite_space
from holdstep.envs.views.flat_actions import FlatActions
from holdstep.envs.views.gather import GatherSteps
from holdstep.envs.views.groups import select_groups
from holdstep.envs.views.host import to_host
from holdstep.errors import CapabilityError, ConfigError, ContractViolationError, HoldstepError
from holdstep.extras import require

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from stable_baselines3.common.monitor import Monitor
    from stable_baselines3.common.vec_env import VecEnv
    from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvObs
else:
    _PURPOSE = "Sb3VecEnv"
    VecEnv = require("stable_baselines3.common.vec_env", extra="sb3", purpose=_PURPOSE).VecEnv
    Monitor = require("stable_baselines3.common.monitor", extra="sb3", purpose=_PURPOSE).Monitor


class Sb3VecEnv(VecEnv):
    """An env as Stable-Baselines3 (2.6 and later) expects it; the outermost thing in a stack.

    Differences from the env inside: everything is NumPy; ``terminated`` and ``truncated`` become
    one ``dones``; each row has an info dictionary of its own. Those of rows that ended hold

    - ``terminal_observation``: the last observation of the episode that ended;
    - ``TimeLimit.truncated``: whether Stable-Baselines3 should bootstrap its value. False where the
      env also terminated, and always where the task's horizon is finite;
    - ``episode``: return ``r``, length ``l`` [env steps], and time ``t`` [s] since the view was
      made, as from ``Monitor``, whose place the view takes: no ``VecMonitor`` is needed;
    - ``is_success`` where the env says ``info["success"]``.

    Actions of several dimensions, the chunks of ``ActionChunkReplay``, are flat vectors here.

    The view needs final observations and switches them on. A step moves what it needs from the
    device in one batch, with one wait.

    The view resets once at construction, since some envs know their observation space only then.
    A first ``reset`` for which neither seed nor options were set, and before which nothing was set
    or called through the view, returns that reset's observations.

    Args:
        env: any holdstep env or stack of wrappers.
        obs_group: the observation group to show, or several: one becomes the observation itself
            (``MlpPolicy``, ``CnnPolicy``), several a dictionary (``MultiInputPolicy``). None takes
            ``"policy"``, else ``"actor"``, else the only one.
        clip_actions: largest absolute action. It narrows the env's action space; None leaves the
            env's bounds, with 100 where they are infinite. Actions are clipped to the space. SAC,
            TD3 and DDPG scale their output to it, so give them the range that the task needs.
        gather: let each step last until every row has taken one, so that no row is seen that stood
            still (:class:`~holdstep.envs.views.gather.GatherSteps`); the stack needs a
            ``SuspendOnWait``.
        clock: gives the time [s] that ``episode["t"]`` is measured by.

    Raises:
        ConfigError: no holdstep env, no such group, ``clip_actions`` can't be used, or ``gather``
            is set and nothing in the stack suspends rows.
        CapabilityError: the env cannot give final observations.
    """

    def __init__(
        self,
        env: TorchVectorEnv,
        *,
        obs_group: str | Sequence[str] | None = None,
        clip_actions: float | None = None,
        gather: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not isinstance(env, TorchVectorEnv):
            raise ConfigError(
                f"Sb3VecEnv takes a holdstep env, got {type(env).__name__}. "
                "Adapt it first: holdstep.envs.adapt(env)."
            )
        if gather:
            env = GatherSteps(env)
        self.env = env
        self._flat_actions = FlatActions(env)
        action_space = finite_space(self._flat_actions.space, clip_actions)
        _enable_final_obs(env)
        # Before the spaces are read: Isaac Lab's direct tasks are corrected at the first reset.
        self._first_obs: Obs | None = env.reset()[0]
        self._groups = select_groups(env.single_observation_space, obs_group)
        spaces = {name: env.single_observation_space[name] for name in self._groups}
        # SB3's base class asks for attributes of the env, so self.env must be set by now.
        super().__init__(
            env.num_envs,
            gymnasium.spaces.Dict(spaces) if len(spaces) > 1 else spaces[self._groups[0]],
            action_space,
        )
        self._stats = EpisodeStats(env.num_envs, clock=clock)
        self._actions: torch.Tensor | None = None

    def reset(self) -> VecEnvObs:
        """Reset all rows, with the seed and options set for this reset.

        Raises:
            ConfigError: ``set_options`` was given different options for different rows.
        """
        options = self._options[0]
        if any(other is not options and other != options for other in self._options):
            raise ConfigError("One reset serves all rows: give set_options() one dictionary.")
        obs = self._first_obs
        if obs is None or self._seeds[0] is not None or options:
            obs, _ = self.env.reset(seed=self._seeds[0], options=options or None)
        self._first_obs = None
        self._reset_seeds()
        self._reset_options()
        self._stats.clear()
        self._actions = None
        return self._shown(to_host(self._selected("obs", obs)))

    def step_async(self, actions: np.ndarray) -> None:
        """Take the actions of the next step, ``[N, A]``, flat (``[N]`` where they are discrete)."""
        # A copy: what the env keeps of its last actions must not change when SB3 reuses the array.
        array = np.array(actions, dtype=self.action_space.dtype)
        if isinstance(self.action_space, gymnasium.spaces.Box):
            np.clip(array, self.action_space.low, self.action_space.high, out=array)
        self._actions = self._flat_actions.restore(torch.from_numpy(array).to(self.env.device))

    def step_wait(self) -> tuple[VecEnvObs, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Step the stack.

        Returns:
            Observations, rewards float32 ``[N]``, dones bool ``[N]`` and ``N`` info dictionaries.

        Raises:
            HoldstepError: no actions were given by ``step_async``.
            ContractViolationError: an episode ended and the env gave no final observation.
        """
        if self._actions is None:
            raise HoldstepError("step_wait() needs the actions first: call step_async(actions).")
        self._first_obs = None
        obs, reward, terminated, truncated, info = self.env.step(self._actions)
        self._actions = None
        moved = {"reward": reward, "terminated": terminated, "truncated": truncated}
        moved |= self._selected("obs", obs)
        if "final_obs" in info:
            moved |= self._selected("final_obs", info["final_obs"])
        moved |= _row_entries(info, "active", "num_steps", "_final_obs", "success", "_success")
        host = to_host(moved)
        dones = host["terminated"] | host["truncated"]
        self._stats.add(host["reward"], host.get("num_steps", host.get("active")))
        # Fresh dictionaries, because callbacks and SB3's wrappers write into them.
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        if dones.any():
            self._fill_in(infos, np.flatnonzero(dones), host)
        return self._shown(host), host["reward"], dones, infos

    def close(self) -> None:
        """Close the stack."""
        self.env.close()

    def get_images(self) -> Sequence[np.ndarray | None]:
        """What the env renders: one frame ``[H, W, 3]`` per row, or only one frame."""
        frames: Any = self.env.render()
        many = isinstance(frames, (tuple, list)) or (frames is not None and frames.ndim == 4)
        return list(frames) if many else [frames]

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """An attribute of the stack (outermost first) or the simulator's env, once per row.

        Of a tensor or array ``[N, ...]`` each row gets its own entry, as NumPy.
        """
        value = getattr(self._owner(attr_name), attr_name)
        rows = list(self._get_indices(indices))
        if isinstance(value, (torch.Tensor, np.ndarray)) and value.shape[:1] == (self.num_envs,):
            array = to_host({"": torch.as_tensor(value)})[""]
            return [array[row] for row in rows]
        return [value] * len(rows)

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Set an attribute of whatever in the stack has it, or of its outermost env.

        Raises:
            ConfigError: ``indices`` leaves rows out, and the attribute is no tensor ``[N, ...]``.
        """
        self._first_obs = None  # whatever is set may change what a reset gives
        owner = self._owner(attr_name) if self.has_attr(attr_name) else self.env
        rows = list(self._get_indices(indices))
        if sorted(rows) != list(range(self.num_envs)):
            current = getattr(owner, attr_name, None)
            if not isinstance(current, torch.Tensor) or current.shape[:1] != (self.num_envs,):
                raise ConfigError(
                    f"{attr_name!r} is one value for all {self.num_envs} rows and cannot be set "
                    f"for rows {rows} only. Leave indices out."
                )
            new = current.clone()
            new[rows] = torch.as_tensor(value, dtype=new.dtype, device=new.device)
            value = new
        setattr(owner, attr_name, value)

    def env_method(
        self,
        method_name: str,
        *method_args: Any,
        indices: VecEnvIndices = None,
        **method_kwargs: Any,
    ) -> list[Any]:
        """Call a method of the stack or the simulator's env once, for all rows.

        Returns:
            What the method returned, once per row of ``indices``.
        """
        self._first_obs = None  # as in set_attr
        method = getattr(self._owner(method_name), method_name)
        return [method(*method_args, **method_kwargs)] * len(list(self._get_indices(indices)))

    def env_is_wrapped(
        self, wrapper_class: type[gymnasium.Wrapper], indices: VecEnvIndices = None
    ) -> list[bool]:
        """Whether the stack has a wrapper of this class; True for ``Monitor``, see the class."""
        found = issubclass(wrapper_class, Monitor) or any(
            isinstance(env, wrapper_class) for env in self._stack()
        )
        return [found] * len(list(self._get_indices(indices)))

    def _stack(self) -> list[Any]:
        stack: list[Any] = [self.env]
        while stack[-1] is not self.env.unwrapped:
            stack.append(stack[-1].env)
        return [*stack, self.env.backend_env]

    def _owner(self, attr_name: str) -> Any:
        for env in self._stack():
            if hasattr(env, attr_name):
                return env
        raise AttributeError(
            f"Neither {type(self.env).__name__}, nor an env inside it, has an attribute "
            f"{attr_name!r}."
        )

    def _selected(self, prefix: str, obs: Obs) -> dict[str, torch.Tensor]:
        return {f"{prefix}/{name}": obs[name] for name in self._groups}

    def _shown(self, host: dict[str, np.ndarray], row: int | None = None) -> VecEnvObs:
        """All observations in the form of the observation space, or a row's final one."""
        prefix = "obs" if row is None else "final_obs"
        index = slice(None) if row is None else row
        shown = {name: host[f"{prefix}/{name}"][index] for name in self._groups}
        return shown if len(shown) > 1 else shown[self._groups[0]]

    def _fill_in(
        self, infos: list[dict[str, Any]], ended: np.ndarray, host: dict[str, np.ndarray]
    ) -> None:
        if "_final_obs" not in host or not host["_final_obs"][ended].all():
            raise ContractViolationError(
                type(self.env.unwrapped).__name__,
                ["an episode ended and info has no final observation of it, though they are on"],
            )
        bootstrap = host["truncated"] & ~host["terminated"]
        if self.env.is_finite_horizon:
            bootstrap[:] = False
        for row, episode in zip(ended.tolist(), self._stats.take(ended), strict=True):
            info = infos[row]
            info["terminal_observation"] = self._shown(host, row)
            info["TimeLimit.truncated"] = bool(bootstrap[row])
            info["episode"] = episode
            if "success" in host and ("_success" not in host or host["_success"][row]):
                info["is_success"] = bool(host["success"][row])


def _row_entries(info: Info, *names: str) -> dict[str, torch.Tensor]:
    """Those entries that the step's info has, where they are tensors."""
    return {name: info[name] for name in names if isinstance(info.get(name), torch.Tensor)}


def _enable_final_obs(env: TorchVectorEnv) -> None:
    try:
        env.final_obs_enabled = True
    except CapabilityError as error:
        raise CapabilityError(
            "Stable-Baselines3 needs the last observation of each episode to bootstrap the ones "
            f"that were cut off. {error}"
        ) from error
