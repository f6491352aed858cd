"""Outlines of robots that stay where they are: arms and hands, and a cabinet."""

from __future__ import annotations

from collections.abc import Iterable

from tests.isaaclab.outlines import AXES, SIDES, Limb, make_joint, outline
from tests.isaaclab.standins import Body, Robot, Shape, Vec3


def _arm(root: str, joint: str, link: str, start: Vec3 = (0.0, 0.0, 0.1)) -> Limb:
    """Seven links, named by their numbers."""
    links = tuple((joint.format(i), link.format(i)) for i in range(1, 8))
    return Limb(root, start, (0.0, 0.0, 0.12), links, "zyzy", touches=False)


def _gripper(last: str, hand: tuple[str, str], fingers: Iterable[tuple[str, str]]) -> list[Limb]:
    """A hand that is fixed to the last link, and fingers that slide."""
    limbs = [Limb(last, (0.0, 0.0, 0.1), (0.0, 0.0, 0.0), (hand,), touches=False)]
    return limbs + [
        Limb(hand[1], (0.0, y, 0.06), (0.0, 0.0, 0.0), (finger,), "y")
        for finger, y in zip(fingers, (0.03, -0.03), strict=True)
    ]


def franka() -> Robot:
    """Franka's Panda with its hand."""
    return outline(
        "panda",
        "panda_link0",
        [
            _arm("panda_link0", "panda_joint{}", "panda_link{}"),
            *_gripper(
                "panda_link7",
                ("panda_hand_joint!", "panda_hand"),
                (
                    ("panda_finger_joint1~", "panda_leftfinger"),
                    ("panda_finger_joint2~", "panda_rightfinger"),
                ),
            ),
        ],
        fixed=True,
    )


def ur10() -> Robot:
    """Universal Robots' UR10."""
    names = ("shoulder_pan", "shoulder_lift", "elbow", "wrist_1", "wrist_2", "wrist_3")
    bodies = ("shoulder", "upper_arm", "forearm", "wrist_1", "wrist_2", "wrist_3")
    links = tuple((f"{n}_joint", f"{b}_link") for n, b in zip(names, bodies, strict=True))
    end = (("ee_fixed_joint!", "ee_link"),)
    return outline(
        "ur10",
        "base_link",
        [Limb("base_link", (0.0, 0.0, 0.1), (0.0, 0.0, 0.15), links + end, "zyyyzy")],
        fixed=True,
    )


def ur10e() -> Robot:
    """Universal Robots' UR10e with the joints of Robotiq's grippers, whose loops are left open."""
    arm = ur10()
    return _with_gripper(
        Robot("ur10e", arm.bodies[:-1], arm.joints[:-1]),
        "wrist_3_link",
        ("finger_joint", "right_outer_knuckle_joint"),
        ("outer_finger", "inner_finger", "inner_finger_knuckle", "inner_finger_pad"),
    )


def rizon(*, gripper: bool) -> Robot:
    """Flexiv's Rizon 4s, with or without its gripper."""
    arm = outline(
        "rizon",
        "base_link",
        [
            _arm("base_link", "joint{}", "link{}"),
            Limb("link7", (0.0, 0.0, 0.1), (0.0, 0.0, 0.0), (("flange_joint!", "flange"),)),
        ],
        fixed=True,
    )
    drives = ("finger_joint", "right_outer_knuckle_joint")
    parts = ("outer_finger", "inner_finger", "inner_knuckle")
    return _with_gripper(arm, "flange", drives, parts) if gripper else arm


def _with_gripper(arm: Robot, on: str, drives: tuple[str, str], parts: tuple[str, ...]) -> Robot:
    """An arm with a gripper whose parts hang in two chains on its last link."""
    start = next(body.origin for body in arm.bodies if body.name == on)
    bodies, joints = list(arm.bodies), list(arm.joints)
    for side, drive in zip(SIDES, drives, strict=True):
        names = [(drive, f"{side}_knuckle"), *((f"{side}_{p}_joint", f"{side}_{p}") for p in parts)]
        parent = on
        for joint, child in names:
            tip = (Shape("sphere", (0.02,)),) if child == f"{side}_{parts[-1]}" else ()
            bodies.append(Body(child, start, 1.0, (0.1, 0.1, 0.1), shapes=tip))
            joints.append(make_joint(joint, child, parent, AXES["x"]))
            parent = child
    return Robot(arm.name, tuple(bodies), tuple(joints))


