"""What is read from plain MuJoCo: the quantities that simulators for learning give by name.

Names and definitions are those of mjlab's ``EntityData``; Isaac Lab's names for the same quantities
are known too. Everything is computed from ``MjData`` in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from holdstep.envs.deployment.host import HostSource, HostValue, NotAtHostError
from holdstep.envs.deployment.matching import match_elements
from holdstep.envs.deployment.names import property_names
from holdstep.envs.deployment.units import joint_units
from holdstep.errors import nearest_names
from holdstep.extras import require
from holdstep.wrappers.export.semantics import mjlab as mjlab_semantics
from holdstep.wrappers.export.semantics.entry import Semantics
from holdstep.wrappers.export.semantics.mujoco_sensors import mujoco_sensor_semantics

if TYPE_CHECKING:
    from holdstep.envs.deployment.mujoco_model import MujocoEntity

Array: TypeAlias = npt.NDArray[np.float64]
Getter: TypeAlias = Callable[[], Any]

_SEMANTICS = mjlab_semantics.TABLE["mjlab.entity.data.EntityData"]
_CONTACTS = mjlab_semantics.TABLE["mjlab.sensor.contact_sensor.ContactData"]


class EntityValues:
    """Reads one entity's quantities.

    Args:
        model: an ``MjModel``.
        data: its ``MjData``.
        entity: whose quantities.
    """

    def __init__(self, model: Any, data: Any, entity: MujocoEntity) -> None:
        self._model = model
        self._data = data
        self._entity = entity
        self._root = int(entity.body_ids[0])
        self._mujoco = require("mujoco", extra="mujoco", purpose="The MuJoCo host")
        self._getters = self._make_getters()

    @property
    def properties(self) -> tuple[str, ...]:
        """What there is."""
        return tuple(self._getters)

    def source(self, name: str) -> HostSource:
        """What reads a property.

        Raises:
            NotAtHostError: there is no such property.
        """
        own_name = property_names(name)[-1]
        getter = self._getters.get(own_name)
        if getter is None:
            raise NotAtHostError(
                f"plain MuJoCo gives no {name!r} of {self._entity.name!r}."
                + nearest_names(name, self.properties)
            )
        meaning = _SEMANTICS[own_name]
        names: tuple[str, ...] | None = None
        if meaning.elements == "joints":
            names = self._entity.joint_names
        elif meaning.elements == "bodies":
            names = self._entity.body_names
        elif meaning.elements == "sites":
            names = self._entity.site_names
        elif meaning.elements == "geoms":
            names = self._entity.geom_names
        elif isinstance(meaning.elements, tuple):
            names = meaning.elements
        shape = np.shape(getter())
        slides = self._entity.slides if meaning.elements == "joints" else None
        unit = joint_units(meaning.unit, slides)
        value = HostValue(shape, names, unit, meaning.frame, meaning.quaternion_order)
        return HostSource(value, lambda: torch.from_numpy(np.array(getter(), np.float64))[None])

    def _make_getters(self) -> dict[str, Getter]:
        entity, data = self._entity, self._data
        bodies, root = entity.body_ids, self._root
        getters: dict[str, Getter] = {
            "projected_gravity_b": lambda: self._to_root(np.array([0.0, 0.0, -1.0])),
            "heading_w": self._heading,
            "body_external_wrench": lambda: data.xfrc_applied[bodies],
            "body_external_force": lambda: data.xfrc_applied[bodies, :3],
            "body_external_torque": lambda: data.xfrc_applied[bodies, 3:],
        }
        if len(entity.qpos_ids) == len(entity.joint_ids):  # every joint is one number
            getters |= {
                "joint_pos": lambda: data.qpos[entity.qpos_ids],
                "joint_vel": lambda: data.qvel[entity.qvel_ids],
                "joint_acc": lambda: data.qacc[entity.qvel_ids],
                "qfrc_actuator": lambda: data.qfrc_actuator[entity.qvel_ids],
            }
        for point in ("link", "com"):
            getters |= _parts(f"root_{point}", *self._of_bodies(root, point))
            getters |= _parts(f"body_{point}", *self._of_bodies(bodies, point))
            velocity = getters[f"root_{point}_vel_w"]
            getters[f"root_{point}_lin_vel_b"] = self._in_root_frame(velocity, slice(0, 3))
            getters[f"root_{point}_ang_vel_b"] = self._in_root_frame(velocity, slice(3, 6))
        for kind, ids in (("site", entity.site_ids), ("geom", entity.geom_ids)):
            getters |= _parts(kind, *self._of_frames(kind, ids))
        return getters

    def _of_bodies(self, ids: Any, point: str) -> tuple[Getter, Getter]:
        """Pose and velocity of bodies, of their frames or of their centres of mass."""
        data, model = self._data, self._model
        positions = "xpos" if point == "link" else "xipos"

        def pose() -> Array:
            quaternions = data.xquat[ids]
            if point == "com":
                quaternions = self._products(quaternions, model.body_iquat[ids])
            return np.concatenate([getattr(data, positions)[ids], quaternions], axis=-1)

        return pose, lambda: self._velocities(ids, getattr(data, positions)[ids])

    def _of_frames(self, kind: str, ids: npt.NDArray[np.int64]) -> tuple[Getter, Getter]:
        """Pose and velocity of sites or geoms."""
        data = self._data
        bodies = getattr(self._model, f"{kind}_bodyid")[ids]

        def pose() -> Array:
            quaternions = np.empty((len(ids), 4))
            for row, index in enumerate(ids):
                rotation = getattr(data, f"{kind}_xmat")[index]
                self._mujoco.mju_mat2Quat(quaternions[row], rotation)
            return np.concatenate([getattr(data, f"{kind}_xpos")[ids], quaternions], axis=-1)

        return pose, lambda: self._velocities(bodies, getattr(data, f"{kind}_xpos")[ids])

    def _products(self, first: Array, second: Array) -> Array:
        """Products of quaternions, ``[4]`` or ``[N, 4]``."""
        products = np.empty_like(first)
        rows = zip(*map(np.atleast_2d, (products, first, second)), strict=True)
        for product, one, other in rows:
            self._mujoco.mju_mulQuat(product, one, other)
        return products

    def _velocities(self, bodies: Any, positions: Array) -> Array:
        """Linear then angular at points of bodies, from the velocity that MuJoCo keeps.

        That one is at the centre of mass of the whole kinematic tree.
        """
        data = self._data
        angular, linear_at_com = data.cvel[bodies][..., :3], data.cvel[bodies][..., 3:]
        offset = data.subtree_com[self._model.body_rootid[bodies]] - positions
        linear = linear_at_com - np.cross(angular, offset)
        return np.concatenate([linear, angular], axis=-1)

    def _in_root_frame(self, velocity: Callable[[], Any], part: slice) -> Callable[[], Array]:
        return lambda: self._to_root(velocity()[part])

    def _to_root(self, vector: Array) -> Array:
        """A world vector in the root's frame."""
        rotation: Array = self._data.xmat[self._root].reshape(3, 3)
        return rotation.T @ vector

    def _heading(self) -> Any:
        forward = self._data.xmat[self._root].reshape(3, 3)[:, 0]
        return np.arctan2(forward[1], forward[0])


