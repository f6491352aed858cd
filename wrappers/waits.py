"""What suspended rows wait for: futures and conditions."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import inspect
import threading
import time
import types
import weakref
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from holdstep.errors import ConfigError, SuspensionError, SuspensionTimeoutError

Wait: TypeAlias = "concurrent.futures.Future[Any] | asyncio.Future[Any] | Callable[[], bool]"
"""Done when the future is, or when the callable returns True."""

_FUTURES = (concurrent.futures.Future, asyncio.Future)
_POLL_S = 0.002
"""Between two looks at the callables, while everything waits for them."""
_LOOK_AGAIN_S = 1.0
"""Between two looks at futures, which report themselves: their event loop may have been closed."""


class WaitClock:
    """Time, as those who wait see it. Tests put another one in its place."""

    def now(self) -> float:
        """Seconds on a clock that only goes forward."""
        return time.monotonic()

    def pause(self, woken: threading.Event, timeout_s: float) -> None:
        """Wait until ``woken`` is set, for ``timeout_s`` at most."""
        woken.wait(timeout_s)


@dataclass(frozen=True, kw_only=True)
class FinishedWait:
    """A wait that is done.

    Attributes:
        env_ids: the rows that waited for it; none where a callable has resumed them itself.
        error: why it failed, or None when it did not.
    """

    env_ids: list[int]
    error: BaseException | None


@dataclass
class _Entry:
    wait: Wait
    env_ids: list[int] = field(default_factory=list)


class Waits:
    """Which rows wait for what.

    Used from one thread. The futures' callbacks run in whatever thread completes them; all that
    they touch is ``_listeners``, a tuple that is replaced and never changed.

    Args:
        clock: for time-outs.

    Attributes:
        postponed: rows whose waits are not looked at for now, as if they were not done.
    """

    def __init__(self, clock: WaitClock | None = None) -> None:
        self._clock = clock or WaitClock()
        self.postponed: set[int] = set()
        self._entries: dict[Hashable, _Entry] = {}
        self._listeners: tuple[Callable[[], object], ...] = ()
        # By id, since a future may be equal to another one; those that call _notify() when done.
        self._listened: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()

    def __bool__(self) -> bool:
        """Whether any row waits for something."""
        return bool(self._entries)

    @property
    def env_ids(self) -> list[int]:
        """The rows that wait for something, in ascending order."""
        return sorted(row for entry in self._entries.values() for row in entry.env_ids)

    def add(self, env_ids: Sequence[int], waits: Sequence[Wait]) -> None:
        """Let row ``env_ids[i]``, which waits for nothing so far, wait for ``waits[i]``."""
        for env_id, wait in zip(env_ids, waits, strict=True):
            # A method is a new object each time that it is looked up, and equal to the one before.
            key: Hashable = wait if isinstance(wait, types.MethodType) else id(wait)
            entry = self._entries.get(key)
            if entry is None:
                entry = self._entries[key] = _Entry(wait)
                self._listen(wait)
            entry.env_ids.append(env_id)

    def drop(self, env_ids: Iterable[int]) -> None:
        """Forget what rows wait for, whether they wait or not; the futures are left alone."""
        dropped = set(env_ids)
        for key, entry in list(self._entries.items()):
            entry.env_ids = [row for row in entry.env_ids if row not in dropped]
            if not entry.env_ids:
                del self._entries[key]

    def clear(self) -> None:
        """Forget everything."""
        self.drop(self.env_ids)

    def take_finished(self) -> list[FinishedWait]:
        """The waits that are done, which are forgotten; looks at each wait once."""
        looked_at = []
        # A callable may itself resume, suspend and reset any rows.
        for key, entry in list(self._entries.items()):
            if not self.postponed.issuperset(entry.env_ids):  # of which there may be none by now
                done, error = _look_at(entry.wait)
                if done:
                    looked_at.append((key, entry, error))
        finished = []
        # Only now, so that an interrupted look loses nothing, and with the rows that still wait.
        for key, entry, error in looked_at:
            later = [row for row in entry.env_ids if row in self.postponed]
            ready = [row for row in entry.env_ids if row not in self.postponed]
            if self._entries.get(key) is entry:
                del self._entries[key]
            if later:  # for whom it is done, whatever a callable would say at another look
                self._entries[object()] = _Entry(_settled(error), later)
            if ready or not isinstance(entry.wait, _FUTURES):
                finished.append(FinishedWait(env_ids=ready, error=error))
        return finished

    def block(
        self, timeout_s: float | None, needed: Callable[[], bool] = lambda: True
    ) -> list[FinishedWait]:
        """As :meth:`take_finished`, but waits until there is something to take.

        Args:
            timeout_s: the longest wait [s]; None waits as long as it takes.
            needed: asked after each look that found nothing; the wait ends when it returns False.

        Raises:
            SuspensionError: nothing could ever be done: no row waits for anything, or what rows
                wait for needs an event loop that this thread would keep from running.
            SuspensionTimeoutError: the time is over.
        """
        woken = threading.Event()
        deadline = None if timeout_s is None else self._clock.now() + timeout_s
        with self._listening(woken.set):
            # Registered first, so that what is done between the look and the pause ends the pause.
            while not (finished := self.take_finished()) and needed():
                self._check_hope()
                pause_s = self._pause_s()
                if deadline is not None:
                    left_s = deadline - self._clock.now()
                    if left_s <= 0:
                        raise self._timed_out(timeout_s)
                    pause_s = min(pause_s, left_s)
                self._clock.pause(woken, pause_s)
                woken.clear()
        return finished

    async def finished(self, timeout_s: float | None) -> list[FinishedWait]:
        """:meth:`block` for a coroutine: the event loop runs on meanwhile."""
        loop = asyncio.get_running_loop()
        woken = asyncio.Event()
        deadline = None if timeout_s is None else loop.time() + timeout_s

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # the loop was closed
                loop.call_soon_threadsafe(woken.set)

        with self._listening(wake):
            while not (finished := self.take_finished()):
                self._check_any()
                pause_s = self._pause_s()
                if deadline is not None:
                    left_s = deadline - loop.time()
                    if left_s <= 0:
                        raise self._timed_out(timeout_s)
                    pause_s = min(pause_s, left_s)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause_s):
                        await woken.wait()
                woken.clear()
        return finished

    @contextlib.contextmanager
    def _listening(self, listener: Callable[[], object]) -> Iterator[None]:
        self._listeners = (*self._listeners, listener)
        try:
            yield
        finally:
            self._listeners = tuple(other for other in self._listeners if other is not listener)

    def _listen(self, wait: Wait) -> None:
        """Have a future wake whoever listens when it is done; once for each."""
        if not isinstance(wait, _FUTURES) or self._listened.get(id(wait)) is wait:
            return
        if isinstance(wait, concurrent.futures.Future):
            wait.add_done_callback(self._notify)
        elif not wait.done():
            loop = wait.get_loop()
            if loop is _running_loop():
                wait.add_done_callback(self._notify)
            else:
                with contextlib.suppress(RuntimeError):  # closed; then it is only looked at
                    loop.call_soon_threadsafe(wait.add_done_callback, self._notify)
        self._listened[id(wait)] = wait

    def _notify(self, _: object) -> None:
        for listener in self._listeners:
            listener()

    def _looked_at(self) -> list[_Entry]:
        return [
            entry
            for entry in self._entries.values()
            if not self.postponed.issuperset(entry.env_ids)
        ]

    def _pause_s(self) -> float:
        futures_only = all(isinstance(entry.wait, _FUTURES) for entry in self._looked_at())
        return _LOOK_AGAIN_S if futures_only else _POLL_S

    def _check_any(self) -> None:
        if not self._looked_at():
            raise SuspensionError(
                "No suspended row waits for anything, so waiting would never end. Resume some of "
                "them with resume(env_ids), or suspend them with until=."
            )

    def _check_hope(self) -> None:
        self._check_any()
        here = _running_loop()
        loops = [
            entry.wait.get_loop() if isinstance(entry.wait, asyncio.Future) else None
            for entry in self._looked_at()
        ]
        if here is not None and here in loops:
            raise SuspensionError(
                f"All rows are suspended and rows {shortened(self.env_ids)} wait for the event "
                "loop that runs in this very thread, which waiting here would stop. Call "
                "`await env.wait_any()` before step(), or step in another thread."
            )
        if all(loop is not None and not loop.is_running() for loop in loops):
            raise SuspensionError(
                f"All rows are suspended, and rows {shortened(self.env_ids)} wait for asyncio "
                "futures whose event loop does not run, so they would never be done."
            )

    def _timed_out(self, timeout_s: float | None) -> SuspensionTimeoutError:
        return SuspensionTimeoutError(
            f"Rows {shortened(self.env_ids)} are suspended, and nothing that they wait for was "
            f"done within {timeout_s} s. They still are: step() again to wait longer, or "
            "resume(env_ids)."
        )


def checked_waits(until: Wait | Sequence[Wait], num_rows: int) -> list[Wait]:
    """One wait per row, from one for all of them or a list.

    Raises:
        ConfigError: what is no wait, or a list of another length.
    """
    if isinstance(until, list | tuple):
        if len(until) != num_rows:
            raise ConfigError(
                f"until has {len(until)} entries for {num_rows} env_ids. Give one for each row, or "
                "one future or callable for all of them."
            )
        waits = list(until)
    else:
        waits = [until] * num_rows
    for wait in waits if isinstance(until, list | tuple) else [until]:
        _check_wait(wait)
    return waits


def _check_wait(wait: Any) -> None:
    if isinstance(wait, _FUTURES):
        return
    if inspect.isawaitable(wait) or inspect.iscoroutinefunction(wait):
        raise ConfigError(
            f"until={wait!r} is a coroutine, which nobody runs. Make a task of it: "
            "asyncio.create_task(...), or asyncio.run_coroutine_threadsafe(...) from elsewhere."
        )
    if not callable(wait):
        raise ConfigError(
            "until must be a concurrent.futures.Future, an asyncio.Future or Task, a callable "
            f"that returns a bool, or a list of one of these per row; got {wait!r}."
        )
    try:
        signature = inspect.signature(wait)
    except (TypeError, ValueError):  # some built-in functions have none that is known
        return
    try:
        signature.bind()
    except TypeError as error:
        message = f"until={wait!r} must be callable without arguments: {error}."
        raise ConfigError(message) from error


def _look_at(wait: Wait) -> tuple[bool, BaseException | None]:
    """Whether a wait is done, and why it failed if it did."""
    if isinstance(wait, _FUTURES):
        if not wait.done():
            return False, None
        if wait.cancelled():
            kind = asyncio if isinstance(wait, asyncio.Future) else concurrent.futures
            return True, kind.CancelledError()
        return True, wait.exception()
    try:
        answer = wait()
        if inspect.isawaitable(answer) or isinstance(answer, _FUTURES):
            raise _no_answer(wait, answer)
        return bool(answer), None
    except Exception as error:
        return True, error


def _settled(error: BaseException | None) -> concurrent.futures.Future[None]:
    future: concurrent.futures.Future[None] = concurrent.futures.Future()
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)
    return future


def _no_answer(wait: object, answer: object) -> ConfigError:
    if inspect.iscoroutine(answer):
        answer.close()  # or Python warns that it was never awaited
    return ConfigError(
        f"until={wait!r} must return a bool, but returned {answer!r}, which is always true. Give "
        "the future or task itself; of a coroutine, asyncio.create_task(...)."
    )


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def shortened(env_ids: Sequence[int], limit: int = 8) -> str:
    """Rows for a message, ``[1, 2]`` or ``[1, 2, ... 9 more]``."""
    shown = ", ".join(str(env_id) for env_id in env_ids[:limit])
    return f"[{shown}, ... {len(env_ids) - limit} more]" if len(env_ids) > limit else f"[{shown}]"
