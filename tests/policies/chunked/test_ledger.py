"""The books of chunks, and what is executed by them, against one Python list per row."""

import numpy as np
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from holdstep.policies.chunked.action_queue import ActionQueue
from holdstep.policies.chunked.ages import ActionAges
from holdstep.policies.chunked.handover import Handover, Splice
from holdstep.policies.chunked.ledger import ChunkLedger
from tests.policies.chunked.plain_books import HANDOVERS, PlainRow


def ids(rows):
    return np.array(sorted(rows), dtype=np.int64)


class Books(RuleBasedStateMachine):
    """The ledger, the queue and the ages, driven as a runner does and as none ever would."""

    @initialize(
        num_envs=st.integers(1, 4),
        execute=st.integers(2, 5),
        spare=st.integers(0, 3),
        lead=st.integers(1, 4),
        mode=st.sampled_from(list(HANDOVERS)),
    )
    def begin(self, num_envs, execute, spare, lead, mode):
        self.lead = min(lead, execute - 1)
        self.length = execute + self.lead + spare
        self.num_envs, self.execute, self.mode = num_envs, execute, mode
        self.ledger = ChunkLedger(num_envs, execute=execute, handover=HANDOVERS[mode](self.lead))
        capacity = execute + self.lead
        self.queue = ActionQueue(
            num_envs, capacity=capacity, action_dim=2, device=torch.device("cpu")
        )
        self.ages = ActionAges(num_envs, capacity=capacity)
        self.asked = {}
        self.observed_at = np.zeros(num_envs, dtype=np.int64)
        self.serial = self.late = self.tick = 0
        self.ledger.clear()
        lead = 0 if mode == "exact" else self.lead
        self.rows = [PlainRow(mode, lead, execute) for _ in range(num_envs)]

    def some(self, data, rows, *, least=0):
        rows = list(rows)
        if not rows:
            return []
        return data.draw(st.lists(st.sampled_from(rows), unique=True, min_size=least))

    @rule()
    def observe(self):
        found = self.ledger.newly_wanting()
        assert found.tolist() == [i for i, row in enumerate(self.rows) if row.observe()]
        self.observed_at[found] = self.ledger.row_steps[found]

    @rule(data=st.data())
    def submit(self, data):
        self.observe()
        rows = self.some(data, (i for i, row in enumerate(self.rows) if row.wanting))
        if not rows:
            return
        left = self.ledger.left_when_observed(ids(rows))
        assert left.tolist() == [self.rows[i].left_when_observed for i in sorted(rows)]
        self.ledger.submit(ids(rows), self.serial)
        for i in rows:
            self.rows[i].ticket = self.serial
        when = {i: self.rows[i].observed_at for i in rows}
        self.asked[self.serial] = (ids(rows), self.mode, self.ledger.handover, when)
        self.serial += 1

    @precondition(lambda self: self.asked)
    @rule(data=st.data())
    def arrive(self, data):
        ticket = data.draw(st.sampled_from(sorted(self.asked)))
        rows, mode, handover, when = self.asked.pop(ticket)
        lengths = np.array([data.draw(st.integers(1, self.length)) for _ in rows])
        wanted = self.ledger.settle(rows, ticket)
        assert wanted.tolist() == [self.rows[i].ticket == ticket for i in rows]
        self.late += int((~wanted).sum())
        kept, lengths = rows[wanted], lengths[wanted]
        if not len(kept):
            return
        chunks = torch.empty(len(kept), self.length, 2)
        chunks[:, :, 0], chunks[:, :, 1] = ticket, torch.arange(self.length)
        splice = self.ledger.splice(kept, lengths, handover)
        self.ledger.install(kept, splice)
        self.queue.put(kept, chunks, splice)
        self.ages.put(kept, splice, self.ledger.row_steps[kept] - [when[i] for i in kept])
        for i, length in zip(kept.tolist(), lengths.tolist(), strict=True):
            self.rows[i].arrive(ticket, length, mode=mode, observed_at=when[i])

    @precondition(lambda self: self.asked)
    @rule(data=st.data())
    def fail(self, data):
        ticket = data.draw(st.sampled_from(sorted(self.asked)))
        rows, *_ = self.asked.pop(ticket)
        self.ledger.give_up(rows, ticket)
        for row in self.rows:
            if row.ticket == ticket:
                row.ticket = None

    @rule(data=st.data())
    def advance(self, data):
        rows = self.some(data, (i for i, row in enumerate(self.rows) if row.runnable))
        active = np.zeros(self.num_envs, dtype=bool)
        active[rows] = True
        actions, ages = self.queue.current(), self.ages.current()
        self.ledger.advance(active)
        self.queue.advance(active)
        self.ages.advance(active)
        self.tick += 1
        for i in rows:
            self.rows[i].advance(self.tick)
            episode, action, age = self.rows[i].done[-1]
            assert actions[i].tolist() == [action.chunk, action.index]
            assert ages[i] == age
            assert episode == self.ledger.episode_ids[i]

    @rule(data=st.data())
    def end_episodes(self, data):
        rows = self.some(data, range(self.num_envs))
        self.ledger.begin_episodes(ids(rows))
        for i in rows:
            self.rows[i].begin_episode(self.tick)

    @rule(data=st.data())
    def park(self, data):
        live = data.draw(st.lists(st.booleans(), min_size=self.num_envs, max_size=self.num_envs))
        self.ledger.live_mask[:] = live
        for row, alive in zip(self.rows, live, strict=True):
            row.live = alive

    @rule(mode=st.sampled_from(list(HANDOVERS)))
    def change_handover(self, mode):
        """As the adaptive scheduler does, while chunks of the old rule are being inferred."""
        handover = HANDOVERS[mode](self.lead)
        if handover != self.ledger.handover:
            for row in self.rows:
                if row.ticket is None:
                    row.left_when_observed = None
        self.ledger.handover = handover
        self.mode = mode
        for row in self.rows:
            row.lead = handover.lead

    @rule()
    def clear(self):
        self.ledger.clear()
        self.tick = 0
        for row in self.rows:
            row.begin_episode(0)
            row.episode = row.steps = 0
            row.live = True

    @invariant()
    def the_books_agree(self):
        if not hasattr(self, "rows"):
            return
        ledger, rows, view = self.ledger, self.rows, self.ledger.view()
        assert ledger.tick == view.tick == self.tick
        assert ledger.remaining.tolist() == [len(row.queue) for row in rows]
        assert ledger.episode_ids.tolist() == [row.episode for row in rows]
        assert ledger.chunk_ids.tolist() == [row.chunk for row in rows]
        assert ledger.row_steps.tolist() == [row.steps for row in rows]
        assert ledger.runnable_mask.tolist() == [row.runnable for row in rows]
        assert ledger.num_late == self.late
        assert ledger.num_dropped_actions == sum(row.dropped for row in rows)
        assert view.live_mask.tolist() == [row.live for row in rows]
        assert view.num_live == sum(row.live for row in rows)
        assert view.idle_mask.tolist() == [row.idle for row in rows]
        assert view.wanting_mask.tolist() == [row.wanting for row in rows]
        assert ledger.wants_any is any(row.wanting for row in rows)
        done = [age for row in rows for _, _, age in row.done]
        assert self.ages.executed() == (sum(done), max(done, default=0))
        assert view.in_flight_mask.tolist() == [row.ticket is not None for row in rows]
        assert view.num_requests == len({row.ticket for row in rows} - {None})
        assert view.waited_ticks.tolist() == [
            -1 if row.idle_since is None else self.tick - row.idle_since for row in rows
        ]
        assert view.nothing_runs == all(not row.queue for row in rows if row.live)


