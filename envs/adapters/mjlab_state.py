"""Where mjlab keeps the state of a row: the table behind suspension and snapshots."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

from holdstep.envs.state.owned import OwnedState, circular_buffer_slots
from holdstep.envs.state.slot import Slot
from holdstep.extras import require

SCRATCH_FIELDS = frozenset(
    {
        # Factorised and composite inertias, which the physics makes anew before it uses them.
        "M",
        "qLD",
        "qLU",
        "qLDiagInv",
        "crb",
        "cinert",
        "cdof_dot",
        # Maps between constraints, islands and their compact copies, made anew by each solve.
        "map_efc2iefc",
        "map_iefc2efc",
        "map_dof2idof",
        "map_idof2dof",
        "efc_islandid",
        "dof_islandid",
        "dof_island",
        "dof_cdof",
        "cdof_dof",
        "nisland",
        "nidof",
        "island_dofadr",
        "island_idofadr",
        "island_nv",
        "island_nefc",
        "island_ne",
        "island_nf",
        "island_iefcadr",
        "ncdof",
        "moment_rownnz",
        "moment_rowadr",
        "moment_colind",
        # Of all worlds together; one entry, as a single world would have.
        "nacon",
        "ncollision",
    }
)
"""Fields of MuJoCo Warp's ``Data`` with one entry per world that no row needs to keep. All other
per-world fields are kept: the integration state (``qpos``, ``qvel``, ``act``, ``qacc_warmstart``,
``ctrl`` and so on) and what was derived from it, which a held row would otherwise show as it is
after a step that never counted."""

PARAMETERS = frozenset(
    {
        "default_root_state",
        "default_joint_pos",
        "default_joint_vel",
        "default_joint_pos_limits",
        "joint_pos_limits",
        "soft_joint_pos_limits",
        "encoder_bias",
        "env_origins",
        "terrain_levels",
        "terrain_types",
        "_scale",
        "_offset",
        "_clip",
        "stiffness",
        "damping",
        "force_limit",
        "saturation_effort",
        "velocity_limit_motor",
        "params",
        "_phase_offsets",
    }
)
"""Attributes that events randomise at start-up or at a reset."""

CONSTANTS = frozenset(
    {
        "gravity_vec_w",
        "forward_vec_b",
        "_default_env_origins",
        "_all_indices",
        "_max_len_tensor",
        "_site_zeros",
        "_index_groups",
        "terrain_origins",
        "_flat_patches",
        "indexing",
        "std",
        "std_standing",
        "std_walking",
        "std_running",
        "body_indexes",
        "kernel",
        "bin_failed_count",
        "_current_bin_failed",
        "_padded_geom_ids",
        "_local_directions",
        "_local_offsets",
        "_env_arange",
        "_target_ids",
        "_joint_ids",
        "_joint_dof_ids",
        "_body_ids",
        "_body_point_offset",
        "_ctrl_ids",
        "_global_ctrl_ids",
        "target_ids",
        "ctrl_ids",
        "_cached_data",  # derived; dropped whenever rows are put back
        "_slots",  # views of sensordata
        "_data_view",
    }
)
"""Attributes that nothing changes, or that are made anew from others."""

OUTPUTS = frozenset(
    {
        "obs_buf",
        "_obs_buffer",
        "reset_buf",
        "reset_terminated",
        "reset_time_outs",
        "reward_buf",
        "_command_dt",
        "_manual_reset_pending",
        "_reset_mask",
    }
)
"""Attributes of the env that each step writes before anything reads them."""

_BUFFERS_OF_MANAGERS = {
    "action_manager": ("_action", "_prev_action", "_prev_prev_action"),
    "command_manager": (),
    "event_manager": (
        "_reset_term_last_triggered_step_id",
        "_reset_term_last_triggered_once",
    ),
    "metrics_manager": (
        "_episode_sums",
        "_episode_max",
        "_step_count",
        "_step_values",
        "_substep_accum",
    ),
    "reward_manager": ("_reward_buf", "_step_reward", "_episode_sums"),
    "termination_manager": ("_term_dones", "_truncated_buf", "_terminated_buf"),
}


class MjlabState:
    """All of a row's state in a ``mjlab.envs.ManagerBasedRlEnv``.

    Not in it, since all rows share them: the torch generator, ``common_step_counter``, curricula
    that adapt to all rows, timers of events for all rows, and the flat pools of contacts, which
    each physics step fills anew.

    Args:
        env: mjlab's env.
    """

    def __init__(self, env: Any) -> None:
        self._env = env
        self._owned = OwnedState(
            env.num_envs,
            shared=_shared_objects(env),
            parameters=PARAMETERS,
            constants=CONSTANTS,
            special=_buffer_slots,
            names_apply=is_own,
            trusted=is_own,
        )

    def slots(self) -> Iterator[Slot]:
        """The table, as the env's objects are now."""
        env, owned = self._env, self._owned
        owned.watched.clear()
        yield from _physics_slots(env)
        yield Slot("episode_length_buf", _attribute(env, "episode_length_buf"))
        for manager_name, names in _BUFFERS_OF_MANAGERS.items():
            manager = getattr(env, manager_name)
            for name in names:
                if name in vars(manager):
                    yield from owned.value_slots(
                        f"{manager_name}.{name}",
                        _attribute(manager, name),
                        getattr(manager, name),
                        0,
                        is_parameter=False,
                    )
        for index, timer in enumerate(_interval_timers(env.event_manager)):
            if timer is not None:
                yield _fixed(f"event_manager._interval_term_time_left[{index}]", timer)
        for prefix, owner in _owners(env):
            yield from owned.slots(prefix, owner)

    def shape(self) -> tuple[int, ...]:
        """Changes when objects get state that they had not when the slots were made."""
        return (*self._owned.shape(), len(self._env.sim.expanded_fields))


