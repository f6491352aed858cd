"""Isaac Lab's manager-based envs (2.x and 3.0), as far as an export is concerned."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from holdstep.envs.adapters.isaaclab.install import find_installation
from holdstep.envs.adapters.isaaclab.joint_kinds import joints_slide
from holdstep.wrappers.export.manager_based import ManagerBasedWorkflow

_COLLECTIONS = (
    "articulations",
    "rigid_objects",
    "rigid_object_collections",
    "deformable_objects",
    "surface_grippers",
)


class IsaacLab2Workflow(ManagerBasedWorkflow):
    """The managers, assets, sensors and commands of an Isaac Lab 2.x env."""

    simulator = "isaaclab"

    def entities(self) -> Iterator[tuple[str, Any]]:
        """The scene's assets of all kinds."""
        for collection in _COLLECTIONS:
            yield from getattr(self.env.scene, collection, {}).items()

    def joint_is_prismatic(self, entity: Any) -> tuple[bool, ...] | None:
        """From the physics engine, of articulations."""
        return joints_slide(entity)


class IsaacLab3Workflow(IsaacLab2Workflow):
    """The managers, assets, sensors and commands of an Isaac Lab 3.0 env."""

    simulator = "isaaclab3"


def isaaclab_workflow(env: Any) -> ManagerBasedWorkflow:
    """An Isaac Lab env with managers, of whichever version is installed.

    Args:
        env: a manager-based env.
    """
    is_3 = find_installation().generation >= 3
    return IsaacLab3Workflow(env) if is_3 else IsaacLab2Workflow(env)
