"""The history ring against a plain list of frames, and against mjlab's buffer."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from holdstep.envs.history_ring import HistoryRing, shifted
from holdstep.errors import ConfigError, InvalidEnvIdsError, ResetNeededError

NUM_ENVS = 3


class PlainHistory:
    """A list of frames for each row."""

    def __init__(self, length):
        self.length = length
        self.rows = [None] * NUM_ENVS

    def append(self, values):
        for row, value in enumerate(values):
            frames = self.rows[row]
            self.rows[row] = [value] * self.length if frames is None else [*frames[1:], value]

    def reset(self, rows):
        for row in rows:
            self.rows[row] = None

    @property
    def frames(self):
        return torch.stack([torch.stack(frames) for frames in self.rows])


events = st.lists(
    st.just("append") | st.sets(st.integers(0, NUM_ENVS - 1), min_size=1), max_size=30
)


@given(events, st.integers(1, 5), st.sampled_from([(), (2,), (2, 3)]))
def test_it_holds_what_a_list_would(events, length, shape):
    ring, plain = HistoryRing(NUM_ENVS, length, shape), PlainHistory(length)
    pure = torch.zeros(NUM_ENVS, length, *shape)
    is_first = torch.ones(NUM_ENVS, dtype=torch.bool)
    generator = torch.Generator().manual_seed(0)
    for event in ["append", *events, "append"]:
        if event != "append":
            ring.reset(sorted(event))
            plain.reset(event)
            is_first[sorted(event)] = True
            assert not ring.frames[sorted(event)].any()
            continue
        values = torch.randn(NUM_ENVS, *shape, generator=generator)
        ring.append(values)
        plain.append(values.clone())
        pure = shifted(pure, values, is_first)
        is_first[:] = False
        values.fill_(torch.nan)  # it was copied
        assert torch.equal(ring.frames, plain.frames)
        assert torch.equal(pure, plain.frames)
        lags = torch.randint(0, length, (NUM_ENVS,), generator=generator)
        expected = plain.frames[torch.arange(NUM_ENVS), length - 1 - lags]
        assert torch.equal(ring.lagged(lags), expected)


def test_reading_copies_nothing():
    ring = HistoryRing(4, 3, (5,))
    for _ in range(5):
        ring.append(torch.randn(4, 5))
        storage = ring.frames.untyped_storage().data_ptr()
        assert ring.flat().untyped_storage().data_ptr() == storage
        assert torch.equal(ring.flat(), ring.frames.reshape(4, 15))


def test_it_agrees_with_mjlabs():
    from mjlab.utils.buffers import CircularBuffer

    theirs, ours = CircularBuffer(max_len=4, batch_size=6, device="cpu"), HistoryRing(6, 4, (3,))
    generator = torch.Generator().manual_seed(1)
    for step in range(25):
        if step % 4 == 3:
            rows = torch.randperm(6, generator=generator)[: step % 3 + 1]
            theirs.reset(rows)
            ours.reset(rows)
            assert torch.equal(theirs.buffer, ours.frames)
        values = torch.randn(6, 3, generator=generator)
        theirs.append(values)
        ours.append(values)
        assert torch.equal(theirs.buffer, ours.frames)


def test_in_inference_mode_and_out_of_it():
    with torch.inference_mode():  # RL libraries build and step what they are given in it
        ring = HistoryRing(2, 3, (1,))
        ring.append(torch.ones(2, 1))
    ring.reset([0])
    ring.append(torch.zeros(2, 1))
    with torch.inference_mode():
        ring.reset()
        ring.append(torch.ones(2, 1))
    assert ring.frames.eq(1).all()


def test_a_reset_of_all_rows():
    ring = HistoryRing(2, 3, (1,))
    ring.append(torch.ones(2, 1))
    ring.append(torch.ones(2, 1) * 2)
    ring.reset()
    assert not ring.frames.any()
    ring.append(torch.ones(2, 1) * 3)
    assert ring.frames.eq(3).all()


def test_what_is_refused():
    with pytest.raises(ConfigError, match=r"num_envs .* got 0"):
        HistoryRing(0, 3)
    with pytest.raises(ConfigError, match=r"history_length .* got True"):
        HistoryRing(2, True)
    ring = HistoryRing(2, 3, (4,))
    with pytest.raises(ResetNeededError, match=r"append\(\)"):
        ring.frames.sum()
    with pytest.raises(ConfigError, match=r"shape \[2, 4\], got \[2, 3\]"):
        ring.append(torch.zeros(2, 3))
    with pytest.raises(InvalidEnvIdsError):
        ring.reset([2])
