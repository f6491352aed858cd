"""A double pendulum written as Isaac Lab's direct workflow is, with markers for an export."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import gymnasium
import numpy as np
import torch

from holdstep.envs.reference.base import ReferenceEnv, Transition
from holdstep.envs.reference.pendulum_physics import JOINTS, advance_pendulum, link_ends
from holdstep.envs.reference.rendering import draw_pendulum
from holdstep.wrappers.export.markers import reads, recalls, remembers, writes

if TYPE_CHECKING:
    from holdstep.envs.contract import Obs

MAX_EFFORT = 8.0
"""Joint effort of an action of 1 [N m]."""
_MAX_SPEED = 20.0  # at which an episode ends [rad/s]
_SMOOTHING = 0.8  # part of a new action in the one that is applied


class DirectPendulum(ReferenceEnv):
    """Hold the two joints of a double pendulum at a target.

    An env without managers: its observations are computed in :meth:`_get_observations`, its targets
    in :meth:`_pre_physics_step` and :meth:`_apply_action`. Markers in there say which tensors are
    the robot's state, the command, the memory and the targets, so that
    :func:`~holdstep.wrappers.export.export_policy` can take the env apart.

    State ``[N, 8]``: joint positions [rad] and velocities [rad/s], the action that was applied
    last, the target [rad]; two each. Observation groups: ``policy``: the distance from the target,
    the velocities, the last action; ``critic``: that, and the fraction of the time limit that is
    left. Reward is minus the squared distance. An episode ends at 20 rad/s.

    Args:
        num_envs: number of rows.
        device: where everything lives.
        seed: of the random streams until ``reset(seed=...)`` names another; None draws one.
        render_mode: None or ``"rgb_array"``.
        max_episode_length: time limit [env steps]; None stands for 200.

    >>> env = DirectPendulum(2, seed=0)
    >>> obs, info = env.reset()
    >>> obs["policy"].shape
    torch.Size([2, 6])
    """

    physics_dt: float = 0.005
    decimation: int = 4
    step_dt: float = 0.02

    _default_max_episode_length = 200
    _single_policy_space = gymnasium.spaces.Box(-np.inf, np.inf, (6,), np.float32)
    _single_critic_space = gymnasium.spaces.Box(-np.inf, np.inf, (7,), np.float32)
    _num_actions = 2
    _num_states = 8

    def _allocate(self) -> None:
        self._rows, self._length = self._state, self._episode_length
        self.actions = torch.zeros(self.num_envs, 2, device=self.device)
        self.effort = torch.zeros_like(self.actions)

    @property
    def joint_pos(self) -> torch.Tensor:
        """[rad] ``[N, 2]``."""
        return self._rows[:, 0:2]

    @property
    def joint_vel(self) -> torch.Tensor:
        """[rad/s] ``[N, 2]``."""
        return self._rows[:, 2:4]

    @property
    def last_action(self) -> torch.Tensor:
        """What was applied in the step before, ``[N, 2]``; zeros at the beginning."""
        return self._rows[:, 4:6]

    @property
    def target(self) -> torch.Tensor:
        """[rad] ``[N, 2]``."""
        return self._rows[:, 6:8]

    def _get_observations(self) -> Obs:
        joint_pos = reads(
            "state:pendulum:joint_pos",
            self.joint_pos,
            kind="joint_position",
            unit="rad",
            element_names=JOINTS,
        )
        joint_vel = reads(
            "state:pendulum:joint_vel",
            self.joint_vel,
            kind="joint_velocity",
            unit="rad/s",
            element_names=JOINTS,
        )
        target = reads("command:target", self.target, unit="rad", element_names=JOINTS)
        last_action = recalls("memory:last_action", self.last_action, kind="last_action")
        policy = torch.cat((target - joint_pos, 0.1 * joint_vel, last_action), dim=1)
        length = reads("env:episode_length_buf", self._length)
        return {
            "policy": policy,
            "critic": torch.cat((policy, self._remaining_time(length)), dim=1),
        }

    def _pre_physics_step(self, actions: torch.Tensor) -> None:
        last_action = recalls("memory:last_action", self.last_action)
        smooth = torch.lerp(last_action, actions.clamp(-1.0, 1.0), _SMOOTHING)
        self.actions = remembers("memory:last_action", smooth)

    def _apply_action(self) -> None:
        self.effort = writes(
            "write:pendulum:set_joint_effort_target",
            MAX_EFFORT * self.actions,
            kind="joint_effort",
            unit="N m",
            element_names=JOINTS,
        )

    def _advance(self, actions: torch.Tensor) -> Transition:
        with self._looking_at(self._state.clone(), self._episode_length) as rows:
            self._pre_physics_step(actions)
            for _ in range(self.decimation):
                self._apply_action()
                joint_pos, joint_vel = advance_pendulum(
                    self.joint_pos, self.joint_vel, self.effort, self.physics_dt
                )
                rows[:, 0:4] = torch.cat((joint_pos, joint_vel), dim=1)
            rows[:, 4:6] = self.actions
            reward = -(self.target - self.joint_pos).square().sum(dim=1)
            terminated = (self.joint_vel.abs() > _MAX_SPEED).any(dim=1)
        return rows, reward, terminated

    def _initial_state(self, mask: torch.Tensor) -> torch.Tensor:
        joints = self._rng.uniform(4, mask=mask, low=-0.5, high=0.5)
        target = self._rng.uniform(2, mask=mask, low=-1.0, high=1.0)
        return torch.cat((joints, torch.zeros_like(target), target), dim=1)

    def _observe(self, state: torch.Tensor, length: torch.Tensor) -> Obs:
        with self._looking_at(state, length):
            return self._get_observations()

    def _draw(self, state: np.ndarray) -> np.ndarray:
        elbows, tips = link_ends(torch.tensor(state[[0, 1, 6, 7]]).reshape(2, 2))
        ends = [(float(x), float(y)) for x, y in torch.cat((elbows[:1], tips))]
        return draw_pendulum(elbow=ends[0], tip=ends[1], goal=ends[2])

    @contextlib.contextmanager
    def _looking_at(self, rows: torch.Tensor, length: torch.Tensor) -> Iterator[torch.Tensor]:
        """The env's attributes are those of other rows than its own, in a ``with`` block."""
        before = self._rows, self._length
        self._rows, self._length = rows, length
        try:
            yield rows
        finally:
            self._rows, self._length = before
