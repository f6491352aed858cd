"""Where Isaac Lab keeps the state of a row: the table behind suspension and snapshots."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import FunctionType
from typing import TYPE_CHECKING, Any

import torch

from holdstep.envs.adapters.isaaclab.lazy_rows import LazyRows
from holdstep.envs.adapters.isaaclab.state_buffers import (
    NETWORK_STATE,
    is_followed,
    network_slots,
    special_slots,
)
from holdstep.envs.adapters.isaaclab.state_names import CONSTANTS, OUTPUTS, PARAMETERS
from holdstep.envs.state.owned import OwnedState
from holdstep.envs.state.slot import Slot, attribute

if TYPE_CHECKING:
    from holdstep.envs.adapters.isaaclab.physics import Physics

_BUFFERS_OF_MANAGERS = {
    "action_manager": ("_action", "_prev_action"),
    "event_manager": (
        "_reset_term_last_triggered_step_id",
        "_reset_term_last_triggered_once",
    ),
    "reward_manager": ("_reward_buf", "_step_reward", "_episode_sums"),
    "termination_manager": (
        "_term_dones",
        "_last_episode_dones",
        "_truncated_buf",
        "_terminated_buf",
    ),
}
_ORIGINS = ("_default_env_origins", "_default_env_pose")  # 2.3, 3.x
_TERRAIN = ("env_origins", "terrain_levels", "terrain_types")
_NOISE_MODELS = frozenset({"_observation_noise_model", "_action_noise_model"})
"""Attributes of a direct env; they are owners themselves, of whatever class."""


class IsaacLabState:
    """Makes the slots of one env, manager-based or direct, of 2.3 or 3.x.

    Not among them, since all rows share them: torch's generator, ``common_step_counter``, curricula
    that adapt to all rows, clocks of assets, timers of events that happen to all rows at once, and
    the flat pools of contacts, which each physics step fills anew.

    Args:
        core: the env object that owns managers, scene and episode clock.
        physics: the engine's share.
    """

    def __init__(self, core: Any, physics: Physics) -> None:
        self._core = core
        self._physics = physics
        data_objects = {f"scene.{name}.data": a._data for name, a in physics.named_assets()}
        self.lazy = LazyRows(data_objects, physics.num_envs)
        self._watched: list[object] = []

    def slots(self) -> Iterator[Slot]:
        """All of a row's state."""
        core = self._core
        owned = OwnedState(
            self._physics.num_envs,
            shared=_shared_objects(core),
            parameters=PARAMETERS,
            constants=CONSTANTS,
            special=special_slots(self._physics.num_envs),
            follow=is_followed,
        )
        yield from self._physics.slots()
        yield from self.lazy.slots()
        for name in sorted(OUTPUTS - {"obs_buf"}):
            yield Slot(f"env.{name}", attribute(core, name), is_derived=True)
        for manager_name, names in _BUFFERS_OF_MANAGERS.items():
            manager = vars(core).get(manager_name)
            for name in names:
                value = getattr(manager, name, None)
                yield from owned.value_slots(
                    f"{manager_name}.{name}",
                    _attribute(manager, name),
                    value,
                    0,
                    is_parameter=False,
                )
        for index, timer in _interval_timers(core):
            yield Slot(f"event_manager.interval[{index}]", timer)
        yield from _terrain_slots(core, with_default=self._physics.level == "exact")
        owners = list(self._owners())
        self._watched = [owner for _, owner in owners]
        for prefix, owner in owners:
            skip = (OUTPUTS - {"obs_buf"}) | _NOISE_MODELS if owner is core else NETWORK_STATE
            yield from owned.slots(prefix, owner, skip=skip)
            if hasattr(owner, "sea_hidden_state"):
                yield from network_slots(prefix, owner)

    def shape_of_tables(self) -> tuple[int, ...]:
        """Changes when objects get attributes that they did not have when the slots were made.

        Isaac Lab makes many buffers at their first use, and tasks of the user's own do too.
        """
        counts = [
            # Not hooks: those come and go.
            sum(value is not None and type(value) is not FunctionType for value in vars(o).values())
            for o in self._watched
        ]
        return (*counts, self.lazy.num_made())

    def timers(self) -> list[torch.Tensor]:
        """Timers ``[N]`` whose expiry makes something happen to a row: pushes, new commands."""
        timers = [timer() for _, timer in _interval_timers(self._core)]
        timers += [term.time_left for term in _terms(self._core, "command_manager").values()]
        return timers

    def has_unconditional_events(self) -> bool:
        """Whether some event happens to all rows at once, held or not, within a step."""
        return any(cfg.is_global_time for cfg in _event_cfgs(self._core, "interval"))

    def constant_sizes(self) -> set[int]:
        """Sizes of the task that are no number of rows."""
        names = ("num_joints", "num_bodies", "num_fixed_tendons", "num_objects")
        sizes = {int(getattr(asset, name, 0)) for asset in self._physics.assets() for name in names}
        action_manager = vars(self._core).get("action_manager")
        sizes.update(getattr(action_manager, "action_term_dim", ()))
        return sizes - {0}

    def _owners(self) -> Iterator[tuple[str, object]]:
        """The objects whose row tensors are state, with the names of their slots."""
        core = self._core
        yield "env", core
        for name, asset in self._physics.named_assets():
            yield f"scene.{name}", asset
            yield f"scene.{name}.data", asset._data
            for actuator_name, actuator in getattr(asset, "actuators", {}).items():
                yield f"scene.{name}.actuators.{actuator_name}", actuator
        for name, sensor in core.scene._sensors.items():
            yield f"scene.{name}", sensor
            yield f"scene.{name}.data", sensor._data
        for name, term in _terms(core, "action_manager").items():
            yield f"action_manager.{name}", term
        for name, term in _terms(core, "command_manager").items():
            yield f"command_manager.{name}", term
        yield from self._observation_owners()
        yield from _class_terms(core)

    def _observation_owners(self) -> Iterator[tuple[str, object]]:
        manager = vars(self._core).get("observation_manager")
        for group, buffers in getattr(manager, "_group_obs_term_history_buffer", {}).items():
            for term, buffer in buffers.items():
                yield f"observation_manager.{group}.{term}", _Holder(buffer)
        for index, model in enumerate(getattr(manager, "_group_obs_class_instances", ())):
            yield f"observation_manager.models[{index}]", model
        for name in sorted(_NOISE_MODELS):
            models = vars(self._core).get(name)
            by_agent = models if isinstance(models, dict) else {"": models}
            for agent, model in by_agent.items():
                if model is not None:
                    yield f"env.{name}.{agent}".removesuffix("."), model


