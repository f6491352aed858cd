"""Stand-in USD assets, so that Isaac Lab 3 tasks run where its asset server is out of reach.

The shapes, masses and limits are rough values written by hand; only the names that the task
configurations refer to (joints, bodies) and the general kinematics follow the real robots.

``write_standins(root)`` writes the files in the layout of the asset server, and
``redirect_nucleus(root)`` points :mod:`isaaclab.utils.assets` there. The second must happen
before any module that reads ``ISAAC_NUCLEUS_DIR`` at import time (robot configurations,
``isaaclab.sim``, ``isaaclab_tasks``) is imported; it raises when it comes too late.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from pxr import Gf, Sdf, Usd, UsdGeom, UsdPhysics, UsdShade

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

Vec3 = tuple[float, float, float]


@dataclass(frozen=True)
class Shape:
    """A box, sphere or capsule, placed relative to the body it belongs to.

    Args:
        kind: What to draw.
        size: Full edge lengths of a box; ``(radius,)`` of a sphere or a capsule.
        start: Centre of a box or a sphere, or one end of a capsule's axis.
        end: The other end of a capsule's axis.
        collides: Whether the shape takes part in contacts or is only seen.
    """

    kind: Literal["box", "sphere", "capsule"]
    size: tuple[float, ...]
    start: Vec3 = (0.0, 0.0, 0.0)
    end: Vec3 = (0.0, 0.0, 0.0)
    collides: bool = True


@dataclass(frozen=True)
class Body:
    """A rigid body whose frame is parallel to the asset's frame.

    Args:
        name: Prim name.
        origin: Where the body frame is, in the asset frame, when all joints are at zero.
        mass: In kg.
        inertia: Principal moments about the centre of mass, in kg m^2.
        com: Centre of mass in the body frame.
        shapes: The geometry, possibly none.
    """

    name: str
    origin: Vec3
    mass: float
    inertia: Vec3
    com: Vec3 = (0.0, 0.0, 0.0)
    shapes: tuple[Shape, ...] = ()


@dataclass(frozen=True)
class Joint:
    """A joint whose anchor is the origin of its child.

    Args:
        name: Prim name.
        kind: ``fixed``, ``revolute`` or ``prismatic``.
        child: Name of the moved body.
        parent: Name of the carrying body; None stands for the world.
        axis: Direction of the motion in the asset frame; need not have unit length.
        limits: Lower and upper limit in degrees or metres; None leaves the joint free.
    """

    name: str
    kind: Literal["fixed", "revolute", "prismatic"]
    child: str
    parent: str | None = None
    axis: Vec3 = (1.0, 0.0, 0.0)
    limits: tuple[float, float] | None = None


@dataclass(frozen=True)
class Robot:
    """A tree of bodies, the first of which is the root."""

    name: str
    bodies: tuple[Body, ...]
    joints: tuple[Joint, ...] = field(default=())


def _sphere_inertia(mass: float, radius: float) -> Vec3:
    """Return the principal moments of a solid sphere."""
    moment = 0.4 * mass * radius**2
    return (moment, moment, moment)


def _rotation_from_x(direction: Sequence[float]) -> Gf.Quatf:
    """Return the shortest rotation that turns the x axis into ``direction``."""
    rotation = Gf.Rotation(Gf.Vec3d(1.0, 0.0, 0.0), Gf.Vec3d(*direction))
    return Gf.Quatf(rotation.GetQuat())


def new_stage(path: Path, root_name: str) -> Usd.Stage:
    """Create ``path`` with a default prim, metres, kilograms and z up."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    stage = Usd.Stage.CreateNew(str(path))
    UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.z)
    UsdGeom.SetStageMetersPerUnit(stage, 1.0)
    UsdPhysics.SetStageKilogramsPerUnit(stage, 1.0)
    stage.SetDefaultPrim(UsdGeom.Xform.Define(stage, f"/{root_name}").GetPrim())
    return stage


def write_shape(stage: Usd.Stage, path: str, shape: Shape) -> None:
    """Define ``shape`` at ``path``."""
    start, end = Gf.Vec3d(*shape.start), Gf.Vec3d(*shape.end)
    geom: UsdGeom.Gprim
    if shape.kind == "capsule":
        (radius,) = shape.size
        axis = end - start
        geom = UsdGeom.Capsule.Define(stage, path)
        geom.CreateAxisAttr(UsdGeom.Tokens.x)
        geom.CreateRadiusAttr(radius)
        geom.CreateHeightAttr(axis.GetLength())
        geom.AddTranslateOp().Set((start + end) / 2.0)
        geom.AddOrientOp().Set(_rotation_from_x(axis))
    elif shape.kind == "sphere":
        (radius,) = shape.size
        geom = UsdGeom.Sphere.Define(stage, path)
        geom.CreateRadiusAttr(radius)
        geom.AddTranslateOp().Set(start)
    else:
        geom = UsdGeom.Cube.Define(stage, path)
        geom.CreateSizeAttr(1.0)
        geom.AddTranslateOp().Set(start)
        geom.AddScaleOp().Set(Gf.Vec3f(*shape.size))
    if shape.collides:
        UsdPhysics.CollisionAPI.Apply(geom.GetPrim())


