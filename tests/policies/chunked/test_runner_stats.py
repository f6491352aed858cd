"""Counts and times of a run, and its trace, against counting by hand."""

import itertools
import time

import numpy as np
import pytest

from holdstep.errors import PolicyError
from holdstep.policies import AnyTrigger, Cohort, Prefetch, RunnerStats, Threshold
from holdstep.timeline import read_timeline
from tests.policies.chunked.doubles import Rollout
from tests.policies.chunked.test_runner_episodes import SCHEDULERS, marking


class Seconds:
    """A clock that goes on by one second each time that it is looked at."""

    def __init__(self):
        self.now_s = 0.0

    def __call__(self):
        self.now_s += 1.0
        return self.now_s


def test_a_cohort_by_hand():
    """Row 0 ends after 4 steps of 6, so it waits for 2."""
    with Rollout([[4, 100], [100]], marking(), Cohort()) as rollout:
        rollout.until(8)
        stats = rollout.runner.stats()
    assert stats.num_ticks == 10
    assert stats.env_steps == 8 + 10
    assert stats.waiting_steps == 2
    assert stats.waiting_share == 2 / 20
    assert (stats.num_inferences, stats.inferred_rows) == (2, 4)
    assert (stats.num_episodes, stats.num_late, stats.dropped_actions) == (1, 0, 2)
    ages_of_0 = [0, 1, 2, 3, 0, 1, 2, 3]
    ages_of_1 = [0, 1, 2, 3, 4, 5, 0, 1, 2, 3]
    assert stats.mean_staleness_ticks == pytest.approx(sum(ages_of_0 + ages_of_1) / 18)
    assert stats.max_staleness_ticks == 5


def test_the_baseline_by_hand():
    with Rollout([[4, 100], [100]], marking(), AnyTrigger()) as rollout:
        rollout.until(8)
        stats = rollout.runner.stats()
    assert (stats.num_ticks, stats.env_steps, stats.waiting_steps) == (8, 16, 0)
    assert (stats.num_inferences, stats.inferred_rows) == (3, 6)  # at 0, 4, 6
    assert stats.waiting_share == 0


@pytest.mark.parametrize("name", list(SCHEDULERS))
def test_ages_are_what_the_actions_say(name):
    lengths = [[5, 8, 20], [13], [40], [3, 9]]
    with Rollout(lengths, marking(), SCHEDULERS[name]()) as rollout:
        rollout.until(30)
        stats = rollout.runner.stats()
        ages = [a.at_step - a.seen_step for trace in rollout.traces() for a in trace]
        applied = len(ages)
        ends = sum(
            one.in_episode != other.in_episode
            for trace in rollout.traces()
            for one, other in itertools.pairwise(trace)
        )
    assert stats.env_steps == applied
    assert stats.num_ticks == len(rollout.env.ticks)
    assert stats.waiting_steps == 4 * stats.num_ticks - applied
    assert stats.mean_staleness_ticks == pytest.approx(np.mean(ages))
    assert stats.max_staleness_ticks == max(ages)
    assert ends <= stats.num_episodes <= ends + 4


def test_parked_rows_do_not_count_as_waiting():
    with Rollout([[100], [100]], marking(), Cohort()) as rollout:
        rollout.runner.park([1])
        rollout.until(10, rows=[0])
        stats = rollout.runner.stats()
    assert (stats.env_steps, stats.waiting_steps) == (10, 0)


def test_times_by_a_clock_that_counts():
    clock = Seconds()
    with Rollout([[100]], marking(), Cohort(), {"clock": clock}) as rollout:
        begin_s = clock.now_s
        rollout.until(7)
        stats = rollout.runner.stats()
        assert stats.step_s == 7.0
        assert stats.inference_s == 2.0
        assert stats.elapsed_s == clock.now_s - begin_s
        assert stats.env_steps_per_s == 7 / stats.elapsed_s
        rollout.runner.reset()
        again = rollout.runner.stats()
        assert (again.step_s, again.num_ticks, again.env_steps, again.elapsed_s) == (0, 0, 0, 1)


class Timed(Cohort):
    """Notes how long there was nothing to step before each step."""

    def start(self, *, num_envs, execute):
        self.waits = []

    def saw_step(self, *, num_active, duration_s, waited_s, overlapped):
        self.waits.append(waited_s)


