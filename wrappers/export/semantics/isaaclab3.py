"""What Isaac Lab 3.0's quantities mean. Quaternions are x, y, z, w.

Its physics backends derive their data classes from common bases, under which everything is listed
here. What is missing is taken from the marks that Isaac Lab puts on its own getters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from holdstep.wrappers.export.semantics.entry import state
from holdstep.wrappers.export.semantics.isaaclab import (
    JOINT_ENTRIES,
    env_entries,
    rigid_body_entries,
    sensor_entries,
    target_entries,
)
from holdstep.wrappers.export.semantics.isaaclab_actions import REFUSED_ACTIONS
from holdstep.wrappers.export.semantics.isaaclab_cameras import camera_entries

if TYPE_CHECKING:
    from holdstep.wrappers.export.semantics.entry import Semantics, Table

_ASSETS = "isaaclab.assets"
_SENSORS = "isaaclab.sensors"


def _under_bases(entries: dict[str, dict[str, Semantics]]) -> dict[str, dict[str, Semantics]]:
    """The sensors' data classes by the names of their common bases."""
    found = {}
    for path, properties in entries.items():
        package, module, cls = path.rsplit(".", 2)
        found[f"{package}.base_{module}.Base{cls}"] = properties
        found[path] = properties
    return found


TABLE: Final[Table] = {
    f"{_ASSETS}.articulation.base_articulation_data.BaseArticulationData": (
        rigid_body_entries("xyzw") | JOINT_ENTRIES
    ),
    f"{_ASSETS}.rigid_object.base_rigid_object_data.BaseRigidObjectData": (
        rigid_body_entries("xyzw")
    ),
    f"{_ASSETS}.articulation.base_articulation.BaseArticulation": (
        target_entries() | target_entries("_index") | target_entries("_mask")
    ),
    **_under_bases(sensor_entries(_SENSORS, "xyzw")),
    f"{_SENSORS}.camera.camera_data.CameraData": camera_entries("xyzw"),
    "isaaclab_tasks.manager_based.manipulation.deploy.mdp.events.randomize_gear_type": {
        "_current_gear_type_indices": state("gear_type", "1"),
    },
    **env_entries(),
    **REFUSED_ACTIONS,
}
