"""mjlab's ``ManagerBasedRlEnv`` (MuJoCo-Warp physics on a GPU or a CPU)."""

from __future__ import annotations

import contextlib
import copy
import io
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from holdstep.envs.action_guard import ActionGuard
from holdstep.envs.adapters.final_obs import FinalObsHook, FinalStateHook
from holdstep.envs.adapters.mjlab_cameras import cameras_of
from holdstep.envs.adapters.mjlab_scene import scene_of
from holdstep.envs.adapters.preserve import preserved
from holdstep.envs.adapters.simulator_env import SimulatorEnv
from holdstep.envs.capabilities import Capabilities
from holdstep.envs.device import canonical_device
from holdstep.envs.env_ids import canonical_env_ids
from holdstep.envs.last_obs import LastObs
from holdstep.envs.observations import batched, flatten_groups, space_of
from holdstep.envs.overrides import apply_overrides
from holdstep.envs.registry import unknown_env
from holdstep.envs.state.user_state import UserState
from holdstep.errors import CapabilityError, ConfigError, ResetNeededError
from holdstep.extras import require

if TYPE_CHECKING:
    from holdstep.envs.adapters.mjlab_cameras import MjlabCameras
    from holdstep.envs.adapters.mjlab_rows import MjlabRowControl
    from holdstep.envs.capabilities import FreezeLevel, RngScope
    from holdstep.envs.contract import Info, Obs, StepResult

_PURPOSE = "The mjlab backend"


