"""A row that the runner holds, and that the user resumes and suspends for a reason of their own."""

from concurrent.futures import Future

from holdstep.policies import Cohort
from tests.policies.chunked.doubles import Rollout
from tests.policies.chunked.test_runner_episodes import marking


def check_traces(rollout):
    """All of its own episode, and in order."""
    for row, trace in enumerate(rollout.traces()):
        for a in trace:
            assert (a.row, a.episode, a.index) == (row, a.in_episode, a.at_step % 6)


def test_a_row_that_is_suspended_anew_behind_the_runners_back_is_somebody_elses():
    done = Future()
    with Rollout([[3, 100], [100]], marking(), Cohort()) as rollout:
        rollout.until(4, rows=[1])
        assert rollout.suspend.suspended_ids == {0}
        rollout.suspend.resume([0])
        rollout.suspend.suspend([0], until=done)
        rollout.until(14, rows=[1])
        assert rollout.suspend.suspended_ids == {0}
        assert rollout.runner.live_mask.tolist() == [False, True]
        assert [len(trace) for trace in rollout.traces()] == [3, 14]
        done.set_result(None)
        rollout.until(20)
        check_traces(rollout)


def test_a_row_that_is_suspended_anew_until_something_that_is_done_does_not_advance():
    """It has no action: what lay in its queue is of the episode that has ended."""
    done = Future()
    done.set_result(None)
    with Rollout([[3, 100], [100]], marking(), Cohort()) as rollout:
        rollout.until(4, rows=[1])
        rollout.suspend.resume([0])
        rollout.suspend.suspend([0], until=done)
        step = rollout.runner.step()
        assert step.active_mask.tolist() == step.info["active"].tolist() == [False, True]
        rollout.until(20)
        check_traces(rollout)


def test_closing_leaves_a_row_that_was_suspended_anew_to_who_did_that():
    with Rollout([[3, 100], [100]], marking(), Cohort()) as rollout:
        rollout.until(4, rows=[1])
        rollout.suspend.resume([0])
        rollout.suspend.suspend([0])
        rollout.runner.close()
        assert rollout.suspend.suspended_ids == {0}
