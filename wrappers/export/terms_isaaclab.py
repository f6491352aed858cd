"""Isaac Lab's manager-based envs (2.x and 3.0), as far as an export is concerned."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from holdstep.envs.adapters.isaaclab.install import find_installation
from holdstep.wrappers.export.managers import ManagerBasedEnv
from holdstep.wrappers.export.proxies.owners import Owner, owner_of

_COLLECTIONS = (
    "articulations",
    "rigid_objects",
    "rigid_object_collections",
    "deformable_objects",
    "surface_grippers",
)


class IsaacLab2Managers(ManagerBasedEnv):
    """The managers, assets, sensors and commands of an Isaac Lab 2.x env."""

    simulator: ClassVar[str] = "isaaclab"

    def owners(self) -> Iterator[Owner]:
        """The env, its scene, assets with their data, sensors and commands."""
        env, scene = self.env, self.env.scene
        yield owner_of("env", "env", "env", env)
        yield owner_of("scene", "env", "env", scene)
        terrain = getattr(scene, "terrain", None)
        if terrain is not None:
            yield owner_of("terrain", "env", "env", terrain)
        for collection in _COLLECTIONS:
            for name, asset in getattr(scene, collection, {}).items():
                yield owner_of(name, f"state:{name}", "state", asset, takes_writes=True)
                if hasattr(asset, "data"):
                    yield owner_of(
                        f"{name}.data",
                        f"state:{name}",
                        "state",
                        asset.data,
                        named_by=(asset,),
                        takes_writes=True,
                    )
        for name, sensor in scene.sensors.items():
            yield owner_of(
                f"sensor {name}",
                f"sensor:{name}",
                "sensor",
                sensor,
                named_by=(sensor,),
                contains=("data",),
            )
        manager = getattr(env, "command_manager", None)
        for name, term in getattr(manager, "_terms", {}).items():
            yield owner_of(
                f"command {name}",
                f"command:{name}",
                "command",
                term,
                named_by=(getattr(term, "robot", None),),
            )

    def joint_is_prismatic(self, entity: Any) -> tuple[bool, ...] | None:
        """Not told by Isaac Lab in the same way on all its physics engines."""
        return None


class IsaacLab3Managers(IsaacLab2Managers):
    """The managers, assets, sensors and commands of an Isaac Lab 3.0 env."""

    simulator: ClassVar[str] = "isaaclab3"


def isaaclab_managers(env: Any) -> ManagerBasedEnv:
    """The managers of an Isaac Lab env of whichever version is installed.

    Args:
        env: a manager-based env.
    """
    is_3 = find_installation().generation >= 3
    return IsaacLab3Managers(env) if is_3 else IsaacLab2Managers(env)
