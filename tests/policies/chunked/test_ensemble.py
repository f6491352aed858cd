"""Temporal ensembling, against a plain reference and against what ACT published."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from holdstep.errors import ConfigError, InvalidEnvIdsError
from holdstep.policies.chunked.ensemble import TemporalEnsemble, TemporalEnsembling


class Reference:
    """Lists of chunks per row, in float64: nothing to get wrong."""

    def __init__(self, num_envs, max_chunks, decay):
        self.rows = [[] for _ in range(num_envs)]
        self.max_chunks, self.decay = max_chunks, decay

    def add(self, env_id, actions, length, position):
        row = self.rows[env_id]
        if len(row) == self.max_chunks:
            used_up = [place for place, chunk in enumerate(row) if chunk[2] >= chunk[1]]
            row.pop(used_up[0] if used_up else 0)
        row.append([np.asarray(actions, np.float64), length, position])

    def next_action(self, env_id):
        predictions = [
            actions[position]
            for actions, length, position in self.rows[env_id]
            if position < length
        ]
        for chunk in self.rows[env_id]:
            chunk[2] += 1
        if not predictions:
            return None
        weights = [math.exp(-self.decay * i) for i in range(len(predictions))]
        return sum(w * p for w, p in zip(weights, predictions, strict=True)) / sum(weights)

    def reset(self, env_id):
        self.rows[env_id] = []


NUM_ENVS, LENGTH, DIM = 3, 5, 2
values = st.sampled_from([0.0, -0.0, 1.0, -2.5, 0.125, 3.0])
rows = st.lists(st.integers(0, NUM_ENVS - 1), unique=True, max_size=NUM_ENVS)


@st.composite
def additions(draw):
    env_ids = draw(rows)
    count = len(env_ids)
    size = count * LENGTH * DIM
    actions = draw(st.lists(values, min_size=size, max_size=size))
    return (
        "add",
        env_ids,
        torch.tensor(actions).reshape(count, LENGTH, DIM),
        draw(st.lists(st.integers(0, LENGTH), min_size=count, max_size=count)),
        draw(st.lists(st.integers(0, LENGTH), min_size=count, max_size=count)),
    )


events = st.lists(
    st.one_of(additions(), st.tuples(st.just("step"), rows), st.tuples(st.just("reset"), rows)),
    max_size=25,
)


@settings(max_examples=150, deadline=None)
@given(
    events=events,
    max_chunks=st.integers(1, LENGTH),
    decay=st.sampled_from([0.01, 0.0, 0.7, -0.5]),
)
def test_equals_the_reference(events, max_chunks, decay):
    ensemble = TemporalEnsemble(
        NUM_ENVS, LENGTH, DIM, decay=decay, max_chunks=max_chunks, device="cpu"
    )
    reference = Reference(NUM_ENVS, max_chunks, decay)
    for kind, env_ids, *rest in [*events, ("step", list(range(NUM_ENVS)))]:
        if kind == "add":
            actions, lengths, offsets = rest
            ids = torch.tensor(env_ids, dtype=torch.int64)
            ensemble.add(ids, actions, torch.tensor(lengths).long(), torch.tensor(offsets).long())
            for row, env_id in enumerate(env_ids):
                reference.add(env_id, actions[row], lengths[row], offsets[row])
        elif kind == "reset":
            ensemble.reset(env_ids)
            for env_id in env_ids:
                reference.reset(env_id)
        else:
            mask = torch.zeros(NUM_ENVS, dtype=torch.bool)
            mask[env_ids] = True
            available = ensemble.available_mask
            actions = ensemble.current(mask)
            assert torch.equal(available, ensemble.available_mask)  # nobody has acted yet
            assert torch.equal(actions.isnan(), ensemble.next_actions(mask).isnan())
            assert actions.shape == (NUM_ENVS, DIM)
            assert actions.dtype == torch.float32
            for env_id in range(NUM_ENVS):
                if env_id not in env_ids:
                    assert actions[env_id].tolist() == [0.0] * DIM
                    continue
                expected = reference.next_action(env_id)
                assert available[env_id] == (expected is not None)
                if expected is None:
                    assert actions[env_id].isnan().all()
                else:
                    np.testing.assert_allclose(actions[env_id], expected, rtol=1e-5, atol=1e-6)


def act_as_published(chunks, decay):
    """The average over all time, as ACT's evaluation script keeps it, for one row.

    ``all_time_actions[t, t : t + L]`` is the chunk that was predicted at t; the action of tick t is
    the average of the column t, the oldest first. What was never predicted is marked by NaN here.
    """
    num_ticks, length, dim = chunks.shape
    all_time_actions = np.full((num_ticks, num_ticks + length, dim), np.nan)
    executed = []
    for t in range(num_ticks):
        all_time_actions[t, t : t + length] = chunks[t]
        for_this_tick = all_time_actions[:, t]
        for_this_tick = for_this_tick[~np.isnan(for_this_tick).any(axis=1)]
        weights = np.exp(-decay * np.arange(len(for_this_tick)))
        weights /= weights.sum()
        executed.append((for_this_tick * weights[:, None]).sum(axis=0))
    return np.stack(executed)


@pytest.mark.parametrize("decay", [0.01, 0.5, -0.3])
def test_equals_the_published_average_when_every_tick_has_a_chunk(decay):
    torch.manual_seed(0)
    chunks = torch.randn(30, 8, 3)
    ensemble = TemporalEnsembling(decay=decay).build(
        1, chunk_length=8, action_dim=3, execute=1, device="cpu"
    )
    executed = []
    for chunk in chunks:
        ensemble.add([0], chunk.unsqueeze(0))
        executed.append(ensemble.next_actions()[0])
    np.testing.assert_allclose(
        torch.stack(executed), act_as_published(chunks.double().numpy(), decay), atol=1e-6
    )


def test_what_is_current_stays_so_until_its_rows_advance():
    ensemble = TemporalEnsemble(2, 2, 1, device="cpu")
    ensemble.add([0, 1], torch.tensor([[[1.0], [2.0]], [[3.0], [4.0]]]))
    for _ in range(3):
        assert ensemble.current().tolist() == [[1.0], [3.0]]
    ensemble.advance(torch.tensor([False, True]))
    assert ensemble.current().tolist() == [[1.0], [4.0]]
    assert ensemble.current(torch.tensor([True, False])).tolist() == [[1.0], [0.0]]
    ensemble.advance()
    assert ensemble.current()[0].tolist() == [2.0]


def test_older_predictions_weigh_more_with_a_positive_decay():
    ensemble = TemporalEnsemble(1, 2, 1, decay=math.log(3), device="cpu")
    ensemble.add([0], torch.tensor([[[9.0], [0.0]]]))
    ensemble.next_actions()
    ensemble.add([0], torch.tensor([[[4.0], [9.0]]]))
    assert ensemble.next_actions().item() == pytest.approx(1.0)  # (3 * 0 + 1 * 4) / 4


def test_an_action_of_zeros_counts():
    ensemble = TemporalEnsemble(1, 2, 1, decay=0.0, device="cpu")
    ensemble.add([0], torch.tensor([[[0.0], [0.0]]]))
    ensemble.next_actions()
    ensemble.add([0], torch.tensor([[[6.0], [6.0]]]))
    assert ensemble.next_actions().item() == 3.0


def test_a_single_prediction_is_returned_bit_for_bit():
    chunk = torch.randn(4, 5, 3)
    ensemble = TemporalEnsemble(4, 5, 3, max_chunks=2, device="cpu")
    ensemble.add(torch.arange(4), chunk)
    for tick in range(5):
        assert torch.equal(ensemble.next_actions(), chunk[:, tick])
    assert not ensemble.available_mask.any()


def test_what_lies_behind_a_valid_length_is_not_looked_at():
    chunk = torch.tensor([[[1.0], [torch.nan]]])
    ensemble = TemporalEnsemble(1, 2, 1, device="cpu")
    ensemble.add([0], chunk, torch.tensor([1]))
    ensemble.next_actions()
    ensemble.add([0], torch.tensor([[[2.0], [3.0]]]))
    assert ensemble.next_actions().item() == 2.0


def test_a_chunk_is_copied():
    chunk = torch.ones(1, 2, 1)
    ensemble = TemporalEnsemble(1, 2, 1, device="cpu")
    ensemble.add([0], chunk)
    chunk.zero_()
    assert ensemble.next_actions().item() == 1.0


def test_weights_far_out_of_range_leave_one_prediction():
    ensemble = TemporalEnsemble(1, 3, 1, decay=-500.0, device="cpu")
    for value in (1.0, 2.0, 3.0):
        ensemble.add([0], torch.full((1, 3, 1), value))
    assert ensemble.next_actions().item() == 3.0


def test_what_is_made_in_inference_mode_can_be_used_outside():
    with torch.inference_mode():
        ensemble = TemporalEnsemble(1, 2, 1, device="cpu")
        chunk = torch.ones(1, 2, 1)
    ensemble.add([0], chunk)
    assert ensemble.next_actions().item() == 1.0


@pytest.mark.parametrize(("execute", "max_chunks"), [(1, 10), (3, 4), (5, 2), (10, 1), (20, 1)])
def test_the_config_keeps_as_many_chunks_as_can_overlap(execute, max_chunks):
    ensemble = TemporalEnsembling().build(
        1, chunk_length=10, action_dim=1, execute=execute, device="cpu"
    )
    assert ensemble.max_chunks == max_chunks


@pytest.mark.parametrize(
    "arguments",
    [
        {"actions": torch.zeros(1, 3, 2)},
        {"actions": torch.zeros(2, 2, 2)},
        {"valid_lengths": torch.tensor([3])},
        {"valid_lengths": torch.tensor([-1])},
        {"valid_lengths": torch.tensor([1.0])},
        {"valid_lengths": torch.tensor([1, 1])},
        {"start_offset": -1},
        {"start_offset": torch.tensor([3])},
    ],
)
def test_chunks_that_do_not_fit_are_refused(arguments):
    ensemble = TemporalEnsemble(2, 2, 2, device="cpu")
    with pytest.raises(ConfigError):
        ensemble.add(**{"env_ids": [0], "actions": torch.zeros(1, 2, 2)} | arguments)


def test_rows_that_do_not_exist_are_refused():
    ensemble = TemporalEnsemble(2, 2, 2, device="cpu")
    with pytest.raises(InvalidEnvIdsError):
        ensemble.add([2], torch.zeros(1, 2, 2))
    with pytest.raises(InvalidEnvIdsError):
        ensemble.reset([0, 0])


@pytest.mark.parametrize("decay", [math.nan, math.inf, "0.01"])
def test_a_decay_that_is_no_number_is_refused(decay):
    with pytest.raises(ConfigError, match="decay"):
        TemporalEnsembling(decay=decay)


@pytest.mark.parametrize("name", ["num_envs", "chunk_length", "action_dim", "max_chunks"])
def test_sizes_are_checked(name):
    sizes = {"num_envs": 1, "chunk_length": 2, "action_dim": 1, "max_chunks": 1} | {name: 0}
    with pytest.raises(ConfigError, match=name):
        TemporalEnsemble(**sizes, device="cpu")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_averages_alike_and_is_not_waited_for():
    torch.manual_seed(0)
    ensembles = [TemporalEnsemble(8, 6, 2, max_chunks=3, device=d) for d in ("cpu", "cuda")]
    for tick in range(20):
        chunks, mask = torch.randn(8, 6, 2), torch.rand(8) < 0.7
        for ensemble in ensembles:
            if tick % 2 == 0:
                ensemble.add(torch.arange(8), chunks.to(ensemble.device))
        on_cpu = ensembles[0].next_actions(mask)
        on_gpu_mask = mask.to("cuda")
        torch.cuda.set_sync_debug_mode("error")
        try:
            on_gpu = ensembles[1].next_actions(on_gpu_mask)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        torch.testing.assert_close(on_gpu.cpu(), on_cpu, equal_nan=True)
