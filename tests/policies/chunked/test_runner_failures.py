"""When inference fails, hangs, is interrupted, or is closed."""

import gc
import threading
import time

import pytest
import torch

from holdstep.errors import ConfigError, HoldstepError, PolicyError
from holdstep.policies import (
    AnyTrigger,
    ChunkRunner,
    Cohort,
    Continuous,
    Prefetch,
    TemporalEnsembling,
    Threshold,
)
from tests.policies.chunked.doubles import LONG_S, Gate, Marking, Rollout
from tests.policies.chunked.test_runner_episodes import EXACT, SCHEDULERS, marking
from tests.policies.chunked.test_worker_inference import worker_threads

LENGTHS = [[5, 8, 20], [13], [40], [3, 9]]
UNTIMED = [name for name, make in SCHEDULERS.items() if make().determinism != "timing"]


def traces_of(name, *, before=None, length=30):
    """Traces, and the errors that were met on the way."""
    errors = []
    with Rollout(LENGTHS, marking(before=before), SCHEDULERS[name]()) as rollout:
        for _ in range(1000):
            try:
                rollout.until(length)
                break
            except PolicyError as error:
                errors.append(error)
        return rollout.traces(length), errors


@pytest.mark.parametrize("name", UNTIMED)
def test_failures_change_nothing_but_the_time_that_it_takes(name):
    """Every third inference fails; all is asked for again, and comes out the same."""
    expected, _ = traces_of(name)
    count = [0]

    def fail(request):
        count[0] += 1
        if count[0] % 3 == 0:
            raise ValueError(f"number {count[0]}")

    traces, errors = traces_of(name, before=fail)
    assert traces == expected
    # The last one may still be on its way.
    assert 2 <= count[0] // 3 - 1 <= len(errors) <= count[0] // 3
    assert all(isinstance(error.__cause__, ValueError) for error in errors)


@pytest.mark.parametrize("name", list(EXACT))
def test_rows_whose_inference_failed_stay_suspended_and_are_named(name):
    armed = [False]

    def fail(request):
        if armed[0]:
            raise RuntimeError("out of memory")

    with Rollout(LENGTHS, marking(before=fail), SCHEDULERS[name]()) as rollout:
        rollout.until(4)
        armed[0] = True
        with pytest.raises(
            PolicyError, match=r"rows \[.*\] failed \(RuntimeError: out of memory\)"
        ):
            rollout.until(30)
        before = rollout.env.unwrapped.observe()["policy"].clone()
        ticks = rollout.runner.stats().num_ticks
        for _ in range(40):  # until nobody has any action left
            with pytest.raises(PolicyError, match="asked for again by the next step"):
                rollout.until(100)
        assert rollout.runner.stats().num_ticks <= ticks + 6
        assert rollout.env.unwrapped.observe()["policy"][:, 1].tolist() >= before[:, 1].tolist()
        armed[0] = False
        rollout.until(40)


def test_the_next_step_asks_again_also_under_a_clock():
    """Not a whole period later, while the others go on."""
    failures = [1]

    def fail(request):
        if failures[0] and (request.episode_ids == 1).any():
            failures[0] -= 1
            raise ValueError("once")

    with Rollout([[100], [3, 100]], marking(before=fail), SCHEDULERS["global clock of 2"]()) as r:
        with pytest.raises(PolicyError, match="once"):
            r.until(20)
        assert r.runner.step().active_mask.all()


def test_a_policy_error_keeps_its_type_and_says_which_rows_wait():
    class LostError(PolicyError):
        pass

    def fail(request):
        raise LostError("server gone")

    with Rollout([[9], [9]], marking(before=fail), Cohort()) as rollout:
        with pytest.raises(LostError, match="server gone") as caught:
            rollout.runner.step()
        assert caught.value.__notes__ == [
            "Rows [0, 1] stay suspended, and are asked for again by the next step()."
        ]


@pytest.mark.parametrize("name", ["cohort", "continuous"])
def test_whatever_is_raised_is_a_policy_error_with_its_cause(name):
    """Also holdstep's own errors that mean something else, such as a wrong configuration."""

    def fail(request):
        raise ConfigError("no such group")

    with Rollout([[9]], marking(before=fail), SCHEDULERS[name]()) as rollout:
        with pytest.raises(PolicyError, match="ConfigError: no such group") as caught:
            rollout.runner.step()
        assert isinstance(caught.value.__cause__, ConfigError)


@pytest.mark.parametrize("name", ["cohort", "continuous", "append"])
def test_an_invalid_result_is_never_executed(name):
    bad = [torch.full((1, 6, 6), torch.nan), torch.zeros(1, 5, 6), None]
    policy = marking()
    good = policy.infer

    def infer(request):
        result = good(request)
        return result if not bad else type(result)(actions=bad.pop())

    policy.infer = infer
    with Rollout([[100]], policy, SCHEDULERS[name]()) as rollout:
        for _ in range(3):
            with pytest.raises(PolicyError, match=r"infer\(\)"):
                rollout.runner.step()
        rollout.until(8)
        assert rollout.trace(0)[0].index == 0
        assert len(rollout.env.ticks) == 8


def test_what_else_has_come_is_handed_out_before_an_error_is_raised():
    gate = Gate()
    scheduler = Continuous(max_batch=1, min_batch=1)
    with Rollout([[100], [100]], marking(before=gate), scheduler) as rollout:
        gate.let_through()
        assert rollout.runner.step().active_mask.tolist() == [True, False]
        gate.error = ValueError("of row 1")
        gate.let_through()
        with pytest.raises(PolicyError, match=r"rows \[1\].*of row 1"):
            rollout.until(7, rows=[0])
        gate.let_through(100)
        rollout.until(7)
        assert [a.index for a in rollout.trace(0, 7)] == [0, 1, 2, 3, 4, 5, 0]


