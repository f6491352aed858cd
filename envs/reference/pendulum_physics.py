"""A double pendulum of two point masses, in a few elementwise lines."""

from __future__ import annotations

import torch

JOINTS = ("shoulder", "elbow")
"""Joint names, in the order of every tensor here."""

_MASSES = 1.0, 0.5  # at the end of each link [kg]
_LENGTHS = 0.5, 0.4  # of the links [m]
_FRICTION = 0.05  # of each joint [N m s/rad]
_GRAVITY = 9.81  # [m/s^2]


def advance_pendulum(
    joint_pos: torch.Tensor, joint_vel: torch.Tensor, effort: torch.Tensor, dt: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """One step of semi-implicit Euler.

    The manipulator equations of two links, with relative joint angles (Spong, Hutchinson and
    Vidyasagar, "Robot Modeling and Control", 2006, example 7.5.4); all angles zero hang down.

    Args:
        joint_pos: [rad] ``[N, 2]``.
        joint_vel: [rad/s] ``[N, 2]``.
        effort: [N m] ``[N, 2]``.
        dt: [s].

    Returns:
        Joint positions and velocities afterwards, new tensors.
    """
    (mass, tip_mass), (upper, lower) = _MASSES, _LENGTHS
    (q1, q2), (v1, v2) = joint_pos.unbind(1), joint_vel.unbind(1)
    coupling = tip_mass * upper * lower
    tip = tip_mass * lower**2
    off_diagonal = tip + coupling * q2.cos()
    diagonal = (mass + tip_mass) * upper**2 + tip + 2 * coupling * q2.cos()
    sway = coupling * q2.sin()
    weight = tip_mass * _GRAVITY * lower * (q1 + q2).sin()
    torque = effort - _FRICTION * joint_vel
    first = torque[:, 0] + sway * (2 * v1 + v2) * v2 - weight
    first = first - (mass + tip_mass) * _GRAVITY * upper * q1.sin()
    second = torque[:, 1] - sway * v1**2 - weight
    determinant = diagonal * tip - off_diagonal**2
    acceleration = torch.stack(
        (tip * first - off_diagonal * second, diagonal * second - off_diagonal * first), dim=1
    ) / determinant.unsqueeze(1)
    joint_vel = joint_vel + dt * acceleration
    return joint_pos + dt * joint_vel, joint_vel


def link_ends(joint_pos: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Where the links end, [m] from the hinge to the right and up.

    Args:
        joint_pos: [rad] ``[N, 2]``.

    Returns:
        The upper link's end and the lower one's, ``[N, 2]`` each.
    """
    upper, lower = _LENGTHS
    q1, q2 = joint_pos.unbind(1)
    elbow = upper * torch.stack((q1.sin(), -q1.cos()), dim=1)
    return elbow, elbow + lower * torch.stack(((q1 + q2).sin(), -(q1 + q2).cos()), dim=1)
