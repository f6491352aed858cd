"""Envs with managers, as far as an export is concerned."""

from __future__ import annotations

import abc
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from holdstep.envs.observations import flatten_groups
from holdstep.wrappers.export.actuators import scene_actuators
from holdstep.wrappers.export.observations import GroupPlan, TermPlan
from holdstep.wrappers.export.proxies.isolation import Holder
from holdstep.wrappers.export.proxies.owners import Owner, owner_of
from holdstep.wrappers.export.runs import DiscoveryRun
from holdstep.wrappers.export.semantics.lookup import SemanticsLookup, tables_of
from holdstep.wrappers.export.workflow import Workflow

if TYPE_CHECKING:
    from holdstep.wrappers.export.contract import Actuator
    from holdstep.wrappers.export.plan import Plan
    from holdstep.wrappers.export.restore import Changes
    from holdstep.wrappers.export.runs import Run

ACTION_MANAGER = "action_manager"


class ManagerBasedWorkflow(Workflow):
    """The observation and action managers of a simulator's env.

    mjlab's managers descend from Isaac Lab's, so that most is common to both.

    Args:
        env: the simulator's env object.
    """

    keeps_unused_inputs: ClassVar[bool] = True

    def __init__(self, env: Any) -> None:
        self.env = env
        self.lookup = SemanticsLookup(tables_of(self.simulator))

    @property
    def decimation(self) -> int:
        """The configuration's."""
        return int(self.env.cfg.decimation)

    @property
    def action_terms(self) -> dict[str, Any]:
        """The action manager's terms."""
        terms: dict[str, Any] = self.env.action_manager._terms
        return terms

    @abc.abstractmethod
    def entities(self) -> Iterator[tuple[str, Any]]:
        """What the scene consists of, but for the terrain, by name."""

    @property
    def num_actions(self) -> int:
        """A: entries of the action terms together."""
        return int(self.env.action_manager.total_action_dim)

    def owners(self) -> Iterator[Owner]:
        """The env, its scene, entities with their data, sensors, events and commands."""
        env, scene = self.env, self.env.scene
        yield owner_of("env", "env", "env", env)
        yield owner_of("scene", "env", "env", scene)
        terrain = getattr(scene, "terrain", None)
        if terrain is not None:
            yield owner_of("terrain", "env", "env", terrain)
        for name, entity in self.entities():
            prefix = f"state:{name}"
            yield owner_of(name, prefix, "state", entity, takes_writes=True)
            if hasattr(entity, "data"):
                yield owner_of(
                    f"{name}.data",
                    prefix,
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
                named_by=(sensor,),
                contains=("data",),
                default=self.sensor_semantics(sensor),
            )
        for name, term in self._events():
            yield owner_of(f"event {name}", f"env:{name}.", "env", term)
        commands = getattr(env, "command_manager", None)
        for name, term in getattr(commands, "_terms", {}).items():
            yield owner_of(
                f"command {name}",
                f"command:{name}",
                "command",
                term,
                named_by=(getattr(term, "robot", None),),
            )

    def _events(self) -> Iterator[tuple[str, Any]]:
        """Event terms that are objects, and may keep what they chose for each row."""
        manager: Any = getattr(self.env, "event_manager", None)
        for mode, names in getattr(manager, "_mode_term_names", {}).items():
            for name, cfg in zip(names, manager._mode_term_cfgs[mode], strict=True):
                if _keeps_state(cfg.func):
                    yield name, cfg.func

    def groups(self, *, delays: bool) -> dict[str, GroupPlan]:
        """The managers' groups, whose terms lag as they are set to if ``delays``."""
        manager = self.env.observation_manager
        return {
            group: GroupPlan(
                name=group,
                terms=tuple(
                    self._term(group, name, cfg, delays=delays)
                    for name, cfg in zip(names, manager._group_obs_term_cfgs[group], strict=True)
                ),
                concatenate=manager._group_obs_concatenate[group],
                dim=manager._group_obs_concatenate_dim[group],
            )
            for group, names in manager._group_obs_term_names.items()
        }

    def holders(self) -> Iterator[Holder]:
        """The action manager, its terms, and observation terms that keep state."""
        yield Holder(ACTION_MANAGER, self.env.action_manager)
        for name, term in self.action_terms.items():
            yield Holder(f"action:{name}", term)
        manager = self.env.observation_manager
        for group, names in manager._group_obs_term_names.items():
            for name, cfg in zip(names, manager._group_obs_term_cfgs[group], strict=True):
                if _keeps_state(cfg.func):
                    yield Holder(f"obs:{group}/{name}", cfg.func)
                for index, modifier in enumerate(getattr(cfg, "modifiers", None) or ()):
                    if _keeps_state(modifier.func):
                        yield Holder(f"obs:{group}/{name}.modifier{index}", modifier.func)

    def shared(self) -> list[Any]:
        """What terms may refer to: the env, its managers, entities and sensors."""
        owned = [owner.get() for owner in self.owners()]
        attributes = [
            value
            for value in vars(self.env).values()
            if hasattr(value, "__dict__") and not isinstance(value, torch.Tensor)
        ]
        return [self.env, *owned, *attributes]

    def refusal(self) -> tuple[str, str] | None:
        """The first action term that can't be exported, and why."""
        for name, term in self.action_terms.items():
            reason = self.lookup.refusal(type(term))
            if reason is not None:
                return name, f"{type(term).__name__} can't be exported: {reason}"
        return None

    def process_action(self, run: Run, actions: torch.Tensor) -> None:
        """The action manager's own."""
        self.env.action_manager.process_action(actions)

    def apply_action(self, run: Run) -> None:
        """The action manager's own."""
        self.env.action_manager.apply_action()

    def last_obs(self) -> dict[str, torch.Tensor]:
        """What the observation manager computed last."""
        manager = self.env.observation_manager
        cached = manager._obs_buffer
        # In evaluation a manager hands out what it computed last; nothing is drawn or pushed.
        live = manager.compute() if cached is None else cached
        return {name: value.detach().clone() for name, value in flatten_groups(live).items()}

    def reference_run(self, device: torch.device, plan: Plan) -> Any:
        """One that observes, as the discovery did."""
        return DiscoveryRun(self.num_envs, device, plan.cloned)

    def quieten(self, groups: Iterable[str], changes: Changes, *, delays: bool) -> None:
        """Terms have no noise, and no lag unless ``delays``."""
        manager = self.env.observation_manager
        for group in groups:
            for cfg in manager._group_obs_term_cfgs[group]:
                if cfg.noise is not None:
                    changes.set_attribute(cfg, "noise", None)
                if not delays and getattr(cfg, "delay_max_lag", False):
                    changes.set_attribute(cfg, "delay_max_lag", 0)

    def actuators(self) -> tuple[Actuator, ...]:
        """Of the scene's articulations."""
        return scene_actuators(self.simulator, self.env.scene)

    def _term(self, group: str, name: str, cfg: Any, *, delays: bool) -> TermPlan:
        history_length = int(getattr(cfg, "history_length", 0) or 0)
        modifiers = getattr(cfg, "modifiers", None) or ()
        return TermPlan(
            group=group,
            name=name,
            func=cfg.func,
            params=cfg.params,
            shape=self._shape(group, name),
            modifiers=tuple((modifier.func, modifier.params) for modifier in modifiers),
            clip=tuple(cfg.clip) if cfg.clip else None,
            scale=cfg.scale,
            sanitize=self._sanitizes(group),
            **(self._delay(cfg) if delays else {}),
            history_length=history_length,
            flatten_history=bool(getattr(cfg, "flatten_history_dim", True)),
        )

    def _shape(self, group: str, name: str) -> tuple[int, ...]:
        manager = self.env.observation_manager
        index = manager._group_obs_term_names[group].index(name)
        return tuple(int(size) for size in manager._group_obs_term_dim[group][index])

    def _delay(self, cfg: Any) -> dict[str, Any]:
        most = int(getattr(cfg, "delay_max_lag", 0) or 0)
        if not most:
            return {}
        fixed = (
            cfg.delay_min_lag == most and not cfg.delay_hold_prob and not cfg.delay_update_period
        )
        return {"delay": (int(cfg.delay_min_lag), most), "delay_is_fixed": fixed}

    def _sanitizes(self, group: str) -> bool:
        cfg = self.env.observation_manager.cfg
        group_cfg = cfg[group] if isinstance(cfg, dict) else getattr(cfg, group)
        return getattr(group_cfg, "nan_policy", "disabled") in ("sanitize", "warn")


def _keeps_state(func: Any) -> bool:
    """Whether a term is an object with attributes, and not a plain function."""
    attributes = getattr(func, "__dict__", None)
    return bool(attributes) and not isinstance(func, type) and not hasattr(func, "__code__")