@pytest.mark.parametrize("name", ["cohort", "any trigger", "global clock", "threshold 1"])
def test_after_an_interrupt_the_runner_goes_on(name):
    """A KeyboardInterrupt in inference reaches the user, and the rows are not lost for it."""
    interrupts = [KeyboardInterrupt()]

    def interrupt(request):
        if interrupts:
            raise interrupts.pop()

    with Rollout([[9], [9]], marking(before=interrupt), SCHEDULERS[name]()) as rollout:
        with pytest.raises(KeyboardInterrupt):
            rollout.runner.step()
        rollout.until(12)


@pytest.mark.parametrize("name", ["continuous", "append"])
def test_a_worker_is_not_ended_by_what_is_no_exception(name):
    errors = [SystemExit(3)]

    def leave(request):
        if errors:
            raise errors.pop()

    options = {"timeout_s": LONG_S}
    with Rollout([[9], [9]], marking(before=leave), SCHEDULERS[name](), options) as rollout:
        with pytest.raises(PolicyError, match="SystemExit: 3") as caught:
            rollout.runner.step()
        assert isinstance(caught.value.__cause__, SystemExit)
        rollout.until(12)


@pytest.mark.parametrize("name", ["cohort", "continuous", "append"])
def test_a_reset_of_the_policy_that_fails_loses_no_step_and_is_tried_again(name):
    policy, failures = marking(), []
    tell = policy.reset

    def reset(env_ids, episode_ids):
        if failures:
            raise failures.pop()
        tell(env_ids, episode_ids)

    policy.reset = reset
    options = {"timeout_s": LONG_S}
    with Rollout([[4, 100], [100]], policy, SCHEDULERS[name](), options) as rollout:
        rollout.until(3, rows=[0])
        failures += [OSError("no route"), OSError("no route")]
        step = None
        while step is None or not len(step.ended_ids):
            step = rollout.runner.step()
        assert step.ended_ids.tolist() == [0]  # the step in which it ended is not lost
        with pytest.raises(PolicyError, match="OSError: no route"):
            rollout.until(12)
        rollout.until(12)
        assert policy.resets == [([0, 1], [0, 0]), ([0], [1])]
        assert all(a.episode == a.in_episode for a in rollout.trace(0))


@pytest.mark.parametrize("name", ["cohort", "continuous"])
def test_closing(name):
    before = set(worker_threads())
    rollout = Rollout([[9], [3, 9]], marking(), SCHEDULERS[name]())
    with rollout:
        mine = rollout.suspend
        while not mine.suspended.any():
            rollout.runner.step()
        rollout.runner.close()
        assert not mine.suspended.any()
        assert not set(worker_threads()) - before
        rollout.runner.close()
        *_, info = rollout.env.step(torch.zeros(2, 6))  # the env is as it was
        assert info["active"].all()
        with ChunkRunner(rollout.env, marking(), Threshold(1)) as second:
            second.reset()
            assert second.step().active_mask.any()


@pytest.mark.parametrize("name", ["continuous", "append"])
def test_a_runner_that_is_thrown_away_ends_its_thread(name):
    before = set(worker_threads())
    rollout = Rollout([[9], [3, 9]], marking(), SCHEDULERS[name]())
    rollout.runner.reset(seed=0)
    rollout.until(4)
    (thread,) = set(worker_threads()) - before
    del rollout
    gc.collect()
    thread.join(LONG_S)
    assert not thread.is_alive()


def test_closing_after_the_env_and_before_the_first_reset():
    rollout = Rollout([[9], [3, 9]], marking(), Cohort())
    rollout.runner.close()
    with Rollout([[9], [3, 9]], marking(), Cohort()) as rollout:
        while not rollout.suspend.suspended.any():
            rollout.runner.step()
        rollout.env.close()
        rollout.runner.close()


def test_closing_beside_an_inference_that_hangs():
    gate = Gate()
    with Rollout([[9], [9]], marking(before=gate), Prefetch(2)) as rollout:
        gate.let_through()
        rollout.until(5)
        gate.wait_entered()
        gate.wait_entered()
        begin_s = time.perf_counter()
        rollout.runner.close()
        assert time.perf_counter() - begin_s < 5
        assert all(thread.daemon for thread in worker_threads())
        gate.let_through(10)


def test_what_is_refused_at_construction_leaves_neither_a_thread_nor_a_file_open(tmp_path):
    before = set(threading.enumerate())
    policy = Marking(6, uses_instructions=True)
    path = tmp_path / "trace.jsonl"
    with pytest.raises(ConfigError, match="spec asks for some"):
        Rollout([[9]], policy, Continuous(), {"timeline": path})
    assert not set(threading.enumerate()) - before
    assert '"end"' in path.read_text()  # it was closed


@pytest.mark.parametrize("options", [{}, {"ensemble": TemporalEnsembling()}])
def test_an_error_in_the_env_is_the_envs_own(options):
    with Rollout([[9], [9]], marking(), AnyTrigger(), options) as rollout:
        rollout.until(2)

        def broken(actions):
            raise ZeroDivisionError("physics")

        rollout.adapter._advance, working = broken, rollout.adapter._advance
        with pytest.raises(ZeroDivisionError, match="physics"):
            rollout.runner.step()
        rollout.adapter._advance = working
        rollout.until(9)
        assert [a.index for a in rollout.trace(0, 9)] == [0, 1, 2, 3, 4, 5, 0, 1, 2]
        assert not issubclass(ZeroDivisionError, HoldstepError)
