"""Canaries: what was handed over is written over at once, and must not be seen to change."""

import pytest
import torch

from holdstep.errors import RecordingError
from holdstep.wrappers import RecordEpisodes
from holdstep.wrappers.record.block_queue import BlockQueue
from holdstep.wrappers.record.dataset import Dataset
from holdstep.wrappers.record.filler import BlockFiller
from holdstep.wrappers.record.packing import Packer
from holdstep.wrappers.record.writer import WriterLoop
from tests.wrappers.record.scripted_env import (
    CloningRecorder,
    Script,
    ScriptedEnv,
    as_bytes,
    read_by_id,
)

MARKER = 0x55
SCRIPT = Script(
    groups={"policy": ("float32", (6,)), "camera": ("uint8", (8, 8, 3)), "n": ("int16", (2,))},
    num_envs=4,
    ends=[([], []), ([1], []), ([], [0, 2]), ([3], [])],
    states=True,
)
KEYS = ["obs", "actions", "rewards", "terminated", "truncated", "states"]


def spoil(value):
    if isinstance(value, dict):
        for inner in value.values():
            spoil(inner)
    elif isinstance(value, torch.Tensor) and value.numel():
        value.view(torch.uint8).fill_(MARKER if value.dtype != torch.bool else 1)


def is_intact(path, num_steps=120, **options):
    """Record while everything is spoilt as early as it may be; whether it is read back whole."""
    cloning = CloningRecorder(ScriptedEnv(SCRIPT), states=True)
    env = RecordEpisodes(cloning, path, keys=KEYS, durability="os", max_queue_bytes=1 << 15,
                         **options)  # fmt: skip
    try:
        obs, _ = env.reset()
        spoil(obs)
        for _ in range(num_steps):
            actions = torch.randn(4, 2)
            obs, reward, terminated, truncated, info = env.step(actions)
            for value in (actions, obs, reward, terminated, truncated, info):
                spoil(value)
            spoil(env.unwrapped.last)
    finally:
        env.close()
        cloning.stop()
    return read_by_id(Dataset(path)) == cloning.by_id()


@pytest.fixture(autouse=True)
def _freed_blocks_are_spoilt(monkeypatch):
    """A block that is free is the loop's, and what the writer still reads of it is gone."""
    acquire = BlockQueue.acquire

    def spoiling(self, **kwargs):
        index = acquire(self, **kwargs)
        if index is not None:
            self.ring[index].memory[:] = MARKER
        return index

    monkeypatch.setattr(BlockQueue, "acquire", spoiling)


@pytest.mark.parametrize("writer", ["thread", "process"])
@pytest.mark.parametrize("on_full", ["block", "spill"])
def test_nothing_that_was_handed_over_is_seen_to_change(tmp_path, writer, on_full):
    assert is_intact(tmp_path / "demos", writer=writer, on_full=on_full)


def test_a_recorder_that_kept_tensors_would_be_caught(tmp_path, monkeypatch):
    pack = Packer.step
    kept = []

    def late(self, slot, *values):
        """Hands over references, and copies them when the next step comes."""
        for arguments in kept:
            pack(self, *arguments)
        kept[:] = [(slot, *values)]

    monkeypatch.setattr(Packer, "step", late)
    assert not is_intact(tmp_path / "demos", writer="thread")


def test_a_writer_that_released_too_early_would_be_caught(tmp_path, monkeypatch):
    take = WriterLoop._take

    def early(self, message):
        self._control.set(released=message.number + 1)
        take(self, message)

    monkeypatch.setattr(WriterLoop, "_take", early)
    results = [is_intact(tmp_path / str(n), writer="thread", num_steps=400) for n in range(3)]
    assert not all(results)


def test_a_loop_that_wrote_to_a_block_after_its_hand_over_would_be_caught(tmp_path, monkeypatch):
    send = BlockFiller.send

    def lingering(self):
        slots = [] if self._block is None else self._block.slots
        send(self)
        for slot in slots:
            slot.words.fill_(0.5)

    monkeypatch.setattr(BlockFiller, "send", lingering)
    try:
        intact = is_intact(tmp_path / "demos", writer="thread")
    except RecordingError:  # numbers of rows that don't exist, which the writer notices itself
        return
    assert not intact


def test_the_canary_sees_each_bit():
    ones = torch.zeros(3)
    before = as_bytes(ones)
    spoil(ones)
    assert as_bytes(ones) != before