def _parts(prefix: str, pose: Getter, velocity: Getter) -> dict[str, Getter]:
    return {
        f"{prefix}_pose_w": pose,
        f"{prefix}_pos_w": lambda: pose()[..., :3],
        f"{prefix}_quat_w": lambda: pose()[..., 3:],
        f"{prefix}_vel_w": velocity,
        f"{prefix}_lin_vel_w": lambda: velocity()[..., :3],
        f"{prefix}_ang_vel_w": lambda: velocity()[..., 3:],
    }


def sensor_source(model: Any, data: Any, name: str, attribute: str) -> HostSource:
    """What reads a sensor of the model.

    Args:
        model: an ``MjModel``.
        data: its ``MjData``.
        name: of the sensor, such as ``"robot/imu_ang_vel"``; of a contact sensor of mjlab, without
            the body and the field.
        attribute: ``"data"``, or a field of a contact sensor, such as ``"force"``.

    Raises:
        NotAtHostError: there is no such sensor.
    """
    if attribute != "data":
        return _contact_source(model, data, name, attribute)
    names = [model.sensor(index).name for index in range(model.nsensor)]
    # A robot's own file has no prefix of the scene, or the other way round; sensors of another
    # entity are not meant.
    match = match_elements([name], names)
    if not match.ids:
        raise NotAtHostError(
            f"the MuJoCo model has no sensor {name!r}, or several that may be meant; it has "
            f"{', '.join(names) or 'none'}.{nearest_names(name, names)}"
        )
    found = model.sensor(match.ids[0])
    ids = np.arange(int(found.adr[0]), int(found.adr[0]) + int(found.dim[0]))
    meaning = mujoco_sensor_semantics(model, found.name) or Semantics("state")
    value = HostValue(
        (ids.size,),
        meaning.elements if isinstance(meaning.elements, tuple) else None,
        joint_units(meaning.unit, None),
        meaning.frame,
        meaning.quaternion_order,
    )
    note = None if found.name == name else f"the sensor {found.name!r} of the model is read."
    return HostSource(value, lambda: torch.from_numpy(data.sensordata[ids])[None], note)


def _contact_source(model: Any, data: Any, name: str, attribute: str) -> HostSource:
    """A field of mjlab's contact sensor, which is a MuJoCo sensor for each pair of bodies."""
    mujoco = require("mujoco", extra="mujoco", purpose="The MuJoCo host")
    names = [model.sensor(index).name for index in range(model.nsensor)]
    matching = [
        other
        for other in names
        if other.startswith(f"{name}_")
        and other.endswith(f"_{attribute}")
        and model.sensor(other).type[0] == mujoco.mjtSensor.mjSENS_CONTACT
    ]
    if not matching:
        raise NotAtHostError(
            f"the MuJoCo model has no contact sensor {name!r} with {attribute!r}; its sensors: "
            f"{', '.join(names) or 'none'}.{nearest_names(name, names)}"
        )
    ranges = []
    for sensor in matching:
        start, size = int(model.sensor(sensor).adr[0]), int(model.sensor(sensor).dim[0])
        ranges.append(np.arange(start, start + size))
    ids = np.concatenate(ranges)
    width = 1 if attribute in ("found", "dist") else 3
    shape = (ids.size,) if width == 1 else (ids.size // 3, 3)
    meaning = _CONTACTS.get(attribute, Semantics("state"))
    return HostSource(
        HostValue(shape, unit=meaning.unit, frame=meaning.frame),
        lambda: torch.from_numpy(data.sensordata[ids].reshape(1, *shape)),
    )
