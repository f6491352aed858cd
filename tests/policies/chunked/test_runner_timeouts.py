"""A step that waits for inference ends in time, whatever the scheduler, and may be repeated."""

import time

import numpy as np
import pytest

from holdstep.errors import PolicyTimeoutError
from holdstep.policies import AnyTrigger, ChunkRunner, Cohort, evaluate
from holdstep.policies.chunked.inference import FinishedRequest
from holdstep.wrappers import SuspendOnWait
from tests.policies.chunked.doubles import LONG_S, Gate, Rollout, Scripted
from tests.policies.chunked.test_check_result import request_of
from tests.policies.chunked.test_runner_episodes import SCHEDULERS, marking
from tests.policies.chunked.test_runner_failures import LENGTHS, UNTIMED, traces_of


@pytest.mark.parametrize(
    "name",
    [
        "any trigger",
        "global clock",
        "cohort",
        "threshold 1",
        "continuous",
        "append",
        "adaptive",
    ],
)
def test_a_time_out_leaves_inference_going_and_its_rows_waiting(name):
    gate = Gate()
    options = {"timeout_s": 0.01}
    with Rollout([[100], [100]], marking(before=gate), SCHEDULERS[name](), options) as rollout:
        for _ in range(2):
            with pytest.raises(PolicyTimeoutError, match=r"within 0.01 s.*rows \[0.*suspended"):
                rollout.runner.step()
        assert rollout.env.ticks == []
        assert len(rollout.policy.requests) == 1
        gate.let_through(100)
        for _ in range(100):
            try:
                rollout.until(14)
                break
            except PolicyTimeoutError:  # a busy machine
                continue
        assert [a.index for a in rollout.trace(0, 6)] == list(range(6))


@pytest.mark.parametrize("name", UNTIMED)
def test_a_time_limit_that_is_kept_changes_nothing(name):
    expected, _ = traces_of(name)
    options = {"timeout_s": LONG_S}
    with Rollout(LENGTHS, marking(), SCHEDULERS[name](), options) as rollout:
        assert rollout.until(30).traces(30) == expected


def test_a_time_limit_needs_nobody_to_be_held():
    """Where no row can wait while others are stepped, all wait for a thread's chunks."""
    slow = marking(before=lambda request: time.sleep(0.002))
    with ChunkRunner(Scripted([[5], [7]]), slow, AnyTrigger(), timeout_s=LONG_S) as runner:
        runner.reset()
        assert all(runner.step().active_mask.all() for _ in range(20))


class OneByOne(Cohort):
    """Asks for the rows of a cohort one after another, as only who knows all answers may."""

    def select(self, rows):
        assert not rows.in_flight_mask.any()
        return np.flatnonzero(rows.idle_mask)[:1]


@pytest.mark.parametrize("timeout_s", [None, LONG_S, 0.02])
def test_who_does_not_overlap_is_only_asked_when_all_answers_are_there(timeout_s):
    dawdle = iter([0.0, 0.0, 0.1, 0.0, 0.1])
    policy = marking(before=lambda request: time.sleep(next(dawdle, 0.0)))
    with Rollout([[100]] * 3, policy, OneByOne(), {"timeout_s": timeout_s}) as rollout:
        for _ in range(1000):
            try:
                rollout.until(8)
                break
            except PolicyTimeoutError:
                continue
        asked = [request.env_ids.tolist() for request in policy.requests]
        assert asked == [[0], [1], [2]] * 2


def test_an_evaluation_of_a_policy_that_hangs_ends():
    gate = Gate()
    env = SuspendOnWait(Scripted([[5], [7]]), rng="per_env")
    with pytest.raises(PolicyTimeoutError, match=r"within 0.05 s"):
        evaluate(
            env,
            marking(before=gate),
            num_episodes=2,
            success=lambda step: step.reward > 0,
            timeout_s=0.05,
        )
    gate.let_through(10)


class Late:
    """Inference whose results are all of requests that nobody made; takes 0.4 s for each."""

    def __init__(self, clock):
        self.clock, self.limits = clock, []

    def wait(self, timeout_s):
        self.limits.append(timeout_s)
        self.clock.now_s += min(0.4, timeout_s)
        return [] if timeout_s < 0.4 else [nobodys_result()]

    def finished(self):
        return []

    def submit(self, ticket, request): ...

    def begin_episodes(self, env_ids, episode_ids): ...

    def close(self): ...


class Still:
    """A clock that stands still."""

    now_s = 0.0

    def __call__(self):
        return self.now_s


def nobodys_result():
    return FinishedRequest(
        ticket=-1, request=request_of(1), result=None, error=None, submitted_s=0, begin_s=0, end_s=0
    )


def test_the_time_limit_is_one_for_the_whole_step():
    """Not for each result that comes and lets no row go on."""
    options = {"timeout_s": 1.0, "clock": Still()}
    with Rollout([[9]], marking(), Cohort(), options) as rollout:
        worker = rollout.runner._desk._inference
        late = rollout.runner._desk._inference = Late(options["clock"])
        with pytest.raises(PolicyTimeoutError, match=r"within 1.0 s; rows \[0\] wait"):
            rollout.runner.step()
        assert late.limits == pytest.approx([1.0, 0.6, 0.2])
        worker.close()