def _write_joint(stage: Usd.Stage, robot: Robot, joint: Joint) -> None:
    """Define ``joint`` under ``/robot/joints``."""
    origins = {body.name: Gf.Vec3f(*body.origin) for body in robot.bodies}
    path = f"/{robot.name}/joints/{joint.name}"
    prim: UsdPhysics.Joint
    if joint.kind == "fixed":
        prim = UsdPhysics.FixedJoint.Define(stage, path)
    else:
        moving = UsdPhysics.RevoluteJoint if joint.kind == "revolute" else UsdPhysics.PrismaticJoint
        prim = moving.Define(stage, path)
        prim.CreateAxisAttr(UsdPhysics.Tokens.x)
        if joint.limits is not None:
            prim.CreateLowerLimitAttr(joint.limits[0])
            prim.CreateUpperLimitAttr(joint.limits[1])
        kind = UsdPhysics.Tokens.angular if joint.kind == "revolute" else UsdPhysics.Tokens.linear
        drive = UsdPhysics.DriveAPI.Apply(prim.GetPrim(), kind)
        drive.CreateTypeAttr(UsdPhysics.Tokens.force)
        drive.CreateStiffnessAttr(0.0)
        drive.CreateDampingAttr(0.0)
        drive.CreateMaxForceAttr(1000.0)
    anchor = origins[joint.child]
    if joint.parent is not None:
        prim.CreateBody0Rel().SetTargets([Sdf.Path(f"/{robot.name}/{joint.parent}")])
        anchor = anchor - origins[joint.parent]
    prim.CreateBody1Rel().SetTargets([Sdf.Path(f"/{robot.name}/{joint.child}")])
    turn = _rotation_from_x(joint.axis)
    prim.CreateLocalPos0Attr(anchor)
    prim.CreateLocalPos1Attr(Gf.Vec3f(0.0))
    prim.CreateLocalRot0Attr(turn)
    prim.CreateLocalRot1Attr(turn)


def write_robot(path: Path, robot: Robot) -> None:
    """Write ``robot`` as an articulation into the USD file ``path``."""
    stage = new_stage(path, robot.name)
    UsdPhysics.ArticulationRootAPI.Apply(stage.GetDefaultPrim())
    for body in robot.bodies:
        xform = UsdGeom.Xform.Define(stage, f"/{robot.name}/{body.name}")
        xform.AddTranslateOp().Set(Gf.Vec3d(*body.origin))
        xform.AddOrientOp().Set(Gf.Quatf(1.0))
        prim = xform.GetPrim()
        UsdPhysics.RigidBodyAPI.Apply(prim)
        mass = UsdPhysics.MassAPI.Apply(prim)
        mass.CreateMassAttr(body.mass)
        mass.CreateCenterOfMassAttr(Gf.Vec3f(*body.com))
        mass.CreateDiagonalInertiaAttr(Gf.Vec3f(*body.inertia))
        mass.CreatePrincipalAxesAttr(Gf.Quatf(1.0))
        for index, shape in enumerate(body.shapes):
            write_shape(stage, f"/{robot.name}/{body.name}/shape_{index}", shape)
    UsdGeom.Scope.Define(stage, f"/{robot.name}/joints")
    for joint in robot.joints:
        _write_joint(stage, robot, joint)
    stage.GetRootLayer().Save()


def write_ground(path: Path) -> None:
    """Write the default ground: an infinite collision plane and the shader that gets tinted."""
    stage = new_stage(path, "Ground")
    plane = UsdGeom.Plane.Define(stage, "/Ground/GroundPlane/CollisionPlane")
    plane.CreateAxisAttr(UsdGeom.Tokens.z)
    plane.CreateWidthAttr(200.0)
    plane.CreateLengthAttr(200.0)
    UsdPhysics.CollisionAPI.Apply(plane.GetPrim())
    UsdShade.Material.Define(stage, "/Ground/Looks/theGrid")
    shader = UsdShade.Shader.Define(stage, "/Ground/Looks/theGrid/Shader")
    shader.CreateInput("diffuse_tint", Sdf.ValueTypeNames.Color3f).Set(Gf.Vec3f(0.5))
    stage.GetRootLayer().Save()


