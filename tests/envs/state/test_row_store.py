"""RowStore against a naive model that copies row by row, with each engine and launch shape."""

import functools
import gc
import sys
import weakref
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from holdstep.envs.state import row_store
from holdstep.envs.state.row_store import RowStore, fused_copier
from holdstep.envs.state.slot import RING, ROWS, Layout, Slot
from holdstep.errors import UnsupportedStateError

DTYPES = (torch.float32, torch.float64, torch.bool, torch.int8, torch.int32, torch.int64)
FORMS = ("contiguous", "gaps between rows", "gaps between entries", "reversed")
CPU = torch.device("cpu")


def by_warp(device, num_lanes=None, max_run=None):
    pytest.importorskip("warp", reason="warp-lang is not installed (it comes with 'mjlab')")
    from holdstep.envs.state.row_copy_warp import LaunchShape, WarpCopier

    return WarpCopier(device, None if num_lanes is None else LaunchShape(num_lanes, max_run))


COPIERS = {
    "torch": lambda device: None,
    "warp": by_warp,
    "warp as on a GPU": functools.partial(by_warp, num_lanes=8, max_run=4),
    "warp, odd shape": functools.partial(by_warp, num_lanes=3, max_run=1),
}
each_copier = pytest.mark.parametrize("make_copier", COPIERS.values(), ids=COPIERS)
each_gpu_copier = pytest.mark.parametrize("name", ["torch", "warp", "warp, odd shape"])


def random_like(tensor, rng):
    """Random bits: NaN and denormal numbers must come back too."""
    size = tuple(tensor.shape)
    if tensor.dtype == torch.bool:
        values = torch.from_numpy(rng.integers(0, 2, size).astype(np.bool_))
    else:
        num_bytes = max(1, tensor.numel()) * tensor.element_size()
        raw = torch.from_numpy(rng.integers(0, 256, num_bytes).astype(np.uint8))
        values = raw.view(tensor.dtype)[: tensor.numel()].reshape(size)
    return values.to(tensor.device)


def new_tensor(shape, dtype, device, form="contiguous"):
    if form == "gaps between rows":
        wide = (*shape[:-1], shape[-1] + 3)
        return torch.zeros(wide, dtype=dtype, device=device)[..., 1 : shape[-1] + 1]
    if form == "gaps between entries":
        wide = (*shape[:-1], shape[-1] * 2)
        return torch.zeros(wide, dtype=dtype, device=device)[..., ::2]
    if form == "reversed":
        reversed_dims = tuple(range(len(shape)))[::-1]
        return torch.zeros(shape[::-1], dtype=dtype, device=device).permute(reversed_dims)
    return torch.zeros(shape, dtype=dtype, device=device)


def bits(tensor):
    return tensor.cpu().contiguous().numpy().tobytes()


@dataclass
class ModelSlot:
    """A slot of a simulator, and what a naive store would keep of it."""

    shape: tuple
    dtype: torch.dtype
    layout: Layout
    device: torch.device
    position: int = -1
    exists: bool = True
    tensor: torch.Tensor | None = None
    saved: dict = field(default_factory=dict)

    def as_slot(self, name):
        position = (lambda: self.position) if self.layout.ring else None
        return Slot(name, self.get, self.layout, position=position)

    def get(self):
        return self.tensor if self.exists else None

    def replace(self, form):
        self.tensor = new_tensor(self.shape, self.dtype, self.device, form)

    def row(self, i):
        repeat = self.layout.repeat
        row = self.tensor.narrow(self.layout.dim, i * repeat, repeat)
        if self.layout.ring:
            length = self.shape[0]
            row = torch.stack([row[(self.position + 1 + k) % length] for k in range(length)])
        return bits(row)

    def hold(self, ids):
        for i in ids:
            self.saved.pop(i, None)
            if self.exists and self.tensor.numel():
                self.saved[i] = self.row(i)

    def step(self, rng, *, may_replace):
        if self.layout.ring:
            self.position = int(rng.integers(-1, self.shape[0]))
        change = rng.integers(0, 6) if may_replace else 5
        if change == 0:
            self.replace(FORMS[rng.integers(len(FORMS))])
        elif change == 1:
            self.tensor.data = new_tensor(self.shape, self.dtype, self.device)
        elif change == 2:
            self.exists = not self.exists
        self.tensor.copy_(random_like(self.tensor, rng))

    def check(self, num_envs, as_stepped):
        """Compare with what a step had made of it, ``as_stepped`` by row."""
        for i in range(num_envs):
            expected = self.saved.get(i, as_stepped[i]) if self.exists else as_stepped[i]
            assert self.row(i) == expected, (i, self)