class MjlabEnv(SimulatorEnv):
    """An mjlab env as a :class:`~holdstep.envs.TorchVectorEnv`.

    Adds to a step: the check of the actions, a copy of the reward and of the two flags (mjlab
    overwrites all three in its next step), a copy of the observations for later resets of some
    rows, and ``info["active"]``.

    With :attr:`final_obs_enabled`, a step in which a row ends also computes the observations before
    the reset: one more ``sim.forward()``, command update and observation pass,
    the same that mjlab's own ``auto_reset=False`` gives (a command that expires in that very step
    is drawn for the rows that ended only, so its numbers differ), after which the random number
    generators, commands, histories, delays and noise models are put back, so that the trajectory is
    the same bit for bit whether it is on or off.

    Args:
        env: a ``mjlab.envs.ManagerBasedRlEnv``, or Gymnasium-style wrappers around one. It must
            have been built with ``auto_reset=True`` (mjlab's default).

    Raises:
        ConfigError: the env was built with ``auto_reset=False``.
    """

    simulator = "mjlab"
    _rows: MjlabRowControl | None
    _cameras: MjlabCameras | None

    def __init__(self, env: Any) -> None:
        self._env = env
        backend_env = env.unwrapped
        self.backend_env = backend_env
        self.cfg = backend_env.cfg
        if not self.cfg.auto_reset:
            raise ConfigError(
                "The mjlab env was built with auto_reset=False. Build it with auto_reset=True: "
                "holdstep gives the final observation as info['final_obs'] all the same."
            )
        self.device = canonical_device(backend_env.device)
        self.num_envs = backend_env.num_envs
        self.max_episode_length = backend_env.max_episode_length
        self.step_dt = backend_env.step_dt
        self.is_finite_horizon = self.cfg.is_finite_horizon
        self.render_mode = backend_env.render_mode
        self.metadata = dict(backend_env.metadata) | {"autoreset_mode": AutoresetMode.SAME_STEP}
        with preserved(_observation_state(backend_env), self.device, num_envs=self.num_envs):
            self._cameras = cameras_of(backend_env)
        self.capabilities = Capabilities(
            final_obs=True,
            render=self.render_mode == "rgb_array",
            rng="global",
            freeze="skip" if self.device.type == "cpu" else "exact",
            snapshot=True,
            lazy_rendering=self._cameras is not None and bool(self._cameras.examples),
            scene_state=True,
        )
        self.single_observation_space = _observation_space(backend_env)
        self.observation_space = batched(self.single_observation_space, self.num_envs)
        self.single_action_space = _box(backend_env.single_action_space)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._action_guard = ActionGuard(self.action_space, self.device)
        self._final_obs = FinalObsHook(backend_env, self._observe_before_reset)
        self._final_obs.installed = True
        self._scene = scene_of(backend_env)
        self._final_state = FinalStateHook(backend_env, self._scene.read)
        self._last_obs = LastObs()
        self._rows = None
        self.user_state = UserState(self.num_envs, self.device)

    @property
    def episode_length_buf(self) -> torch.Tensor:
        """Steps since each row's last reset, int64 ``[N]``; mjlab's own tensor."""
        buf: torch.Tensor = self.backend_env.episode_length_buf
        return buf

    @episode_length_buf.setter
    def episode_length_buf(self, value: torch.Tensor) -> None:
        # Into the same memory: a tensor of the caller's would be counted up by every step.
        self.backend_env.episode_length_buf[:] = value

    @property
    def final_obs_enabled(self) -> bool:
        """Whether ``info["final_obs"]`` is filled in; on until it is switched off."""
        return self._final_obs.installed

    @final_obs_enabled.setter
    def final_obs_enabled(self, value: bool) -> None:
        self._final_obs.installed = value

    @property
    def scene_state_attributes(self) -> dict[str, str]:
        """MuJoCo has the quaternion's real part first."""
        return {"quaternion": "wxyz"}

    def processed_actions(self) -> torch.Tensor | None:
        """What the action terms made of the last actions; None if one of them doesn't tell."""
        self._check_ready()
        terms = self.backend_env.action_manager._terms.values()
        if not terms or not all(hasattr(term, "_processed_actions") for term in terms):
            return None
        return torch.cat([term._processed_actions for term in terms], dim=-1)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Obs, Info]:
        """Reset all rows, or those of ``options["env_ids"]``.

        mjlab has one random stream for all rows: ``seed`` seeds that stream, also in a reset of
        some rows; with ``rng="per_env"``, it starts the streams of the rows that are reset anew.
        Rows that are not reset keep the observation that they last returned.
        """
        self._check_open()
        env_ids = (options or {}).get("env_ids")
        if env_ids is None:
            if seed is not None and self._rows is not None:
                self._rows.reseed(seed)
            with self._around_backend():
                obs, extras = self._env.reset(seed=seed)
            return self._last_obs.keep(flatten_groups(obs)), _info(extras)
        if not self._last_obs:
            raise ResetNeededError("The first reset must be of all rows: call reset() first.")
        ids = canonical_env_ids(env_ids, num_envs=self.num_envs, device=self.device)
        if ids.numel() == 0:
            return self._last_obs.copy(), {}
        mask = torch.zeros(self.num_envs, dtype=torch.bool, device=self.device)
        mask[ids] = True
        if seed is not None and self._rows is not None:
            self._rows.reseed(seed, ids)
        protected = self._rows.others_untouched(ids) if self._rows else contextlib.nullcontext()
        with protected:
            with self._around_backend():
                obs, extras = self._env.reset(seed=seed, env_ids=ids)
            returned_obs = self._last_obs.merged(mask, flatten_groups(obs))
        return returned_obs, _info(extras)

    def advance(self, actions: torch.Tensor) -> StepResult:
        """One step of mjlab's own, with copies of what its next one overwrites."""
        actions = self._action_guard.check(actions)
        with self._around_backend(), self._final_obs, self._final_state:
            obs, reward, terminated, truncated, extras = self._env.step(actions)
        info = _info(extras)
        if extras["log"]:
            info["log"] = extras["log"]
        self._final_obs.add_to(info)
        self._final_state.add_to(info)
        return flatten_groups(obs), reward.clone(), terminated.clone(), truncated.clone(), info

    def row_control(self, *, level: FreezeLevel, rng: RngScope) -> MjlabRowControl:
        """Holds rows bit for bit.

        Level ``"exact"`` steps everybody and puts the held rows back. ``"skip"``, on the CPU, also
        leaves them out of the physics, which is cheaper the more rows are held.

        Raises:
            CapabilityError: another level was asked for, or there is one already.
        """
        self._check_no_row_control()
        from holdstep.envs.adapters.mjlab_rows import MjlabRowControl, MjlabSkipControl

        if level == "exact":
            self._rows = MjlabRowControl(self, self._last_obs, rng=rng)
        elif level == "skip" and self.device.type == "cpu":
            self._rows = MjlabSkipControl(self, self._last_obs, rng=rng)
        else:
            raise CapabilityError(
                "mjlab holds rows at level 'exact' (anywhere) or 'skip' (on the CPU), "
                f"{level!r} on {self.device} was asked for."
            )
        return self._rows

    def render(self) -> Any:
        """One RGB frame, uint8 ``[H, W, 3]``, of the row that mjlab's viewer config follows.

        Raises:
            CapabilityError: the env was made without ``render_mode="rgb_array"``.
        """
        if not self.capabilities.render:
            raise CapabilityError(
                'The env was made without rendering: make it with render_mode="rgb_array".'
            )
        return self._env.render()

    def open_viewer(self, policy: Callable[[Obs], torch.Tensor], *, kind: str = "native") -> None:
        """Show the env in mjlab's own viewer, stepped by ``policy``, until it is closed.

        The viewer steps the simulator itself: wrappers around this adapter are not in effect.

        Args:
            policy: actions ``[N, A]`` from observations by group.
            kind: ``"native"`` (MuJoCo's window) or ``"viser"`` (a page served on this machine).
        """
        viewer = require("mjlab.viewer", extra="mjlab", purpose="The viewer")
        rl = require("mjlab.rl", extra="mjlab", purpose="The viewer")
        viewer_class = viewer.NativeMujocoViewer if kind == "native" else viewer.ViserPlayViewer
        viewer_class(rl.RslRlVecEnvWrapper(self.backend_env), policy).run()

    def close_extras(self, **kwargs: Any) -> None:
        """Unhook and close the simulator."""
        if self._rows is not None:
            self._rows.close()
        self._final_obs.remove()
        self._final_state.remove()
        if self._cameras is not None:
            self._cameras.undefer()
        self._last_obs.clear()
        self._env.close()

    def _observe_rows(self, env_ids: torch.Tensor) -> Obs:
        env = self.backend_env
        env.sim.forward()
        for sensor in env.scene.sensors.values():
            sensor._invalidate_cache()  # mjlab does so in resets only
        env.sim.sense()
        # Fills these rows' histories and delays with one frame, and leaves the others' alone.
        env.obs_buf = env.observation_manager.compute(update_history=True, env_ids=env_ids)
        return flatten_groups(env.obs_buf)

    def _observe_before_reset(self, ended: torch.Tensor) -> Obs:
        env = self.backend_env
        untouched = self._rows.around_observation() if self._rows else contextlib.nullcontext()
        at_once = self._cameras.at_once() if self._cameras else contextlib.nullcontext()
        state = preserved(_observation_state(env), self.device, num_envs=self.num_envs)
        with untouched, at_once, state:
            env.sim.forward()
            env.command_manager.compute(dt=self.step_dt, env_ids=ended)
            env.sim.sense()
            return flatten_groups(env.observation_manager.compute(update_history=True))