def write_marker(path: Path) -> None:
    """Write a thin box that points along x, for the arrows of debug visualisation."""
    stage = new_stage(path, "Arrow")
    write_shape(
        stage, "/Arrow/shaft", Shape("box", (1.0, 0.05, 0.05), (0.5, 0.0, 0.0), collides=False)
    )
    stage.GetRootLayer().Save()


def cartpole() -> Robot:
    """Return a cart on a fixed rail along y with a one metre pole that turns about x."""
    rail = Body(
        "slider",
        (0.0, 0.0, 0.0),
        1.0,
        (0.7, 0.01, 0.7),
        shapes=(Shape("box", (0.03, 8.0, 0.03), collides=False),),
    )
    cart = Body(
        "cart",
        (0.0, 0.0, 0.0),
        1.0,
        (0.005, 0.005, 0.005),
        shapes=(Shape("box", (0.2, 0.25, 0.2), collides=False),),
    )
    pole = Body(
        "pole",
        (0.12, 0.0, 0.0),
        0.2,
        (0.017, 0.017, 0.0002),
        com=(0.0, 0.0, 0.5),
        shapes=(Shape("box", (0.04, 0.06, 1.0), (0.0, 0.0, 0.5), collides=False),),
    )
    return Robot(
        "cartpole",
        (rail, cart, pole),
        (
            Joint("root_joint", "fixed", "slider"),
            Joint(
                "slider_to_cart",
                "prismatic",
                "cart",
                "slider",
                axis=(0.0, 1.0, 0.0),
                limits=(-4.0, 4.0),
            ),
            Joint("cart_to_pole", "revolute", "pole", "cart", axis=(1.0, 0.0, 0.0)),
        ),
    )


def cart_double_pendulum() -> Robot:
    """Return the cart-pole with a second pole on top of the first."""
    single = cartpole()
    pendulum = Body(
        "pendulum",
        (0.12, 0.0, 1.0),
        0.2,
        (0.017, 0.017, 0.0002),
        com=(0.0, 0.0, 0.5),
        shapes=(Shape("box", (0.04, 0.06, 1.0), (0.0, 0.0, 0.5), collides=False),),
    )
    joint = Joint("pole_to_pendulum", "revolute", "pendulum", "pole", axis=(1.0, 0.0, 0.0))
    return Robot("cart_double_pendulum", (*single.bodies, pendulum), (*single.joints, joint))


def ant() -> Robot:
    """Return a four-legged ant: a sphere with a hip about z and a diagonal ankle in each leg."""
    bodies = [
        Body(
            "torso",
            (0.0, 0.0, 0.0),
            0.6,
            _sphere_inertia(0.6, 0.25),
            shapes=(Shape("sphere", (0.25,)),),
        ),
    ]
    joints = []
    legs: tuple[tuple[str, float, float, float], ...] = (
        ("front_left", 1.0, 1.0, 1.0),
        ("front_right", -1.0, 1.0, -1.0),
        ("left_back", -1.0, -1.0, -1.0),
        ("right_back", 1.0, -1.0, 1.0),
    )
    for name, x, y, sense in legs:
        hip, ankle, tip = (0.2 * x, 0.2 * y, 0.0), (0.4 * x, 0.4 * y, 0.0), (0.4 * x, 0.4 * y, 0.0)
        leg = Shape("capsule", (0.08,), end=hip)
        foot = Shape("capsule", (0.08,), end=tip)
        bodies.append(
            Body(
                f"{name}_leg",
                hip,
                0.06,
                (6e-4, 6e-4, 6e-4),
                com=(0.1 * x, 0.1 * y, 0.0),
                shapes=(leg,),
            )
        )
        bodies.append(
            Body(
                f"{name}_foot",
                ankle,
                0.1,
                (2e-3, 2e-3, 2e-3),
                com=(0.2 * x, 0.2 * y, 0.0),
                shapes=(foot,),
            )
        )
        joints.append(
            Joint(f"{name}_leg", "revolute", f"{name}_leg", "torso", (0.0, 0.0, 1.0), (-40.0, 40.0))
        )
        # Two of the feet bend down with a positive angle, the others with a negative one.
        axis = (-1.0, 1.0, 0.0) if x * y > 0 else (1.0, 1.0, 0.0)
        limits = (30.0, 100.0) if sense > 0 else (-100.0, -30.0)
        joints.append(
            Joint(f"{name}_foot", "revolute", f"{name}_foot", f"{name}_leg", axis, limits)
        )
    return Robot("ant", tuple(bodies), tuple(joints))