class _Holder:
    """Makes a buffer look like an attribute, as other buffers are."""

    def __init__(self, buffer: object) -> None:
        self.history = buffer


def _class_terms(core: Any) -> Iterator[tuple[str, object]]:
    """Terms that are objects of a class, and may keep row tensors of their own."""
    observation_manager = vars(core).get("observation_manager")
    groups: list[tuple[str, Any]] = [
        (f"observation_manager.{group}", cfgs)
        for group, cfgs in getattr(observation_manager, "_group_obs_term_cfgs", {}).items()
    ]
    event_manager = vars(core).get("event_manager")
    groups += [
        (f"event_manager.{mode}", cfgs)
        for mode, cfgs in getattr(event_manager, "_mode_term_cfgs", {}).items()
    ]
    for name in ("reward_manager", "termination_manager", "curriculum_manager"):
        groups.append((name, getattr(vars(core).get(name), "_term_cfgs", ())))
    seen: set[int] = set()
    for prefix, cfgs in groups:
        for index, cfg in enumerate(cfgs):
            func = getattr(cfg, "func", None)
            is_function = isinstance(func, type) or hasattr(func, "__code__")
            if hasattr(func, "__dict__") and not is_function and id(func) not in seen:
                seen.add(id(func))
                yield f"{prefix}[{index}].{type(func).__name__}", func


def _terms(core: Any, manager_name: str) -> dict[str, Any]:
    terms = getattr(vars(core).get(manager_name), "_terms", {})
    # Without commands the config of the task is None, and so may the terms be.
    return terms if isinstance(terms, dict) else {}


def _event_cfgs(core: Any, mode: str) -> list[Any]:
    manager = vars(core).get("event_manager")
    return list(getattr(manager, "_mode_term_cfgs", {}).get(mode, ()))


def _interval_timers(core: Any) -> Iterator[tuple[int, Callable[[], Any]]]:
    """Timers of single rows; one of all rows is no row's, also when there is just one row."""
    for index, cfg in enumerate(_event_cfgs(core, "interval")):
        if not cfg.is_global_time:
            yield index, _item(core.event_manager, "_interval_term_time_left", index)


def _terrain_slots(core: Any, *, with_default: bool) -> Iterator[Slot]:
    own = vars(core).get("terrain") or vars(core).get("_terrain")  # a direct env may make one
    terrain = getattr(core.scene, "_terrain", None) or own
    for name in _TERRAIN:
        if isinstance(getattr(terrain, name, None), torch.Tensor):
            yield Slot(f"scene.terrain.{name}", attribute(terrain, name), is_parameter=True)
    for name in _ORIGINS if with_default else ():
        if isinstance(getattr(core.scene, name, None), torch.Tensor):
            yield Slot(f"scene.{name}", attribute(core.scene, name), is_parameter=True)


def _shared_objects(core: Any) -> list[object]:
    scene = core.scene
    managers = [value for name, value in vars(core).items() if name.endswith("_manager")]
    entities = [
        entity
        for group in vars(scene).values()
        if isinstance(group, dict)
        for entity in group.values()
    ]
    data = [
        vars(entity)["_data"] for entity in entities if "_data" in getattr(entity, "__dict__", {})
    ]
    return [core, core.cfg, core.sim, scene, *managers, *entities, *data, *_terms_of_all(core)]


def _terms_of_all(core: Any) -> list[object]:
    managers = ("action_manager", "command_manager")
    return [term for name in managers for term in _terms(core, name).values()]


def _attribute(owner: Any, name: str) -> Callable[[], Any]:
    return lambda: getattr(owner, name, None)


def _item(owner: Any, name: str, index: int) -> Callable[[], Any]:
    return lambda: getattr(owner, name)[index]
