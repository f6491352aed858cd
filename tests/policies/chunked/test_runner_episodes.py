"""No action of an ended episode is ever applied, wherever it ends, and who waits for what."""

import itertools
import random
import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from holdstep.policies import (
    Adaptive,
    AnyTrigger,
    Cohort,
    Continuous,
    GlobalClock,
    Prefetch,
    Threshold,
)
from tests.policies.chunked.doubles import Gate, Marking, Rollout, let_arrive
from tests.policies.chunked.plain_books import PlainRow

LENGTH = 6
EXACT = {
    "any trigger": AnyTrigger,
    "global clock": GlobalClock,
    "global clock of 2": lambda: GlobalClock(period=2),
    "cohort": Cohort,
    "threshold 1": lambda: Threshold(1),
    "threshold 2, short": lambda: Threshold(2, max_wait_ticks=1),
    "continuous": Continuous,
    "continuous, single": lambda: Continuous(max_batch=1, min_batch=1),
    "adaptive": Adaptive,
}
EARLY = {
    "append": lambda: Prefetch(2),
    "append, single": lambda: Prefetch(2, min_batch=1),
    "discard at the end": lambda: Prefetch(2, mode="discard"),
    "discard on arrival": lambda: Prefetch(2, mode="discard", switch="arrival", min_batch=1),
    "rtc": lambda: Prefetch(2, mode="rtc", min_batch=1),
    "adaptive with prefetch": lambda: Adaptive(prefetch=Prefetch(2)),
}
SCHEDULERS = EXACT | EARLY
LENGTHS = st.lists(
    st.lists(st.integers(1, 2 * LENGTH + 1), min_size=1, max_size=4), min_size=1, max_size=4
)


def marking(**options):
    return Marking(LENGTH, uses_prefix=True, **options)


def sometimes_slow(seed):
    """Now and then a chunk comes some env steps later."""
    dice = random.Random(seed)
    return lambda request: time.sleep(dice.choice([0, 0, 0.0005, 0.001]))


def check_own_episode(applied):
    """Of this row, of this very episode, observed in it, and before it was executed."""
    assert applied.episode == applied.seen_episode == applied.in_episode
    assert applied.seen_step <= applied.at_step


@settings(max_examples=100, deadline=None)
@given(
    lengths=LENGTHS,
    name=st.sampled_from(list(SCHEDULERS)),
    execute=st.sampled_from([None, 3, 4]),
    short=st.integers(0, 100),
    seed=st.integers(0, 1000),
)
def test_no_action_outlives_its_episode(lengths, name, execute, short, seed):
    def length_of(row, episode, chunk):
        return (row * 7 + episode * 5 + chunk * 3 + short) % LENGTH + 1 if short % 2 else LENGTH

    policy = marking(before=sometimes_slow(seed), length_of=length_of)
    with Rollout(lengths, policy, SCHEDULERS[name](), {"execute": execute}) as rollout:
        rollout.until(25)
        for row, trace in enumerate(rollout.traces()):
            episode_lengths = {}
            for applied in trace:
                assert applied.row == row
                check_own_episode(applied)
                episode_lengths[applied.in_episode] = applied.at_step + 1
                if name in EXACT:  # and in full, one after the other
                    assert applied.index == applied.at_step - applied.seen_step
                    assert applied.index < min(
                        execute or LENGTH, length_of(row, applied.episode, applied.chunk)
                    )
            finished = sorted(episode_lengths)[:-1]
            script = lengths[row]
            assert [episode_lengths[e] for e in finished] == [
                script[e % len(script)] for e in finished
            ]


@pytest.mark.parametrize("name", list(SCHEDULERS))
def test_episodes_that_end_at_every_index_of_a_chunk(name):
    lengths = [[first, *range(1, 2 * LENGTH + 2)] for first in (1, 4, 9)]
    policy = marking(before=sometimes_slow(len(name)))
    with Rollout(lengths, policy, SCHEDULERS[name]()) as rollout:
        rollout.until(sum(lengths[0]) + 1)
        for trace in rollout.traces():
            ends = {
                one.at_step % LENGTH
                for one, other in itertools.pairwise(trace)
                if one.in_episode != other.in_episode
            }
            assert ends == set(range(LENGTH))
            for applied in trace:
                check_own_episode(applied)


def expected_early(mode, lengths, *, lead, execute, length_of, steps):
    """A row's trace under prefetching, from lists: (episode, chunk, index, seen_step, at_step)."""
    row = PlainRow(mode, lead, execute)
    done, step, end = [], 0, 0
    while len(done) < steps:
        if row.observe():
            seen = step
        if not row.queue:  # when else it comes must not matter
            length = length_of(row.episode, row.chunk)
            row.arrive((row.episode, row.chunk, seen), length, mode=mode, observed_at=0)
            continue
        row.advance(0)
        _, action, _ = row.done[-1]
        done.append((*action.chunk[:2], action.index, action.chunk[2], step))
        step += 1
        if step == lengths[end % len(lengths)]:
            row.begin_episode(0)
            step, end = 0, end + 1
    return done


