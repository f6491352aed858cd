"""Cart-pole balancing: Gymnasium's CartPole-v1 with a continuous force."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

import gymnasium
import numpy as np
import torch

from holdstep.envs.reference.base import ReferenceEnv, Transition
from holdstep.envs.reference.rendering import draw_cartpole

if TYPE_CHECKING:
    from holdstep.envs.contract import Obs

_GRAVITY = 9.8  # [m/s^2]
_CART_MASS = 1.0  # [kg]
_POLE_MASS = 0.1  # [kg]
_TOTAL_MASS = _CART_MASS + _POLE_MASS
_HALF_LENGTH = 0.5  # of the pole [m]
_POLE_MOMENT = _POLE_MASS * _HALF_LENGTH  # [kg m]
_MAX_FORCE = 10.0  # [N]
_X_LIMIT = 2.4  # [m]
_ANGLE_LIMIT = 12 * 2 * math.pi / 360  # [rad]


class CartPole(ReferenceEnv):
    """Balance a pole on a cart (Barto, Sutton and Anderson, 1983), as Gymnasium's CartPole-v1.

    The dynamics, constants, bounds and reward are those of Gymnasium's ``CartPoleEnv``, in float32
    and with a force of ``10 N * action`` instead of a choice between the two extremes. Reward is 1
    in every step, the terminating one included. An episode terminates when the cart leaves
    [-2.4, 2.4] m or the pole leaves [-12, 12] degrees.

    State ``[N, 4]``: cart position [m] and velocity [m/s], pole angle [rad] (positive to the right)
    and angular velocity [rad/s]. Observation groups: ``policy`` is the state, ``critic`` the state
    and the fraction of the time limit that is left.

    Args:
        num_envs: number of rows.
        device: where everything lives.
        seed: of the random streams until ``reset(seed=...)`` names another; None draws one.
        render_mode: None or ``"rgb_array"``.
        max_episode_length: time limit [env steps]; None stands for 500.

    >>> env = CartPole(2, seed=0)
    >>> obs, info = env.reset()
    >>> obs, reward, terminated, truncated, info = env.step(torch.zeros(2, 1))
    >>> obs["policy"].shape, reward
    (torch.Size([2, 4]), tensor([1., 1.]))
    """

    step_dt: float = 0.02

    _default_max_episode_length = 500
    # Twice the bounds that end an episode, so that the last observation is within: a step moves the
    # cart by at most 0.2 m and the pole by 0.1 rad, the most that the force can build up to.
    _high: ClassVar[np.ndarray] = np.array(
        [2 * _X_LIMIT, np.inf, 2 * _ANGLE_LIMIT, np.inf], dtype=np.float32
    )
    _single_policy_space = gymnasium.spaces.Box(-_high, _high, dtype=np.float32)
    _single_critic_space = gymnasium.spaces.Box(
        np.append(-_high, np.float32(0)), np.append(_high, np.float32(1)), dtype=np.float32
    )
    _num_actions = 1
    _num_states = 4

    def _allocate(self) -> None:
        limits = [_X_LIMIT, math.inf, _ANGLE_LIMIT, math.inf]
        self._limits = torch.tensor(limits, device=self.device)
        self._inertia = torch.tensor(_HALF_LENGTH * 4.0 / 3.0, device=self.device)

    def _advance(self, actions: torch.Tensor) -> Transition:
        # Gymnasium's equations, term by term; addcmul(a, b, c, value=v) is a + v * b * c, one
        # operation where the written-out form has three.
        _, x_dot, angle, angle_dot = self._state.unbind(1)
        sin, cos = angle.sin(), angle.cos()
        drive = actions.squeeze(1).clamp(-1.0, 1.0).mul_(_MAX_FORCE / _TOTAL_MASS)
        temp = torch.addcmul(drive, angle_dot.square(), sin, value=_POLE_MOMENT / _TOTAL_MASS)
        torque = torch.addcmul(sin * _GRAVITY, cos, temp, value=-1.0)
        angle_acc = torque / torch.addcmul(
            self._inertia, cos, cos, value=-_HALF_LENGTH * _POLE_MASS / _TOTAL_MASS
        )
        x_acc = torch.addcmul(temp, angle_acc, cos, value=-_POLE_MOMENT / _TOTAL_MASS)
        rates = torch.stack((x_dot, x_acc, angle_dot, angle_acc), dim=1)
        state = torch.add(self._state, rates, alpha=self.step_dt)  # explicit Euler
        terminated = (state.abs() > self._limits).any(dim=1)
        return state, torch.ones_like(x_dot), terminated

    def _initial_state(self, mask: torch.Tensor) -> torch.Tensor:
        return self._rng.uniform(4, mask=mask, low=-0.05, high=0.05)

    def _observe(self, state: torch.Tensor, length: torch.Tensor) -> Obs:
        return {
            "policy": state.clone(),
            "critic": torch.cat((state, self._remaining_time(length)), dim=1),
        }

    def _draw(self, state: np.ndarray) -> np.ndarray:
        return draw_cartpole(x=float(state[0]), angle=float(state[2]), x_limit=_X_LIMIT)
