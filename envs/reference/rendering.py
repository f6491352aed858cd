"""Frames of the reference envs, drawn with NumPy alone so that any machine can make them."""

from __future__ import annotations

import math

import numpy as np

_BACKGROUND = (250, 250, 250)
_INK = (60, 60, 70)
_CART = (70, 90, 120)
_POLE = (202, 152, 101)
_MASS = (50, 110, 200)
_GOAL = (80, 170, 90)


class _Canvas:
    """An RGB frame whose shapes are given in world coordinates: x to the right, y up.

    A shape's edge is blended over one pixel, by its signed distance to each pixel's centre.

    Args:
        width: of the frame [px].
        height: of the frame [px].
        center: what is in the middle of the frame [m].
        scale: pixels per metre.
    """

    def __init__(
        self, width: int, height: int, *, center: tuple[float, float], scale: float
    ) -> None:
        rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
        self._x = (columns + 0.5 - width / 2) / scale + center[0]
        self._y = (height / 2 - rows - 0.5) / scale + center[1]
        self._scale = scale
        self._rgb = np.full((height, width, 3), _BACKGROUND, dtype=np.float32)

    def disc(self, center: tuple[float, float], radius: float, color: tuple[int, int, int]) -> None:
        distance = np.hypot(self._x - center[0], self._y - center[1]) - radius
        self._paint(distance, color)

    def bar(
        self,
        start: tuple[float, float],
        end: tuple[float, float],
        width: float,
        color: tuple[int, int, int],
    ) -> None:
        """A segment with round ends."""
        span = (end[0] - start[0], end[1] - start[1])
        x, y = self._x - start[0], self._y - start[1]
        along = np.clip((x * span[0] + y * span[1]) / (span[0] ** 2 + span[1] ** 2), 0.0, 1.0)
        distance = np.hypot(x - along * span[0], y - along * span[1]) - width / 2
        self._paint(distance, color)

    def box(
        self, center: tuple[float, float], size: tuple[float, float], color: tuple[int, int, int]
    ) -> None:
        distance = np.maximum(
            np.abs(self._x - center[0]) - size[0] / 2, np.abs(self._y - center[1]) - size[1] / 2
        )
        self._paint(distance, color)

    def frame(self) -> np.ndarray:
        """The frame so far, uint8 ``[H, W, 3]``."""
        return self._rgb.round().astype(np.uint8)

    def _paint(self, distance: np.ndarray, color: tuple[int, int, int]) -> None:
        cover = np.clip(0.5 - distance * self._scale, 0.0, 1.0)[..., None]
        self._rgb += cover * (np.array(color, dtype=np.float32) - self._rgb)


def draw_cartpole(*, x: float, angle: float, x_limit: float) -> np.ndarray:
    """A cart-pole as a frame, uint8 ``[160, 240, 3]``.

    Args:
        x: cart position [m].
        angle: of the pole from upright, positive to the right [rad].
        x_limit: where the track ends [m].
    """
    canvas = _Canvas(240, 160, center=(0.0, 0.45), scale=220 / (2 * x_limit))
    canvas.bar((-x_limit, -0.15), (x_limit, -0.15), 0.03, _INK)
    canvas.box((x, 0.0), (0.5, 0.3), _CART)
    canvas.bar((x, 0.0), (x + math.sin(angle), math.cos(angle)), 0.1, _POLE)
    canvas.disc((x, 0.0), 0.06, _INK)
    return canvas.frame()


def draw_point_mass(
    *,
    position: tuple[float, float],
    goal: tuple[float, float],
    goal_radius: float,
    arena: float,
) -> np.ndarray:
    """A point mass and its goal as a frame, uint8 ``[160, 160, 3]``.

    Args:
        position: of the mass [m].
        goal: where it has to go [m].
        goal_radius: how near counts as reached [m].
        arena: half the side of the square [m].
    """
    canvas = _Canvas(160, 160, center=(0.0, 0.0), scale=70 / arena)
    corners = [(-arena, -arena), (arena, -arena), (arena, arena), (-arena, arena)]
    for start, end in zip(corners, corners[1:] + corners[:1], strict=True):
        canvas.bar(start, end, 0.03, _INK)
    canvas.disc(goal, max(goal_radius, 0.04), _GOAL)
    canvas.disc(position, 0.04, _MASS)
    return canvas.frame()


def draw_pendulum(
    *, elbow: tuple[float, float], tip: tuple[float, float], goal: tuple[float, float]
) -> np.ndarray:
    """A double pendulum as a frame, uint8 ``[200, 200, 3]``.

    Args:
        elbow: end of the upper link, from the hinge [m].
        tip: end of the lower link [m].
        goal: where the lower link should end [m].
    """
    canvas = _Canvas(200, 200, center=(0.0, 0.0), scale=95.0)
    canvas.disc(goal, 0.06, _GOAL)
    canvas.bar((0.0, 0.0), elbow, 0.05, _POLE)
    canvas.bar(elbow, tip, 0.04, _POLE)
    for joint, radius in (((0.0, 0.0), 0.03), (elbow, 0.05), (tip, 0.04)):
        canvas.disc(joint, radius, _MASS)
    return canvas.frame()
