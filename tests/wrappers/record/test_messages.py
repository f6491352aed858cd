"""Messages, counters and checkpoints arrive as they were sent, in whatever pieces."""

import os
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdstep.wrappers.record.checkpoint import Checkpoints
from holdstep.wrappers.record.control import ControlPage, Counters
from holdstep.wrappers.record.messages import Event, Message, PipeInbox, QueueInbox
from holdstep.wrappers.record.ring import BlockRing, BlockShape, ring_for

EVENTS = st.builds(
    Event,
    slot=st.integers(0, 40),
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
        kinds=st.lists(st.integers(0, 3), max_size=40),
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


@given(
    st.integers(1, 5000), st.integers(0, 400), st.integers(0, 60000), st.integers(1, 1 << 30)
)  # fmt: skip
def test_rings_keep_to_their_bound(num_envs, num_words, num_bytes, most):
    shape, num_blocks = ring_for(
        num_envs=num_envs, num_words=num_words, num_bytes=num_bytes, max_queue_bytes=most
    )
    assert num_blocks >= 2
    assert shape.num_slots >= 4
    pages = num_blocks * 4096
    assert shape.block_bytes * num_blocks <= max(most, 8 * shape.slot_bytes + pages)


def test_blocks_do_not_overlap():
    shape = BlockShape(num_slots=3, num_envs=2, num_words=5, num_bytes=7)
    ring = BlockRing(shape, 2)
    for index in range(2):
        ring[index].words[:] = index + 1
        ring[index].bytes_[:] = index + 11
        ring[index].flags[:] = index + 21
    for index in range(2):
        assert (ring[index].words == index + 1).all()
        assert (ring[index].bytes_ == index + 11).all()
        assert (ring[index].flags == index + 21).all()
    ring.close()
