"""Plain MuJoCo as a host: one robot, nothing else installed, in real time or not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from holdstep.envs.deployment.host import (
    HostEntity,
    HostSetup,
    HostSource,
    HostTarget,
    HostValue,
    NotAtHostError,
)
from holdstep.envs.deployment.mujoco_drives import JointDrives
from holdstep.envs.deployment.mujoco_model import find_entities, load_model
from holdstep.envs.deployment.mujoco_values import EntityValues, sensor_source
from holdstep.envs.deployment.names import method_names
from holdstep.envs.deployment.units import joint_units
from holdstep.errors import ConfigError, HostError, nearest_names
from holdstep.extras import require

if TYPE_CHECKING:
    from holdstep.wrappers.export.connections import Connection
    from holdstep.wrappers.export.tensors import QuaternionOrder

# Which target a method sets, and its unit.
_TARGETS = {
    "set_joint_position_target": ("position", "joint"),
    "set_joint_velocity_target": ("velocity", "joint/s"),
    "set_joint_effort_target": ("effort", "joint_effort"),
}


class MujocoHost:
    """Runs an exported policy in plain MuJoCo.

    What policies read (root velocities in the root's frame, projected gravity, poses of bodies,
    sensors) is computed from ``MjData``. Targets go through the model's actuators, with the
    contract's gains and limits, or, where the contract's actuator computed torques itself, through
    the same law before each physics step.

    Args:
        model: path of an MJCF or MJB file, an ``MjSpec`` or an ``MjModel`` (which is copied).
        robot: what contracts call the robot; by default the entities are those of which names begin
            with ``<entity>/``, or all is ``"robot"``.
        prefixes: prefixes of names by entity, instead of what the names suggest.
        physics_dt: [s] the time step; None takes the model's.
        keyframe: where episodes begin, a name or a number; None takes the first keyframe, or the
            model's own initial state if there is none.
        gains: ``"contract"`` sets the model's gains and force limits to those that the policy was
            trained with; ``"model"`` leaves them.
        on_reset: called with ``(model, data)`` after each reset, to place things otherwise.

    Attributes:
        model: the ``MjModel`` that runs.
        data: its ``MjData``.

    Raises:
        ConfigError: the model can't be loaded, or an argument is wrong.
        MissingExtraError: MuJoCo is not installed.
    """

    name = "mujoco"
    num_envs = 1
    quaternion_order: QuaternionOrder = "wxyz"

    def __init__(
        self,
        model: Any,
        *,
        robot: str | None = None,
        prefixes: Mapping[str, str] | None = None,
        physics_dt: float | None = None,
        keyframe: str | int | None = None,
        gains: Literal["contract", "model"] = "contract",
        on_reset: Callable[[Any, Any], None] | None = None,
    ) -> None:
        self._mujoco = require("mujoco", extra="mujoco", purpose="The MuJoCo host")
        if gains not in ("contract", "model"):
            raise ConfigError(f"gains is 'contract' or 'model', got {gains!r}.")
        self.device = torch.device("cpu")
        self.model = load_model(model)
        if physics_dt is not None:
            if not physics_dt > 0:
                raise ConfigError(f"physics_dt must be positive, got {physics_dt}.")
            self.model.opt.timestep = physics_dt
        self.physics_dt = float(self.model.opt.timestep)
        self.data = self._mujoco.MjData(self.model)
        self._keyframe = _keyframe_id(self.model, keyframe)
        self._use_gains = gains == "contract"
        self._on_reset = on_reset
        self._entities = find_entities(self.model, robot, prefixes)
        self._mujoco.mj_forward(self.model, self.data)
        self._values = {
            name: EntityValues(self.model, self.data, entity)
            for name, entity in self._entities.items()
        }
        self._drives = {
            name: JointDrives(self.model, self.data, entity)
            for name, entity in self._entities.items()
        }

    @classmethod
    def from_mjlab(cls, task: str | None = None, *, cfg: Any = None, **options: Any) -> MujocoHost:
        """The scene of an mjlab task, compiled for plain MuJoCo.

        Needs mjlab once; :meth:`save` writes the model for machines without it.

        Args:
            task: a registered task.
            cfg: a ``ManagerBasedRlEnvCfg`` of your own instead of the task's; it is not changed.
            **options: of the host.
        """
        from holdstep.envs.deployment.mjlab_host import task_config

        scene_module = require("mjlab.scene", extra="mjlab", purpose="A model from mjlab")
        cfg = task_config(task, cfg, play=True)
        cfg.scene.num_envs = 1
        model = scene_module.Scene(cfg.scene, device="cpu").compile()
        cfg.sim.mujoco.apply(model)
        return cls(model, **options)

    @property
    def entities(self) -> Mapping[str, HostEntity]:
        """The model's entities."""
        return {
            name: HostEntity(entity.joint_names, entity.body_names)
            for name, entity in self._entities.items()
        }

    def save(self, path: str) -> None:
        """Write the model as an ``.mjb`` file, which needs nothing else to be loaded."""
        self._mujoco.mj_saveModel(self.model, path)

    def source(self, connection: Connection) -> HostSource:
        """What is read: ``state:`` of an entity, ``sensor:`` of the model."""
        if connection.role == "state":
            self._check_entity(connection.target)
            return self._values[connection.target].source(connection.attribute or "")
        if connection.role == "sensor":
            return sensor_source(
                self.model, self.data, connection.target, connection.attribute or ""
            )
        raise NotAtHostError(
            f"mujoco has nothing called {connection.role!r}; set it with "
            f"inputs={{'{connection}': value}}."
        )

    def target(self, connection: Connection) -> HostTarget:
        """What is written: position, velocity and effort targets of joints."""
        self._check_entity(connection.target)
        method = method_names(connection.attribute or "")[-1]
        if method not in _TARGETS:
            raise NotAtHostError(
                f"mujoco takes no {method!r}, only {', '.join(_TARGETS)}."
                + nearest_names(method, _TARGETS)
            )
        target, unit = _TARGETS[method]
        drives, names = (
            self._drives[connection.target],
            self._entities[connection.target].joint_names,
        )
        all_joints = np.arange(len(names))

        def write(value: torch.Tensor, ids: torch.Tensor | None) -> None:
            joints = all_joints if ids is None else ids.numpy()
            drives.targets[target][joints] = value[0].numpy()

        units = joint_units(unit, self._entities[connection.target].slides)
        return HostTarget(HostValue((len(names),), names, units), write)

    def prepare(self, setup: HostSetup) -> list[str]:
        """Choose how the joints that the policy writes are driven."""
        problems: list[str] = []
        for connection, element_ids in setup.written.items():
            target, _ = _TARGETS[method_names(connection.attribute or "")[-1]]
            self._drives[connection.target].declare(target, element_ids)
        for drives in self._drives.values():
            problems += drives.prepare(setup, use_gains=self._use_gains)
        return problems

    def step(self) -> None:
        """Controls, then one physics step.

        Raises:
            HostError: the simulation diverged.
        """
        for drives in self._drives.values():
            drives.apply()
        self._mujoco.mj_step(self.model, self.data)
        if self._diverged():
            raise HostError(
                f"The simulation diverged at {self.data.time:.3f} s (MuJoCo reports bad "
                "accelerations). Compare gains, time step and masses with those of the export."
            )

    def refresh(self) -> None:
        """Derived quantities and sensors of the state as it is."""
        self._mujoco.mj_forward(self.model, self.data)

    def reset(self, env_ids: torch.Tensor) -> None:
        """Put the robot back to the keyframe, with targets that hold it there."""
        if self._keyframe is None:
            self._mujoco.mj_resetData(self.model, self.data)
        else:
            self._mujoco.mj_resetDataKeyframe(self.model, self.data, self._keyframe)
        if self._on_reset is not None:
            self._on_reset(self.model, self.data)
        for drives in self._drives.values():
            drives.hold()

    def close(self) -> None:
        """Nothing is held but memory."""

    def _check_entity(self, name: str) -> None:
        if name not in self._entities:
            raise NotAtHostError(
                f"mujoco has no entity {name!r}; it has {', '.join(self._entities)}. Name it with "
                f"MujocoHost(..., robot={name!r})."
            )

    def _diverged(self) -> bool:
        warnings, kinds = self.data.warning, self._mujoco.mjtWarning
        return any(
            warnings[kind].number
            for kind in (kinds.mjWARN_BADQPOS, kinds.mjWARN_BADQVEL, kinds.mjWARN_BADQACC)
        )


def _keyframe_id(model: Any, keyframe: str | int | None) -> int | None:
    if keyframe is None:
        return 0 if model.nkey else None
    names = [model.key(index).name for index in range(model.nkey)]
    if isinstance(keyframe, str) and keyframe in names:
        return names.index(keyframe)
    if isinstance(keyframe, int) and 0 <= keyframe < model.nkey:
        return keyframe
    raise ConfigError(
        f"The model has no keyframe {keyframe!r}; it has {', '.join(names) or 'none'}."
    )
