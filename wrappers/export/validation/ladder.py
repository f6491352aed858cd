"""The rungs of a validation, each timed and reported, also the one that fails."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from holdstep.errors import ExportError
from holdstep.wrappers.export.contract_parts import Check

if TYPE_CHECKING:
    from holdstep.wrappers.export.report import ExportReport

RUNGS = ("discover", "purity", "trace", "replay", "parity", "wiring")
"""All rungs, from the lowest."""


@dataclass
class Rung:
    """One step of the validation.

    Attributes:
        name: one of :data:`RUNGS`.
        status: how it went.
        seconds: how long it took [s].
        value: what was measured, such as the largest difference; None if nothing was.
        limit: what it had to stay below; None if there was no limit.
        detail: a sentence.
    """

    name: str
    status: Literal["passed", "failed", "skipped"] = "passed"
    seconds: float = 0.0
    value: float | None = None
    limit: float | None = None
    detail: str = ""

    def as_check(self) -> Check:
        """What the contract keeps of it: all but the time, which is no property of the policy."""
        return Check(self.name, self.status, self.value, self.limit, self.detail)


class Ladder:
    """Runs rungs, and writes down in a report how they went.

    Args:
        report: gets a :class:`Rung` for each.
        on_rung: called with the name of each rung as it begins.
        clock: time [s], for tests.
    """

    def __init__(
        self,
        report: ExportReport,
        *,
        on_rung: Callable[[str], None] = lambda name: None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._report = report
        self._on_rung = on_rung
        self._clock = clock

    @contextmanager
    def rung(self, name: str) -> Iterator[Rung]:
        """Time what is done inside; an error in there fails the rung, and gets the report."""
        self._on_rung(name)
        rung = Rung(name)
        begin_s = self._clock()
        try:
            yield rung
        except BaseException as error:
            rung.status = "failed"
            rung.detail = str(error) or type(error).__name__
            if isinstance(error, ExportError):
                error.report = self._report
            raise
        finally:
            rung.seconds = self._clock() - begin_s
            self._report.rungs.append(rung)

    def skip(self, name: str, reason: str) -> None:
        """Write down that a rung was left out."""
        self._report.rungs.append(Rung(name, "skipped", detail=reason))
