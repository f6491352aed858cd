"""What is averaged where valid lengths end chunks early, so that rows get more of them."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from holdstep.policies.chunked.ensemble import TemporalEnsemble, TemporalEnsembling


def test_a_short_chunk_takes_no_place_from_one_that_still_predicts():
    ensemble = TemporalEnsembling(decay=0.0).build(
        1, chunk_length=6, action_dim=1, execute=3, device="cpu"
    )
    for value, length, num_steps in ((1.0, 6, 3), (2.0, 1, 1), (4.0, 6, 1)):
        ensemble.add([0], torch.full((1, 6, 1), value), torch.tensor([length]))
        executed = [ensemble.next_actions().item() for _ in range(num_steps)]
    assert executed == [2.5]  # of 1, which is the first chunk's fifth, and 4


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 7), min_size=1, max_size=25),
    execute=st.integers(1, 7),
    decay=st.sampled_from([0.0, 0.3]),
)
def test_the_config_loses_no_prediction_whatever_the_valid_lengths(lengths, execute, decay):
    torch.manual_seed(0)
    config = TemporalEnsembling(decay=decay)
    small = config.build(1, chunk_length=7, action_dim=2, execute=execute, device="cpu")
    large = TemporalEnsemble(1, 7, 2, decay=decay, max_chunks=30, device="cpu")
    for length in lengths:
        chunk = torch.randn(1, 7, 2)
        for ensemble in (small, large):
            ensemble.add([0], chunk, torch.tensor([length]))
        for _ in range(min(length, execute)):
            torch.testing.assert_close(small.next_actions(), large.next_actions())
