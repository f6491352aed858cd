"""Mini-batches of rows of different lengths: all transitions, in even shares, as they were."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("rsl_rl", reason="the extra 'rsl-rl' is not installed")

from holdstep.policies.rsl_rl import MaskedPPO
from holdstep.policies.rsl_rl.sequences import RaggedSequences, flat_sequences
from tests.policies.rsl_rl.tapes import Tape, collect, make_algorithm

NUM_ENVS, NUM_STEPS = 7, 6
masks = st.lists(
    st.lists(st.booleans(), min_size=NUM_ENVS, max_size=NUM_ENVS),
    min_size=NUM_STEPS,
    max_size=NUM_STEPS,
).map(torch.tensor)


@given(masks, st.sampled_from(["lstm", "gru critic"]), st.integers(1, 4))
@settings(max_examples=20, deadline=None)
def test_batches_are_what_rows_did_and_networks_make_of_them_what_they_made(mask, networks, number):
    """Before anything is learnt, the networks give again what they gave while rows were stepped."""
    mask[0, 0] = True
    tape = Tape(NUM_ENVS, NUM_STEPS)
    masked = make_algorithm(MaskedPPO, tape, NUM_STEPS, networks=networks)
    _, taken = collect(masked, tape, mask, torch.zeros(NUM_ENVS, dtype=torch.int64))
    dense = masked.storage.dense(recurrent=True, num_mini_batches=number)
    if not isinstance(dense, RaggedSequences):
        assert len(set(mask.sum(0).tolist())) == 1
        return
    seen, sizes = [], []
    with flat_sequences(masked.actor, masked.critic), torch.no_grad():
        batches = list(dense.recurrent_mini_batch_generator(number, num_epochs=2))
        for batch in batches:
            masked.actor(
                batch.observations,
                masks=batch.masks,
                hidden_state=batch.hidden_states[0],
                stochastic_output=True,
            )
            log_prob = masked.actor.get_output_log_prob(batch.actions)
            values = masked.critic(
                batch.observations, masks=batch.masks, hidden_state=batch.hidden_states[1]
            )
            torch.testing.assert_close(log_prob, batch.old_actions_log_prob.squeeze(1))
            torch.testing.assert_close(values, batch.values)
            sizes.append(len(batch.actions))
            seen += [tuple(row.tolist()) for row in batch.actions]
    assert len(batches) == 2 * number
    assert sizes[:number] == sizes[number:]
    expected = {tuple(step["actions"].tolist()) for step in taken.values()}
    assert set(seen) == expected
    num_rows = int(mask.any(0).sum())
    if num_rows >= number and min(sizes) > 2:
        assert len(seen) == 2 * len(expected)  # each once in an epoch
        # Rows are dealt so that no share is longer than another by more than a row.
        assert max(sizes) - min(sizes) <= int(mask.sum(0).max())
    assert {tuple(row.tolist()) for row in dense.observations["policy"][0]} == {
        tuple(tape.policy[own, row].tolist()) for row, own in taken
    }