def is_own(owner: object) -> bool:
    """Whether an object is of one of mjlab's own classes, whose attributes are known by name."""
    return type(owner).__module__.partition(".")[0] == "mjlab"


def sensors(env: Any) -> list[Any]:
    """The sensors, each of which caches its data for all rows together."""
    return list(env.scene.sensors.values())


def row_timers(env: Any) -> list[Any]:
    """Timers ``[N]`` whose expiry makes something happen to a row: pushes, new commands."""
    timers = [timer for timer in _interval_timers(env.event_manager) if timer is not None]
    return timers + [term.time_left for term in env.command_manager._terms.values()]


def _interval_timers(manager: Any) -> list[Any]:
    """The timers ``[N]`` of interval events, in their order; None for those of all rows at once."""
    timers = getattr(manager, "_interval_term_time_left", ())
    cfgs = manager._mode_term_cfgs.get("interval", ())
    return [None if cfg.is_global_time else timer for timer, cfg in zip(timers, cfgs, strict=True)]


def has_unconditional_events(env: Any) -> bool:
    """Whether some event happens to all rows at once, held or not, within a step."""
    cfgs = env.event_manager._mode_term_cfgs
    return bool(cfgs.get("step")) or any(cfg.is_global_time for cfg in cfgs.get("interval", ()))


def constant_sizes(env: Any) -> set[int]:
    """Sizes of the task that are no number of rows."""
    model = env.sim.mj_model
    names = ("nq", "nv", "nu", "na", "nbody", "njnt", "ngeom", "nsite", "nsensor", "ntendon")
    sizes = {int(getattr(model, name)) for name in names}
    sizes.update(env.action_manager.action_term_dim)
    for entity in env.scene.entities.values():
        sizes.update({entity.num_joints, entity.num_bodies, entity.num_sites, entity.num_geoms})
    return sizes


def _physics_slots(env: Any) -> Iterator[Slot]:
    warp = require("warp", extra="mjlab", purpose="The mjlab backend")
    data, model = env.sim.wp_data, env.sim.wp_model
    for field in dataclasses.fields(data):
        array = getattr(data, field.name)
        if (
            isinstance(array, warp.array)
            and field.name not in SCRATCH_FIELDS
            and array.size > 0
            and array.shape[0] == env.num_envs
            and array.strides[0] > 0
        ):
            yield _fixed(f"sim.data.{field.name}", warp.to_torch(array))
    for name in sorted(env.sim.expanded_fields):
        array = getattr(model, name)
        if array.size > 0 and array.shape[0] == env.num_envs and array.strides[0] > 0:
            yield _fixed(f"sim.model.{name}", warp.to_torch(array), is_parameter=True)


