"""Chunks of which only the first actions mean something."""

import pytest
import torch

from holdstep.policies import Prefetch
from tests.policies.chunked.doubles import Gate, Rollout, let_arrive
from tests.policies.chunked.test_runner_episodes import LENGTH, SCHEDULERS, marking


def test_a_chunk_that_is_over_when_it_arrives_replaces_nothing():
    gate = Gate()
    policy = marking(before=gate, length_of=lambda row, episode, chunk: 1 if chunk == 1 else 6)
    scheduler = Prefetch(2, mode="discard", switch="arrival")
    with Rollout([[100]], policy, scheduler) as rollout:
        gate.let_through()
        for _ in range(3):  # of execute = 4: at two left, the next one is asked for
            rollout.runner.step()
        gate.wait_entered()
        gate.wait_entered()
        gate.let_through()
        let_arrive(rollout.runner)  # of one action, for the step that has just been made
        gate.let_through(100)
        rollout.until(6)
        found = [(a.chunk, a.index, a.seen_step) for a in rollout.trace(0, 6)]
    assert found == [(0, 0, 0), (0, 1, 0), (0, 2, 0), (0, 3, 0), (2, 0, 4), (2, 1, 4)]


@pytest.mark.parametrize("name", ["cohort", "append", "rtc", "discard on arrival"])
def test_nothing_of_what_lies_behind_the_valid_actions_is_executed_or_continued(name):
    policy = marking(length_of=lambda row, episode, chunk: (row + chunk) % LENGTH + 1)
    infer = policy.infer

    def infer_with_rubbish(request):
        result = infer(request)
        result.actions[torch.arange(LENGTH) >= result.valid_lengths[:, None]] = torch.nan
        if request.prefix is not None:
            behind = torch.arange(2) >= request.prefix_lengths[:, None]
            assert not request.prefix[behind].any()
            assert request.prefix.isfinite().all()
        return result

    policy.infer = infer_with_rubbish
    with Rollout([[5, 20], [9], [40]], policy, SCHEDULERS[name]()) as rollout:
        rollout.until(30)
        for tick in rollout.env.ticks:
            assert tick["actions"][tick["active"]].isfinite().all()
