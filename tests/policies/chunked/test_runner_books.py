"""The env and the books stay in step with each other, whatever fails in between."""

import pytest

from holdstep.errors import ResetNeededError
from holdstep.policies import Cohort
from tests.policies.chunked.doubles import Rollout
from tests.policies.chunked.test_runner_episodes import SCHEDULERS, marking
from tests.policies.chunked.test_runner_failures import LENGTHS, traces_of


class Listening(Cohort):
    """Notes at which ticks it is asked."""

    def __init__(self):
        self.asked_at = []

    def select(self, rows):
        self.asked_at.append(rows.tick)
        return super().select(rows)


@pytest.mark.parametrize(
    ("episodes", "expected"),
    [([[99], [99]], [0, 6, 12]), ([[99], [8, 99]], [0, 6, 8, 9, 10, 11, 12])],
)
def test_a_scheduler_is_asked_only_when_some_row_could_be_asked_for(episodes, expected):
    """In the middle of a chunk there is nothing to decide."""
    scheduler = Listening()
    with Rollout(episodes, marking(), scheduler) as rollout:
        for _ in range(13):
            rollout.runner.step()
    assert scheduler.asked_at == expected


class FullDisk(Cohort):
    """Fails after a step of the env."""

    failures = 0

    def saw_step(self, **times):
        if self.failures:
            self.failures -= 1
            raise OSError("no space left")


def test_a_step_that_the_env_made_and_nobody_booked_ends_the_run():
    """Or all later actions would be those of the step before."""
    scheduler = FullDisk()
    with Rollout([[9], [9]], marking(), scheduler) as rollout:
        rollout.until(2)
        scheduler.failures = 1
        with pytest.raises(OSError, match="no space"):
            rollout.runner.step()
        for call in (rollout.runner.step, lambda: rollout.runner.reset_rows([0])):
            with pytest.raises(ResetNeededError, match="interrupted before it was booked"):
                call()
        assert len(rollout.env.ticks) == 3
        rollout.runner.reset(seed=0)
        rollout.env.ticks.clear()
        rollout.until(7)
        assert [a.index for a in rollout.trace(0, 7)] == [0, 1, 2, 3, 4, 5, 0]


@pytest.mark.parametrize("name", ["continuous, single", "append, single", "cohort"])
def test_chunks_that_can_not_be_put_in_their_place_are_not_lost(name):
    """Nor what had come with them; the next step tries again, and asks for nothing twice."""
    expected, _ = traces_of(name)
    with Rollout(LENGTHS, marking(), SCHEDULERS[name]()) as rollout:
        put, failures = rollout.runner._source.put, [0]

        def sometimes(*args, **kwargs):
            failures[0] += 1
            if failures[0] % 3 == 0:
                before = rollout.runner._ledger.remaining.copy()
                failed_at.append(before)
                raise MemoryError("device")
            put(*args, **kwargs)

        failed_at = []
        rollout.runner._source.put = sometimes
        raised = 0
        for _ in range(1000):
            try:
                rollout.until(30)
                break
            except MemoryError:
                raised += 1
                assert rollout.runner._ledger.remaining.tolist() == failed_at[-1].tolist()
        assert raised == len(failed_at) >= 3
        assert rollout.traces(30) == expected
        asked = [
            key
            for request in rollout.policy.requests
            for key in zip(
                request.env_ids.tolist(),
                request.episode_ids.tolist(),
                request.chunk_ids.tolist(),
                strict=True,
            )
        ]
        assert len(asked) == len(set(asked))


def test_ages_of_observations_are_counted_from_the_reset_on():
    with Rollout([[99], [99]], marking(), Cohort()) as rollout:
        for _ in range(5):
            rollout.runner.step()
        assert rollout.runner.stats().max_staleness_ticks == 4
        rollout.runner.reset(seed=0)
        rollout.runner.step()
        stats = rollout.runner.stats()
        assert (stats.env_steps, stats.mean_staleness_ticks, stats.max_staleness_ticks) == (2, 0, 0)