def go2() -> Robot:
    """Return a quadruped with the joint and body names of a Unitree Go2."""
    bodies = [
        Body(
            "base",
            (0.0, 0.0, 0.0),
            7.0,
            (0.03, 0.1, 0.11),
            shapes=(Shape("box", (0.38, 0.1, 0.11)),),
        )
    ]
    joints = []
    degrees = 180.0 / math.pi
    for name, front, left in (("FL", 1, 1), ("FR", 1, -1), ("RL", -1, 1), ("RR", -1, -1)):
        hip = (0.193 * front, 0.047 * left, 0.0)
        thigh = (hip[0], hip[1] + 0.0955 * left, 0.0)
        calf = (thigh[0], thigh[1], -0.213)
        foot = (thigh[0], thigh[1], -0.426)
        bodies += [
            Body(f"{name}_hip", hip, 0.68, (5e-4, 9e-4, 6e-4)),
            Body(
                f"{name}_thigh",
                thigh,
                1.15,
                (5.8e-3, 5.6e-3, 1e-3),
                com=(0.0, 0.0, -0.03),
                shapes=(Shape("capsule", (0.02,), (0.0, 0.0, -0.02), (0.0, 0.0, -0.19)),),
            ),
            Body(
                f"{name}_calf",
                calf,
                0.15,
                (1.1e-3, 1.1e-3, 3e-5),
                com=(0.0, 0.0, -0.1),
                shapes=(Shape("capsule", (0.012,), (0.0, 0.0, -0.03), (0.0, 0.0, -0.17)),),
            ),
            Body(
                f"{name}_foot", foot, 0.04, (1e-5, 1e-5, 1e-5), shapes=(Shape("sphere", (0.022,)),)
            ),
        ]
        thigh_limits = (-1.57, 3.49) if front > 0 else (-0.52, 4.53)
        joints += [
            Joint(
                f"{name}_hip_joint",
                "revolute",
                f"{name}_hip",
                "base",
                (1.0, 0.0, 0.0),
                (-60.0, 60.0),
            ),
            Joint(
                f"{name}_thigh_joint",
                "revolute",
                f"{name}_thigh",
                f"{name}_hip",
                (0.0, 1.0, 0.0),
                (thigh_limits[0] * degrees, thigh_limits[1] * degrees),
            ),
            Joint(
                f"{name}_calf_joint",
                "revolute",
                f"{name}_calf",
                f"{name}_thigh",
                (0.0, 1.0, 0.0),
                (-2.72 * degrees, -0.84 * degrees),
            ),
            Joint(f"{name}_foot_joint", "fixed", f"{name}_foot", f"{name}_calf"),
        ]
    return Robot("go2", tuple(bodies), tuple(joints))


ROBOTS: dict[str, Callable[[], Robot]] = {
    "Isaac/IsaacLab/Robots/Classic/Cartpole/cartpole.usd": cartpole,
    "Isaac/IsaacLab/Robots/Classic/CartDoublePendulum/cart_double_pendulum.usd": (
        cart_double_pendulum
    ),
    "Isaac/Robots/IsaacSim/Ant/ant_instanceable.usd": ant,
    "Isaac/IsaacLab/Robots/Unitree/Go2/go2.usd": go2,
}
"""Which robot is written under which path below the root folder."""

GROUND = "Isaac/Environments/Grid/default_environment.usd"
MARKERS = ("Isaac/Props/UIElements/arrow_x.usd", "Isaac/Props/UIElements/frame_prim.usd")


def write_standins(root: Path) -> list[Path]:
    """Write every stand-in below ``root`` and return the files."""
    files = []
    for relative, build in ROBOTS.items():
        files.append(root / relative)
        write_robot(files[-1], build())
    files.append(root / GROUND)
    write_ground(files[-1])
    for relative in MARKERS:
        files.append(root / relative)
        write_marker(files[-1])
    return files


def redirect_nucleus(root: Path) -> None:
    """Make Isaac Lab look for its assets below ``root``.

    Raises:
        RuntimeError: If a module that copied the old folder has already been imported.
    """
    import isaaclab.utils.assets as assets

    base = root.resolve().as_posix()
    folders = {
        "NUCLEUS_ASSET_ROOT_DIR": base,
        "NVIDIA_NUCLEUS_DIR": f"{base}/NVIDIA",
        "ISAAC_NUCLEUS_DIR": f"{base}/Isaac",
        "ISAACLAB_NUCLEUS_DIR": f"{base}/Isaac/IsaacLab",
    }
    late = sorted(
        name
        for name, module in list(sys.modules.items())
        if module is not assets
        and name.startswith("isaaclab")
        and any(vars(module).get(key, value) != value for key, value in folders.items())
    )
    if late:
        raise RuntimeError(f"redirect_nucleus() must come before the import of {', '.join(late)}")
    for key, value in folders.items():
        setattr(assets, key, value)
