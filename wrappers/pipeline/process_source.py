"""A source in a process of its own."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any

from holdstep.errors import SourceError
from holdstep.wrappers.pipeline import host_pickle
from holdstep.wrappers.pipeline.source import ActionSource, SourceRequest, SourceResult
from holdstep.wrappers.pipeline.source_process import serve

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

_STOP_S = 5.0
_TERMINATE_S = 0.5


class ProcessSource(ActionSource):
    """Has another process make and run a source, which then shares no interpreter with the env.

    The process is spawned by :meth:`start`, and is known to have ended as soon as it has, by
    whatever. Whoever calls :meth:`compute` waits without holding the interpreter.

    Args:
        factory: makes the source, in that process; a picklable function without arguments.

    Attributes:
        uses_obs: of the source; known once it has been started.
        obs_keys: likewise.
        lossless: likewise.
        pid: of the process; None while there is none.
    """

    def __init__(self, factory: Callable[[], ActionSource]) -> None:
        self.uses_obs = False
        self.obs_keys: tuple[str, ...] | None = None
        self.lossless = False
        self._factory = factory
        self._process: SpawnProcess | None = None
        self._connection: Connection | None = None
        self._interrupted = False
        # interrupt() comes from another thread than the rest.
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        factory = getattr(self._factory, "func", self._factory)  # of a functools.partial
        return f"ProcessSource({getattr(factory, '__qualname__', factory)})"

    @property
    def pid(self) -> int | None:
        """Of the process, while there is one."""
        process = self._process
        return None if process is None else process.pid

    def start(self, env_ids: tuple[int, ...]) -> None:
        """Start the process, and in it the source.

        Raises:
            SourceError: the process has ended, or the factory made no source.
            Exception: whatever the factory or the source raised.
        """
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe()
        with there:
            self._connection = here
            process = context.Process(
                target=serve,
                args=(there, self._factory, env_ids),
                name=f"holdstep {self!r}",
                daemon=True,  # or an exit without close() would wait for it
            )
            with self._lock:
                if self._interrupted:
                    raise SourceError("The source was interrupted before it had been started.")
                process.start()
                self._process = process
        attributes = self._answer()
        self.uses_obs = attributes["uses_obs"]
        self.obs_keys = attributes["obs_keys"]
        self.lossless = attributes["lossless"]

    def compute(self, request: SourceRequest) -> SourceResult:
        """Have a frame computed.

        Raises:
            SourceError: the process has ended.
            Exception: whatever the source raised, with a note that holds its traceback.
        """
        if not self.uses_obs and request.obs is not None:
            request = replace(request, obs=None)
        assert self._connection is not None
        content = host_pickle.dumps(request)
        try:
            self._connection.send_bytes(content)
        except OSError:
            raise self._died() from None
        result: SourceResult = self._answer()
        return result

    def stop(self) -> None:
        """Stop the source and end the process; one that does not end is killed.

        Raises:
            Exception: whatever the source's ``stop()`` raised.
        """
        connection, process = self._connection, self._process
        if connection is None:
            return
        try:
            if process is not None and process.is_alive():
                with contextlib.suppress(SourceError, OSError):  # it has ended on the way
                    connection.send_bytes(b"")
                    self._answer()
                process.join(_STOP_S)
        finally:
            self._connection = None
            connection.close()
            self._end(_TERMINATE_S)

    def interrupt(self) -> None:
        """End the process, also in the middle of a computation."""
        with self._lock:
            self._interrupted = True
        self._end(_TERMINATE_S)

    def _end(self, terminate_s: float) -> None:
        with self._lock:
            process = self._process
            if process is None:
                return
            if process.is_alive():
                process.terminate()
                process.join(terminate_s)
            if process.is_alive():
                process.kill()
                process.join()

    def _answer(self) -> Any:
        """What the process sends next.

        Raises:
            SourceError: it has ended instead.
            Exception: what it reports.
        """
        connection, process = self._connection, self._process
        assert connection is not None
        assert process is not None
        try:
            # Its end of the pipe closes when it ends, however that comes about; the sentinel is for
            # the case that a process of its own has inherited that end.
            while not connection.poll():
                ended = process.sentinel in wait([connection, process.sentinel])
                if ended and not connection.poll():
                    raise self._died()
            kind, content = host_pickle.loads(connection.recv_bytes())
        except (EOFError, OSError):
            raise self._died() from None
        if kind == "error":
            raise content
        return content

    def _died(self) -> SourceError:
        process = self._process
        assert process is not None
        process.join(_TERMINATE_S)
        code = process.exitcode
        how = (
            f"was killed by {signal.Signals(-code).name}"
            if code is not None and code < 0
            else f"ended with exit code {code}"
        )
        return SourceError(
            f"The process of {self!r} (pid {process.pid}) {how}. The system's log may say more: "
            "often the kernel has ended it because memory was short."
        )
