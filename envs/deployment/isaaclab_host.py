"""Isaac Lab 2.3 and 3.0 as a host: scene, physics and events, without the other managers."""

from __future__ import annotations

import contextlib
import importlib
import io
from collections.abc import Iterable, Mapping, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch

from holdstep.envs.adapters.isaaclab.joint_kinds import joints_slide
from holdstep.envs.deployment.host import HostEntity, HostSetup, HostSource, HostTarget
from holdstep.envs.deployment.simulator_values import SimulatorValues
from holdstep.envs.device import canonical_device
from holdstep.errors import ConfigError
from holdstep.wrappers.export.semantics.lookup import SemanticsLookup, tables_of

if TYPE_CHECKING:
    from holdstep.wrappers.export.connections import Connection
    from holdstep.wrappers.export.semantics.entry import Semantics
    from holdstep.wrappers.export.tensors import QuaternionOrder

EVENT_MODES = ("prestartup", "startup", "reset", "interval")


class IsaacLabHost:
    """Runs an exported policy in an Isaac Lab scene, 2.3 (with Isaac Sim) or 3.0 (with or without).

    Only one Isaac Lab scene or env can be open in a process. Quaternions are ``xyzw`` in 3.0 and
    ``wxyz`` in 2.3; policies exported elsewhere get theirs converted.

    Args:
        task: a registered task, such as ``"Isaac-Velocity-Flat-Unitree-Go2-v0"``; its scene,
            physics and events are taken.
        num_envs: rows.
        device: CPU or GPU.
        cfg: a ``ManagerBasedRLEnvCfg`` of your own instead of the task's; it is not changed.
        presets: Isaac Lab 3's presets; by default those that run without Isaac Sim, where it is
            not installed.
        seed: of the events' random draws.
        events: which kinds of events happen; by default only resets.
        overrides: settings of the configuration by dotted path.
        enable_cameras: start Isaac Sim able to render, for a scene with cameras.

    Raises:
        UnknownEnvError: no such task.
        BackendUnavailableError: Isaac Lab can't run here, or another env is open.
        ConfigError: a setting is wrong.
    """

    name = "isaaclab"

    def __init__(
        self,
        task: str | None = None,
        *,
        num_envs: int = 1,
        device: str | torch.device = "cpu",
        cfg: Any = None,
        presets: str | Iterable[str] | None = None,
        seed: int = 0,
        events: Sequence[str] = ("reset",),
        overrides: Mapping[str, Any] | None = None,
        enable_cameras: bool = False,
    ) -> None:
        from holdstep.envs.adapters.isaaclab.install import find_installation
        from holdstep.envs.adapters.isaaclab.launch import launch, prepare_import, scene_cfg

        if num_envs < 1:
            raise ConfigError(f"num_envs must be at least 1, got {num_envs}.")
        wrong = sorted(set(events) - set(EVENT_MODES))
        if wrong:
            raise ConfigError(f"events are among {', '.join(EVENT_MODES)}, got {', '.join(wrong)}.")
        if task is None and cfg is None:
            raise ConfigError(
                "An Isaac Lab host needs a task, such as 'Isaac-Cartpole-v0', or cfg."
            )
        installation = find_installation()
        self._is_new = installation.generation >= 3
        self.device = canonical_device(device)
        prepare_import(installation, device=self.device, enable_cameras=enable_cameras)
        cfg = scene_cfg(
            installation,
            task if cfg is None else None,
            cfg,
            num_envs=num_envs,
            device=self.device,
            seed=seed,
            presets=presets,
            overrides=overrides,
        )
        _keep_events(cfg, events)
        launch(installation, cfg, task=task, wants_cameras=enable_cameras)
        self.num_envs = num_envs
        self.physics_dt = float(cfg.sim.dt)
        self.quaternion_order: QuaternionOrder = "xyzw" if self._is_new else "wxyz"
        self._decimation = int(cfg.decimation)
        self._num_steps = 0
        self.env = _build(cfg, self._is_new)
        scene = self.env.scene
        assets = {**scene.articulations, **scene.rigid_objects, **_collections(scene)}
        self._assets = assets
        self._values = SimulatorValues(
            SimpleNamespace(entities=assets, sensors=dict(scene.sensors)),
            SemanticsLookup(tables_of("isaaclab3" if self._is_new else "isaaclab")),
            num_envs=num_envs,
            host=self.name,
            slides=joints_slide,
            as_tensor=_as_tensor,
            write=self._write,
        )

    @property
    def entities(self) -> Mapping[str, HostEntity]:
        """The scene's articulations and rigid objects."""
        return {
            name: HostEntity(
                tuple(getattr(asset, "joint_names", ())), tuple(getattr(asset, "body_names", ()))
            )
            for name, asset in self._assets.items()
        }

    def source(self, connection: Connection) -> HostSource:
        """What is read: ``state:`` from an asset's data, ``sensor:`` from a sensor's."""
        return self._values.source(connection)

    def target(self, connection: Connection) -> HostTarget:
        """What is written: ``write:`` by an asset's own method."""
        return self._values.target(connection)

    def prepare(self, setup: HostSetup) -> list[str]:
        """The clock of the events; nothing here can be a problem."""
        self._decimation = setup.contract.decimation
        return []

    def step(self) -> None:
        """Actuators, then one physics step."""
        env = self.env
        env.scene.write_data_to_sim()
        env.sim.step(render=False)
        env.scene.update(dt=self.physics_dt)
        self._num_steps += 1
        if self._num_steps % self._decimation == 0:
            self._apply_events("interval", dt=self.physics_dt * self._decimation)

    def refresh(self) -> None:
        """Nothing: Isaac Lab computes what is derived when it is read."""

    def reset(self, env_ids: torch.Tensor) -> None:
        """Put rows back, then let the reset events place them."""
        env = self.env
        ids = env_ids.to(torch.int32) if self._is_new else env_ids
        env.scene.reset(ids)
        self._apply_events(
            "reset", env_ids=ids, global_env_step_count=self._num_steps // self._decimation
        )
        env.event_manager.reset(ids)
        if env_ids.numel() == self.num_envs:
            # It runs the actuators' models of all rows, and would advance their delays and
            # recurrent states in rows that were not reset.
            env.scene.write_data_to_sim()
        env.sim.forward()

    def close(self) -> None:
        """Close the scene, so that another one can be opened."""
        if self.env is not None:
            env, self.env = self.env, None
            with contextlib.redirect_stdout(io.StringIO()):
                env.close()

    def _apply_events(self, mode: str, **kwargs: Any) -> None:
        manager = self.env.event_manager
        if mode in manager.available_modes:
            manager.apply(mode=mode, **kwargs)

    def _write(
        self, method: Any, meaning: Semantics, value: torch.Tensor, ids: torch.Tensor | None
    ) -> None:
        arguments: dict[str, Any] = {meaning.values[0]: value}
        if ids is not None and meaning.ids is not None:
            arguments[meaning.ids] = ids.to(torch.int32) if self._is_new else ids
        method(**arguments)


