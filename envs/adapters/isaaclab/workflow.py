"""What differs between Isaac Lab's manager-based, direct and multi-agent envs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from holdstep.envs.adapters.isaaclab.lazy_data import unread
from holdstep.envs.adapters.isaaclab.learners import learners
from holdstep.envs.adapters.isaaclab.plain import owned, owned_obs
from holdstep.envs.adapters.preserve import preserved

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager

    import gymnasium
    import torch

    from holdstep.envs.adapters.cameras import Cameras
    from holdstep.envs.adapters.isaaclab.physics import Physics
    from holdstep.envs.contract import Info, Obs


class Workflow(ABC):
    """How one kind of Isaac Lab env is observed, and how some of its rows are reset.

    Args:
        env: the simulator's env object, without wrappers.
        device: its device.

    Attributes:
        env: the same object.
        core: the object that owns the episode clock and the method that resets rows; the env
            itself, except where Isaac Lab converts a multi-agent env.
    """

    def __init__(self, env: Any, device: torch.device) -> None:
        self.env = env
        self.core = env
        self.device = device

    @abstractmethod
    def observation_space(self) -> gymnasium.spaces.Dict:
        """The single-env observation space, as well as it is known before the first reset."""

    @abstractmethod
    def compute_obs(self) -> Mapping[str, Any]:
        """The observations that a step would return now; changes histories and generators."""

    @abstractmethod
    def observers(self) -> Iterator[object]:
        """The objects whose attributes change when observations are computed."""

    @abstractmethod
    def reset_rows(
        self, env_ids: torch.Tensor, other_ids: torch.Tensor, seed: int | None
    ) -> tuple[Obs, Info]:
        """Reset rows through the backend; observers keep what they hold for the other rows.

        Args:
            env_ids: rows to reset, in the integer type that the backend takes, ``[k]``.
            other_ids: all other rows, int64 ``[N - k]``.
            seed: seeds the backend's one random stream before the reset; None leaves it.

        Returns:
            Observations of all rows, of which those of ``other_ids`` mean nothing, and extras.
        """

    @abstractmethod
    def observe_rows(self, env_ids: torch.Tensor, other_ids: torch.Tensor) -> Obs:
        """The first observations of rows whose scene was set; their histories begin anew.

        Args:
            env_ids: those rows, in the integer type that the backend takes, ``[k]``.
            other_ids: all other rows, int64 ``[N - k]``; observers keep what they hold for them.

        Returns:
            Observations of all rows, of which those of ``other_ids`` mean nothing.
        """

    def processed_actions(self) -> torch.Tensor | None:
        """What action terms made of the last actions, in memory of its own, or None."""
        return None

    def render_again(self) -> None:
        """What Isaac Sim's ray tracer needs until it shows rows where they have been put."""
        env = self.env
        # An attribute of the env in 3.x (None without Kit), a method of the simulation in 2.3.
        known = hasattr(env, "has_rtx_sensors")
        if env.has_rtx_sensors if known else env.sim.has_rtx_sensors():
            for _ in range(env.cfg.num_rerenders_on_reset):
                env.sim.render()

    def observe_without_trace(self) -> Obs:
        """The observations that a step would return now, as tensors of their own."""
        with unread(self.core), self.untouched():
            return owned_obs(self.compute_obs())

    def untouched(self) -> AbstractContextManager[None]:
        """A block that may compute observations: what they change is put back after it."""
        # Learners first: as attributes of the env, not all of them would be followed.
        owners = [*(learner for _, learner in learners(self.core)), *self.observers()]
        return preserved(owners, self.device, num_envs=self.core.num_envs)

    def cameras(self, physics: Physics) -> Cameras | None:
        """The cameras whose drawing can wait until somebody looks, if there are any."""
        del physics
        return None

    def forward_actions(self, actions: torch.Tensor) -> torch.Tensor:
        """Actions in the form that the env's own ``step`` takes, in memory of their own."""
        copy: torch.Tensor = owned(actions)
        return copy