def test_after_a_second_reset_a_scheduler_is_told_the_same_times_as_after_the_first():
    scheduler, runs = Timed(), []
    with Rollout([[100]], marking(), scheduler, {"clock": Seconds()}) as rollout:
        for _ in range(3):
            for _ in range(8):
                rollout.runner.step()
            runs.append(scheduler.waits)
            rollout.runner.reset()
    assert min(runs[0]) >= 1
    assert runs == [runs[0]] * 3


@pytest.mark.parametrize("make_scheduler", [Cohort, lambda: Prefetch(2)])
def test_waiting_for_inference_is_timed(make_scheduler):
    """Whichever thread infers: nothing is stepped meanwhile."""

    def slow(request):
        time.sleep(0.05)

    with Rollout([[100]], marking(before=slow), make_scheduler()) as rollout:
        rollout.runner.step()
        stats = rollout.runner.stats()
    assert stats.elapsed_s > stats.waited_s > 0.04
    assert stats.inference_s > 0.04
    assert stats.step_s < stats.elapsed_s - 0.04


def test_without_a_step_nothing_is_divided_by_zero():
    rollout = Rollout([[9]], marking(), Cohort())
    assert rollout.runner.stats() == RunnerStats()
    assert RunnerStats().env_steps_per_s == RunnerStats().waiting_share == 0
    rollout.runner.close()


class Writer:
    """Notes what it is told."""

    def __init__(self):
        self.events = []

    def tick(self, active_mask, *, begin_s, end_s, staleness_ticks, parked_mask):
        parked = None if parked_mask is None else parked_mask.tolist()
        shown = [int(age) for age in staleness_ticks[active_mask]]
        self.events.append(("tick", active_mask.tolist(), shown, parked, begin_s, end_s))

    def inference(self, env_ids, *, submitted_s, begin_s, end_s, error):
        self.events.append(("inference", env_ids, error, submitted_s, begin_s, end_s))

    def episode(self, env_id, episode_id, *, begin_tick, end_tick, episode_return):
        assert isinstance(episode_return, float)
        self.events.append(("episode", env_id, episode_id, begin_tick, end_tick))


def test_what_a_timeline_is_told_and_when():
    writer, clock = Writer(), Seconds()
    failures = [ValueError("once")]

    def fail(request):
        if request.env_ids.tolist() == [0] and failures:
            raise failures.pop()

    options = {"timeline": writer, "clock": clock}
    with Rollout([[1, 100], [100]], marking(before=fail), Threshold(1), options) as rollout:
        rollout.runner.step()
        with pytest.raises(PolicyError, match="once"):
            rollout.runner.step()
        rollout.runner.step()
        rollout.runner.park([0])
        rollout.runner.step()
    assert [event[:4] if event[0] == "tick" else event[:3] for event in writer.events] == [
        ("inference", [0, 1], None),
        ("tick", [True, True], [0, 0], None),
        ("episode", 0, 0),
        ("inference", [0], "once"),
        ("inference", [0], None),
        ("tick", [True, True], [0, 1], None),
        ("tick", [False, True], [2], [True, False]),
    ]
    times = [time_s for event in writer.events for time_s in event if isinstance(time_s, float)]
    assert times == sorted(times)
    rollout.runner.close()


@pytest.mark.parametrize("name", ["cohort", "append"])
def test_a_trace_on_disk_reads_back(name, tmp_path):
    path = tmp_path / "run.jsonl"
    options = {"timeline": path}
    with Rollout([[4, 100], [100]], marking(), SCHEDULERS[name](), options) as rollout:
        rollout.until(12)
        stats = rollout.runner.stats()
    timeline = read_timeline(path)
    states = timeline.state_matrix()
    assert states.size == 2 * stats.num_ticks
    assert timeline.metadata["scheduler"] == type(rollout.scheduler).__name__
    assert timeline.metadata["execute"] == rollout.runner.execute


def test_a_trace_on_disk_keeps_the_runners_clock(tmp_path):
    path, clock = tmp_path / "run.jsonl", Seconds()
    options = {"timeline": path, "clock": clock}
    with Rollout([[4, 100], [100]], marking(), Cohort(), options) as rollout:
        rollout.until(3)
    first = path.read_text().splitlines()[1]
    assert '"call":[3000000,4000000,5000000]' in first
