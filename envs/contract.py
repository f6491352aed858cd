"""The contract that every holdstep env keeps: a Gymnasium vector env with torch tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import gymnasium
import torch
from gymnasium.vector import AutoresetMode, VectorEnv

from holdstep.errors import CapabilityError

Obs: TypeAlias = dict[str, torch.Tensor]
"""Observations by group: each tensor has shape ``[num_envs, ...]``."""
Info: TypeAlias = dict[str, Any]
StepResult: TypeAlias = tuple[Obs, torch.Tensor, torch.Tensor, torch.Tensor, Info]

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from holdstep.envs.capabilities import Capabilities, FreezeLevel, RngScope
    from holdstep.envs.state.row_control import RowControl

    _VectorEnv = VectorEnv[Obs, torch.Tensor, torch.Tensor]
else:
    _VectorEnv = VectorEnv


class TorchVectorEnv(_VectorEnv):
    """A ``gymnasium.vector.VectorEnv`` whose observations, rewards and flags are torch tensors.

    Adapters implement it for a simulator; wrappers (:class:`holdstep.wrappers.VectorWrapper`)
    pass it on. :func:`holdstep.envs.check_vector_env` checks an implementation. The rules:

    - All tensors live on :attr:`device` and belong to the caller: no later call overwrites them.
    - ``reset(*, seed=None, options=None)``; ``options={"env_ids": ids}`` resets only those rows,
      and the other rows' observations are returned as they last were.
    - ``step(actions)`` returns ``obs`` (a dict by observation group; nested groups are flattened to
      ``"group/term"``), ``reward`` float32 ``[N]``, ``terminated`` and ``truncated`` bool ``[N]``,
      and ``info``.
    - Autoreset is same-step: a row that ended returns the first observation of its next episode;
      ``info["final_obs"]`` holds, where the backend can, the last one of the ended episode, and
      the bool mask ``info["_final_obs"]`` says for which rows (other rows hold current values).
      Both may be missing in steps in which no row ended.
    - ``info["active"]`` (bool ``[N]``) are the rows that advanced in this step. An inactive row has
      reward 0, is neither terminated nor truncated, and its observation is its last one.
    - An info entry that is set for some rows only comes with a bool mask ``"_" + key``.

    Attributes:
        device: where every tensor lives; ``cuda`` always carries its index.
        capabilities: what the backend can do.
        backend_env: the simulator's own env object.
        max_episode_length: time limit of an episode [env steps], or None without one.
        step_dt: simulated duration of one env step [s], or None where time has no meaning.
        is_finite_horizon: the time limit is part of the task, so that a value function should
            *not* be bootstrapped at a truncation (mjlab's and Isaac Lab's setting of that name).
        cfg: the backend's configuration object, or None.
        task_id: the id by which :func:`holdstep.envs.make` made it, or None; its snapshots are of
            this task.
    """

    device: torch.device
    capabilities: Capabilities
    backend_env: Any
    max_episode_length: int | None = None
    step_dt: float | None = None
    is_finite_horizon: bool = False
    cfg: Any = None
    task_id: str | None = None

    observation_space: gymnasium.spaces.Dict
    single_observation_space: gymnasium.spaces.Dict

    def __del__(self) -> None:
        """Closes nothing: a wrapper that is thrown away leaves the env inside as it is.

        Gymnasium 1.2 closes vector envs when they are collected, later versions don't.
        """

    @property
    def autoreset_mode(self) -> AutoresetMode:
        """Always same-step. TorchRL looks for this attribute, not for the metadata entry."""
        return AutoresetMode.SAME_STEP

    @property
    def episode_length_buf(self) -> torch.Tensor:
        """Steps since each row's last reset, int64 ``[N]``; settable (rsl_rl randomises it)."""
        raise NotImplementedError

    @episode_length_buf.setter
    def episode_length_buf(self, value: torch.Tensor) -> None:
        raise NotImplementedError

    @property
    def final_obs_enabled(self) -> bool:
        """Whether ``info["final_obs"]`` is filled in.

        Computing it costs simulators an extra observation pass in the steps in which a row ends, so
        consumers that never look at it switch it off.
        """
        return False

    @final_obs_enabled.setter
    def final_obs_enabled(self, value: bool) -> None:
        if value:
            raise CapabilityError(
                f"{type(self.unwrapped).__name__} cannot compute final observations; "
                "its capabilities.final_obs is False."
            )

    def ended_env_ids(self, mask: torch.Tensor) -> torch.Tensor | None:
        """The rows of a mask that the last step has returned, if they are known without a wait.

        Simulators reset the rows that ended by their ids, so that the host knows how many there
        were; a mask on a GPU does not tell.

        Args:
            mask: ``info["_final_obs"]`` or ``info["_final_state"]`` of the last step, the tensor
                itself, unchanged.

        Returns:
            Their ids, int64 ``[k]`` on :attr:`device`; None if the backend does not tell, or if it
            is some other mask.
        """
        return None

    def scene_state(self) -> dict[str, torch.Tensor]:
        """Where everything in the scene is now and how it moves: what a recording keeps of it.

        Named as in Isaac Lab's datasets, in one level: ``"articulation/<name>/root_pose"``,
        ``".../root_velocity"``, ``".../joint_position"``, ``".../joint_velocity"``, and
        ``"rigid_object/<name>/root_pose"``, ``".../root_velocity"``; the reference envs have
        ``"row/<buffer>"``. Quaternions are the simulator's own, in the order that
        :attr:`scene_state_attributes` tells. Never waits for a GPU. This is less than a snapshot of
        ``SuspendOnWait``: see :meth:`set_scene_state`.

        Returns:
            By path, tensors ``[N, ...]`` in memory of their own, float32 (the reference envs keep
            their buffers' dtypes): positions [m] from the origin of the row's env, joint positions
            [rad or m], velocities [rad/s or m/s] in the world's axes.

        Raises:
            CapabilityError: the backend can't tell; ``capabilities.scene_state`` is False.
            ResetNeededError: before the first reset.
            ClosedEnvError: after close.
        """
        raise CapabilityError(self._why_no_scene_state())

    def set_scene_state(
        self, state: Mapping[str, torch.Tensor], env_ids: torch.Tensor | Sequence[int] | None = None
    ) -> Obs:
        """Put rows into states that :meth:`scene_state` told, of this env or another of its task.

        Usually just after those rows were reset, since a scene's state is not all that an episode
        depends on. Left as they are: the episode's clock, histories and delays of observations and
        actuators, commands, rewards so far, random streams, and what a solver keeps from its last
        step; so the same actions give the same trajectory up to those. ``SuspendOnWait.snapshot``
        and ``restore`` take along all of them.

        Args:
            state: by path, tensors ``[k, ...]``; paths that are left out stay as they are.
            env_ids: the rows, ``[k]`` different integers or a mask ``[N]``; None for all.

        Returns:
            Observations of all rows: computed anew for these, as after a reset; the last ones for
            the others, which notice nothing (as with a reset, save that observations may draw
            noise from a stream that all rows share).

        Raises:
            CapabilityError: the backend can't do that; ``capabilities.scene_state`` is False.
            ConfigError: a path that the env does not have, or a tensor of another shape.
            InvalidEnvIdsError: ids that can't be meant.
            ResetNeededError: before the first reset.
            ClosedEnvError: after close.
        """
        raise CapabilityError(self._why_no_scene_state())

    @property
    def scene_state_attributes(self) -> dict[str, str]:
        """How :meth:`scene_state` is to be read: ``"quaternion"`` is ``"wxyz"`` or ``"xyzw"``.

        Empty where states have no quaternions. A recording keeps it with the states.
        """
        return {}

    @property
    def final_state_enabled(self) -> bool:
        """Whether ``info["final_state"]`` is filled in; off until somebody asks for it.

        That is :meth:`scene_state` just before a step's own resets, with the mask
        ``info["_final_state"]`` of the rows that ended; both may be missing in steps in which none
        did. Trajectories are the same bit for bit whether it is on or off.
        """
        return False

    @final_state_enabled.setter
    def final_state_enabled(self, value: bool) -> None:
        if value:
            raise CapabilityError(self._why_no_scene_state())

    def processed_actions(self) -> torch.Tensor | None:
        """What the action terms made of the last actions (scaled, offset, clipped).

        Those of the last :meth:`step`, also for rows that it reset, whose action buffers are
        cleared then.

        Returns:
            float32 ``[N, A]`` in memory of its own, terms in their order; None where the backend
            processes no actions.
        """
        return None

    def _why_no_scene_state(self) -> str:
        return (
            f"{type(self.unwrapped).__name__} can neither tell nor set where the objects of its "
            "scene are; its capabilities.scene_state is False."
        )

    @property
    def lazy_rendering(self) -> bool:
        """Whether images are drawn only when somebody looks at them; off until switched on.

        Observations are then a :class:`~holdstep.envs.lazy_obs.LazyObs`: an image that nobody looks
        at before the next step, reset, restore or fork is never drawn. Those that are drawn, and
        everything else, are bit for bit what they are without it. May be switched at any time while
        no row is held.
        """
        return False

    @lazy_rendering.setter
    def lazy_rendering(self, value: bool) -> None:
        if value:
            raise CapabilityError(
                f"{type(self.unwrapped).__name__} cannot draw images on request; its "
                "capabilities.lazy_rendering is False."
            )

    @property
    def image_obs(self) -> dict[str, str]:
        """Observations that cameras make: ``"lazy"``, or why they are computed at each tick.

        Says what :attr:`lazy_rendering` does, or would do; empty where no camera is known.
        """
        return {}

    def row_control(self, *, level: FreezeLevel, rng: RngScope) -> RowControl:
        """What holds single rows still, and copies row states; one at a time exists for an env.

        Users wrap the env in ``SuspendOnWait``, which asks for it, checks what it is given, and
        closes it. Until then :meth:`step_masked` advances the rows that it does not hold.

        Args:
            level: how rows are to be held; what is asked for is what is given.
            rng: ``"per_env"`` gives each row a random stream of its own, from now on.

        Raises:
            CapabilityError: the backend can't do that; the message says what it can do.
        """
        raise CapabilityError(
            f"{type(self.unwrapped).__name__} cannot hold single rows: its freeze level is "
            f"{self.capabilities.freeze!r}."
        )

    def step_masked(self, actions: torch.Tensor, active_mask: torch.Tensor) -> StepResult:
        """Advance only some rows.

        Envs that leave rows out by themselves (the reference envs, Gymnasium's) take any mask at
        any time; simulators need a :meth:`row_control` that holds exactly the other rows.

        Args:
            actions: as for ``step``; rows that are not active are ignored, whatever they hold.
            active_mask: bool ``[N]``, the rows to advance.

        Returns:
            As ``step``, with ``info["active"]`` equal to ``active_mask``.

        Raises:
            CapabilityError: the backend steps all rows or none.
        """
        raise CapabilityError(
            f"{type(self.unwrapped).__name__} cannot step only some rows: its freeze level is "
            f"{self.capabilities.freeze!r}, 'skip' is needed."
        )
