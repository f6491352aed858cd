"""mjlab as a host: scene, physics and events, without observation, action and reward managers."""

from __future__ import annotations

import contextlib
import copy
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from holdstep.envs.adapters.mjlab import task_registry
from holdstep.envs.deployment.host import (
    HostEntity,
    HostSetup,
    HostSource,
    HostTarget,
)
from holdstep.envs.deployment.mjlab_memory import memory_read
from holdstep.envs.deployment.simulator_values import SimulatorValues
from holdstep.envs.device import canonical_device
from holdstep.envs.overrides import apply_overrides
from holdstep.envs.registry import unknown_env
from holdstep.errors import ConfigError
from holdstep.extras import require
from holdstep.wrappers.export.semantics.lookup import SemanticsLookup, tables_of
from holdstep.wrappers.export.semantics.mujoco_sensors import sensor_semantics

if TYPE_CHECKING:
    from holdstep.wrappers.export.connections import Connection
    from holdstep.wrappers.export.tensors import QuaternionOrder

EVENT_MODES = ("startup", "reset", "interval", "step")


class MjlabHost:
    """Runs an exported policy in an mjlab scene.

    Only the scene, the physics and events are built, in the order in which mjlab's own env does, so
    that from the same state a policy moves the robot as it does there.

    Args:
        task: a registered task, such as ``"Mjlab-Velocity-Flat-Unitree-G1"``; its scene, physics
            and events are taken.
        num_envs: rows.
        device: CPU or GPU.
        cfg: a ``ManagerBasedRlEnvCfg`` of your own instead of the task's; it is not changed.
        seed: of the events' random draws.
        play: take the task's play configuration.
        events: which kinds of events happen: ``"reset"`` places the robot, ``"startup"`` randomises
            the model, ``"interval"`` and ``"step"`` disturb it. By default only the first.
        overrides: settings of the configuration by dotted path.

    Raises:
        UnknownEnvError: no such task.
        ConfigError: a setting is wrong.
    """

    name = "mjlab"
    quaternion_order: QuaternionOrder = "wxyz"

    def __init__(
        self,
        task: str | None = None,
        *,
        num_envs: int = 1,
        device: str | torch.device = "cpu",
        cfg: Any = None,
        seed: int = 0,
        play: bool = True,
        events: Sequence[str] = ("reset",),
        overrides: Mapping[str, Any] | None = None,
    ) -> None:
        if num_envs < 1:
            raise ConfigError(f"num_envs must be at least 1, got {num_envs}.")
        wrong = sorted(set(events) - set(EVENT_MODES))
        if wrong:
            raise ConfigError(f"events are among {', '.join(EVENT_MODES)}, got {', '.join(wrong)}.")
        cfg = task_config(task, cfg, play=play)
        cfg.scene.num_envs = num_envs
        apply_overrides(cfg, overrides or {})
        cfg.events = {
            name: term
            for name, term in cfg.events.items()
            if term is not None and term.mode in events
        }
        self.num_envs = num_envs
        self.device = canonical_device(device)
        self.physics_dt = float(cfg.sim.mujoco.timestep)
        self._decimation = int(cfg.decimation)
        with contextlib.redirect_stdout(io.StringIO()):  # mjlab prints its seed
            self.env = _build(cfg, str(self.device), seed)
        mujoco = require("mujoco", extra="mujoco", purpose="The mjlab host")
        self._slide = mujoco.mjtJoint.mjJNT_SLIDE
        self._num_steps = 0
        self._values = SimulatorValues(
            self.env.scene,
            SemanticsLookup(tables_of("mjlab")),
            num_envs=num_envs,
            host=self.name,
            slides=self._slides,
            sensor_semantics=lambda sensor: sensor_semantics(self.env.sim.mj_model, sensor),
            memory_read=memory_read,
        )
        self._apply_events("startup")

    @property
    def entities(self) -> Mapping[str, HostEntity]:
        """The scene's entities."""
        return {
            name: HostEntity(tuple(entity.joint_names), tuple(entity.body_names))
            for name, entity in self.env.scene.entities.items()
        }

    def source(self, connection: Connection) -> HostSource:
        """What is read: ``state:`` from an entity's data, ``sensor:`` from a sensor."""
        return self._values.source(connection)

    def target(self, connection: Connection) -> HostTarget:
        """What is written: ``write:`` by an entity's own method."""
        return self._values.target(connection)

    def prepare(self, setup: HostSetup) -> list[str]:
        """The clock of the events; nothing here can be a problem."""
        self._decimation = setup.contract.decimation
        self.env.step_dt = setup.contract.step_dt
        return []

    def step(self) -> None:
        """Actuators, then one physics step."""
        scene, sim = self.env.scene, self.env.sim
        scene.write_data_to_sim()
        sim.step()
        scene.update(dt=self.physics_dt)
        self._num_steps += 1
        if self._num_steps % self._decimation == 0:
            self._apply_events("step", dt=self.env.step_dt)
            self._apply_events("interval", dt=self.env.step_dt)

    def refresh(self) -> None:
        """Derived quantities and sensors of the state as it is."""
        self.env.sim.forward()
        self.env.sim.sense()

    def reset(self, env_ids: torch.Tensor) -> None:
        """Put rows back to the scene's initial state, then let the reset events place them."""
        self.env.sim.reset(env_ids)
        self.env.scene.reset(env_ids)
        self._apply_events(
            "reset", env_ids=env_ids, global_env_step_count=self._num_steps // self._decimation
        )
        self.env.event_manager.reset(env_ids)
        self.env.scene.write_data_to_sim()

    def close(self) -> None:
        """Let go of the scene."""
        self.env.scene = self.env.sim = self.env.event_manager = None

    def _slides(self, entity: Any) -> list[bool]:
        types = self.env.sim.mj_model.jnt_type[entity.indexing.joint_ids.cpu().numpy()]
        return [bool(kind == self._slide) for kind in types]

    def _apply_events(self, mode: str, **kwargs: Any) -> None:
        manager = self.env.event_manager
        if mode in manager.available_modes:
            manager.apply(mode=mode, **kwargs)


