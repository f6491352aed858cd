"""Events are delivered, applied and reported exactly once, whatever becomes of single requests."""

import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from holdstep.envs import make
from holdstep.wrappers.pipeline.computing import CheckedActions, Computing
from holdstep.wrappers.pipeline.events import NO_EVENTS, ExecutionState, SourceEvents
from holdstep.wrappers.pipeline.groups import RowsOfSource
from holdstep.wrappers.pipeline.options import PipelineOptions
from holdstep.wrappers.pipeline.pacing import Immediate
from holdstep.wrappers.pipeline.source import SourceResult
from holdstep.wrappers.pipeline.source_pipeline import SourcePipeline
from tests.wrappers.fake_clock import FakeClock
from tests.wrappers.pipeline.tools import ByHand, Told

STOPPED, PAUSED, RUNNING = ExecutionState
NUM_SCHEDULES = 10_000
ENV_IDS = (4, 2, 7)

rows = st.lists(st.sampled_from([0, 1, 2]), unique=True).map(lambda ids: tuple(sorted(ids)))
some_events = st.builds(
    lambda reset, ids, success, discard, edges: SourceEvents(
        reset=reset,
        reset_env_ids=ids if reset else (),
        success=success,
        discard_last=discard,
        edges=tuple(edges),
    ),
    st.booleans(),
    rows,
    st.none() | st.booleans(),
    st.booleans(),
    st.lists(st.sampled_from(ExecutionState), max_size=3),
)


def test_a_state_is_the_last_edge_and_an_edge_alone_tells_the_state():
    assert SourceEvents(state=PAUSED).edges == (PAUSED,)
    assert SourceEvents(edges=(PAUSED, RUNNING)).state == RUNNING
    assert SourceEvents(state=RUNNING, edges=(PAUSED,)).edges == (PAUSED, RUNNING)
    assert SourceEvents(state=RUNNING, edges=(PAUSED, RUNNING)).edges == (PAUSED, RUNNING)


def test_events_are_true_if_anything_happened():
    assert not NO_EVENTS
    assert SourceEvents(reset=True)
    assert SourceEvents(success=False)
    assert SourceEvents(discard_last=True)
    assert SourceEvents(state=STOPPED)


@given(first=some_events, later=some_events)
def test_merging_loses_nothing(first, later):
    merged = first.merged_with(later)
    assert merged.reset == (first.reset or later.reset)
    assert merged.discard_last == (first.discard_last or later.discard_last)
    assert merged.edges == first.edges + later.edges
    assert merged.success == (first.success if later.success is None else later.success)
    resets = [events for events in (first, later) if events.reset]
    if any(events.reset_env_ids == () for events in resets):
        assert merged.reset_env_ids == ()  # which means all rows
    else:
        expected = {row for events in resets for row in events.reset_env_ids}
        assert merged.reset_env_ids == tuple(sorted(expected))


@given(first=some_events, second=some_events, third=some_events)
def test_merging_is_associative_and_nothing_changes_nothing(first, second, third):
    left = first.merged_with(second).merged_with(third)
    assert left == first.merged_with(second.merged_with(third))
    assert first.merged_with(NO_EVENTS) == first == NO_EVENTS.merged_with(first)


@given(operator=some_events)
def test_what_the_host_did_not_ask_for_is_the_operators(operator):
    assert operator.without_echo(NO_EVENTS) == operator


@given(host=some_events)
def test_a_full_echo_leaves_nothing(host):
    assert not host.without_echo(host)
    echo = SourceEvents(reset=host.reset, reset_env_ids=host.reset_env_ids, edges=host.edges)
    assert not echo.without_echo(host, ENV_IDS)


def test_only_the_echo_is_taken_out():
    host = SourceEvents(reset=True, reset_env_ids=(4,), state=PAUSED)
    echoed = SourceEvents(
        reset=True, reset_env_ids=(2, 4), success=True, edges=(PAUSED, RUNNING, PAUSED)
    )
    own = echoed.without_echo(host)
    assert own == SourceEvents(
        reset=True, reset_env_ids=(2,), success=True, edges=(RUNNING, PAUSED)
    )


