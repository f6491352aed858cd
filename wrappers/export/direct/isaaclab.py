"""Isaac Lab's direct workflow (2.x and 3.0), as far as an export is concerned."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from holdstep.wrappers.export.actuators import scene_actuators
from holdstep.wrappers.export.direct.workflow import DirectWorkflow
from holdstep.wrappers.export.isaaclab_workflow import isaaclab_workflow

if TYPE_CHECKING:
    from holdstep.envs.contract import TorchVectorEnv
    from holdstep.wrappers.export.contract import Actuator
    from holdstep.wrappers.export.proxies.owners import Owner

_USERS_OWN = ("isaaclab.utils", "isaaclab.controllers", "isaaclab_tasks")
"""Modules of Isaac Lab whose objects a task makes for itself, to keep things in."""


class DirectIsaacLabWorkflow(DirectWorkflow):
    """A ``DirectRLEnv``: what its assets and sensors are asked for is seen without markers.

    Targets are seen where they are handed to an asset. Markers are for what the task keeps in
    tensors of its own: ``self.joint_pos``, commands, last actions.

    Args:
        adapter: of the env.
    """

    def __init__(self, adapter: TorchVectorEnv) -> None:
        super().__init__(adapter)
        self._scene = isaaclab_workflow(self.env)
        self.simulator = self._scene.simulator
        self.lookup = self._scene.lookup

    def owners(self) -> Iterator[Owner]:
        """The scene, its assets and sensors; not the env, whose tensors are the task's own."""
        return (owner for owner in self._scene.owners() if owner.key != "env")

    def shared(self) -> list[Any]:
        """Everything of Isaac Lab that the env refers to."""
        found = [*super().shared(), *(owner.get() for owner in self.owners())]
        waiting = list(vars(self.env).values())
        while waiting:
            value = waiting.pop()
            if isinstance(value, dict):
                waiting += value.values()
            elif isinstance(value, (list, tuple)):
                waiting += value
            elif _is_of_the_simulator(value):
                found.append(value)
        return found

    def actuators(self) -> tuple[Actuator, ...]:
        """Of the scene's articulations."""
        return scene_actuators(self.simulator, self.env.scene)


def _is_of_the_simulator(value: Any) -> bool:
    module = type(value).__module__
    return module.startswith(("isaaclab", "isaacsim", "omni", "newton", "carb")) and not (
        module.startswith(_USERS_OWN)
    )