TestBooks = Books.TestCase
TestBooks.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


def make(num_envs=2, execute=4, **handover):
    ledger = ChunkLedger(num_envs, execute=execute, handover=Handover(**handover))
    ledger.clear()
    return ledger


def give(ledger, rows, lengths, ticket=0):
    rows = ids(rows)
    ledger.submit(rows, ticket)
    assert ledger.settle(rows, ticket).all()
    install(ledger, rows, lengths)


def install(ledger, rows, lengths, handover=None):
    splice = ledger.splice(ids(rows), np.array(lengths), handover or ledger.handover)
    ledger.install(ids(rows), splice)
    return splice


def test_a_late_chunk_is_dropped_and_counted_and_its_row_asks_again():
    ledger = make()
    ledger.submit(ids([0, 1]), 5)
    ledger.begin_episodes(ids([1]))
    assert ledger.view().wanting_mask.tolist() == [False, True]
    assert ledger.settle(ids([0, 1]), 5).tolist() == [True, False]
    assert ledger.num_late == 1
    assert ledger.in_flight_mask.tolist() == [False, False]


def test_a_late_chunk_does_not_take_the_place_of_the_one_asked_for_since():
    ledger = make(1)
    ledger.submit(ids([0]), 1)
    ledger.begin_episodes(ids([0]))
    ledger.submit(ids([0]), 2)
    assert not ledger.settle(ids([0]), 1).any()
    ledger.give_up(ids([0]), 1)  # nor does its failure
    assert ledger.in_flight_mask.all()
    assert ledger.settle(ids([0]), 2).all()