@st.composite
def layouts(draw, num_envs):
    kind = draw(st.sampled_from(["rows", "rows", "dim", "ring", "ring of rows"]))
    inner = tuple(draw(st.lists(st.integers(0, 5), max_size=2)))
    repeat = draw(st.integers(1, 3))
    small = st.integers(1, 4)
    if kind == "rows":
        return (num_envs, *inner), ROWS
    if kind == "dim":
        return (draw(small), num_envs * repeat, *inner), Layout(dim=1, repeat=repeat)
    if kind == "ring":
        return (draw(small), num_envs, *inner), RING
    shape = (draw(small), draw(small), num_envs * repeat, *inner)
    return shape, Layout(dim=2, repeat=repeat, ring=True)


@st.composite
def scenarios(draw):
    num_envs = draw(st.integers(1, 13))
    model = draw(st.lists(st.tuples(layouts(num_envs), st.sampled_from(DTYPES)), max_size=5))
    ids = st.lists(st.integers(0, num_envs - 1), unique=True, max_size=num_envs)
    moves = st.sampled_from(["hold", "hold", "release", "step", "step", "step"])
    turns = draw(st.lists(st.tuples(moves, ids), max_size=14))
    return num_envs, model, turns, draw(st.booleans()), draw(st.integers(0, 2**32 - 1))


def play(scenario, make_copier, device):
    num_envs, specs, turns, may_replace, seed = scenario
    rng = np.random.default_rng(seed)
    model = [ModelSlot(shape, dtype, layout, device) for (shape, layout), dtype in specs]
    for slot in model:
        slot.replace("contiguous")
        slot.tensor.copy_(random_like(slot.tensor, rng))
    store = RowStore(
        [slot.as_slot(f"slot {i}") for i, slot in enumerate(model)],
        num_envs=num_envs,
        device=device,
        make_copier=make_copier,
    )
    for move, ids in turns:
        rows = torch.tensor(ids, dtype=torch.int64, device=device)
        if move == "hold":
            store.hold(rows)
            for slot in model:
                slot.hold(ids)
        elif move == "release":
            store.release(rows)
            for slot in model:
                slot.saved = {i: row for i, row in slot.saved.items() if i not in ids}
        else:
            for slot in model:
                slot.step(rng, may_replace=may_replace)
            as_stepped = [[slot.row(i) for i in range(num_envs)] for slot in model]
            store.put_back()
            for slot, rows_of_slot in zip(model, as_stepped, strict=True):
                slot.check(num_envs, rows_of_slot)


@each_copier
@settings(max_examples=150, deadline=None)
@given(scenario=scenarios())
def test_held_rows_come_back_bit_for_bit_and_others_are_left_alone(make_copier, scenario):
    play(scenario, make_copier, CPU)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@each_gpu_copier
@settings(max_examples=150, deadline=None)
@given(scenario=scenarios())
def test_the_same_on_a_gpu(name, scenario):
    play(scenario, COPIERS[name], torch.device("cuda"))


def store_of(*slots, make_copier, num_envs=4, device=CPU):
    return RowStore(slots, num_envs=num_envs, device=device, make_copier=make_copier)


def ids(*rows, device=CPU):
    return torch.tensor(rows, dtype=torch.int64, device=device)


def slots_with_every_fused_layout(num_envs, device):
    """Slots, and a function that scrambles them as a step does."""
    model = [
        ModelSlot((num_envs, 37), torch.float32, ROWS, device),
        ModelSlot((num_envs,), torch.bool, ROWS, device),
        ModelSlot((num_envs,), torch.int64, ROWS, device),
        ModelSlot((2, num_envs * 3, 5), torch.float64, Layout(dim=1, repeat=3), device),
        ModelSlot((5, num_envs, 3), torch.float32, RING, device),
        ModelSlot((3, num_envs, 7), torch.int8, RING, device),
    ]
    for slot in model:
        slot.replace("contiguous")
    model[0].replace("gaps between rows")

    def scramble(rng, *, replace=False):
        for slot in model:
            if replace:
                slot.replace("contiguous")
            slot.step(rng, may_replace=False)

    return model, scramble


@pytest.mark.parametrize("num_lanes", [1, 8])
def test_usual_layouts_are_copied_in_one_launch(monkeypatch, num_lanes):
    def refuse(*args):
        pytest.fail("copied by torch")

    monkeypatch.setattr(row_store, "put_rows_back", refuse)
    monkeypatch.setattr(row_store, "save_rows", refuse)
    model, scramble = slots_with_every_fused_layout(70, CPU)
    rng = np.random.default_rng(0)
    scramble(rng)
    slots = [slot.as_slot(str(i)) for i, slot in enumerate(model)]
    make_copier = functools.partial(by_warp, num_lanes=num_lanes, max_run=4)
    store = store_of(*slots, num_envs=70, make_copier=make_copier)
    held = [*range(10, 41), 69]
    store.hold(ids(*held))
    for slot in model:
        slot.hold(held)
    for turn in range(4):
        scramble(rng, replace=turn % 2 == 1)
        as_stepped = [[slot.row(i) for i in range(70)] for slot in model]
        store.put_back()
        for slot, rows in zip(model, as_stepped, strict=True):
            slot.check(70, rows)


