"""Writes the trace of a run while it runs."""

from __future__ import annotations

import contextlib
import math
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from holdstep.errors import ConfigError
from holdstep.timeline.checks import check_integer, checked_mask, checked_staleness
from holdstep.timeline.json_lines import (
    FORMAT,
    MAX_HEADER_BYTES,
    MAX_NUM_ENVS,
    VERSION,
    call_line,
    episode_line,
    note_line,
    sample_line,
    to_json,
)
from holdstep.timeline.sink import LineSink
from holdstep.timeline.tick_code import TickEncoder


class TimelineWriter:
    """Writes what each row of a batch did, tick by tick, and what it waited for.

    A trace is a text file of JSON lines, which :func:`~holdstep.timeline.read_timeline` reads. A
    tick is one line, and tells only what is different from the tick before. All times are seconds
    of ``time.perf_counter()``.

    May be used from several threads: a worker may report its calls late and in any order. Ticks are
    numbered from 0 in the order in which they are reported. Lines are buffered, for a second at
    most while there are further calls: a process that is killed loses those. What is reported after
    ``close()``, or would make the file larger than ``max_bytes``, is dropped and counted in
    :attr:`num_dropped`. A file that can't be written to any more ends the trace with a
    ``RuntimeWarning``; the run goes on.

    Args:
        path: the file; an existing one is replaced, missing folders are made.
        num_envs: rows of the batch, N.
        metadata: what else a reader should know (task, scheduler, seed); anything that JSON knows,
            other values as their ``str()``; at
            most 1 MiB.
        max_bytes: the most that is written. A tick takes about 30 bytes, and up to N / 4 more where
            many rows change.
        flush_interval_s: the longest that a line waits for the next one [s].
        clock: time [s], for tests.

    Raises:
        ConfigError: an argument can't be used.
        OSError: the file can't be made.

    >>> import tempfile
    >>> from holdstep.timeline import read_timeline
    >>> path = Path(tempfile.mkdtemp(), "run.jsonl")
    >>> with TimelineWriter(path, num_envs=2, clock=lambda: 0.0) as writer:
    ...     writer.tick(np.array([True, True]), begin_s=0.0, end_s=0.010)
    ...     writer.tick(np.array([True, False]), begin_s=0.010, end_s=0.020)
    ...     writer.inference([1], submitted_s=0.010, begin_s=0.012, end_s=0.019)
    >>> read_timeline(path).state_matrix().tolist()
    [[0, 0], [0, 1]]
    """

    def __init__(
        self,
        path: str | Path,
        *,
        num_envs: int,
        metadata: Mapping[str, Any] | None = None,
        max_bytes: int = 1 << 30,
        flush_interval_s: float = 1.0,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        check_integer("num_envs", num_envs, 1, MAX_NUM_ENVS)
        check_integer("max_bytes", max_bytes, 1024, None)
        self.num_envs = int(num_envs)
        self.path = Path(path)
        self._clock = clock
        self._start_s = clock()
        header = {
            "format": FORMAT,
            "version": VERSION,
            "num_envs": self.num_envs,
            "wall_time_s": time.time(),
            "clock_s": self._start_s,
            "metadata": dict(metadata or {}),
        }
        line = to_json(header, what="metadata")
        if len(line) > min(MAX_HEADER_BYTES, max_bytes // 2):
            raise ConfigError(
                f"metadata takes {len(line)} bytes as JSON, at most "
                f"{min(MAX_HEADER_BYTES, max_bytes // 2)} are possible here. Leave something out, "
                "or keep it in a file of its own."
            )
        self._sink = LineSink(self.path, max_bytes=max_bytes, flush_interval_s=flush_interval_s)
        self._lock = threading.Lock()
        # What was buffered reaches the file also when nobody closes: at the end of the process, or
        # when the writer is thrown away.
        self._finalizer = weakref.finalize(self, self._sink.close)
        self._encoder = TickEncoder(num_envs)
        self._last_end_s = -sys.float_info.max
        self._sink.write(line, self._start_s)
        self._sink.flush()  # a run that is killed at once leaves a readable file

    @property
    def num_dropped(self) -> int:
        """Lines that were not kept: after the end, or beyond ``max_bytes``."""
        return self._sink.num_dropped

    def tick(
        self,
        active_mask: npt.NDArray[np.bool_],
        *,
        begin_s: float,
        end_s: float,
        staleness_ticks: npt.NDArray[np.integer[Any]] | None = None,
        parked_mask: npt.NDArray[np.bool_] | None = None,
    ) -> None:
        """One step of the batch.

        The arrays are read before this returns; the caller may write to them afterwards.

        Args:
            active_mask: the rows that advanced, bool ``[N]``.
            begin_s: when the step began [s]; not before the last one ended.
            end_s: when it returned [s].
            staleness_ticks: of each row, how many of its active ticks lie between the observation
                from which its action was inferred and this one, integer ``[N]``; negative where
                there is no such thing. Rows that are not active are ignored. None: not known.
            parked_mask: rows that have nothing left to do, bool ``[N]``; active ones are not.

        Raises:
            ConfigError: an array of another shape or dtype, or times that run backwards.
        """
        active = checked_mask("active_mask", active_mask, self.num_envs)
        parked = parked_mask
        if parked is not None:
            parked = checked_mask("parked_mask", parked, self.num_envs)
        staleness = None
        if staleness_ticks is not None:
            staleness = checked_staleness(staleness_ticks, self.num_envs)
        with self._lock:
            if not self._last_end_s <= begin_s <= end_s < math.inf:
                raise ConfigError(
                    f"A tick must begin after the last one has ended ({self._last_end_s}), and end "
                    f"after it begins, got begin_s={begin_s!r}, end_s={end_s!r}."
                )
            self._last_end_s = end_s
            changes = self._encoder.encode(active, parked, staleness)
            begin, end = self._microseconds(begin_s), self._microseconds(end_s)
            self._sink.write(f'{{"tick":[{begin},{end}]{changes}}}\n', end_s)

    def inference(
        self,
        env_ids: Sequence[int],
        *,
        submitted_s: float,
        begin_s: float,
        end_s: float,
        kind: str = "inference",
        error: str | None = None,
    ) -> None:
        """One call of a policy, or of anything else that rows wait for; also late, from any thread.

        Args:
            env_ids: the rows it was made for.
            submitted_s: when it was asked for [s].
            begin_s: when it began, after waiting in a queue [s].
            end_s: when its result was there, or it failed [s].
            kind: what it was, in a word.
            error: why it failed, or None.

        Raises:
            ConfigError: ids that are no rows, or times that run backwards.
        """
        ids = np.unique(np.asarray(env_ids, dtype=np.int64))
        if ids.size and (ids[0] < 0 or ids[-1] >= self.num_envs):
            raise ConfigError(
                f"env_ids must be rows from 0 to {self.num_envs - 1}, got {env_ids!r}."
            )
        if not -math.inf < submitted_s <= begin_s <= end_s < math.inf:
            raise ConfigError(
                "A call is submitted, then begins, then ends, got "
                f"submitted_s={submitted_s!r}, begin_s={begin_s!r}, end_s={end_s!r}."
            )
        times_us = map(self._microseconds, (submitted_s, begin_s, end_s))
        self._write(call_line(times_us, ids, self.num_envs, kind, error))

    @contextlib.contextmanager
    def measure(self, env_ids: Sequence[int], *, kind: str = "inference") -> Iterator[None]:
        """Report what a ``with`` block does as a call for some rows; also when it fails.

        Args:
            env_ids: the rows it is done for.
            kind: what it is, in a word.
        """
        begin_s = self._clock()
        error = None
        try:
            yield
        except BaseException as failure:
            error = f"{type(failure).__name__}: {failure}"
            raise
        finally:
            self.inference(
                env_ids,
                submitted_s=begin_s,
                begin_s=begin_s,
                end_s=self._clock(),
                kind=kind,
                error=error,
            )

    def episode(
        self,
        env_id: int,
        episode_id: int,
        *,
        begin_tick: int,
        end_tick: int,
        episode_return: float,
        success: bool | None = None,
    ) -> None:
        """One episode that has ended.

        Args:
            env_id: its row.
            episode_id: its number, of that row or of the run.
            begin_tick: the first tick at which the row could advance in it.
            end_tick: the tick in which it ended, the last one that belongs to it.
            episode_return: the sum of its rewards.
            success: whether it succeeded, where the task says so.

        Raises:
            ConfigError: no such row, or an end before the begin.
        """
        check_integer("env_id", env_id, 0, self.num_envs - 1)
        if not 0 <= begin_tick <= end_tick:
            raise ConfigError(
                f"An episode needs 0 <= begin_tick <= end_tick, got {begin_tick}, {end_tick}."
            )
        numbers = (env_id, episode_id, begin_tick, end_tick)
        self._write(episode_line(numbers, episode_return, success))

    def note(self, text: str, *, at_s: float | None = None) -> None:
        """A remark.

        Args:
            text: anything.
            at_s: the time it is about [s]; now by default.
        """
        at = self._microseconds(self._clock() if at_s is None else at_s)
        self._write(note_line(text, at))

    def sample(self, values: Mapping[str, float], *, at_s: float | None = None) -> None:
        """Numbers that were read at one moment, such as the length of a queue.

        Args:
            values: by name.
            at_s: when they were read [s]; now by default.
        """
        at = self._microseconds(self._clock() if at_s is None else at_s)
        self._write(sample_line(values, at))

    def flush(self) -> None:
        """Hand everything to the operating system, so that a killed process loses none of it."""
        with self._lock:
            self._sink.flush()

    def close(self) -> None:
        """Finish the file; may be called again."""
        with self._lock:
            self._sink.close(f'{{"end":{self._microseconds(self._clock())}}}\n')
        self._finalizer.detach()

    def __enter__(self) -> TimelineWriter:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _write(self, line: str) -> None:
        with self._lock:
            self._sink.write(line, self._clock())

    def _microseconds(self, time_s: float) -> int:
        return round((time_s - self._start_s) * 1e6)