def test_when_a_short_chunk_comes_does_not_decide_when_its_row_is_observed_next():
    """Its observation would otherwise depend on how long inference took."""
    observed = []
    for arrives_after in range(1, 4):
        ledger = make(1, execute=8, lead=3)
        ledger.newly_wanting()
        give(ledger, [0], [8])
        steps_when_observed = []
        for step in range(12):
            if step == 5 + arrives_after:
                assert ledger.settle(ids([0]), 1).all()
                install(ledger, [0], [2])
            if len(ledger.newly_wanting()):
                steps_when_observed.append(step)
                if step == 5:
                    ledger.submit(ids([0]), 1)
            ledger.advance(ledger.runnable_mask)
        observed.append(steps_when_observed)
    assert observed == [[5, 8]] * 3


def test_rows_that_do_not_take_part_are_not_counted_as_live():
    ledger = make(3)
    ledger.live_mask[1] = False
    view = ledger.view()
    assert view.num_live == 2
    assert view.idle_mask.tolist() == view.wanting_mask.tolist() == [True, False, True]
    give(ledger, [0, 2], [4, 4])
    assert ledger.runnable_mask.tolist() == [True, False, True]
    assert not ledger.view().nothing_runs
    ledger.live_mask[:] = [False, True, False]
    assert ledger.view().nothing_runs


def test_waiting_is_counted_from_the_step_that_used_the_last_action_up():
    ledger = make(2, execute=2)
    give(ledger, [0], [2])
    assert ledger.view().waited_ticks.tolist() == [-1, 0]
    for expected in ([-1, 1], [0, 2]):
        ledger.advance(np.array([True, False]))
        assert ledger.view().waited_ticks.tolist() == expected
    give(ledger, [1], [2], ticket=1)
    ledger.advance(np.array([False, True]))
    assert ledger.view().waited_ticks.tolist() == [1, -1]


class Nothing(Handover):
    """Leaves a row without any action."""

    def splice(self, *, left_now, **rest):
        nothing = np.zeros_like(left_now)
        return Splice(keep=nothing, start=nothing, count=nothing)


def test_a_row_whose_actions_are_taken_away_waits_from_then_on():
    ledger = make(1, lead=2)
    give(ledger, [0], [4])
    for _ in range(3):
        ledger.advance(np.array([True]))
    install(ledger, [0], [1], Nothing())
    ledger.advance(np.array([False]))
    assert ledger.view().waited_ticks.tolist() == [1]
    assert ledger.view().nothing_runs


def test_dropped_actions_are_those_that_would_have_been_executed():
    ledger = make(1, execute=3)
    give(ledger, [0], [8])  # five of them are never meant to be
    ledger.advance(np.array([True]))
    ledger.begin_episodes(ids([0]))
    assert ledger.num_dropped_actions == 2


def test_a_chunk_under_way_keeps_the_rule_that_it_was_asked_for_by():
    rule = Handover(lead=2, skip_elapsed=True)
    ledger = make(1, execute=4, lead=2, skip_elapsed=True)
    give(ledger, [0], [8])
    for _ in range(2):
        ledger.advance(np.array([True]))
    assert ledger.newly_wanting().tolist() == [0]
    ledger.submit(ids([0]), 1)
    ledger.handover = Handover()
    ledger.advance(np.array([True]))
    assert ledger.settle(ids([0]), 1).all()
    splice = install(ledger, [0], [8], rule)
    assert (int(splice.keep[0]), int(splice.start[0]), int(splice.count[0])) == (1, 2, 4)
