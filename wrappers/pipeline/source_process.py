"""What runs in the process of a source."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from typing import Any

from holdstep.errors import SourceError
from holdstep.wrappers.pipeline import host_pickle
from holdstep.wrappers.pipeline.source import SourceResult


def serve(connection: Connection, factory: Callable[[], Any], env_ids: tuple[int, ...]) -> None:
    """Make a source, start it, and compute what is asked for until an empty message comes.

    Interrupts, which a terminal sends to all processes of a job, are left to the env loop.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, name="parent watch", daemon=True).start()
    with connection:
        source = None
        try:
            source = _made(factory)
            source.start(env_ids)
            attributes = _attributes(source)
        except Exception as error:
            with contextlib.suppress(OSError):
                _send_error(connection, error)
        else:
            with contextlib.suppress(EOFError, OSError):  # the env loop is gone
                _send(connection, "value", attributes)
                while request := connection.recv_bytes():
                    _compute(connection, source, request)
        _stop(connection, source)


def _attributes(source: Any) -> dict[str, Any]:
    """What the host asks of a source, once it has been started."""
    keys = getattr(source, "obs_keys", None)
    return {
        "uses_obs": bool(getattr(source, "uses_obs", False)),
        "obs_keys": None if keys is None else tuple(keys),
        "lossless": bool(getattr(source, "lossless", False)),
    }


def _made(factory: Callable[[], Any]) -> Any:
    source = factory()
    if not callable(getattr(source, "compute", None)):
        raise SourceError(
            f"The factory must make a source, which has compute(request); got {source!r}."
        )
    return source


def _stop(connection: Connection, source: Any) -> None:
    with contextlib.suppress(OSError):
        try:
            if source is not None:
                source.stop()
        except Exception as error:
            _send_error(connection, error)
        else:
            _send(connection, "value", None)


def _compute(connection: Connection, source: Any, content: bytes) -> None:
    begin_s = time.monotonic()
    try:
        result = source.compute(host_pickle.loads(content))
        if isinstance(result, SourceResult) and result.input_time_s is None:
            # The host's clock, which is the same one, would count the way here.
            result = replace(result, input_time_s=begin_s)
        answer = host_pickle.dumps(("value", result))
    except Exception as error:
        _send_error(connection, error)
    else:
        connection.send_bytes(answer)


def _send(connection: Connection, kind: str, content: Any) -> None:
    connection.send_bytes(host_pickle.dumps((kind, content)))


def _send_error(connection: Connection, error: Exception) -> None:
    text = "".join(traceback.format_exception(error)).rstrip()
    try:
        # Not all errors survive this; of those that don't, the text is told.
        content = host_pickle.dumps(("error", error))
        host_pickle.loads(content)
    except Exception:
        error = SourceError(f"{type(error).__name__}: {error}")
    error.add_note(f"In the source's process (pid {os.getpid()}):\n{text}")
    _send(connection, "error", error)


def _end_with_parent() -> None:
    """End this process when the env loop's does, even while a source computes for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
