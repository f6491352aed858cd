"""The entities of a plain MuJoCo model: which bodies and joints belong to which robot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from holdstep.errors import ConfigError
from holdstep.extras import require


@dataclass(frozen=True)
class MujocoEntity:
    """One robot or object of a model.

    Attributes:
        name: as contracts name it.
        body_ids: its bodies, the root first.
        body_names: theirs, without the entity's prefix.
        site_ids: its sites.
        site_names: theirs, without the entity's prefix.
        geom_ids: its geoms.
        geom_names: theirs, without the entity's prefix; empty for geoms without names.
        joint_ids: its joints, without a free one.
        joint_names: theirs, without the entity's prefix.
        qpos_ids: where the joints' positions are in ``qpos``; empty if one has several numbers.
        qvel_ids: where their velocities are in ``qvel``.
        slides: whether each joint slides; the others turn.
        is_floating: whether its root moves freely.
        prefix: of its names in the model, such as ``"robot/"``.
    """

    name: str
    body_ids: npt.NDArray[np.int64]
    body_names: tuple[str, ...]
    site_ids: npt.NDArray[np.int64]
    site_names: tuple[str, ...]
    geom_ids: npt.NDArray[np.int64]
    geom_names: tuple[str, ...]
    joint_ids: npt.NDArray[np.int64]
    joint_names: tuple[str, ...]
    qpos_ids: npt.NDArray[np.int64]
    qvel_ids: npt.NDArray[np.int64]
    slides: tuple[bool, ...]
    is_floating: bool
    prefix: str


def load_model(source: Any) -> Any:
    """A compiled model that the caller may change.

    Args:
        source: path of an MJCF or MJB file, an ``MjSpec`` or an ``MjModel`` (which is copied).

    Raises:
        ConfigError: MuJoCo can't load it.
        MissingExtraError: MuJoCo is not installed.
    """
    import copy

    mujoco = require("mujoco", extra="mujoco", purpose="The MuJoCo host")
    if isinstance(source, mujoco.MjModel):
        return copy.copy(source)
    if isinstance(source, mujoco.MjSpec):
        return source.compile()
    path = Path(source)
    if not path.is_file():
        raise ConfigError(f"There is no model file {str(path)!r}; give the path of an MJCF file.")
    try:
        if path.suffix == ".mjb":
            return mujoco.MjModel.from_binary_path(str(path))
        return mujoco.MjModel.from_xml_path(str(path))
    except ValueError as error:
        raise ConfigError(f"MuJoCo can't load {str(path)!r}: {error}") from error


def find_entities(
    model: Any, robot: str | None, prefixes: Mapping[str, str] | None
) -> dict[str, MujocoEntity]:
    """The entities of a model.

    Names such as ``robot/left_hip`` belong to the entity ``robot``. A model without such names, or
    without any of the one that is asked for, is one entity, whatever is in it.

    Args:
        model: an ``MjModel``.
        robot: the entity that is asked for; None takes those of the names, or ``"robot"``.
        prefixes: prefixes by entity, instead of what the names suggest.

    Raises:
        ConfigError: a prefix has no bodies.
    """
    names = [model.body(index).name for index in range(1, model.nbody)]
    if prefixes is None:
        found = dict.fromkeys(name.partition("/")[0] for name in names if "/" in name)
        by_name = robot in found or (robot is None and found)
        prefixes = {name: f"{name}/" for name in found} if by_name else {robot or "robot": ""}
    entities = {}
    for name, prefix in prefixes.items():
        if not any(body.startswith(prefix) for body in names):
            raise ConfigError(
                f"The model has no body whose name begins with {prefix!r} for entity {name!r}; its "
                f"bodies: {', '.join(names) or 'none'}."
            )
        entities[name] = _entity(model, name, prefix)
    return entities


def _entity(model: Any, name: str, prefix: str) -> MujocoEntity:
    mujoco = require("mujoco", extra="mujoco", purpose="The MuJoCo host")
    bodies = [index for index in range(1, model.nbody) if model.body(index).name.startswith(prefix)]
    of_entity = set(bodies)
    sites = [index for index in range(model.nsite) if int(model.site_bodyid[index]) in of_entity]
    geoms = [index for index in range(model.ngeom) if int(model.geom_bodyid[index]) in of_entity]
    joints = [index for index in range(model.njnt) if int(model.jnt_bodyid[index]) in of_entity]
    free = mujoco.mjtJoint.mjJNT_FREE
    is_floating = any(
        model.jnt_type[index] == free and model.jnt_bodyid[index] == bodies[0] for index in joints
    )
    joints = [index for index in joints if model.jnt_type[index] != free]
    ball = mujoco.mjtJoint.mjJNT_BALL
    single = not any(model.jnt_type[index] == ball for index in joints)
    return MujocoEntity(
        name,
        np.array(bodies, np.int64),
        tuple(model.body(index).name.removeprefix(prefix) for index in bodies),
        np.array(sites, np.int64),
        _names([model.site(index).name for index in sites], prefix),
        np.array(geoms, np.int64),
        _names([model.geom(index).name for index in geoms], prefix),
        np.array(joints, np.int64),
        tuple(model.joint(index).name.removeprefix(prefix) for index in joints),
        model.jnt_qposadr[joints].astype(np.int64) if single else np.empty(0, np.int64),
        model.jnt_dofadr[joints].astype(np.int64) if single else np.empty(0, np.int64),
        tuple(bool(model.jnt_type[index] == mujoco.mjtJoint.mjJNT_SLIDE) for index in joints),
        is_floating,
        prefix,
    )


def _names(names: list[str], prefix: str) -> tuple[str, ...]:
    return tuple(name.removeprefix(prefix) for name in names)
