"""Control steps in real time."""

from __future__ import annotations

import time
from collections.abc import Callable


class StepPacer:
    """Makes each control step begin on its tick of the wall clock.

    A step that is late is not made up for by hurrying the next ones: the ticks start anew from it,
    so that a robot never gets two targets at once.

    Args:
        step_dt: [s] between ticks.
        clock: the time [s]; it must never go back.
        sleep: waits for a number of seconds.

    Attributes:
        late_steps: how many steps began after their tick.
        worst_delay_s: the longest that one was late.
    """

    def __init__(
        self,
        step_dt: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._step_dt = step_dt
        self._clock = clock
        self._sleep = sleep
        self._next: float | None = None
        self.late_steps = 0
        self.worst_delay_s = 0.0

    def restart(self) -> None:
        """Let the next step begin at once, and the ticks with it."""
        self._next = None

    def wait(self) -> None:
        """Sleep until the next step is due."""
        now = self._clock()
        if self._next is None:
            self._next = now
        delay = now - self._next
        if delay > 0:
            self.late_steps += 1
            self.worst_delay_s = max(self.worst_delay_s, delay)
            self._next = now
        elif delay < 0:
            self._sleep(-delay)
        self._next += self._step_dt
