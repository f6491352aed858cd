"""Reads a trace."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from holdstep.errors import TimelineError
from holdstep.timeline.changes import RowChanges
from holdstep.timeline.json_lines import FORMAT, MAX_HEADER_BYTES, MAX_NUM_ENVS, VERSION
from holdstep.timeline.rows_code import decode_rows
from holdstep.timeline.spans import Call, EpisodeSpan, Note, Sample
from holdstep.timeline.states import TICK_STATES
from holdstep.timeline.timeline import Timeline

_MAX_US = 1 << 53  # beyond it, a float does not hold whole microseconds


def read_timeline(path: str | Path) -> Timeline:
    """Read a trace that :class:`~holdstep.timeline.TimelineWriter` wrote, also while it is written.

    A last line that is torn, as a killed process leaves it, is left out and reported in
    ``Timeline.problems``.

    Args:
        path: the file.

    Raises:
        TimelineError: it is no trace, one of a later version, or damaged elsewhere than at its end;
            the message names the line.
        OSError: it can't be read.
    """
    path = Path(path)
    with path.open("rb") as file:
        header = _read_header(path, file.readline(MAX_HEADER_BYTES))
        builder = _Builder(header)
        for number, line in enumerate(file, start=2):
            if not line.endswith(b"\n"):  # each line is written with its line feed
                builder.problems.append(f"Its last line, {number}, is torn and was left out.")
                break
            try:
                builder.add(json.loads(line))
            except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
                reason = error if isinstance(error, TimelineError) else type(error).__name__
                raise TimelineError(
                    f"Line {number} of {path} can't be read ({reason}): {line[:60]!r}. What stands "
                    f"before it can: head -n {number - 1} {path}"
                ) from error
    return builder.finish()


def _read_header(path: Path, line: bytes) -> dict[str, Any]:
    try:
        header = json.loads(line)
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise TimelineError(
            f"{path} is no trace of holdstep: its first line is {line[:40]!r}, not a header. "
            "Traces are written by TimelineWriter, RecordTimeline, or ChunkRunner(timeline=...)."
        )
    if header.get("version") != VERSION:
        raise TimelineError(
            f"{path} is a trace of version {header.get('version')!r}, this holdstep reads version "
            f"{VERSION}. Install the holdstep that wrote it, or a newer one."
        )
    num_envs = header.get("num_envs")
    if type(num_envs) is not int or not 1 <= num_envs <= MAX_NUM_ENVS:
        raise TimelineError(
            f"{path} claims {num_envs!r} rows; a trace has 1 to {MAX_NUM_ENVS}. It is damaged."
        )
    return header


class _Builder:
    """Collects the lines of a file."""

    def __init__(self, header: dict[str, Any]) -> None:
        self.problems: list[str] = []
        self._header = header
        self._num_envs: int = header["num_envs"]
        self._begins: list[float] = []
        self._ends: list[float] = []
        self._states = _Events()
        self._stale = _Events()
        self._staleness_known: list[bool] = []
        self._calls: list[Call] = []
        self._episodes: list[EpisodeSpan] = []
        self._notes: list[Note] = []
        self._samples: list[Sample] = []
        self._complete = False

    def add(self, line: dict[str, Any]) -> None:
        """Take a parsed line; raises what a damaged one raises."""
        if not isinstance(line, dict):
            raise TimelineError("it is no JSON object")
        if "tick" in line:
            self._add_tick(line)
        elif "call" in line:
            self._add_call(line)
        elif "episode" in line:
            self._add_episode(line)
        elif "note" in line:
            self._notes.append(Note(text=str(line["note"]), at_s=_seconds([line["at"]], 1)[0]))
        elif "sample" in line:
            self._add_sample(line)
        elif "end" in line:
            self._complete = True
        elif "full" in line:
            self._complete = True
            self.problems.append(
                f"It reached its limit of {int(line['full'])} bytes; what came later is missing."
            )

    def finish(self) -> Timeline:
        """What was collected."""
        if not self._complete:
            self.problems.append(
                "It has no end: the run still writes to it, or was killed before it closed it."
            )
        metadata = self._header.get("metadata")
        wall_time_s = self._header.get("wall_time_s")
        return Timeline(
            env_ids=np.arange(self._num_envs),
            tick_begin_s=np.array(self._begins, dtype=np.float64),
            tick_end_s=np.array(self._ends, dtype=np.float64),
            states=self._states.changes(self._num_envs),
            staleness_changes=self._stale.changes(self._num_envs),
            staleness_known=np.array(self._staleness_known, dtype=bool),
            calls=tuple(sorted(self._calls, key=lambda call: call.begin_s)),
            episodes=tuple(self._episodes),
            notes=tuple(self._notes),
            samples=tuple(self._samples),
            metadata=metadata if isinstance(metadata, dict) else {},
            wall_time_s=float(wall_time_s) if isinstance(wall_time_s, int | float) else 0.0,
            complete=self._complete,
            problems=tuple(self.problems),
        )

    def _add_tick(self, line: dict[str, Any]) -> None:
        begin_s, end_s = _seconds(line["tick"], 2)
        if self._ends and begin_s < self._ends[-1]:
            raise TimelineError("a tick begins before the last one has ended")
        tick = len(self._begins)
        changed = [np.empty(0, dtype=np.int64)]
        for state in TICK_STATES:
            code = line.get(state.name.lower())
            if code is not None:
                changed.append(decode_rows(code, self._num_envs))
                self._states.add(changed[-1], tick, int(state))
        if len(changed) > 1 or tick == 0:
            num_changed, num_rows = sum(map(len, changed)), len(np.unique(np.concatenate(changed)))
            if num_changed != num_rows:
                raise TimelineError("a row is in two states")
            if tick == 0 and num_rows != self._num_envs:
                raise TimelineError("the first tick must say what each row does")
        stale = line.get("stale")
        if stale is not None:
            for value, code in stale:
                if type(value) is not int or not abs(value) < _MAX_US:
                    raise TimelineError("staleness is no number of ticks")
                self._stale.add(decode_rows(code, self._num_envs), tick, value)
        self._staleness_known.append(stale is not None)
        self._begins.append(begin_s)
        self._ends.append(end_s)

    def _add_call(self, line: dict[str, Any]) -> None:
        submitted_s, begin_s, end_s = _seconds(line["call"], 3)
        error = line.get("error")
        self._calls.append(
            Call(
                env_ids=decode_rows(line["rows"], self._num_envs),
                submitted_s=submitted_s,
                begin_s=begin_s,
                end_s=end_s,
                kind=str(line.get("kind", "inference")),
                error=None if error is None else str(error),
            )
        )

    def _add_episode(self, line: dict[str, Any]) -> None:
        env_id, episode_id, begin_tick, end_tick = line["episode"]
        if not all(type(n) is int for n in line["episode"]) or not 0 <= begin_tick <= end_tick:
            raise TimelineError("an episode's numbers make no sense")
        if not 0 <= env_id < self._num_envs:
            raise TimelineError("an episode is of a row that there isn't")
        total, success = line.get("return"), line.get("success")
        self._episodes.append(
            EpisodeSpan(
                env_id=env_id,
                episode_id=episode_id,
                begin_tick=begin_tick,
                end_tick=end_tick,
                episode_return=math.nan if total is None else float(total),
                success=None if success is None else bool(success),
            )
        )

    def _add_sample(self, line: dict[str, Any]) -> None:
        (at_s,) = _seconds([line["at"]], 1)
        values = {
            str(name): math.nan if value is None else float(value)
            for name, value in line["sample"].items()
        }
        self._samples.append(Sample(values=values, at_s=at_s))


class _Events:
    """Changes of rows, in the order of their ticks."""

    def __init__(self) -> None:
        self._rows: list[np.ndarray] = []
        self._ticks: list[int] = []
        self._values: list[int] = []

    def add(self, rows: np.ndarray, tick: int, value: int) -> None:
        self._rows.append(rows)
        self._ticks.append(tick)
        self._values.append(value)

    def changes(self, num_envs: int) -> RowChanges:
        sizes = [rows.size for rows in self._rows]
        return RowChanges.from_events(
            num_envs,
            np.concatenate([*self._rows, np.empty(0, dtype=np.int64)]).astype(np.int64),
            np.repeat(np.array(self._ticks, dtype=np.int64), sizes),
            np.repeat(np.array(self._values, dtype=np.int64), sizes),
        )


def _seconds(times: Any, count: int) -> list[float]:
    """Microseconds that must not run backwards, as seconds."""
    if not isinstance(times, list) or len(times) != count:
        raise TimelineError(f"{count} times are expected")
    if not all(type(time) is int and abs(time) < _MAX_US for time in times):
        raise TimelineError("a time is no whole number of microseconds")
    if times != sorted(times):
        raise TimelineError("times run backwards")
    return [time * 1e-6 for time in times]
