"""Rows that are parked, reset, suspended by somebody else, instructed and named."""

from concurrent.futures import Future

import pytest

from holdstep.errors import ConfigError, InvalidEnvIdsError, SuspensionError
from holdstep.policies import Cohort, Continuous, Prefetch, Threshold
from tests.policies.chunked.doubles import Gate, Marking, Rollout
from tests.policies.chunked.test_runner_episodes import EXACT, SCHEDULERS, marking

FOREVER = [[100], [100], [100]]


def counts(rollout):
    return [len(rollout.trace(row)) for row in range(len(rollout.lengths))]


@pytest.mark.parametrize("name", list(SCHEDULERS))
def test_parked_rows_stand_still_and_nobody_waits_for_them(name):
    with Rollout(FOREVER, marking(), SCHEDULERS[name]()) as rollout:
        rollout.until(4)
        rollout.runner.park([0, 2])
        assert rollout.runner.live_mask.tolist() == [False, True, False]
        before = counts(rollout)
        num_requests = len(rollout.policy.requests)
        for _ in range(15):
            assert rollout.runner.step().active_mask.tolist() == [False, True, False]
        assert counts(rollout) == [before[0], before[1] + 15, before[2]]
        asked = [r.env_ids.tolist() for r in rollout.policy.requests[num_requests:]]
        # Who was asked for just before may still come.
        assert all(ids == [1] for ids in asked[1:])
        rollout.runner.unpark([0, 2])
        assert rollout.runner.live_mask.all()
        rollout.until(30)
        for trace in rollout.traces():  # they went on where they were
            assert [a.at_step for a in trace] == list(range(len(trace)))
            if name in EXACT:
                assert [a.index for a in trace] == [step % 6 for step in range(len(trace))]


@pytest.mark.parametrize("name", list(EXACT))
def test_parking_does_not_change_what_a_row_does(name):
    lengths = [[5, 8, 20], [13], [40]]
    with Rollout(lengths, marking(), SCHEDULERS[name]()) as rollout:
        expected = rollout.until(30).traces(30)
    with Rollout(lengths, marking(), SCHEDULERS[name]()) as rollout:
        for tick in range(60):
            if tick % 7 == 3:
                rollout.runner.park([tick % 3])
            if tick % 7 == 6:
                rollout.runner.unpark([(tick - 3) % 3])
            rollout.runner.step()
        rollout.runner.unpark([0, 1, 2])
        assert rollout.until(30).traces(30) == expected


def test_parking_while_a_chunk_is_being_inferred():
    gate = Gate()
    scheduler = Continuous(max_batch=1, min_batch=1)
    with Rollout(FOREVER[:2], marking(before=gate), scheduler) as rollout:
        gate.let_through()
        rollout.runner.step()  # row 1 is asked for now
        gate.wait_entered()
        gate.wait_entered()
        rollout.runner.park([1])
        gate.let_through(100)
        rollout.until(20, rows=[0])
        assert counts(rollout)[1] == 0
        rollout.runner.unpark([1])
        rollout.until(8, rows=[1])
        assert [(a.chunk, a.index) for a in rollout.trace(1, 8)] == [
            *((0, index) for index in range(6)),
            (1, 0),
            (1, 1),
        ]
        assert rollout.runner.stats().num_late == 0


def test_with_every_row_parked_there_is_nothing_to_step():
    with Rollout(FOREVER, marking(), Cohort()) as rollout:
        rollout.runner.park([0, 1, 2])
        with pytest.raises(SuspensionError, match=r"Every row is parked.*unpark"):
            rollout.runner.step()
        rollout.runner.unpark([True, False, False])
        assert rollout.runner.step().active_mask.tolist() == [True, False, False]
        rollout.runner.park([1])  # again
        rollout.runner.reset()
        assert rollout.runner.step().active_mask.all()  # a reset starts everything over


@pytest.mark.parametrize("name", list(EXACT))
def test_rows_that_are_reset_in_mid_chunk_begin_anew(name):
    with Rollout(FOREVER, marking(), SCHEDULERS[name]()) as rollout:
        for _ in range(4):
            rollout.until(min(counts(rollout)) + 3)
            obs, _ = rollout.runner.reset_rows([1])
            assert obs["policy"][1].tolist()[2] == 0
            rollout.env.episode[1] += 1  # the spy sees steps alone
        rollout.until(40)
        trace = rollout.trace(1)
        assert max(a.in_episode for a in trace) == 4
        for a in trace:
            assert a.episode == a.in_episode
            assert a.index == a.at_step % 6
            assert a.chunk == a.at_step // 6
        assert [a.index for a in rollout.trace(0)] == [a.at_step % 6 for a in rollout.trace(0)]
        assert rollout.runner.stats().num_episodes == 0  # none of them ended
        assert rollout.runner.episode_ids.tolist() == [0, 4, 0]