def _observation_state(env: Any) -> Iterator[object]:
    """The objects that change when commands advance and observations are computed."""
    manager = env.observation_manager
    for buffers in (manager._group_obs_term_delay_buffer, manager._group_obs_term_history_buffer):
        for by_term in buffers.values():
            yield from by_term.values()
    for models in manager._group_obs_class_instances.values():
        yield from models.values()
    for term_cfgs in manager._group_obs_class_term_cfgs.values():
        yield from (term_cfg.func for term_cfg in term_cfgs)
    yield from env.command_manager._terms.values()


def _observation_space(backend_env: Any) -> gymnasium.spaces.Dict:
    # mjlab describes every group as float32; an image group is uint8. Its cached first observation
    # tells the truth, and computing it now draws nothing that a reset would not draw again.
    device, num_envs = canonical_device(backend_env.device), backend_env.num_envs
    with preserved(_observation_state(backend_env), device, num_envs=num_envs):
        manager = backend_env.observation_manager
        cached = manager._obs_buffer
        obs = flatten_groups(manager.compute())
        manager._obs_buffer = cached
    return space_of(obs)


def _info(extras: dict[str, Any]) -> Info:
    """Mjlab's extras without its log, which has values only in steps in which rows were reset.

    Left out otherwise, the log is nobody's row data by mistake: TorchRL's ``GymWrapper`` takes the
    entries of its first step for tensors ``[N, ...]``.
    """
    return {name: value for name, value in extras.items() if name != "log"}


def _box(space: Any) -> gymnasium.spaces.Box:
    low, high = np.float32(space.low), np.float32(space.high)
    return gymnasium.spaces.Box(low, high, shape=tuple(space.shape), dtype=np.float32)


def env_names() -> list[str]:
    """Mjlab's registered tasks."""
    names: list[str] = task_registry().list_tasks()
    return names


def make_env(
    name: str,
    *,
    num_envs: int,
    device: torch.device,
    seed: int | None,
    render_mode: str | None,
    play: bool = False,
    cfg: Any = None,
    **overrides: Any,
) -> MjlabEnv:
    """Build a registered mjlab task.

    Args:
        name: task id, such as ``Mjlab-Cartpole-Balance``.
        num_envs: number of rows.
        device: CPU or GPU.
        seed: mjlab's seed; None draws one.
        render_mode: None or ``"rgb_array"``.
        play: take the task's play configuration (no noise, endless episodes, and so on).
        cfg: a ``ManagerBasedRlEnvCfg`` of your own instead of the task's; it is not changed.
        **overrides: settings of the configuration by dotted path.
    """
    registry = task_registry()
    names = registry.list_tasks()
    if name not in names:
        raise unknown_env("mjlab", name, names)
    if render_mode not in (None, "rgb_array"):
        raise ConfigError(f"mjlab renders as 'rgb_array' or not at all, got {render_mode!r}.")
    cfg = registry.load_env_cfg(name, play=play) if cfg is None else copy.deepcopy(cfg)
    cfg.scene.num_envs = num_envs
    cfg.seed = seed
    apply_overrides(cfg, overrides)
    envs = require("mjlab.envs", extra="mjlab", purpose=_PURPOSE)
    return MjlabEnv(envs.ManagerBasedRlEnv(cfg=cfg, device=str(device), render_mode=render_mode))


def task_registry() -> Any:
    """Mjlab's task registry, filled."""
    with contextlib.redirect_stdout(io.StringIO()):  # some task modules print on import
        require("mjlab.tasks", extra="mjlab", purpose=_PURPOSE)
    return require("mjlab.tasks.registry", extra="mjlab", purpose=_PURPOSE)
