"""mjlab's manager-based env, as far as an export is concerned."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from holdstep.wrappers.export.manager_based import ManagerBasedWorkflow
from holdstep.wrappers.export.proxies.owners import Owner, owner_of
from holdstep.wrappers.export.semantics.entry import Semantics, const
from holdstep.wrappers.export.semantics.mujoco_sensors import sensor_semantics

_MUJOCO_SLIDE = 2


class MjlabWorkflow(ManagerBasedWorkflow):
    """The managers, entities, sensors and commands of a ``mjlab.envs.ManagerBasedRlEnv``."""

    simulator = "mjlab"

    def owners(self) -> Iterator[Owner]:
        """As everywhere, and MuJoCo's raw arrays."""
        yield from super().owners()
        sim = self.env.sim
        yield owner_of("sim.data", "state:sim", "state", sim.data)
        yield owner_of("sim.model", "state:sim", "state", sim.model, default=const("model"))

    def entities(self) -> Iterator[tuple[str, Any]]:
        """The scene's."""
        scene = self.env.scene
        yield from ((name, e) for name, e in scene.entities.items() if e is not scene.terrain)

    def sensor_semantics(self, sensor: Any) -> Semantics | None:
        """What MuJoCo's own sensors read."""
        return sensor_semantics(self.env.sim.mj_model, sensor)

    def joint_is_prismatic(self, entity: Any) -> tuple[bool, ...] | None:
        """From the compiled model."""
        indexing = getattr(entity, "indexing", None)
        if indexing is None:
            return None
        types = self.env.sim.mj_model.jnt_type
        return tuple(int(types[joint]) == _MUJOCO_SLIDE for joint in indexing.joint_ids.tolist())