def test_a_row_that_is_reset_while_its_chunk_is_inferred_does_not_get_it():
    gate = Gate()
    with Rollout(FOREVER[:2], marking(before=gate), Prefetch(2)) as rollout:
        gate.let_through()
        rollout.until(5)
        gate.wait_entered()
        gate.wait_entered()
        rollout.runner.reset_rows([0])
        rollout.env.episode[0] += 1
        gate.let_through(100)
        rollout.until(20)
        assert rollout.runner.stats().num_late == 1
        assert rollout.runner.stats().dropped_actions == 1
        assert all(a.episode == a.in_episode for a in rollout.trace(0))
        assert [(a.chunk, a.index) for a in rollout.trace(0)[5:7]] == [(0, 0), (0, 1)]


def test_resetting_no_rows_tells_the_policy_nothing():
    with Rollout(FOREVER, marking(), Cohort()) as rollout:
        rollout.runner.reset_rows([])
        assert rollout.policy.resets == [([0, 1, 2], [0, 0, 0])]


def test_the_policy_hears_of_every_new_episode():
    with Rollout([[5, 8, 100], [100], [13, 100]], marking(), Threshold(1)) as rollout:
        rollout.until(25)
        rollout.runner.reset_rows([2, 1])
        assert rollout.policy.resets == [
            ([0, 1, 2], [0, 0, 0]),
            ([0], [1]),
            ([0], [2]),
            ([2], [1]),
            ([2, 1], [2, 1]),
        ] or rollout.policy.resets[-1] == ([2, 1], [2, 1])


@pytest.mark.parametrize("name", list(EXACT))
def test_rows_that_somebody_else_suspends_are_left_alone_and_block_nobody(name):
    with Rollout(FOREVER, marking(), SCHEDULERS[name]()) as rollout:
        rollout.runner.step()
        row = next(row for row in (1, 0, 2) if not rollout.suspend.suspended[row])
        others = [other for other in range(3) if other != row]
        rollout.suspend.suspend([row])
        made = counts(rollout)[row]
        rollout.until(20, rows=others)
        assert counts(rollout)[row] == made
        assert not rollout.runner.live_mask[row]
        assert rollout.suspend.suspended[row]
        rollout.suspend.resume([row])
        rollout.until(20)
        assert rollout.runner.live_mask.all()
        assert [a.index for a in rollout.trace(row, 20)] == [step % 6 for step in range(20)]


def test_what_somebody_elses_row_waited_for_is_looked_at_before_actions_are_chosen():
    """Resumed by the step itself, it would advance with an action that nobody chose for it."""
    done = Future()
    with Rollout(FOREVER, marking(), Cohort()) as rollout:
        rollout.runner.step()
        rollout.suspend.suspend([1], until=done)
        rollout.until(6, rows=[0, 2])
        done.set_result(None)
        step = rollout.runner.step()
        assert step.active_mask[1]
        assert rollout.trace(1)[-1].index == 1
        rollout.until(15)
        assert [a.index for a in rollout.trace(1, 15)] == [step % 6 for step in range(15)]


def test_a_wait_that_ends_while_rows_are_held_too():
    """As many rows are held as before, but others."""
    done = Future()
    lengths = [[3, 100], [100], [100], [100]]
    with Rollout(lengths, marking(), Cohort()) as rollout:
        rollout.until(4, rows=[1])
        assert rollout.suspend.suspended.tolist() == [True, False, False, False]
        rollout.suspend.resume([0])  # behind the runner's back
        rollout.suspend.suspend([1], until=done)
        done.set_result(None)
        step = rollout.runner.step()
        assert step.info["active"].tolist() == step.active_mask.tolist()
        assert step.active_mask.tolist() == [False, True, True, True]
        rollout.until(20)
        for row, trace in enumerate(rollout.traces()):
            assert all(a.episode == a.in_episode and a.row == row for a in trace)


def test_a_row_that_is_resumed_behind_the_runners_back_does_not_advance():
    """It has no action: whatever lay in the queue would be applied to it."""
    with Rollout([[3, 100], [100]], marking(), Cohort()) as rollout:
        rollout.until(4, rows=[1])
        rollout.suspend.resume(rollout.suspend.suspended)
        step = rollout.runner.step()
        assert step.active_mask.tolist() == step.info["active"].tolist() == [False, True]
        rollout.until(20)
        assert all(a.episode == a.in_episode for a in rollout.trace(0))


def test_while_everybody_is_suspended_by_somebody_else_it_waits():
    done = Future()
    with Rollout(FOREVER[:2], marking(), Cohort()) as rollout:
        rollout.runner.step()
        looks = [0]

        def soon():
            looks[0] += 1
            if looks[0] == 3:
                done.set_result(None)
            return False

        rollout.suspend.suspend([0], until=done)
        rollout.suspend.suspend([1], until=soon)
        assert rollout.runner.step().active_mask.tolist() == [True, False]


def test_while_everybody_is_suspended_for_ever_it_says_so():
    with Rollout(FOREVER[:2], marking(), Cohort()) as rollout:
        rollout.runner.step()
        rollout.suspend.suspend([0, 1])
        with pytest.raises(SuspensionError, match="No suspended row waits for anything"):
            rollout.runner.step()


