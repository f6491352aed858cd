"""Messages, counters and checkpoints arrive as they were sent, in whatever pieces."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from holdstep.wrappers.record.checkpoint import Checkpoints
from holdstep.wrappers.record.columns import Column, RowLayout
from holdstep.wrappers.record.control import ControlPage, Counters
from holdstep.wrappers.record.messages import Event, Message, PipeInbox, QueueInbox
from holdstep.wrappers.record.ring import BlockRing, EntryKind, ring_for
from holdstep.wrappers.record.staging import BlockTensors, memory_of

EVENTS = st.builds(
    Event,
    entry=st.integers(0, 40),
    do=st.sampled_from(["mark", "annotate"]),
    rows=st.lists(st.integers(0, 5000), max_size=5),
    values=st.dictionaries(st.text(max_size=4), st.text(max_size=9) | st.booleans(), max_size=2),
)
MESSAGES = st.lists(
    st.builds(
        Message,
        do=st.sampled_from(["block", "flush", "close"]),
        number=st.integers(0, 2**40),
        index=st.integers(-1, 20),
        offset=st.integers(0, 2**45),
        kinds=st.lists(st.integers(0, 2), max_size=40),
        num_observed=st.lists(st.integers(0, 5000), max_size=40),
        events=st.lists(EVENTS, max_size=3),
    ),
    max_size=6,
)


@settings(max_examples=60, deadline=None)
@given(MESSAGES, st.lists(st.integers(1, 40), min_size=1, max_size=30))
def test_messages_arrive_whatever_pieces_the_pipe_makes(messages, sizes):
    reader, writer = os.pipe()
    inbox = PipeInbox(reader, os.getppid())
    content = b"".join(message.encode() for message in messages)
    received = []
    while content:
        for size in sizes:
            os.write(writer, content[:size])
            content = content[size:]
            while (message := inbox.get(0.0)) is not None:
                received.append(message)
    assert received == messages
    os.close(writer)
    assert inbox.get(0.0) == Message("abandon")
    os.close(reader)


def test_the_end_of_the_parent_is_noticed_even_if_the_pipe_lives_on():
    reader, writer = os.pipe()
    assert PipeInbox(reader, os.getppid()).get(0.01) is None
    assert PipeInbox(reader, os.getppid() + 1).get(0.01) == Message("abandon")
    os.write(writer, Message("flush", 3).encode())  # what was sent before comes first
    assert PipeInbox(reader, os.getppid() + 1).get(0.01) == Message("flush", 3)
    os.close(writer)
    os.close(reader)


def test_a_queue_gives_what_was_put():
    inbox = QueueInbox()
    assert inbox.get(0.0) is None
    inbox.put(Message("flush", 1))
    assert inbox.get(1.0) == Message("flush", 1)


def test_counters_are_seen_in_another_process():
    page = ControlPage()
    page.set(released=5, acknowledged=2**50, closed=-1)
    code = (
        "import sys; from holdstep.wrappers.record.control import ControlPage;"
        "page = ControlPage(int(sys.argv[1])); print(page.released, page.get('acknowledged'));"
        "page.set(durable=7); page.error = 'disk ' * 3"
    )
    done = subprocess.run([sys.executable, "-c", code, str(page.fd)], pass_fds=[page.fd],
                          capture_output=True, text=True, check=True)  # fmt: skip
    assert done.stdout.split() == ["5", str(2**50)]
    assert page.read() == Counters(released=5, acknowledged=2**50, durable=7)
    assert page.error == "disk disk disk "
    page.error = "x" * 10**6  # cut, not written beyond the page
    assert set(page.error) == {"x"}
    page.close()
    page.close()


@given(st.lists(st.integers(0, 200), min_size=1, max_size=12))
def test_the_states_after_the_last_two_blocks_are_kept(sizes):
    checkpoints = Checkpoints()
    for number, size in enumerate(sizes):
        checkpoints.write(number, {"rows": list(range(size))})
        assert checkpoints.read(number) == {"rows": list(range(size))}
        if number:
            assert checkpoints.read(number - 1) == {"rows": list(range(sizes[number - 1]))}
    with pytest.raises(LookupError, match="was not kept"):
        checkpoints.read(len(sizes) + 1)
    checkpoints.close()


COLUMNS = st.tuples(
    st.sampled_from(["float32", "int64", "uint8", "bool", "float16"]),
    st.integers(0, 300),
    st.sampled_from(["step", "observation"]),
)


def layout_of(columns):
    return RowLayout([Column(f"c{i}", dtype, (width,), kind)
                      for i, (dtype, width, kind) in enumerate(columns)])  # fmt: skip


@given(
    st.integers(1, 5000), st.lists(COLUMNS, min_size=1, max_size=4), st.integers(1, 1 << 30)
)  # fmt: skip
def test_rings_keep_to_their_bound_and_a_new_block_has_room_for_any_step(num_envs, columns, most):
    shape, num_blocks = ring_for(layout_of(columns), num_envs=num_envs, max_queue_bytes=most)
    assert num_blocks >= 2
    assert shape.num_slots >= 4
    pages = num_blocks * 4096
    assert shape.block_bytes * num_blocks <= max(most, 8 * shape.slot_bytes + pages)
    # A gap, a step, and the last observations of every row: three parts of one slot each.
    assert shape.observed_bytes(num_envs) <= shape.slot_bytes
    filled = shape.filled([EntryKind.GAP, EntryKind.STEP], [0, num_envs])
    assert filled.slots_end <= filled.begin <= filled.end <= shape.block_bytes


@given(st.data(), st.integers(1, 5), st.lists(COLUMNS, min_size=1, max_size=3))
def test_nothing_in_a_block_overlaps_and_both_sides_see_the_same(data, num_envs, columns):
    shape, _ = ring_for(layout_of(columns), num_envs=num_envs, max_queue_bytes=1)
    ring = BlockRing(shape, 2)
    ring.memory[:] = 0
    observed = data.draw(st.lists(st.integers(0, num_envs), max_size=3))
    tensors = [BlockTensors(memory, shape) for memory in memory_of(ring)]
    parts = []
    for block, seen in enumerate(tensors):
        for slot in range(shape.num_slots - len(observed)):
            parts.append((seen.slots[slot].words, ring[block].words[slot]))
            split = num_envs * shape.num_bytes
            parts.append((seen.slots[slot].small[:split], ring[block].bytes_[slot]))
            parts.append((seen.slots[slot].small[split:], ring[block].flags[slot]))
            assert seen.slots[slot].truths.data_ptr() == seen.slots[slot].small.data_ptr()
        end = shape.end
        for num_rows in observed:
            parts += zip(seen.observed(end, num_rows), ring[block].observed(end, num_rows),
                         strict=True)  # fmt: skip
            end -= shape.observed_bytes(num_rows)
    expected = []
    for number, (tensor, array) in enumerate(parts):
        values = np.full(array.shape, number + 1, array.dtype)
        expected.append(values)
        flat = torch.from_numpy(values.view(np.float32) if tensor.is_floating_point() else values)
        tensor.copy_(flat.view(tensor.shape))
    for (_, array), values in zip(parts, expected, strict=True):
        assert np.array_equal(array, values)
    ring.close()
