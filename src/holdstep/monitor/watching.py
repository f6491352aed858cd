"""A stack that is looked at from time to time while something else steps it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from holdstep.errors import ConfigError
from holdstep.monitor.layer_times import time_layers
from holdstep.monitor.layers import env_layers_of
from holdstep.monitor.stack_stats import StackStats, stats


class Sink(Protocol):
    """Shows or keeps what is found."""

    def show(self, found: StackStats, num_steps: int) -> None:
        """Take it.

        Args:
            found: the state of the stack now.
            num_steps: steps of the outermost env since the watch began.
        """

    def close(self) -> None:
        """There will be no more."""


@contextlib.contextmanager
def watch(
    stack: object,
    sinks: Sequence[Sink],
    *,
    every_s: float = 1.0,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[None]:
    """Hand the statistics of a stack to sinks while it is stepped, whoever steps it.

    Looks after a step, in the thread that steps, and once at the end. Layers are timed meanwhile.

    Args:
        stack: an env, or what holds one (a view, a runner).
        sinks: :class:`LiveTable`, :class:`TensorBoardStats`, :class:`TimelineStats`, or your own.
        every_s: time between two looks [s].
        clock: time [s], for tests.

    Raises:
        ConfigError: there is no env in the stack, it is timed already, or ``every_s`` is negative.
    """
    if not every_s >= 0:
        raise ConfigError(f"every_s must be a number of seconds >= 0, got {every_s!r}.")
    outermost = env_layers_of(stack)[0]
    with contextlib.ExitStack() as at_end:
        for sink in sinks:
            at_end.callback(sink.close)
        at_end.enter_context(time_layers(stack))
        look = _Look(stack, sinks, every_s, clock)
        timed_step = outermost.step

        def watched_step(*args: Any, **kwargs: Any) -> Any:
            result = timed_step(*args, **kwargs)
            look.after_step()
            return result

        watched_step.layer_time = timed_step.layer_time  # type: ignore[attr-defined]
        outermost.step = watched_step  # type: ignore[method-assign]  # undone by time_layers
        try:
            yield
        finally:
            look.now()


class _Look:
    def __init__(
        self, stack: object, sinks: Sequence[Sink], every_s: float, clock: Callable[[], float]
    ) -> None:
        self._stack = stack
        self._sinks = sinks
        self._every_s = every_s
        self._clock = clock
        self._next_s = clock() + every_s
        self._num_steps = 0

    def after_step(self) -> None:
        self._num_steps += 1
        if self._clock() >= self._next_s:
            self.now()
            self._next_s = self._clock() + self._every_s  # looking takes time itself

    def now(self) -> None:
        found = stats(self._stack)
        for sink in self._sinks:
            sink.show(found, self._num_steps)
