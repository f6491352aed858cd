"""Physics of some of mjlab's worlds only, on the CPU: the others are left out, not put back."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import gc
import importlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from holdstep.envs.adapters.mjlab_state import SCRATCH_FIELDS
from holdstep.extras import require

INPUT_FIELDS = frozenset(
    {
        "time",
        "qpos",
        "qvel",
        "act",
        "history",
        "qacc_warmstart",
        "ctrl",
        "qfrc_applied",
        "xfrc_applied",
        "eq_active",
        "mocap_pos",
        "mocap_quat",
        "userdata",
        "tree_asleep",
        "tree_awake",
        "ntree_awake",
        "body_awake",
        "body_awake_ind",
        "nbody_awake",
        "dof_awake_ind",
        "nv_awake",
    }
)
"""Fields of ``Data`` from which a physics step starts; all others are computed from these."""


class CompactPhysics:
    """A second ``Data`` whose first worlds are the active ones.

    MuJoCo Warp steps the first ``nworld`` worlds of a ``Data``. Before each call the active rows'
    inputs are gathered into the first places of the second one, and afterwards everything that can
    be read of them is scattered back, so that the simulator's own ``Data`` looks as if only these
    rows had been stepped. Worlds don't depend on each other or on their place, so the numbers are
    the same bit for bit. Not written back are the pools of contacts and constraints, which belong
    to no row; contact *sensors* are.

    CPU only: there a launch costs time per world, and copies are cheap. Memory: a second ``Data``.

    Args:
        sim: mjlab's ``Simulation``.
    """

    def __init__(self, sim: Any) -> None:
        mjwarp = require("mujoco_warp", extra="mjlab", purpose="The mjlab backend")
        self._sim = sim
        self._mjwarp = mjwarp
        self._warp = require("warp", extra="mjlab", purpose="The mjlab backend")
        self._data = mjwarp.put_data(
            sim.mj_model,
            sim.mj_data,
            nworld=sim.num_envs,
            nconmax=sim.cfg.nconmax,
            njmax=sim.cfg.njmax,
        )
        self._ids = np.arange(sim.num_envs)
        pairs = _row_fields(sim.wp_data, self._data, sim.num_envs)
        self._inputs = [pair for name, pair in pairs.items() if name in INPUT_FIELDS]
        self._outputs = [pair for name, pair in pairs.items() if name not in SCRATCH_FIELDS]
        self._copy_model()

    def _copy_model(self) -> None:
        """Fields that all worlds share are shared with the simulator too."""
        self._model = copy.copy(self._sim.wp_model)
        self._parameters = _own_row_fields(self._sim, self._model)
        self._num_expanded = len(self._sim.expanded_fields)

    def select(self, active_mask: torch.Tensor) -> None:
        """From now on only these rows, bool ``[N]``, are computed."""
        self._ids = active_mask.nonzero().squeeze(-1).numpy()

    def step(self) -> None:
        """One physics step of the selected rows."""
        with self._sim.nan_guard.watch(self._sim.data):
            self._run(self._mjwarp.step)

    def forward(self) -> None:
        """What follows from the selected rows' positions and velocities, computed anew."""
        self._run(self._mjwarp.forward)

    def _run(self, function: Callable[[Any, Any], None]) -> None:
        if len(self._sim.expanded_fields) != self._num_expanded:
            self._copy_model()
        ids, count = self._ids, len(self._ids)
        for full, compact in (*self._parameters, *self._inputs):
            full.take(ids, axis=0, out=compact[:count], mode="clip")  # "raise" would buffer
        self._data.nworld = count
        collecting = gc.isenabled()
        gc.disable()  # hundreds of launches make garbage, and looking for it costs as much as rows
        try:
            with self._warp.ScopedDevice(self._sim.wp_device), _ORDER.of(self._sim.num_envs):
                function(self._model, self._data)
        finally:
            if collecting:
                gc.enable()
        for full, compact in self._outputs:
            full[ids] = compact[:count]


class _OrderOfSums:
    """Lets the constraint solver add numbers up in the order which it has for so many worlds.

    It splits the sums of each world into groups, fewer the more worlds there are (mujoco_warp
    3.11); the order of a sum decides its last bits. The function that decides is replaced while any
    thread is inside, for the threads that are, each for its own number of worlds.
    """

    _NAME = "_jtdaj_groups_per_world"

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._num_inside = 0
        self._original: Any = None
        self._of_thread = threading.local()

    @contextlib.contextmanager
    def of(self, num_envs: int) -> Iterator[None]:
        """Inside, sums are in the order for ``num_envs`` worlds."""
        solver: Any = importlib.import_module("mujoco_warp._src.solver")
        if not hasattr(solver, self._NAME):
            yield
            return
        with self._lock:
            if self._num_inside == 0:
                self._original = getattr(solver, self._NAME)
                setattr(solver, self._NAME, self._groups)
            self._num_inside += 1
        self._of_thread.num_envs = num_envs
        try:
            yield
        finally:
            self._of_thread.num_envs = None
            with self._lock:
                self._num_inside -= 1
                if self._num_inside == 0:
                    setattr(solver, self._NAME, self._original)

    def _groups(self, nworld: int, njmax: int) -> Any:
        num_envs = getattr(self._of_thread, "num_envs", None)
        return self._original(nworld if num_envs is None else num_envs, njmax)


_ORDER = _OrderOfSums()


_Pair = tuple[np.ndarray, np.ndarray]


def _row_fields(full: Any, compact: Any, num_envs: int) -> dict[str, _Pair]:
    """Views of the per-world arrays of two ``Data`` objects, by field."""
    pairs: dict[str, _Pair] = {}
    for field in dataclasses.fields(full):
        array = getattr(full, field.name)
        if _is_row_array(array, num_envs):
            pairs[field.name] = (_words(array), _words(getattr(compact, field.name)))
    return pairs


def _own_row_fields(sim: Any, model: Any) -> list[_Pair]:
    """Give a copied model arrays of its own for what differs between worlds."""
    warp = require("warp", extra="mjlab", purpose="The mjlab backend")
    pairs = []
    for name in sorted(sim.expanded_fields):
        array = getattr(model, name)
        if _is_row_array(array, sim.num_envs):
            with warp.ScopedDevice(sim.wp_device):
                own = warp.clone(array)
            setattr(model, name, own)
            pairs.append((_words(array), _words(own)))
    return pairs


def _is_row_array(array: Any, num_envs: int) -> bool:
    warp = require("warp", extra="mjlab", purpose="The mjlab backend")
    return (
        isinstance(array, warp.array)
        and array.shape[0] == num_envs
        and array.size > 0
        and array.strides[0] > 0
    )


def _words(array: Any) -> np.ndarray:
    """A Warp array on the CPU as NumPy sees it, ``[N, ...]``, in the same memory."""
    view: np.ndarray = array.numpy()
    return view