def test_a_reset_of_all_rows_is_the_operators_in_those_that_the_host_did_not_reset():
    everything = SourceEvents(reset=True)
    own = everything.without_echo(SourceEvents(reset=True, reset_env_ids=(4,)), ENV_IDS)
    assert own == SourceEvents(reset=True, reset_env_ids=(2, 7))
    assert not everything.without_echo(everything, ENV_IDS)
    assert not SourceEvents(reset=True, reset_env_ids=(2,)).without_echo(everything, ENV_IDS)
    named = SourceEvents(reset=True, reset_env_ids=ENV_IDS)
    assert not everything.without_echo(named, ENV_IDS)


class Schedule:
    """One random schedule, and what is expected of it."""

    def __init__(self, seed, check):
        self.random = random.Random(seed)
        self.clock = FakeClock()
        self.source = Told(self.answer)
        group = RowsOfSource(key="source", source=self.source, env_ids=ENV_IDS)
        computing = Computing(source=self.source, check=check, clock=self.clock, copies=True)
        self.worker = ByHand(computing, ENV_IDS, Immediate().pacer())
        options = PipelineOptions(on_error="restart", max_restarts=10**6)
        self.pipeline = SourcePipeline(group, self.worker, options)
        self.echoes = self.random.random() < 0.5
        self.worker.start()
        # Of the host's events, which are on their way where.
        self.untold, self.pending, self.running = [], [], []
        self.host_state, self.owes_state, self.told_again = None, False, []
        self.delivered_host, self.told_host = [], []
        self.emitted, self.applied, self.reported = [], [], []
        self.reported_host = []
        self.num_submitted = self.num_dropped = self.num_wrong = 0

    def answer(self, request):
        # The source sees exactly the events that are on their way with this request. An assertion
        # would be taken for a failure of the source.
        self.num_wrong += request.host_events != merged(self.running)
        if self.random.random() < 0.15:
            raise ValueError("the source fails")
        own = self.operator_events(request.host_events)
        self.delivered_host += self.running
        self.emitted.append(own)
        events = request.host_events.merged_with(own) if self.echoes else own
        return SourceResult(actions=torch.zeros(1), events=events)

    def operator_events(self, host):
        """The operator's; none that could be taken for an echo."""
        states = [state for state in ExecutionState if state not in host.edges]
        state = self.random.choice(states) if states and self.random.random() < 0.4 else None
        return SourceEvents(
            reset=not host.reset and self.random.random() < 0.4,
            discard_last=self.random.random() < 0.2,
            success=self.random.choice([None, None, True, False]),
            state=state,
        )

    def step(self):
        self.clock.time_s += self.random.random()
        {
            "reset": self.host_reset,
            "tell": self.tell,
            "submit": self.submit,
            "begin": self.begin,
            "finish": self.finish,
            "collect": self.collect,
        }[self.random.choice(["reset", "tell", "submit", "submit", "begin", "finish", "collect"])]()

    def host_reset(self):
        chosen = {row for row in (*ENV_IDS, 9) if self.random.random() < 0.5}
        self.pipeline.begin_episodes(chosen)
        mine = tuple(sorted(chosen & set(ENV_IDS)))
        if mine and self.num_submitted:  # before the first request there is nothing to be told
            ids = () if len(mine) == len(ENV_IDS) else mine
            self.note(SourceEvents(reset=True, reset_env_ids=ids))

    def tell(self):
        events = SourceEvents(state=self.random.choice(list(ExecutionState)))
        self.pipeline.tell(events)
        self.note(events)

    def note(self, events):
        self.untold.append(events)
        self.told_host.append(events)

    def submit(self):
        self.num_dropped += self.worker._desk.pending is not None
        self.pipeline.submit(obs=None, external_inputs={}, sim_time_s=0.0, now_s=self.clock.now())
        self.num_submitted += 1
        self.pending += self.untold
        state = merged(self.pending).state
        self.host_state = self.host_state if state is None else state
        self.untold = []

    def begin(self):
        if self.worker.can_begin:
            assert self.worker.begin().request.frame_id == self.num_submitted - 1
            self.running, self.pending = self.pending, []
            if self.owes_state and merged(self.running).state is None:
                self.running.insert(0, SourceEvents(state=self.host_state))
                self.told_again.append(self.running[0])
            self.owes_state = False

    def finish(self):
        if self.worker.running is None:
            return
        self.worker.finish()
        if self.worker._desk.failure is not None:
            self.pending = self.running + self.pending
        self.running = []

    def collect(self):
        self.pipeline_collects()
        self.applied += [news.events for news in self.pipeline.take_operator_news()]
        if self.random.random() < 0.8:  # a step may fail before it tells anything
            self.report()

    def pipeline_collects(self):
        """Which restarts the source, if it has failed."""
        before = self.pipeline.num_restarts
        self.pipeline.collect()
        if self.pipeline.num_restarts > before:
            self.owes_state = self.host_state is not None

    def report(self):
        self.reported.append(self.pipeline.operator_events)
        self.reported_host.append(self.pipeline.host_events)
        self.pipeline.end_step()

    def end(self):
        """Let everything that is on its way arrive."""
        self.collect()
        self.submit()
        for _ in range(1000):
            self.begin()
            self.finish()
            self.pipeline_collects()
            if not (self.untold or self.pending or self.running or self.worker.can_begin):
                break
        self.collect()
        self.report()