@each_copier
@pytest.mark.parametrize("forms", [("contiguous", "reversed"), ("reversed", "contiguous")])
def test_a_ring_that_is_laid_out_anew_while_rows_are_held(make_copier, forms):
    """One engine saves, the other puts back: both must mean the same by the oldest entry."""
    ring, rng = ModelSlot((4, 6, 2), torch.float32, RING, CPU, position=0), np.random.default_rng(0)
    ring.replace(forms[0])
    ring.tensor.copy_(random_like(ring.tensor, rng))
    store = store_of(ring.as_slot("ring"), make_copier=make_copier, num_envs=6)
    store.hold(ids(1, 4))
    ring.hold([1, 4])
    for form in (*forms, *forms):
        ring.replace(form)
        ring.step(rng, may_replace=False)
        as_stepped = [ring.row(i) for i in range(6)]
        store.put_back()
        ring.check(6, as_stepped)


@each_copier
def test_a_value_that_all_rows_share_is_never_written(make_copier):
    shared = torch.tensor([1.0, 2.0]).expand(4, 2)
    store = store_of(Slot("shared", lambda: shared), make_copier=make_copier)
    store.hold(ids(1))
    shared.untyped_storage().copy_(torch.tensor([3.0, 4.0]).untyped_storage())
    store.put_back()
    assert shared[1].tolist() == [3.0, 4.0]


@each_copier
def test_an_entry_that_a_row_shows_many_times_is_put_back(make_copier):
    base = torch.arange(4.0)[:, None]
    store = store_of(Slot("wide", lambda: base.expand(4, 3)), make_copier=make_copier)
    store.hold(ids(1, 3))
    base += 10
    store.put_back()
    assert base.flatten().tolist() == [10, 1, 12, 3]


@each_copier
def test_a_tensor_that_is_made_while_a_row_is_held_is_no_state_of_that_row(make_copier):
    made = []
    store = store_of(Slot("lazy", lambda: made[0] if made else None), make_copier=make_copier)
    store.hold(ids(0))
    store.put_back()
    made.append(torch.arange(4.0))
    store.put_back()
    store.hold(ids(2))
    made[0] += 10
    store.put_back()
    assert made[0].tolist() == [10, 11, 2, 13]
    store.release(ids(0))
    made[0] += 10
    store.put_back()
    assert made[0].tolist() == [20, 21, 2, 23]


@each_copier
def test_a_tensor_that_was_gone_when_a_row_was_held(make_copier):
    tensor, exists = torch.arange(4.0), True
    store = store_of(Slot("derived", lambda: tensor if exists else None), make_copier=make_copier)
    store.hold(ids(0))
    exists = False
    store.hold(ids(1))
    exists = True
    tensor += 10
    store.put_back()
    assert tensor.tolist() == [0, 11, 12, 13]


@each_copier
def test_memory_that_is_gone_is_not_written_after_rows_are_held_anew(make_copier):
    tensor, exists = torch.arange(4.0), True
    store = store_of(Slot("derived", lambda: tensor if exists else None), make_copier=make_copier)
    store.hold(ids(0))
    store.put_back()
    store.release(ids(0))
    exists = False
    store.hold(ids(0))
    tensor += 10
    store.put_back()
    assert tensor.tolist() == [10, 11, 12, 13]


@each_copier
@pytest.mark.parametrize("other", [torch.zeros(4, 3), torch.zeros(4, 2, dtype=torch.int32)])
def test_another_shape_or_dtype_is_refused_while_rows_are_held(make_copier, other):
    tensor = torch.zeros(4, 2)
    store = store_of(Slot("x", lambda: tensor), make_copier=make_copier)
    store.hold(ids(1))
    tensor = other.clone()
    with pytest.raises(UnsupportedStateError, match=r"x was torch.float32\[4, 2\]"):
        store.put_back()
    with pytest.raises(UnsupportedStateError, match="x was"):
        store.hold(ids(2))
    store.release(ids(1))
    store.hold(ids(2))
    tensor += 1
    store.put_back()
    assert tensor.sum(1).tolist() == [other.shape[1], other.shape[1], 0, other.shape[1]]


@each_copier
@pytest.mark.parametrize("shape", [(), (5,), (1, 4)])
def test_a_tensor_without_rows_is_refused(make_copier, shape):
    store = store_of(Slot("x", lambda: torch.zeros(shape)), make_copier=make_copier)
    with pytest.raises(UnsupportedStateError, match="x must have size 4"):
        store.hold(ids(1))