@dataclass
class _EventsEnv:
    """What event terms may ask of an env."""

    cfg: Any
    scene: Any
    sim: Any
    num_envs: int
    device: str
    physics_dt: float
    step_dt: float
    event_manager: Any = None

    @property
    def unwrapped(self) -> _EventsEnv:
        return self


def task_config(task: str | None, cfg: Any, *, play: bool) -> Any:
    """A task's configuration, or a copy of one that is given.

    Raises:
        ConfigError: neither was given.
        UnknownEnvError: no such task.
    """
    if cfg is not None:
        return copy.deepcopy(cfg)
    if task is None:
        raise ConfigError("An mjlab host needs a task, such as 'Mjlab-Cartpole-Balance', or cfg.")
    registry = task_registry()
    names = registry.list_tasks()
    if task not in names:
        raise unknown_env("mjlab", task, names)
    return registry.load_env_cfg(task, play=play)


def _build(cfg: Any, device: str, seed: int) -> _EventsEnv:
    purpose = "The mjlab host"
    scene_module = require("mjlab.scene", extra="mjlab", purpose=purpose)
    sim_module = require("mjlab.sim", extra="mjlab", purpose=purpose)
    events_module = require("mjlab.managers.event_manager", extra="mjlab", purpose=purpose)
    random_module = require("mjlab.utils.random", extra="mjlab", purpose=purpose)
    random_module.seed_rng(seed)
    scene = scene_module.Scene(cfg.scene, device=device)
    sim = sim_module.Simulation(
        num_envs=scene.num_envs,
        cfg=cfg.sim,
        spec=scene.spec,
        variant_info=scene.collect_variant_info(),
        device=device,
    )
    scene.initialize(mj_model=sim.mj_model, model=sim.model, data=sim.data)
    if scene.sensor_context is not None:
        sim.set_sensor_context(scene.sensor_context)
    physics_dt = cfg.sim.mujoco.timestep
    env = _EventsEnv(
        cfg, scene, sim, scene.num_envs, device, physics_dt, physics_dt * cfg.decimation
    )
    env.event_manager = events_module.EventManager(cfg.events, env)
    sim.expand_model_fields(env.event_manager.domain_randomization_fields)
    return env