@settings(max_examples=60, deadline=None)
@given(
    lengths=LENGTHS,
    name=st.sampled_from(["append", "append, single", "discard at the end", "rtc"]),
    short=st.integers(0, 20),
    seed=st.integers(0, 1000),
)
def test_prefetching_depends_on_no_clock_and_on_no_other_row(lengths, name, short, seed):
    """Against lists in which every chunk comes at the last moment."""

    def length_of(row, episode, chunk):
        return (episode * 5 + chunk * 3 + short) % LENGTH + 1 if short % 2 else LENGTH

    scheduler = SCHEDULERS[name]()
    policy = marking(before=sometimes_slow(seed), length_of=length_of)
    mode = "discard at the end" if scheduler.mode != "append" else "append"
    with Rollout(lengths, policy, scheduler) as rollout:
        rollout.until(25)
        for row, trace in enumerate(rollout.traces(25)):
            expected = expected_early(
                mode,
                lengths[row],
                lead=2,
                execute=rollout.runner.execute,
                length_of=lambda episode, chunk: length_of(0, episode, chunk),
                steps=25,
            )
            found = [(a.episode, a.chunk, a.index, a.seen_step, a.at_step) for a in trace]
            assert found == expected


def test_switching_on_arrival_takes_over_at_the_step_that_is_due():
    """As many of the new chunk's actions are left out as were executed since it was asked for."""
    gate = Gate()
    policy = marking(before=gate)
    scheduler = Prefetch(2, mode="discard", switch="arrival")
    with Rollout([[100]], policy, scheduler) as rollout:
        gate.let_through()
        for _ in range(3):  # of execute = 4: at two left, the next one is asked for
            rollout.runner.step()
        gate.wait_entered()
        gate.wait_entered()
        gate.let_through()
        let_arrive(rollout.runner)
        gate.let_through(100)
        rollout.until(8)
        found = [(a.chunk, a.index, a.seen_step) for a in rollout.trace(0, 8)]
    assert found[:3] == [(0, 0, 0), (0, 1, 0), (0, 2, 0)]
    assert found[3:6] == [(1, 1, 2), (1, 2, 2), (1, 3, 2)]


def test_a_chunk_that_comes_after_the_end_of_its_episode_is_dropped_and_counted():
    gate = Gate()
    with Rollout([[5, 100]], marking(before=gate), Prefetch(2)) as rollout:
        gate.let_through()
        rollout.until(5)  # asked for at step 4 of 6, ended at step 5
        gate.wait_entered()
        gate.wait_entered()
        assert rollout.runner.stats().num_late == 0
        assert rollout.runner.stats().dropped_actions == 1
        gate.let_through(100)
        rollout.until(12)
        assert rollout.runner.stats().num_late == 1
        after = [(a.episode, a.chunk, a.index) for a in rollout.trace(0)[5:7]]
        assert after == [(1, 0, 0), (1, 0, 1)]


@pytest.mark.parametrize(
    "name", [name for name, make in SCHEDULERS.items() if make().determinism != "timing"]
)
def test_a_reset_in_mid_run_repeats_the_first_run_bit_for_bit(name):
    """Whatever was in flight; as the observations, seeds and actions tell."""
    lengths = [[4, 9, 13], [7], [2, 30]]
    policy = marking(before=sometimes_slow(3))
    with Rollout(lengths, policy, SCHEDULERS[name]()) as rollout:
        runs = []
        for _ in range(3):
            rollout.adapter._state[:, 1] = -1
            rollout.env.episode[:] = 0
            rollout.env.ticks.clear()
            rollout.runner.reset(seed=0)
            seeds_from = len(policy.requests)
            rollout.until(20)
            requests = policy.requests[seeds_from:]
            keys = {
                (int(r.env_ids[i]), int(r.episode_ids[i]), int(r.chunk_ids[i])): int(r.seeds[i])
                for r in requests
                for i in range(len(r))
            }
            runs.append((rollout.traces(20), keys))
            assert rollout.runner.stats().num_late <= rollout.runner.stats().inferred_rows
        for traces, keys in runs[1:]:
            assert traces == runs[0][0]
            assert all(keys[key] == runs[0][1][key] for key in keys.keys() & runs[0][1].keys())


def test_after_a_reset_what_was_in_flight_is_of_nobodys_interest():
    """Nor counted: the books of a run are of that run."""
    gate = Gate()
    with Rollout([[100], [100]], marking(before=gate), Prefetch(2)) as rollout:
        gate.let_through()
        rollout.until(5)
        gate.wait_entered()
        gate.wait_entered()  # the second request is being inferred
        rollout.runner.reset(seed=0)
        gate.let_through(100)
        step = rollout.runner.step()
        marks = (step.actions * 4096).round()
        assert marks[:, 1:4].tolist() == [[0, 0, 0]] * 2
        stats = rollout.runner.stats()
        assert (stats.num_inferences, stats.inferred_rows, stats.num_late) == (1, 2, 0)


@pytest.mark.parametrize("name", ["append", "rtc"])
def test_what_is_executed_meanwhile_is_handed_to_the_policy(name):
    with Rollout([[100], [9, 100]], marking(), SCHEDULERS[name]()) as rollout:
        rollout.until(20)
        executed = {row: rollout.trace(row) for row in range(2)}
        checked = 0
        for request in rollout.policy.requests:
            if name == "append":
                assert request.prefix is None
                assert request.prefix_lengths is None
                assert request.delays is None
                continue
            assert request.prefix.shape == (len(request), 2, 6)
            assert request.prefix_lengths.dtype == request.delays.dtype == torch.int64
            for i, row in enumerate(request.env_ids.tolist()):
                length = int(request.prefix_lengths[i])
                assert length == int(request.delays[i]) == (0 if request.chunk_ids[i] == 0 else 2)
                episode = int(request.episode_ids[i])
                start = int(request.obs["policy"][i, 2])
                later = [
                    [getattr(a, f) for f in ("row", "episode", "chunk", "index")]
                    for a in executed[row]
                    if a.in_episode == episode and start <= a.at_step < start + length
                ]
                prefix = (request.prefix[i, :length, :4] * 4096).round().tolist()
                assert prefix[: len(later)] == later
                checked += len(later)
        assert name == "append" or checked >= 10