def _keep_events(cfg: Any, modes: Sequence[str]) -> None:
    for name, term in list(vars(cfg.events).items() if cfg.events is not None else ()):
        if getattr(term, "mode", None) not in modes:
            setattr(cfg.events, name, None)


def _build(cfg: Any, is_new: bool) -> Any:
    """An env of Isaac Lab's own with a scene, physics and events, and no other manager."""
    from holdstep.envs.adapters.isaaclab.launch import one_open_at_a_time

    base = importlib.import_module("isaaclab.envs").ManagerBasedEnv

    def load_managers(env: Any) -> None:
        # Closing deletes them by name.
        env.action_manager = env.observation_manager = env.recorder_manager = None
        if "startup" in env.event_manager.available_modes:
            env.event_manager.apply(mode="startup")

    # Isaac Lab's own construction and closing, of which only this one step is another.
    env_class = type("EventsOnlyEnv", (base,), {"load_managers": load_managers})
    with contextlib.redirect_stdout(io.StringIO()), one_open_at_a_time():
        env = env_class(cfg)
    if is_new:
        # Newton may fold a control step into one call; here a call is one physics step.
        env.sim.physics_manager.set_decimation(1)
    return env


def _collections(scene: Any) -> dict[str, Any]:
    return dict(getattr(scene, "rigid_object_collections", {}))


def _as_tensor(value: Any) -> torch.Tensor:
    if isinstance(value, torch.Tensor):
        return value
    converted = getattr(value, "torch", None)  # Isaac Lab 3's arrays
    if isinstance(converted, torch.Tensor):
        return converted
    raise TypeError(f"it is a {type(value).__name__}, no tensor")