def test_a_parked_row_that_somebody_else_suspended_stays_that_ones():
    done = Future()
    with Rollout(FOREVER, marking(), Cohort()) as rollout:
        rollout.runner.step()
        rollout.suspend.suspend([1], until=done)
        rollout.runner.park([1])
        rollout.runner.step()
        rollout.runner.unpark([1])
        assert rollout.runner.step().active_mask.tolist() == [True, False, True]
        rollout.runner.park([1])
        rollout.runner.step()
        done.set_result(None)
        assert rollout.runner.step().active_mask.tolist() == [True, False, True]  # parked
        assert rollout.suspend.suspended_ids == {1}
        rollout.runner.unpark([1])
        assert rollout.runner.step().active_mask.all()


def test_after_closing_only_other_peoples_rows_are_suspended():
    with Rollout([[3, 100], [100], [100]], marking(), Cohort()) as rollout:
        rollout.until(4, rows=[1])
        rollout.suspend.suspend([2])
        assert rollout.suspend.suspended_ids == {0, 2}
        rollout.runner.close()
        assert rollout.suspend.suspended_ids == {2}


def instructed(**options):
    return Marking(6, uses_instructions=True, **options)


def said(rollout):
    return [list(request.instructions) for request in rollout.policy.requests]


def test_instructions_one_for_all_one_each_and_new_ones():
    with Rollout([[100], [8, 100]], instructed(), Cohort(), {"instructions": "go"}) as rollout:
        rollout.until(2)
        rollout.runner.set_instructions([1], ["stop"])
        rollout.until(7)
        rollout.runner.set_instructions([0, 1], "back")
        rollout.until(13)
        rollout.runner.reset()
        rollout.until(20)
        assert said(rollout)[:3] == [["go", "go"], ["go", "stop"], ["back", "back"]]
        assert said(rollout)[-1] == ["back", "back"]  # a reset is of episodes, not of wishes


def test_instructions_go_to_the_rows_that_are_asked_for():
    options = {"instructions": ["a", "b", "c"]}
    lengths = [[100], [3, 100], [100]]
    with Rollout(lengths, instructed(), Threshold(1), options) as rollout:
        rollout.until(4)
        assert said(rollout) == [["a", "b", "c"], ["b"]]
        for wrong in (["x"], ["x", "y", "z"], [1, 2]):
            with pytest.raises(ConfigError, match="one text, or 2 of them"):
                rollout.runner.set_instructions([0, 1], wrong)


def test_without_instructions_there_are_none():
    with Rollout([[100]], marking(), Cohort()) as rollout:
        rollout.until(1)
        assert said(rollout) == [[]]
        rollout.runner.set_instructions([0], "now")  # of use to nobody, but what was asked for
        rollout.until(7)
        assert said(rollout)[1] == ["now"]


def seeds(rollout):
    return {
        (int(r.env_ids[i]), int(r.episode_ids[i]), int(r.chunk_ids[i])): int(r.seeds[i])
        for r in rollout.policy.requests
        for i in range(len(r))
    }


def test_a_named_episodes_noise_follows_its_number_in_any_row():
    with Rollout([[7, 100], [100]], marking(), Cohort(), {"seed": 3}) as rollout:
        rollout.runner.name_episodes([0, 1], [41, 42])
        rollout.until(20)
        one = seeds(rollout)
    with Rollout([[100], [7, 100], [9]], marking(), Threshold(1), {"seed": 3}) as rollout:
        rollout.runner.name_episodes([1, 0], [41, 42])
        rollout.until(20)
        other = seeds(rollout)
    with Rollout([[7, 100], [100]], marking(), Cohort(), {"seed": 3}) as rollout:
        rollout.until(20)
        plain = seeds(rollout)
    with Rollout([[7, 100], [100]], marking(), Cohort(), {"seed": 4}) as rollout:
        rollout.runner.name_episodes([0, 1], [41, 42])
        rollout.until(20)
        another_run = seeds(rollout)
    for chunk in (0, 1):
        assert one[0, 0, chunk] == other[1, 0, chunk]
        assert one[1, 0, chunk] == other[0, 0, chunk]
        assert one[0, 0, chunk] not in (plain[0, 0, chunk], another_run[0, 0, chunk])
    assert one[0, 1, 0] == plain[0, 1, 0]  # a name is of one episode


@pytest.mark.parametrize("numbers", [[1], [1, 2, 3], [1, -1], [1.5, 2.0], [[1, 2]], ["a", "b"]])
def test_names_that_are_none(numbers):
    with (
        Rollout([[9], [9]], marking(), Cohort()) as rollout,
        pytest.raises(ConfigError, match="non-negative integers, one for each of 2 rows"),
    ):
        rollout.runner.name_episodes([0, 1], numbers)


@pytest.mark.parametrize("method", ["park", "unpark", "reset_rows"])
def test_rows_that_do_not_exist(method):
    with Rollout([[9], [9]], marking(), Cohort()) as rollout, pytest.raises(InvalidEnvIdsError):
        getattr(rollout.runner, method)([2])
