"""Random lives of a recording, crashes included, against a model."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.wrappers.record.faulty_files import CRASH_MODES, Crash, FaultyFiles, put
from tests.wrappers.record.store_model import Driver, check, read_all, recover

ROWS = st.integers(0, 2)


class Recordings(RuleBasedStateMachine):
    """Whatever is done in whatever order, what was acknowledged is there, and nothing else."""

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.root = self.folder / "root-0"
        self.root.mkdir()
        self.num_roots = 1
        self.files = FaultyFiles(self.root)
        self.driver = Driver(self.root / "demos", segment_bytes=1200, shard_bytes=9000)
        self.driver.open(files=self.files)

    @rule(row=ROWS)
    def begin(self, row):
        if row in self.driver.under_way:
            self.driver.discard(row)
        self.driver.begin(row)

    @rule(row=ROWS, count=st.integers(1, 5))
    def append(self, row, count):
        if row in self.driver.under_way:
            self.driver.append(row, count)

    @rule(
        row=ROWS,
        ended=st.sampled_from(["terminated", "truncated", "reset", "closed"]),
        success=st.sampled_from([True, False, None]),
        final=st.booleans(),
    )
    def end(self, row, ended, success, final):
        if row in self.driver.under_way and self.driver.under_way[row].num_steps:
            self.driver.end(row, ended, success, final)

    @rule(row=ROWS)
    def discard_last(self, row):
        if row in self.driver.last:
            self.driver.discard_last(row)

    @rule()
    def commit(self):
        self.driver.commit()

    @rule(budget_s=st.sampled_from([None, 0.0]))
    def compact(self, budget_s):
        self.driver.commit()
        self.driver.store.compact(budget_s=budget_s)

    @rule(compact=st.booleans())
    def reopen(self, compact):
        self.driver.close(compact=compact)
        self.driver.open(files=self.files)

    @rule(steps=st.integers(0, 40), mode=st.sampled_from(CRASH_MODES), torn=st.integers(0, 80))
    def crash(self, steps, mode, torn):
        """In the middle of a block, of its compaction, of closing, or of opening."""
        self.files.stop_at = len(self.files.operations) + steps
        with contextlib.suppress(Crash):
            for row in range(3):
                self.begin(row)
                self.append(row, 2)
                self.end(row, "truncated", None, True)
            self.compact(None)
            self.reopen(True)
            self.reopen(False)
        torn = torn if mode == "process" and self.files.is_dead else 0
        self.files.is_dead = True
        tree = self.files.survivors(mode, torn_bytes=torn)
        with contextlib.suppress(Crash):
            self.driver.store.close()
        self.files.close_pins()
        shutil.rmtree(self.root)
        self.root = self.folder / f"root-{self.num_roots}"
        self.num_roots += 1
        put(tree, self.root)
        self.driver.path = self.root / "demos"
        self.files = FaultyFiles(self.root)
        self._forget()
        self.driver.open(files=self.files)

    def _forget(self):
        """What was not committed may be there, but nobody can go on with it."""
        driver = self.driver
        driver.under_way, driver.last = {}, {}
        left = self.folder / "left"
        shutil.copytree(self.root, left)
        found = recover(left / "demos", driver)
        shutil.rmtree(left)
        check(found, driver)
        driver.acknowledged |= {u: e for u, e in driver.possible.items() if u in found}
        driver.possible, driver.unsure_gone = {}, set()

    @precondition(lambda self: not self.driver.unsure_gone)
    @invariant()
    def counts_are_right(self):
        assert self.driver.store.num_episodes == len(self.driver.acknowledged)
        assert len(self.driver.store.under_way) == len(self.driver.under_way)

    def teardown(self):
        self.driver.close()
        check(read_all(self.driver.path), self.driver)
        self.files.close_pins()
        shutil.rmtree(self.folder)


Recordings.TestCase.settings = settings(
    max_examples=30,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestRecordings = Recordings.TestCase
