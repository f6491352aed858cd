"""Outlines of robots that walk."""

from __future__ import annotations

from tests.isaaclab.outlines import AXES, SIDES, Limb, make_joint, outline
from tests.isaaclab.standins import Body, Joint, Robot


def quadruped(name: str, root: str, legs: str, joints: str, bodies: str, step: float) -> Robot:
    """A robot with four legs.

    Args:
        name: Of the robot.
        root: Name of its trunk.
        legs: Their names: front left, front right, hind left, hind right.
        joints: Names of a leg's, with ``{}`` for the leg.
        bodies: The same for its links; the last one, the foot, has no joint of its own.
        step: Length of a link [m].
    """
    corners = ((0.2, 0.15), (0.2, -0.15), (-0.2, 0.15), (-0.2, -0.15))
    return outline(
        name,
        root,
        [
            Limb(
                root,
                (x, y, 0.0),
                (0.0, 0.0, -step),
                tuple(
                    (joint.format(leg), body.format(leg))
                    for joint, body in zip(joints.split(), bodies.split(), strict=True)
                ),
            )
            for leg, (x, y) in zip(legs.split(), corners, strict=True)
        ],
    )


def unitree(name: str, root: str) -> Robot:
    """A1 and Go1."""
    return quadruped(
        name,
        root,
        "FL FR RL RR",
        "{}_hip_joint {}_thigh_joint {}_calf_joint {}_foot_joint!",
        "{}_hip {}_thigh {}_calf {}_foot",
        0.16,
    )


def anymal() -> Robot:
    """ANYmal B, C and D."""
    return quadruped(
        "anymal",
        "base",
        "LF RF LH RH",
        "{}_HAA {}_HFE {}_KFE {}_SHANK_TO_FOOT!",
        "{}_HIP {}_THIGH {}_SHANK {}_FOOT",
        0.22,
    )


def spot() -> Robot:
    """Boston Dynamics' Spot."""
    return quadruped(
        "spot",
        "body",
        "fl fr hl hr",
        "{}_hx {}_hy {}_kn {}_ankle!",
        "{}_hip {}_uleg {}_lleg {}_foot",
        0.2,
    )


def humanoid(
    name: str, root: str, chest: tuple[str, str], leg: str, arm: str, body: str, *, hand: str = ""
) -> Robot:
    """A robot with two legs, two arms, and fingers if need be.

    Args:
        name: Of the robot.
        root: Name of its pelvis.
        chest: Joint and body that carry the arms.
        leg: Names of a leg's joints, with ``{}`` for the side.
        arm: The same for an arm.
        body: The name of a joint's child: ``{}`` stands for the joint.
        hand: Names of joints that all sit on the last link of an arm.
    """
    limbs = [Limb(root, (0.0, 0.0, 0.1), (0.0, 0.0, 0.3), (chest,), "z", touches=False)]
    for side, y in zip(SIDES, (0.1, -0.1), strict=True):
        legs, arms, fingers = (_links(names, side, body) for names in (leg, arm, hand))
        limbs.append(Limb(root, (0.0, y, 0.0), (0.0, 0.0, -0.9 / len(legs)), legs, "yxz"))
        if arms:
            limbs.append(Limb(chest[1], (0.0, 2 * y, 0.3), (0.0, 0.0, -0.1), arms, "yxz"))
        limbs += [Limb(arms[-1][1], (0.05, 0.0, 0.0), (0.0, 0.0, 0.0), (f,)) for f in fingers]
    return outline(name, root, limbs)


def _links(names: str, side: str, body: str) -> tuple[tuple[str, str], ...]:
    joints = [name.format(side) for name in names.split()]
    return tuple((joint, body.format(joint.removesuffix("_joint"))) for joint in joints)


def h1() -> Robot:
    """Unitree's H1."""
    return humanoid(
        "h1",
        "pelvis",
        ("torso", "torso_link"),
        "{}_hip_yaw {}_hip_roll {}_hip_pitch {}_knee {}_ankle",
        "{}_shoulder_pitch {}_shoulder_roll {}_shoulder_yaw {}_elbow",
        "{}_link",
    )


