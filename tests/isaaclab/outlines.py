"""Robots of which only names and kinematics matter: a root and limbs of equal links.

A task finds joints and bodies by their names; what its managers compute does not depend on what the
bodies look like.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import cycle

from tests.isaaclab.standins import Body, Joint, Robot, Shape, Vec3

AXES: dict[str, Vec3] = {"x": (1.0, 0.0, 0.0), "y": (0.0, 1.0, 0.0), "z": (0.0, 0.0, 1.0)}
SIDES = ("left", "right")


@dataclass(frozen=True)
class Limb:
    """Links in a row.

    Args:
        parent: The body that the first link hangs on.
        start: Where its first joint is, relative to that body.
        step: From a joint to the next.
        links: Names of joint and child. A joint whose name ends with ``!`` is fixed, with ``~`` it
            slides.
        axes: Of the joints, repeated.
        touches: Whether the last link has a shape that takes part in contacts.
    """

    parent: str
    start: Vec3
    step: Vec3
    links: tuple[tuple[str, str], ...]
    axes: str = "xyy"
    touches: bool = True


def outline(name: str, root: str, limbs: Iterable[Limb], *, fixed: bool = False) -> Robot:
    """A robot of limbs.

    Args:
        name: Of the robot.
        root: Name of its first body.
        limbs: In an order in which every parent comes before its limbs.
        fixed: Whether the root is fixed to the world.
    """
    shapes = () if fixed else (Shape("box", (0.2, 0.1, 0.1)),)
    bodies = [Body(root, (0.0, 0.0, 0.0), 5.0, (0.05, 0.05, 0.05), shapes=shapes)]
    joints = [Joint("root_joint", "fixed", root)] if fixed else []
    origins: dict[str, Vec3] = {root: bodies[0].origin}
    for limb in limbs:
        parent, place = limb.parent, _sum(origins[limb.parent], limb.start)
        for (joint, child), axis in zip(limb.links, cycle(limb.axes), strict=False):
            touches = limb.touches and child == limb.links[-1][1]
            tip = (Shape("sphere", (0.02,)),) if touches else ()
            # Stiff drives and long physics steps would make lighter links fly apart.
            bodies.append(Body(child, place, 1.0, (0.1, 0.1, 0.1), shapes=tip))
            joints.append(make_joint(joint, child, parent, AXES[axis]))
            origins[child] = place
            parent, place = child, _sum(place, limb.step)
    return Robot(name, tuple(bodies), tuple(joints))


def make_joint(name: str, child: str, parent: str, axis: Vec3) -> Joint:
    if name.endswith("!"):
        return Joint(name[:-1], "fixed", child, parent)
    if name.endswith("~"):
        return Joint(name[:-1], "prismatic", child, parent, axis, (0.0, 0.4))
    return Joint(name, "revolute", child, parent, axis, (-360.0, 360.0))


def _sum(first: Vec3, second: Vec3) -> Vec3:
    return (first[0] + second[0], first[1] + second[1], first[2] + second[2])
