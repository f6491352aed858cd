"""Stand-ins for what the manager-based tasks of Isaac Lab's registry load."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from pxr import Gf, UsdPhysics

from tests.isaaclab import outlines_arms, outlines_legged, standins
from tests.isaaclab.standins import Robot, Shape

_LAB, _SIM = "Isaac/IsaacLab/Robots", "Isaac/Robots"
ROBOTS: dict[str, Callable[[], Robot]] = {
    f"{_LAB}/Unitree/A1/a1.usd": lambda: outlines_legged.unitree("a1", "trunk"),
    f"{_LAB}/Unitree/Go1/go1.usd": lambda: outlines_legged.unitree("go1", "trunk"),
    **{
        f"{_LAB}/ANYbotics/ANYmal-{x}/anymal_{x.lower()}.usd": outlines_legged.anymal for x in "BCD"
    },
    f"{_SIM}/BostonDynamics/spot/spot.usd": outlines_legged.spot,
    f"{_LAB}/Unitree/H1/h1_minimal.usd": outlines_legged.h1,
    f"{_LAB}/Unitree/G1/g1_minimal.usd": outlines_legged.g1,
    f"{_SIM}/Agility/Digit/digit_v4.usd": outlines_legged.digit,
    f"{_LAB}/Agility/Cassie/cassie.usd": outlines_legged.cassie,
    f"{_SIM}/IsaacSim/Humanoid/humanoid_instanceable.usd": outlines_legged.mujoco_humanoid,
    f"{_LAB}/FrankaEmika/panda_instanceable.usd": outlines_arms.franka,
    f"{_LAB}/UniversalRobots/UR10/ur10_instanceable.usd": outlines_arms.ur10,
    f"{_SIM}/UniversalRobots/ur10e/ur10e.usd": outlines_arms.ur10e,
    f"{_LAB}/Flexiv/Rizon4s/rizon4s.usd": lambda: outlines_arms.rizon(gripper=False),
    f"{_LAB}/Flexiv/Rizon4s/rizon4s_with_grav.usd": lambda: outlines_arms.rizon(gripper=True),
    f"{_LAB}/KukaAllegro/kuka.usd": outlines_arms.kuka_allegro,
    f"{_SIM}/OpenArm/openarm_unimanual/openarm_unimanual.usd": outlines_arms.openarm,
    f"{_SIM}/OpenArm/openarm_bimanual/openarm_bimanual.usd": outlines_arms.openarm_bimanual,
    f"{_SIM}/WonikRobotics/AllegroHand/allegro_hand_instanceable.usd": outlines_arms.allegro,
    "Isaac/Props/Sektion_Cabinet/sektion_cabinet_instanceable.usd": outlines_arms.cabinet,
}
"""Which outline is written under which path below the root folder."""

CUBES = (
    "Isaac/Props/Blocks/DexCube/dex_cube_instanceable.usd",
    *(f"Isaac/Props/Blocks/{color}_block.usd" for color in ("blue", "red", "green", "yellow")),
    "Isaac/IsaacLab/Mimic/nut_pour_task/nut_pour_assets/sorting_bin_blue.usd",
    "Isaac/IsaacLab/Objects/Teddy_Bear/teddy_bear.usd",
    *(
        f"Isaac/Props/Factory/gear_assets/factory_gear_{size}/factory_gear_{size}.usd"
        for size in ("base", "small", "medium", "large")
    ),
)
"""Objects that a hand can hold: each is a cube."""

FURNITURE = (
    "Isaac/Props/Mounts/SeattleLabTable/table_instanceable.usd",
    "Isaac/Props/Mounts/Stand/stand_instanceable.usd",
)
"""What stands around: each is a box below the origin."""


class _Recurrent(torch.nn.Module):
    """The interface of ANYmal's actuator network: position error and velocity to torque."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = torch.nn.LSTM(2, 8, num_layers=2, batch_first=True)
        self.out = torch.nn.Linear(8, 1)

    def forward(
        self, x: torch.Tensor, hidden: tuple[torch.Tensor, torch.Tensor]
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
        out, hidden = self.lstm(x, hidden)
        return self.out(out[:, -1]), hidden


def write_outlines(root: Path) -> None:
    """Write robots, objects, and networks of actuators and of a walking policy below ``root``."""
    for path, robot in ROBOTS.items():
        standins.write_robot(root / path, robot())
    for path in CUBES:
        _write_box(root / path, Shape("box", (0.05, 0.05, 0.05)), mass=0.1)
    for path in FURNITURE:
        _write_box(root / path, Shape("box", (0.8, 0.8, 0.1), (0.0, 0.0, -0.05)), mass=None)
    _write_networks(root / "Isaac/IsaacLab")


def _write_box(path: Path, shape: Shape, *, mass: float | None) -> None:
    """Write a box: a rigid body if it has a mass, else something that stands where it is put."""
    stage = standins.new_stage(path, "Object")
    prim = stage.GetDefaultPrim()
    if mass is not None:
        UsdPhysics.RigidBodyAPI.Apply(prim)
        api = UsdPhysics.MassAPI.Apply(prim)
        api.CreateMassAttr(mass)
        api.CreateDiagonalInertiaAttr(Gf.Vec3f(1e-4))
    standins.write_shape(stage, "/Object/shape", shape)
    stage.GetRootLayer().Save()


def _write_networks(folder: Path) -> None:
    torch.manual_seed(0)
    networks = {
        "ActuatorNets/ANYbotics/anydrive_3_lstm_jit.pt": _Recurrent(),
        "ActuatorNets/Unitree/unitree_go1.pt": torch.nn.Linear(6, 1),
        "Policies/ANYmal-C/Blind/policy.pt": torch.nn.Linear(48, 12),
    }
    for name, network in networks.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        torch.jit.script(network).save(str(folder / name))