def g1() -> Robot:
    """Unitree's G1 with three fingers a hand."""
    return humanoid(
        "g1",
        "pelvis",
        ("torso_joint", "torso_link"),
        "{}_hip_pitch_joint {}_hip_roll_joint {}_hip_yaw_joint {}_knee_joint {}_ankle_pitch_joint "
        "{}_ankle_roll_joint",
        "{}_shoulder_pitch_joint {}_shoulder_roll_joint {}_shoulder_yaw_joint {}_elbow_pitch_joint "
        "{}_elbow_roll_joint",
        "{}_link",
        hand=" ".join(
            f"{{}}_{number}_joint"
            for number in ("zero", "one", "two", "three", "four", "five", "six")
        ),
    )


def digit() -> Robot:
    """Agility's Digit; the rods of its legs hang on the knees."""
    robot = humanoid(
        "digit",
        "torso_base",
        ("neck!", "head"),
        "{}_leg_hip_roll {}_leg_hip_yaw {}_leg_hip_pitch {}_leg_knee {}_leg_tarsus "
        "{}_leg_toe_pitch {}_leg_toe_roll",
        "{}_arm_shoulder_roll {}_arm_shoulder_pitch {}_arm_shoulder_yaw {}_arm_elbow "
        "{}_arm_wrist_roll {}_arm_wrist_pitch {}_arm_wrist_yaw",
        "{}",
    )
    tarsi = {f"{side}_leg_tarsus" for side in SIDES}
    places = {body.name: body.origin for body in robot.bodies if body.name in tarsi}
    rods = [(f"{side}_leg_toe_{end}", f"{side}_leg_tarsus") for side in SIDES for end in "ab"]
    return Robot(
        robot.name,
        robot.bodies
        + tuple(Body(f"{rod}_rod", places[on], 0.1, (1e-3, 1e-3, 1e-3)) for rod, on in rods),
        robot.joints + tuple(make_joint(rod, f"{rod}_rod", on, AXES["y"]) for rod, on in rods),
    )


def cassie() -> Robot:
    """Agility's Cassie: two legs and nothing else."""
    names = (
        ("hip_abduction_{}", "{}_pelvis_abduction"),
        ("hip_rotation_{}", "{}_pelvis_rotation"),
        ("hip_flexion_{}", "{}_hip"),
        ("thigh_joint_{}", "{}_thigh"),
        ("ankle_joint_{}", "{}_tarsus"),
        ("toe_joint_{}", "{}_toe"),
    )
    return outline(
        "cassie",
        "pelvis",
        [
            Limb(
                "pelvis",
                (0.0, y, 0.0),
                (0.0, 0.0, -0.1),
                tuple((joint.format(side), body.format(side)) for joint, body in names),
                "xzy",
            )
            for side, y in zip(SIDES, (0.1, -0.1), strict=True)
        ],
    )


def mujoco_humanoid() -> Robot:
    """The humanoid of MuJoCo's suites, some of whose joints turn about several axes.

    Newton makes one joint, with its degrees numbered, of all that are between the same two bodies.
    """
    down = (0.0, 0.0, -0.3)
    limbs = [
        Limb("torso", (0, 0, -0.2), (0, 0, -0.1), _same("lower_waist pelvis"), "z", touches=False)
    ]
    for side, y in zip(SIDES, (0.1, -0.1), strict=True):
        arm = _same(f"{side}_upper_arm {side}_lower_arm")
        leg = _same(f"{side}_thigh {side}_shin {side}_foot")
        limbs.append(Limb("torso", (0.0, 2 * y, 0.1), down, arm, "xy"))
        limbs.append(Limb("pelvis", (0.0, y, 0.0), down, leg, "xyy"))
    robot = outline("humanoid", "torso", limbs)
    more = {"lower_waist": "y", "upper_arm": "z", "thigh": "zy", "foot": "x"}
    extra = [
        Joint(f"{joint.name}_{axis}", joint.kind, joint.child, joint.parent, AXES[axis], (-90, 90))
        for joint in robot.joints
        for end, axes in more.items()
        if joint.name.endswith(end)
        for axis in axes
    ]
    return Robot(robot.name, robot.bodies, (*robot.joints, *extra))


def _same(names: str) -> tuple[tuple[str, str], ...]:
    """Joints that have the names of their children."""
    return tuple((name, name) for name in names.split())
