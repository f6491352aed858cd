"""mjlab's manager-based env, as far as an export is concerned."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from holdstep.wrappers.export.managers import ManagerBasedEnv
from holdstep.wrappers.export.proxies.owners import Owner, owner_of
from holdstep.wrappers.export.semantics.entry import Semantics, const
from holdstep.wrappers.export.semantics.mujoco_sensors import sensor_semantics

_MUJOCO_SLIDE = 2


class MjlabManagers(ManagerBasedEnv):
    """The managers, entities, sensors and commands of a ``mjlab.envs.ManagerBasedRlEnv``."""

    simulator: ClassVar[str] = "mjlab"

    def owners(self) -> Iterator[Owner]:
        """The env, its scene, entities with their data, sensors, commands, and the raw arrays."""
        env, scene = self.env, self.env.scene
        yield owner_of("env", "env", "env", env)
        yield owner_of("scene", "env", "env", scene)
        if scene.terrain is not None:
            yield owner_of("terrain", "env", "env", scene.terrain)
        for name, entity in scene.entities.items():
            if entity is scene.terrain:
                continue
            yield owner_of(name, f"state:{name}", "state", entity, takes_writes=True)
            yield owner_of(
                f"{name}.data",
                f"state:{name}",
                "state",
                entity.data,
                named_by=(entity,),
                takes_writes=True,
            )
        for name, sensor in scene.sensors.items():
            yield owner_of(
                f"sensor {name}",
                f"sensor:{name}",
                "sensor",
                sensor,
                contains=("data",),
                default=self.sensor_semantics(sensor),
            )
        for name, term in env.command_manager._terms.items():
            yield owner_of(
                f"command {name}",
                f"command:{name}",
                "command",
                term,
                named_by=(getattr(term, "robot", None),),
            )
        yield owner_of("sim.data", "state:sim", "state", env.sim.data)
        yield owner_of("sim.model", "state:sim", "state", env.sim.model, default=const("model"))

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
