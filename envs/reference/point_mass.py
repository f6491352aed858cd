"""A point mass that has to reach a goal."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import gymnasium
import numpy as np
import torch

from holdstep.envs.reference.base import ReferenceEnv, Transition
from holdstep.envs.reference.rendering import draw_point_mass

if TYPE_CHECKING:
    from holdstep.envs.contract import Info, Obs

_ARENA = 1.0  # half the side of the square [m]
_MAX_SPEED = 1.0  # per axis [m/s]
_MAX_ACCELERATION = 2.0  # per axis [m/s^2]
_GOAL_RADIUS = 0.05  # [m]
_SUCCESS_REWARD = 10.0


class PointMass(ReferenceEnv):
    """Steer a point mass in a square to a random goal; an episode terminates when it is reached.

    The action accelerates the mass, by 2 m/s^2 per axis at most. Speed is limited to 1 m/s per
    axis, and walls at 1 m stop the mass without a rebound. Reward is minus the distance to the goal
    [m], and 10 in the step that reaches it. In steps in which a row ends, ``info["success"]`` (bool
    ``[N]``, mask ``info["_success"]``) says whether the goal was reached or the time was up.

    State ``[N, 6]``: position [m], velocity [m/s], goal [m], two axes each. Observation groups:
    ``policy`` is position, velocity and the vector to the goal; ``critic`` is the same with the
    distance [m] and the fraction of the time limit that is left.

    Args:
        num_envs: number of rows.
        device: where everything lives.
        seed: of the random streams until ``reset(seed=...)`` names another; None draws one.
        render_mode: None or ``"rgb_array"``.
        max_episode_length: time limit [env steps]; None stands for 100.

    >>> env = PointMass(2, seed=0)
    >>> obs, info = env.reset()
    >>> obs["policy"].shape, obs["critic"].shape
    (torch.Size([2, 6]), torch.Size([2, 8]))
    """

    step_dt: float = 0.05

    _default_max_episode_length = 100
    _high: ClassVar[np.ndarray] = np.array(
        [_ARENA, _ARENA, _MAX_SPEED, _MAX_SPEED, 2 * _ARENA, 2 * _ARENA], dtype=np.float32
    )
    _single_policy_space = gymnasium.spaces.Box(-_high, _high, dtype=np.float32)
    # The diagonal of the square is 2.83 m; above it, so that no rounding can exceed the bound.
    _single_critic_space = gymnasium.spaces.Box(
        np.concatenate((-_high, np.zeros(2, np.float32))),
        np.concatenate((_high, np.array([2.83, 1.0], dtype=np.float32))),
        dtype=np.float32,
    )
    _num_actions = 2
    _num_states = 6

    def _advance(self, actions: torch.Tensor) -> Transition:
        position, velocity, goal = self._state.tensor_split(3, dim=1)
        acceleration = actions.clamp(-1.0, 1.0)
        velocity = torch.add(velocity, acceleration, alpha=_MAX_ACCELERATION * self.step_dt)
        velocity.clamp_(-_MAX_SPEED, _MAX_SPEED)
        free = torch.add(position, velocity, alpha=self.step_dt)
        position = free.clamp(-_ARENA, _ARENA)
        velocity.mul_(position == free)  # a wall takes the speed of its axis
        state = torch.cat((position, velocity, goal), dim=1)
        distance = _norm(goal - position)
        reached = distance < _GOAL_RADIUS
        return state, (-distance).masked_fill_(reached, _SUCCESS_REWARD), reached

    def _initial_state(self, mask: torch.Tensor) -> torch.Tensor:
        places = self._rng.uniform(4, mask=mask, low=-_ARENA, high=_ARENA)
        state = torch.zeros_like(self._state)
        state[:, :2] = places[:, :2]
        state[:, 4:] = places[:, 2:]
        return state

    def _observe(self, state: torch.Tensor, length: torch.Tensor) -> Obs:
        to_goal = state[:, 4:] - state[:, :2]
        policy = torch.cat((state[:, :4], to_goal), dim=1)
        distance = _norm(to_goal).unsqueeze(1)
        return {
            "policy": policy,
            "critic": torch.cat((policy, distance, self._remaining_time(length)), dim=1),
        }

    def _annotate(self, info: Info, terminated: torch.Tensor, done: torch.Tensor) -> None:
        info["success"] = terminated.clone()
        info["_success"] = done.clone()

    def _draw(self, state: np.ndarray) -> np.ndarray:
        return draw_point_mass(
            position=(float(state[0]), float(state[1])),
            goal=(float(state[4]), float(state[5])),
            goal_radius=_GOAL_RADIUS,
            arena=_ARENA,
        )


def _norm(vectors: torch.Tensor) -> torch.Tensor:
    """Euclidean length of the rows of ``[N, 2]``."""
    return torch.hypot(vectors[:, 0], vectors[:, 1])
