"""What becomes of each manager-based task of Isaac Lab 3.0's registry when it is exported.

    python -m tests.isaaclab.registry_tasks

prints the table of docs/export_tasks.md. The names and reasons are what test_export_registry
expects of each task.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Outcome:
    """What becomes of a task.

    Args:
        kind: Whether it is exported, refused by holdstep, or can't be built here at all.
        error: What the error says, as a regular expression.
        reason: The same for the table in the docs.
    """

    kind: Literal["exported", "refused", "not built"]
    error: str = ""
    reason: str = ""


EXPORTED = Outcome("exported")
JACOBIANS = Outcome(
    "refused",
    "DifferentialInverseKinematicsAction can't be exported: .* Jacobians",
    "differential inverse kinematics asks the simulator for Jacobians",
)
OPERATIONAL_SPACE = Outcome(
    "refused",
    "OperationalSpaceControllerAction can't be exported: .* mass matrices",
    "operational space control asks the simulator for Jacobians and mass matrices",
)
INNER_POLICY = Outcome(
    "refused",
    "PreTrainedPolicyAction can't be exported: it runs another policy inside",
    "the action term runs another policy inside; each is exported from its own task",
)
MOVING_AVERAGE = Outcome(
    "refused",
    "A reset sets action:joint_pos._prev_applied_actions to what it reads from",
    "the action's moving average starts each episode at the joints' positions of that moment",
)
NEEDS_ISAAC_SIM = Outcome(
    "not built", "Isaac Sim is not|No module named '(isaacsim|carb)'", "needs Isaac Sim"
)
NEEDS_PHYSX = Outcome(
    "not built",
    "(?i)physx|No module named 'carb'",
    "needs PhysX: suction grippers, rotors, deformable bodies, closed gripper loops",
)
FAILS_ON_NEWTON = Outcome(
    "not built",
    "'NoneType' object has no attribute 'device'|list index out of range",
    "Isaac Lab's own scene or events fail without Isaac Sim",
)
NEEDS_RENDERER = Outcome(
    "not built",
    "distance_to_camera|semantic_segmentation",
    "needs Isaac Sim's renderer: distances to the camera, semantic segmentation",
)
NEEDS_DOWNLOAD = Outcome(
    "not built",
    "USD file not found|Name or service not known|No module named 'transformers'|urlopen",
    "needs a download: robots and scenes, weights of image networks",
)

_QUADRUPEDS = (
    "Anymal-B",
    "Anymal-C",
    "Anymal-D",
    "Spot",
    "Unitree-A1",
    "Unitree-Go1",
    "Unitree-Go2",
)
_BIPEDS = ("Cassie", "Digit", "G1", "H1")
_GRIPPERS = ("UR10e-2F140", "UR10e-2F85")
_STACKS = ("", "BlueGreen-", "BlueGreenRed-", "RedGreen-", "RedGreenBlue-")

# Without "Isaac-" and "-v0"; "+" where there is a "-Play" of the task, too.
_NAMES: dict[Outcome, tuple[str, ...]] = {
    EXPORTED: (
        *("Ant", "Cartpole", "Cartpole-RGB", "Humanoid"),
        *(f"Velocity-Flat-{robot}+" for robot in (*_QUADRUPEDS, *_BIPEDS)),
        *(f"Velocity-Rough-{robot}+" for robot in (*_QUADRUPEDS, *_BIPEDS) if robot != "Spot"),
        "Tracking-LocoManip-Digit+",
        *(f"Reach-{robot}+" for robot in ("Franka", "OpenArm", "OpenArm-Bi", "UR10")),
        *(f"Lift-Cube-{robot}+" for robot in ("Franka", "OpenArm")),
        *(f"Open-Drawer-{robot}+" for robot in ("Franka", "OpenArm")),
        *(f"Dexsuite-Kuka-Allegro-{what}+" for what in ("Lift", "Reorient")),
        *(
            f"Deploy-Reach-{robot}{more}"
            for robot in ("Rizon4s", "UR10e")
            for more in ("+", "-ROS-Inference")
        ),
        *(f"Deploy-GearAssembly-{g}{more}" for g in _GRIPPERS for more in ("+", "-ROS-Inference")),
        "Stack-Cube-Franka",
    ),
    JACOBIANS: (
        *(
            f"{task}-Franka-IK-{how}"
            for task in ("Lift-Cube", "Open-Drawer", "Reach")
            for how in ("Abs", "Rel")
        ),
        *(f"Stack-Cube-{which}Franka-IK-Rel" for which in _STACKS),
        "Stack-Cube-Franka-IK-Abs",
        "Stack-Cube-Bin-Franka-IK-Rel-Mimic",
        "Stack-Cube-Franka-IK-Rel-Skillgen",
    ),
    OPERATIONAL_SPACE: ("Reach-Franka-OSC+",),
    INNER_POLICY: ("Navigation-Flat-Anymal-C+",),
    MOVING_AVERAGE: ("Repose-Cube-Allegro+", "Repose-Cube-Allegro-NoVelObs+"),
    NEEDS_ISAAC_SIM: (
        *("Assemble-Trocar-G129-Dex3", "Assemble-Trocar-G129-Dex3-Eval"),
        *("Deploy-GearAssembly-Rizon4s-Grav+", "Deploy-GearAssembly-Rizon4s-Grav-ROS-Inference"),
        *("Lift-Cloth-Franka", "Lift-Soft-Franka"),
    ),
    NEEDS_PHYSX: (
        "Lift-Teddy-Bear-Franka-IK-Abs",
        "Navigation-3DObstacles-ARL-Robot-1+",
        "TrackPositionNoObstacles-ARL-Robot-1+",
        "Place-Mug-Agibot-Left-Arm-RmpFlow",
        "Place-Toy2Box-Agibot-Right-Arm-RmpFlow",
        "Stack-Cube-Galbot-Right-Arm-Suction-RmpFlow",
        *(f"Stack-Cube-UR10-{length}-Suction-IK-Rel" for length in ("Long", "Short")),
    ),
    FAILS_ON_NEWTON: (
        *(f"Stack-Cube-Instance-Randomize-Franka{more}" for more in ("", "-IK-Rel")),
        "Stack-Cube-Franka-IK-Rel-Visuomotor",
    ),
    NEEDS_RENDERER: (
        "Cartpole-Depth",
        *(f"Stack-Cube-Franka-IK-Rel-{more}" for more in ("Blueprint", "Visuomotor-Cosmos")),
    ),
    NEEDS_DOWNLOAD: (
        *("ExhaustPipe-GR1T2-Pink-IK-Abs", "NutPour-GR1T2-Pink-IK-Abs"),
        *("Cartpole-RGB-ResNet18", "Cartpole-RGB-TheiaTiny"),
        "PickPlace-FixedBaseUpperBodyIK-G1-Abs",
        "PickPlace-G1-InspireFTP-Abs",
        "PickPlace-GR1T2-Abs",
        "PickPlace-GR1T2-WaistEnabled-Abs",
        "PickPlace-Locomanipulation-G1-Abs",
        *(
            f"Stack-Cube-Galbot-Left-Arm-Gripper-{more}"
            for more in (
                "RmpFlow",
                "Visuomotor",
                "Visuomotor-Joint-Position-Play",
                "Visuomotor-RmpFlow-Play",
            )
        ),
    ),
}


def _ids(name: str) -> Iterator[str]:
    yield f"Isaac-{name.removesuffix('+')}-v0"
    if name.endswith("+"):
        yield f"Isaac-{name.removesuffix('+')}-Play-v0"


EXPECTED: dict[str, Outcome] = {
    task: outcome for outcome, names in _NAMES.items() for name in names for task in _ids(name)
}
"""By task."""


def table() -> str:
    """The table of docs/export_tasks.md: a line for each outcome."""
    lines = ["| result | tasks | why |", "|---|---|---|"]
    for outcome, names in _NAMES.items():
        number = sum(task is outcome for task in EXPECTED.values())
        listed = ", ".join(name.replace("+", "") for name in names)
        why = outcome.reason or "all rungs pass, difference 0 over 50 steps with resets"
        lines.append(f"| {outcome.kind} ({number}) | {listed} | {why} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(table(), end="")