@each_copier
def test_slots_may_share_memory(make_copier):
    tensor = torch.arange(8.0).reshape(4, 2)
    slots = [Slot("a", lambda: tensor), Slot("b", lambda: tensor[:, 1])]
    store = store_of(*slots, make_copier=make_copier)
    store.hold(ids(3))
    tensor += 1
    store.put_back()
    assert tensor.tolist() == [[1, 2], [3, 4], [5, 6], [6, 7]]


@each_copier
@pytest.mark.parametrize("held_in", [True, False])
@pytest.mark.parametrize("put_back_in", [True, False])
@pytest.mark.parametrize("form", ["contiguous", "reversed"])
def test_inside_and_outside_of_inference_mode(make_copier, held_in, put_back_in, form):
    with torch.inference_mode():
        made_in = new_tensor((4, 2), torch.float32, CPU, form)
    made_out = new_tensor((4, 2), torch.float32, CPU, form)
    learned = torch.zeros(4, requires_grad=True)
    tensors = made_in, made_out, learned
    slots = [Slot(str(i), functools.partial(tensors.__getitem__, i)) for i in range(3)]
    store = store_of(*slots, make_copier=make_copier)
    with torch.inference_mode(held_in):
        store.hold(ids(1))
    with torch.inference_mode():
        for tensor in tensors:
            tensor += 1
    with torch.inference_mode(put_back_in):
        store.put_back()
        store.put_back()
    assert made_in.sum(1).tolist() == made_out.sum(1).tolist() == [2, 0, 2, 2]
    assert learned.tolist() == [1, 0, 1, 1]


@each_copier
def test_no_tensor_is_kept_alive_while_no_row_is_held(make_copier):
    tensor = torch.zeros(4, 2)
    store = store_of(Slot("x", lambda: tensor), make_copier=make_copier)
    store.hold(ids(1))
    store.put_back()
    store.release(ids(1))
    first, tensor = weakref.ref(tensor), torch.ones(4, 2)
    gc.collect()
    assert first() is None
    store.put_back()
    assert tensor.eq(1).all()


def test_without_warp_torch_copies(monkeypatch):
    monkeypatch.setitem(sys.modules, "warp", None)
    monkeypatch.delitem(sys.modules, "holdstep.envs.state.row_copy_warp", raising=False)
    assert fused_copier(CPU) is None


def test_warp_copies_where_it_is_installed():
    pytest.importorskip("warp", reason="warp-lang is not installed (it comes with 'mjlab')")
    assert fused_copier(CPU) is not None


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@each_gpu_copier
@pytest.mark.parametrize("own_stream", [False, True])
def test_steps_in_a_row_never_wait_and_use_the_tensors_of_their_time(name, own_stream):
    """Uploads of pointers must not overtake copies, nor be overwritten before they arrive."""
    cuda = torch.device("cuda")
    model, scramble = slots_with_every_fused_layout(70, cuda)
    model.append(ModelSlot((70, 3), torch.float32, ROWS, CPU))
    model[-1].replace("contiguous")
    rng = np.random.default_rng(0)
    scramble(rng)
    slots = [slot.as_slot(str(i)) for i, slot in enumerate(model)]
    store = store_of(*slots, make_copier=COPIERS[name], num_envs=70, device=cuda)
    held = list(range(0, 70, 3))
    torch.cuda.synchronize()
    with torch.cuda.stream(torch.cuda.Stream() if own_stream else torch.cuda.current_stream()):
        store.hold(ids(*held, device=cuda))
        for slot in model:
            slot.hold(held)
        seen = []
        held_ids, busy = ids(*held, device=cuda), torch.randn(3000, 3000, device=cuda)
        for turn in range(40):
            for slot in model[:-1]:
                if turn % 3:
                    slot.replace("contiguous")
                if slot.layout.ring:
                    slot.position = int(rng.integers(-1, slot.shape[0]))
            busy = (busy @ busy).clamp(-1, 1)  # the host runs ahead
            torch.cuda.set_sync_debug_mode("error")
            try:
                store.put_back()
            finally:
                torch.cuda.set_sync_debug_mode("default")
            for slot in model[:-1]:
                rows = slot.tensor.view(*slot.shape[: slot.layout.dim], 70, slot.layout.repeat, -1)
                rows = rows.index_select(slot.layout.dim, held_ids)
                shift = slot.position + 1 if slot.layout.ring else 0
                seen.append((slot, rows.roll(-shift, 0) if slot.layout.ring else rows.clone()))
                slot.tensor.zero_()
        torch.cuda.synchronize()
    for slot, rows in seen:
        for k, i in enumerate(held):
            assert bits(rows.select(slot.layout.dim, k)) == slot.saved[i]