def merged(events):
    result = NO_EVENTS
    for event in events:
        result = result.merged_with(event)
    return result


@pytest.fixture(scope="module")
def check():
    env = make("holdstep:CartPole", num_envs=1, device="cpu")
    return CheckedActions(
        env.single_action_space, num_rows=len(ENV_IDS), device=torch.device("cpu")
    )


def test_each_event_is_delivered_applied_and_reported_exactly_once(check):
    num_resets = num_restarts = num_dropped = num_told_again = 0
    for seed in range(NUM_SCHEDULES):
        schedule = Schedule(seed, check)
        for _ in range(schedule.random.randrange(5, 30)):
            schedule.step()
        schedule.end()
        context = f"seed {seed}"
        assert schedule.num_wrong == 0, context
        # Each of the host's once, in order; none is lost, whatever was replaced or failed.
        again = set(map(id, schedule.told_again))
        first = [events for events in schedule.delivered_host if id(events) not in again]
        assert first == schedule.told_host, context
        assert merged(schedule.reported_host) == merged(schedule.delivered_host), context
        # Each of the operator's edges once, in order, and no other.
        emitted = merged(schedule.emitted)
        for seen in (schedule.applied, schedule.reported):
            assert merged(seen) == emitted, context
            assert sum(events.reset for events in seen) <= sum(
                events.reset for events in schedule.emitted
            ), context
        assert schedule.pipeline.num_dropped == 0, context
        num_resets += sum(events.reset for events in schedule.applied)
        num_restarts += schedule.pipeline.num_restarts
        num_dropped += schedule.num_dropped
        num_told_again += len(schedule.told_again)
    # The schedules are not vacuous.
    assert num_resets > NUM_SCHEDULES / 4
    assert num_restarts > NUM_SCHEDULES / 4
    assert num_dropped > NUM_SCHEDULES / 4
    assert num_told_again > NUM_SCHEDULES / 100


def test_a_frame_that_is_returned_twice_reports_its_events_once(check):
    schedule = Schedule(0, check)
    schedule.random.random = lambda: 0.2  # no failure; a reset and an edge in each frame
    schedule.submit()
    schedule.begin()
    schedule.finish()
    schedule.collect()
    assert schedule.applied[-1].reset
    schedule.collect()
    assert len(schedule.applied) == 1
    assert schedule.pipeline.frame.frame_id == 0


def test_events_of_two_frames_that_finish_between_two_steps_are_both_applied(check):
    schedule = Schedule(1, check)
    schedule.random.random = lambda: 0.2
    for _ in range(2):
        schedule.submit()
        schedule.begin()
        schedule.finish()
    schedule.collect()
    assert len(schedule.emitted) == 2
    assert schedule.applied == schedule.emitted  # one by one
    assert schedule.pipeline.frame.frame_id == 1
