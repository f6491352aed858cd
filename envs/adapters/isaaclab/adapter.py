"""Isaac Lab's ``ManagerBasedRLEnv`` and ``DirectRLEnv`` (2.3 and 3.x)."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import gymnasium
import torch
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from holdstep.envs.action_guard import ActionGuard
from holdstep.envs.adapters.final_obs import FinalObsHook, FinalStateHook
from holdstep.envs.adapters.isaaclab.log_watch import LogWatch
from holdstep.envs.adapters.isaaclab.physics import physics_of
from holdstep.envs.adapters.isaaclab.plain import owned, owned_obs, owned_vector
from holdstep.envs.adapters.isaaclab.rendering import why_not_renderable
from holdstep.envs.adapters.isaaclab.scene import IsaacLabScene
from holdstep.envs.adapters.isaaclab.simulating_resets import SimulatingResets
from holdstep.envs.adapters.isaaclab.spaces import action_space, described
from holdstep.envs.adapters.ordinary_tensors import OrdinaryTensors
from holdstep.envs.adapters.simulator_env import SimulatorEnv
from holdstep.envs.capabilities import Capabilities
from holdstep.envs.device import canonical_device
from holdstep.envs.env_ids import canonical_env_ids
from holdstep.envs.last_obs import LastObs
from holdstep.envs.observations import batched
from holdstep.envs.state.user_state import UserState
from holdstep.errors import CapabilityError, ResetNeededError

if TYPE_CHECKING:
    from holdstep.envs.adapters.isaaclab.rows import IsaacLabRowControl
    from holdstep.envs.adapters.isaaclab.workflow import Workflow
    from holdstep.envs.capabilities import FreezeLevel, RngScope
    from holdstep.envs.contract import Info, Obs, StepResult


class IsaacLabEnv(SimulatorEnv):
    """An Isaac Lab env as a :class:`~holdstep.envs.TorchVectorEnv`.

    Adds to a step: the check of the actions; a copy of everything that is returned, since Isaac Lab
    overwrites the reward and the flags in its next step and a direct task may return its live
    state; ``info["active"]``. ``info["log"]`` is there only in steps in which the backend has
    written to it, never in a reset's info.
    With :attr:`final_obs_enabled`, a step in which a row ends also computes the observations before
    the reset, after which generators, histories, modifiers, noise models, the env object's own
    tensors and the clocks of lazily computed quantities are put back, so that the trajectory is the
    same bit for bit whether it is on or off. Commands are not advanced for that observation (Isaac
    Lab advances them after the reset): it holds the command that the episode's last action was
    given.

    Args:
        env: the env, or Gymnasium wrappers around it.
        workflow: how the env inside is observed and reset.
        env_ids_dtype: the integer type in which the backend takes row ids.

    Raises:
        ConfigError: the action space is not one array of numbers per row.
    """

    simulator = "Isaac Lab"
    _scene: IsaacLabScene
    single_observation_space: gymnasium.spaces.Dict
    _rows: IsaacLabRowControl | None

    def __init__(self, env: Any, workflow: Workflow, *, env_ids_dtype: torch.dtype) -> None:
        self.closed = True  # until it works, so that the garbage collector leaves env open
        self._env = env
        self._workflow = workflow
        self._env_ids_dtype = env_ids_dtype
        # Copied once: after close(), asking the backend for any of these raises.
        backend_env = workflow.env
        self.backend_env = backend_env
        self.cfg = backend_env.cfg
        self.device = canonical_device(backend_env.device)
        self.num_envs = int(backend_env.num_envs)
        self.max_episode_length = int(backend_env.max_episode_length)
        self.step_dt = float(backend_env.step_dt)
        self.is_finite_horizon = bool(getattr(self.cfg, "is_finite_horizon", False))
        self.render_mode = backend_env.render_mode
        self.metadata = dict(backend_env.metadata) | {"autoreset_mode": AutoresetMode.SAME_STEP}
        self._why_not_renderable = why_not_renderable(backend_env)
        self._physics = physics_of(workflow.core)
        with OrdinaryTensors():
            self._cameras = workflow.cameras(self._physics)
        self.capabilities = Capabilities(
            freeze=self._physics.level,
            rng="global",
            final_obs=True,
            render=self._why_not_renderable is None,
            snapshot=self._physics.level != "none",
            lazy_rendering=self._cameras is not None and bool(self._cameras.examples),
            scene_state=True,
        )
        with OrdinaryTensors():
            self._set_observation_space(workflow.observation_space())
        self.single_action_space = action_space(backend_env.single_action_space)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._action_guard = ActionGuard(self.action_space, self.device)
        self.simulating_resets = SimulatingResets(workflow.core)
        self._final_obs = FinalObsHook(workflow.core, self._observe_before_reset)
        self._final_obs.installed = True
        self._scene = IsaacLabScene(workflow.core)
        self._final_state = FinalStateHook(workflow.core, self._scene.read)
        self._last_obs = LastObs()
        self._rows = None
        self.user_state = UserState(self.num_envs, self.device)
        self.closed = False

    @property
    def episode_length_buf(self) -> torch.Tensor:
        """Steps since each row's last reset, int64 ``[N]``; Isaac Lab's own tensor."""
        buf: torch.Tensor = self._workflow.core.episode_length_buf
        return buf

    @episode_length_buf.setter
    def episode_length_buf(self, value: torch.Tensor) -> None:
        # Into the same memory, which tasks may hold; a tensor of the caller's would be counted up.
        self._workflow.core.episode_length_buf[:] = value

    @property
    def final_obs_enabled(self) -> bool:
        """Whether ``info["final_obs"]`` is filled in; on until it is switched off."""
        return self._final_obs.installed

    @final_obs_enabled.setter
    def final_obs_enabled(self, value: bool) -> None:
        self._final_obs.installed = value

    @property
    def scene_state_attributes(self) -> dict[str, str]:
        """Isaac Lab 3 has the quaternion's real part last, 2.3 has it first."""
        return {"quaternion": "xyzw" if self._env_ids_dtype == torch.int32 else "wxyz"}

    def processed_actions(self) -> torch.Tensor | None:
        """What the action terms made of the last actions; None of a direct env."""
        self._check_ready()
        return self._workflow.processed_actions()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Obs, Info]:
        """Reset all rows, or those of ``options["env_ids"]``.

        Isaac Lab has one random stream for all rows: ``seed`` seeds that stream, also in a reset of
        some rows; with ``rng="per_env"``, it starts the streams of the rows that are reset anew.
        Rows that are not reset keep the observation that they last returned, and their histories.

        Isaac Lab's resets leave some things as they are: the solver's warm start, and a direct
        task's timers of interval events. So a seed repeats a trajectory bit for bit in a new env.

        Raises:
            ResetNeededError: some rows were named before all had been reset once.
            CapabilityError: some rows were named, and the task's resets simulate, so that the
                others would move along.
        """
        self._check_open()
        env_ids = (options or {}).get("env_ids")
        if env_ids is None:
            if seed is not None and self._rows is not None:
                self._rows.reseed(seed)
            with self._around_backend():
                obs, extras = self._env.reset(seed=seed)
                first = not self._last_obs
                new_obs = self._last_obs.keep(owned_obs(obs))
                if first and not self.lazy_rendering:
                    self._correct_observation_space(new_obs)
        else:
            if not self._last_obs:
                raise ResetNeededError("The first reset must be of all rows: call reset() first.")
            ids = canonical_env_ids(env_ids, num_envs=self.num_envs, device=self.device)
            if ids.numel() == 0:
                return self._last_obs.copy(), {}
            if self._rows is None and (why_not := self.simulating_resets.why_not_alone):
                raise CapabilityError(why_not)
            mask = torch.zeros(self.num_envs, dtype=torch.bool, device=self.device)
            mask[ids] = True
            others = (~mask).nonzero().squeeze(-1)
            if seed is not None and self._rows is not None:
                self._rows.reseed(seed, ids)
            protected = self._rows.others_untouched(ids) if self._rows else contextlib.nullcontext()
            with OrdinaryTensors(), protected, self._around_backend():
                obs, extras = self._workflow.reset_rows(ids.to(self._env_ids_dtype), others, seed)
                new_obs = self._last_obs.merged(mask, obs)
        info = {key: owned(value) for key, value in extras.items() if key != "log"}
        return new_obs, info

    def advance(self, actions: torch.Tensor) -> StepResult:
        """Isaac Lab's own step, with everything that it returns copied."""
        actions = self._action_guard.check(actions)
        log = LogWatch(self._workflow.core.extras)
        with self._around_backend(), self._final_obs, self._final_state:
            given = self._workflow.forward_actions(actions)
            obs, reward, terminated, truncated, extras = self._env.step(given)
            info = log.info_of(extras)
            self._final_obs.add_to(info)
            self._final_state.add_to(info)
            return (
                owned_obs(obs),
                owned_vector(reward, torch.float32, self.device),
                owned_vector(terminated, torch.bool, self.device),
                owned_vector(truncated, torch.bool, self.device),
                info,
            )

    def row_control(self, *, level: FreezeLevel, rng: RngScope) -> IsaacLabRowControl:
        """Holds rows by stepping everybody and putting them back.

        At level ``"exact"`` on Newton with the MuJoCo Warp solver; at level ``"approximate"`` on
        PhysX, whose caches are out of reach. With ``rng="per_env"``, rows draw their noise, resets,
        pushes and commands from streams of their own; what a task's construction has drawn
        (``startup`` events) stays.

        Raises:
            CapabilityError: another level was asked for, or there is a control already.
        """
        self._check_no_row_control()
        physics = self._physics
        if physics.level == "none":
            raise CapabilityError(f"Rows of this env can't be held: {physics.why_none}")
        if level != physics.level:
            hint = (
                " PhysX keeps caches (contacts, impulses) that can't be put back: level="
                "'approximate' is available, and says so."
                if physics.level == "approximate"
                else f" Ask for level={physics.level!r}."
            )
            raise CapabilityError(
                f"The freeze level of this env is {physics.level!r}, {level!r} was asked for.{hint}"
            )
        from holdstep.envs.adapters.isaaclab.rows import IsaacLabRowControl

        self._rows = IsaacLabRowControl(self, self._workflow.core, physics, self._last_obs, rng=rng)
        return self._rows

    def render(self) -> Any:
        """One RGB frame, uint8 ``[H, W, 3]``, seen by the camera of Isaac Lab's viewer config.

        Raises:
            CapabilityError: the env was made without ``render_mode="rgb_array"``, or can't render
                here.
        """
        self._check_open()
        if self._why_not_renderable is not None:
            raise CapabilityError(self._why_not_renderable)
        return self._env.render()

    def close_extras(self, **kwargs: Any) -> None:
        """Unhook and close the simulator; Isaac Sim itself runs on until the process ends."""
        if self._rows is not None:
            self._rows.close()
        self._final_obs.remove()
        self._final_state.remove()
        self.simulating_resets.remove()
        if self._cameras is not None:
            self._cameras.undefer()
        self._last_obs.clear()
        self._env.close()

    def _observe_rows(self, env_ids: torch.Tensor) -> Obs:
        mask = torch.ones(self.num_envs, dtype=torch.bool, device=self.device)
        mask[env_ids] = False
        given = env_ids.to(self._env_ids_dtype)
        self._scene.settle(given)
        self._workflow.render_again()
        return self._workflow.observe_rows(given, mask.nonzero().squeeze(-1))

    def _observe_before_reset(self, ended: torch.Tensor) -> Obs:
        del ended  # all rows are observed
        around = self._rows.around_observation() if self._rows else contextlib.nullcontext()
        at_once = self._cameras.at_once() if self._cameras else contextlib.nullcontext()
        with around, at_once:
            return self._workflow.observe_without_trace()

    def _set_observation_space(self, space: gymnasium.spaces.Dict) -> None:
        self.single_observation_space = space
        self.observation_space = batched(space, self.num_envs)

    def _correct_observation_space(self, obs: Obs) -> None:
        """Direct tasks declare their spaces by hand: what they return decides."""
        corrected = described(obs, self.single_observation_space)
        if corrected != self.single_observation_space:
            self._set_observation_space(corrected)