def openarm() -> Robot:
    """One arm of OpenArm."""
    return outline(
        "openarm",
        "openarm_link0",
        [
            _arm("openarm_link0", "openarm_joint{}", "openarm_link{}"),
            *_gripper(
                "openarm_link7",
                ("openarm_hand_joint!", "openarm_hand"),
                (
                    ("openarm_finger_joint1~", "openarm_left_finger"),
                    ("openarm_finger_joint2~", "openarm_right_finger"),
                ),
            ),
            Limb("openarm_hand", (0.0, 0.0, 0.1), (0.0, 0.0, 0.0), (("tcp!", "openarm_ee_tcp"),)),
        ],
        fixed=True,
    )


def openarm_bimanual() -> Robot:
    """Both arms of OpenArm."""
    limbs = []
    for side, y in zip(SIDES, (0.2, -0.2), strict=True):
        start = f"openarm_{side}"
        limbs.append(
            _arm("openarm_body_link0", f"{start}_joint{{}}", f"{start}_link{{}}", (0.0, y, 0.6))
        )
        fingers = tuple((f"{start}_finger_joint{i}~", f"{start}_finger{i}") for i in (1, 2))
        limbs += _gripper(f"{start}_link7", (f"{start}_hand_joint!", f"{start}_hand"), fingers)
    return outline("openarm_bimanual", "openarm_body_link0", limbs, fixed=True)


def allegro() -> Robot:
    """Wonik's Allegro hand."""
    return outline("allegro", "palm_link", _fingers("palm_link", ""), fixed=True)


def kuka_allegro() -> Robot:
    """KUKA's iiwa with an Allegro hand, whose prims lie below another one."""
    folder = "ee_link/"
    palm = f"{folder}palm_link"
    return outline(
        "kuka",
        "iiwa7_link_0",
        [
            _arm("iiwa7_link_0", "iiwa7_joint_{}", "iiwa7_link_{}"),
            Limb("iiwa7_link_7", (0.0, 0.0, 0.1), (0.0, 0.0, 0.0), (("palm_joint!", palm),)),
            *_fingers(palm, folder),
        ],
        fixed=True,
    )


def _fingers(palm: str, folder: str) -> list[Limb]:
    """Four fingers of four links, each with a tip."""
    return [
        Limb(
            palm,
            (0.05, 0.04 * index, 0.0),
            (0.04, 0.0, 0.0),
            (
                *((f"{finger}_joint_{i}", f"{folder}{finger}_link_{i}") for i in range(4)),
                (f"{finger}_tip_joint!", f"{folder}{finger}_tip"),
            ),
            "zyyy",
        )
        for index, finger in enumerate(("index", "middle", "ring", "thumb"))
    ]


def cabinet() -> Robot:
    """A cabinet with two drawers and two doors."""
    parts = (
        ("drawer_top_joint~", "drawer_top", 0.3),
        ("drawer_bottom_joint~", "drawer_bottom", -0.3),
        ("door_left_joint", "door_left", 0.0),
        ("door_right_joint", "door_right", 0.1),
    )
    limbs = [
        Limb("sektion", (0.2, 0.0, z), (0.0, 0.0, 0.0), ((joint, body),), "x", touches=False)
        for joint, body, z in parts
    ]
    limbs += [
        Limb(f"drawer_{end}", (0.1, 0.0, 0.0), (0, 0, 0), ((f"{end}!", f"drawer_handle_{end}"),))
        for end in ("top", "bottom")
    ]
    return outline("cabinet", "sektion", limbs, fixed=True)
