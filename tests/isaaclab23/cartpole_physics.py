"""Batched cart-pole dynamics in torch: the toy that stands in for PhysX.

Every operation is elementwise over the rows, so that a row's trajectory is bit-equal whatever
the other rows do. Tests of freezing and forking rely on that.
"""

from __future__ import annotations

import torch

CART_MASS_KG = 1.0
POLE_MASS_KG = 0.1
POLE_HALF_LENGTH_M = 0.5
GRAVITY_M_S2 = 9.81

JOINT_NAMES = ("slider_to_cart", "cart_to_pole")
"""The joint names of Isaac Lab's cart-pole asset, in its order."""


class CartPolePhysics:
    """The simulator's side of the state: positions, velocities and efforts of all rows.

    Barto, Sutton and Anderson's equations (1983), integrated with semi-implicit Euler. The pole
    angle is 0 when upright, as in Isaac Lab's cart-pole.

    Attributes:
        position: Joint positions [m, rad], float32 of shape (num_envs, 2).
        velocity: Joint velocities [m/s, rad/s], float32 of shape (num_envs, 2).
        effort: Joint efforts [N, N m] of the next step, float32 of shape (num_envs, 2).
    """

    def __init__(self, num_envs: int, device: str) -> None:
        self.position = torch.zeros(num_envs, 2, device=device)
        self.velocity = torch.zeros_like(self.position)
        self.effort = torch.zeros_like(self.position)

    def step(self, dt_s: float) -> None:
        """Advance every row by ``dt_s`` under :attr:`effort`."""
        angle, rate = self.position[:, 1], self.velocity[:, 1]
        force, torque = self.effort[:, 0], self.effort[:, 1]
        sin, cos = angle.sin(), angle.cos()
        mass = CART_MASS_KG + POLE_MASS_KG
        moment = POLE_MASS_KG * POLE_HALF_LENGTH_M
        push = (force + moment * rate.square() * sin) / mass
        inertia = POLE_HALF_LENGTH_M * (4.0 / 3.0 - POLE_MASS_KG * cos.square() / mass)
        pole = (GRAVITY_M_S2 * sin - cos * push + torque / moment) / inertia
        cart = push - moment * pole * cos / mass
        self.velocity += dt_s * torch.stack((cart, pole), dim=-1)
        self.position += dt_s * self.velocity