def _fixed(name: str, tensor: Any, **options: Any) -> Slot:
    """A slot in the simulator's own memory, which stays where it is."""
    return Slot(name, lambda: tensor, **options)


def _owners(env: Any) -> Iterator[tuple[str, object]]:
    """The objects whose row tensors are state, with the names of their slots."""
    scene = env.scene
    for name, entity in scene.entities.items():
        yield f"scene.{name}.data", entity.data
        for index, actuator in enumerate(entity.actuators):
            yield f"scene.{name}.actuators[{index}]", actuator
        group = getattr(entity, "_fused_actuator_group", None)
        for index, fused in enumerate(getattr(group, "_groups", ())):
            yield f"scene.{name}.fused_actuators[{index}]", fused
    for name, sensor in scene.sensors.items():
        yield f"scene.sensors.{name}", sensor
    if scene.terrain is not None:
        yield "scene.terrain", scene.terrain
    for name, term in env.action_manager._terms.items():
        yield f"action_manager.{name}", term
    for name, term in env.command_manager._terms.items():
        yield f"command_manager.{name}", term
    yield from _observation_owners(env.observation_manager)
    yield from _class_terms(env)


def _observation_owners(manager: Any) -> Iterator[tuple[str, object]]:
    for kind in ("delay", "history"):
        for group, buffers in getattr(manager, f"_group_obs_term_{kind}_buffer").items():
            for term, buffer in buffers.items():
                yield f"observation_manager.{group}.{term}.{kind}", _Holder(buffer)
    for group, models in manager._group_obs_class_instances.items():
        for term, model in models.items():
            yield f"observation_manager.{group}.{term}.noise", model


def _class_terms(env: Any) -> Iterator[tuple[str, object]]:
    """Terms that are objects of a class, and may keep row tensors of their own."""
    seen: set[int] = set()
    groups: list[tuple[str, Any]] = [
        (f"observation_manager.{group}", cfgs)
        for group, cfgs in env.observation_manager._group_obs_term_cfgs.items()
    ]
    groups += [
        (f"event_manager.{mode}", cfgs) for mode, cfgs in env.event_manager._mode_term_cfgs.items()
    ]
    for name in (
        "reward_manager",
        "termination_manager",
        "metrics_manager",
        "curriculum_manager",
    ):
        groups.append((name, getattr(getattr(env, name), "_term_cfgs", ())))
    for prefix, cfgs in groups:
        for index, cfg in enumerate(cfgs):
            func = getattr(cfg, "func", None)
            if hasattr(func, "__dict__") and not _is_function(func) and id(func) not in seen:
                seen.add(id(func))
                yield f"{prefix}[{index}].{type(func).__name__}", func


def _is_function(func: Any) -> bool:
    return isinstance(func, type) or hasattr(func, "__code__")


class _Holder:
    """Makes a buffer look like an attribute, as other buffers are."""

    def __init__(self, buffer: object) -> None:
        self.buffer = buffer


def _buffer_slots(path: str, get: Callable[[], Any], value: Any) -> list[Slot] | None:
    """Slots of mjlab's two kinds of buffers; None for other objects."""
    buffers = require("mjlab.utils.buffers", extra="mjlab", purpose="The mjlab backend")
    if isinstance(value, buffers.CircularBuffer):
        return circular_buffer_slots(path, get)
    if isinstance(value, buffers.DelayBuffer):
        return [
            Slot(f"{path}._current_lags", lambda: get()._current_lags),
            Slot(f"{path}._step_count", lambda: get()._step_count),
            Slot(f"{path}._phase_offsets", lambda: get()._phase_offsets, is_parameter=True),
            *circular_buffer_slots(f"{path}._buffer", lambda: get()._buffer),
        ]
    return None


def _attribute(owner: Any, name: str) -> Callable[[], Any]:
    return lambda: getattr(owner, name)


def _shared_objects(env: Any) -> list[object]:
    managers = [value for name, value in vars(env).items() if name.endswith("_manager")]
    scene = env.scene
    entities = list(scene.entities.values())
    return [
        env,
        env.cfg,
        env.sim,
        env.sim.data,
        env.sim.model,
        env.sim.wp_data,
        env.sim.wp_model,
        scene,
        *managers,
        *entities,
        *(entity.data for entity in entities),
        *scene.sensors.values(),
    ]
