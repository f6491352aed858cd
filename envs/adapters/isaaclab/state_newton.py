"""Row state in Newton, the physics of Isaac Lab 3 without Isaac Sim."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import itertools
from collections.abc import Iterator
from typing import Any

import torch

from holdstep.envs.adapters.isaaclab.physics import Physics
from holdstep.envs.adapters.isaaclab.plain import as_tensor
from holdstep.envs.state.slot import Slot

_STATE = {
    "joint_q": "joint_coord",
    "joint_qd": "joint_dof",
    "body_q": "body",
    "body_qd": "body",
    "body_f": "body",
    "body_qdd": "body",
    "body_parent_f": "body",
}
_CONTROL = ("joint_target_pos", "joint_target_vel", "joint_f", "joint_act")
_SOLVER_DATA = (
    # The integration state of MuJoCo Warp; without qacc_warmstart a row does not continue exactly.
    "qpos",
    "qvel",
    "act",
    "history",
    "time",
    "qacc",
    "qacc_warmstart",
    "ctrl",
    "qfrc_applied",
    "xfrc_applied",
    "eq_active",
    "mocap_pos",
    "mocap_quat",
    "userdata",
)
_NATIVE_SENSORS = (
    # What the physics writes, and sensors copy when they are read later.
    ("_newton_contact_sensors", ("_net_force", "_net_friction_force", "sensing_obj_transforms")),
    ("_newton_imu_sensors", ("accelerometer", "gyroscope")),
    ("_newton_frame_transform_sensors", ("transforms",)),
)
_NOT_PARAMETERS = frozenset({"body_q", "body_qd", "body_f", "body_qdd", "body_parent_f", "joint_q"})
_NOT_PARAMETERS |= {"joint_qd", "joint_f", "joint_act", "joint_target_pos", "joint_target_vel"}


class NewtonPhysics(Physics):
    """Newton with the MuJoCo Warp solver: all of a row's state is in arrays that can be written.

    Args:
        core: the env object that owns the scene.
    """

    def __init__(self, core: Any) -> None:
        super().__init__(core)
        # All of Newton's state is in attributes of this class; there is one simulation a process.
        self._manager: Any = importlib.import_module("isaaclab_newton.physics").NewtonManager
        self._newton: Any = importlib.import_module("newton")
        self._warp: Any = importlib.import_module("warp")
        self.why_none = self._why_none()
        self.level = "none" if self.why_none else "exact"

    def slots(self) -> Iterator[Slot]:
        """Integration state, controls, what native sensors read, and the model's parameters."""
        manager = self._manager
        for name, kind in _STATE.items():
            yield from self._flat(f"physics.{name}", getattr(manager._state_0, name, None), kind)
        for name in _CONTROL:
            yield from self._flat(
                f"physics.{name}", getattr(manager._control, name, None), "joint_dof"
            )
        data = manager._solver.mjw_data
        for name in _SOLVER_DATA:
            yield from self._rows(f"physics.solver.{name}", getattr(data, name, None))
        # Set by the writes of a reset, used up by the next physics step.
        yield from self._rows("physics.world_reset_mask", manager._world_reset_mask)
        yield from self._flat("physics.fk_reset_mask", manager._fk_reset_mask, "articulation")
        for attribute, names in _NATIVE_SENSORS:
            sensors = getattr(manager, attribute)
            sensors = list(sensors.values()) if isinstance(sensors, dict) else sensors
            for index, sensor in enumerate(sensors):
                for name in names:
                    path = f"physics.{attribute.removeprefix('_newton_')}[{index}].{name}"
                    yield from self._divided(path, getattr(sensor, name, None))
        yield from self._parameters()

    def settle(self, env_ids: torch.Tensor) -> None:
        """Make body poses and velocities of the rows those of their joints.

        Isaac Lab computes them for *all* rows when some of them were reset and something reads
        them. Without this, a row that was reset or pushed since the last physics step would change
        then, while it is held.
        """
        manager = self._manager
        if manager._model_changes:
            with self._warp.ScopedDevice(manager._model.device):
                for change in manager._model_changes:  # as the next step would
                    manager._solver.notify_model_changed(change)
            manager._model_changes = set()
        extent = self._extent("articulation")
        assert extent is not None
        start, size = extent
        with torch.inference_mode(False), torch.no_grad():
            count = int(manager._model.articulation_count)
            mask = torch.zeros(count, dtype=torch.bool, device=env_ids.device)
            mask[start : start + size * self.num_envs].view(self.num_envs, size)[env_ids] = True
            state = manager._state_0
            # The kernel of a step, so that what it has computed already stays the same bit for bit.
            self._newton.eval_fk(
                manager._model, state.joint_q, state.joint_qd, state, self._warp.from_torch(mask)
            )

    @contextlib.contextmanager
    def untouched(self) -> Iterator[None]:
        """Body poses and velocities of settled rows are afterwards as they were before."""
        state = self._manager._state_0
        kept = [
            (body, body.clone())
            for body in map(as_tensor, (state.body_q, state.body_qd))
            if body is not None
        ]
        try:
            yield
        finally:
            for body, copy in kept:
                body.copy_(copy)

    def restored(self, env_ids: torch.Tensor) -> bool:
        """Let viewers see the new poses; a row's place in the world is part of its state here."""
        self._manager._mark_state_dirty()
        return super().restored(env_ids)

    def _why_none(self) -> str | None:
        manager = self._manager
        solver = type(manager._solver).__name__
        if solver != "SolverMuJoCo":
            return (
                f"the task's Newton solver is {solver}, which swaps its states between steps; "
                "the MuJoCo Warp solver (preset newton_mjwarp) is supported."
            )
        if manager._adapter is not None:
            return (
                "the task runs its actuators inside Newton (use_newton_actuators), whose delays "
                "and hidden states can't be reached by row; Isaac Lab's own actuators are "
                "supported."
            )
        model = manager._model
        if model.particle_count:
            return "the task has particles (cloth or soft bodies), which can't be reached by row."
        kinds = ("joint_coord", "joint_dof", "joint", "body", "shape", "articulation")
        if model.world_count != self.num_envs or any(self._extent(k) is None for k in kinds):
            return "the task's worlds differ from each other: a row must look like any other."
        return None

    def _parameters(self) -> Iterator[Slot]:
        model = self._manager._model
        for name, frequency in sorted(model.attribute_frequency.items()):
            kind = getattr(frequency, "name", str(frequency)).lower()
            known = ("body", "joint", "joint_dof", "shape", "equality_constraint")
            array = None if ":" in name else getattr(model, name, None)
            tensor = as_tensor(array) if kind in known and name not in _NOT_PARAMETERS else None
            if tensor is not None and tensor.is_floating_point():  # integers are the topology
                yield from self._flat(f"physics.model.{name}", array, kind, is_parameter=True)
        yield from self._rows("physics.model.gravity", model.gravity, is_parameter=True)
        # What the solver has made of them, which is not the same in every row even if they are:
        # inverse weights are rounded differently in different places of the world.
        solver_model = self._manager._solver.mjw_model
        for field in dataclasses.fields(solver_model):
            if getattr(field.type, "shape", (None,))[0] == "*":  # one entry per world
                array = getattr(solver_model, field.name)
                path = f"physics.solver.model.{field.name}"
                yield from self._rows(path, array, is_parameter=True)

    def _rows(self, name: str, array: Any, **options: Any) -> Iterator[Slot]:
        """A slot in an array ``[N, ...]``; arrays stay where they are, CUDA graphs hold them."""
        tensor = as_tensor(array)
        if tensor is None or not tensor.numel() or tensor.stride(0) == 0:  # 0: one for all rows
            return
        if tensor.shape[0] == self.num_envs:
            yield _fixed(name, tensor, **options)

    def _flat(self, name: str, array: Any, kind: str, **options: Any) -> Iterator[Slot]:
        """A slot in an array of all worlds' bodies (joints, shapes), world after world."""
        tensor, extent = as_tensor(array), self._extent(kind)
        if tensor is None or extent is None or not extent[1]:
            return
        start, size = extent
        part = tensor[start : start + size * self.num_envs]
        if len(part) == size * self.num_envs:
            yield _fixed(name, part.view(self.num_envs, size, *part.shape[1:]), **options)

    def _divided(self, name: str, array: Any) -> Iterator[Slot]:
        """A slot in an array of all worlds' sensor entries, world after world."""
        tensor = as_tensor(array)
        if tensor is not None and tensor.numel() and len(tensor) % self.num_envs == 0:
            yield _fixed(name, tensor.view(self.num_envs, -1, *tensor.shape[1:]))

    def _extent(self, kind: str) -> tuple[int, int] | None:
        """Where the first world's entries start, and how many a world has; None if they differ."""
        starts = getattr(self._manager._model, f"{kind}_world_start", None)
        if starts is None:
            return None
        # [N + 2]: where each world starts, where the last one ends, and the total.
        bounds = starts.numpy()[: self.num_envs + 1].tolist()
        sizes = {after - before for before, after in itertools.pairwise(bounds)}
        return (bounds[0], sizes.pop()) if len(sizes) == 1 else None


def _fixed(name: str, tensor: torch.Tensor, **options: Any) -> Slot:
    return Slot(name, lambda: tensor, **options)
