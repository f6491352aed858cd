"""The format of a trace: one JSON object per line.

The first line is the header: ``format``, ``version``, ``num_envs``, ``wall_time_s`` (Unix time at
its start), ``clock_s`` (the same moment on the run's own clock) and ``metadata``. Times in the
lines below are whole microseconds since then. Each further line is one of

- ``{"tick": [begin, end], ...}`` with the rows that are now ``"active"``, ``"suspended"`` or
  ``"parked"`` and were something else in the tick before, and ``"stale"``, pairs of a staleness and
  the active rows whose staleness is not one more than in their last active tick;
- ``{"call": [submitted, begin, end], "rows": rows}``, maybe with ``"kind"`` and ``"error"``;
- ``{"episode": [env_id, episode_id, begin_tick, end_tick], "return": x}``, maybe with
  ``"success"``; a return that is not finite is null;
- ``{"note": text, "at": time}``;
- ``{"sample": {name: number, ...}, "at": time}``;
- ``{"end": time}`` or ``{"full": bytes}``, the last line of a trace that was ended on purpose.

Rows are a list of ids, or a string of hexadecimal digits with a bit per row, the highest first.
A reader skips lines and entries that it does not know.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from holdstep.errors import ConfigError
from holdstep.timeline.rows_code import encode_rows

FORMAT = "holdstep-timeline"
VERSION = 1

MAX_HEADER_BYTES = 1 << 20
"""So much of a file is looked at to see whether it is a trace."""

MAX_NUM_ENVS = 1 << 20
"""A header that claims more rows is not believed."""


def to_json(value: Mapping[str, Any], *, what: str) -> str:
    """A line of strict JSON in ASCII; values that JSON does not know become their ``str()``.

    Args:
        value: what the line is to hold.
        what: the argument to blame.

    Raises:
        ConfigError: a number that is not finite, or a key that is no string.
    """
    try:
        return json.dumps(value, default=_plain, allow_nan=False, separators=(",", ":")) + "\n"
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(f"{what} can't be written as JSON: {error}.") from error


def call_line(
    times_us: Iterable[int], ids: npt.NDArray[np.int64], num_envs: int, kind: str, error: str | None
) -> str:
    """The line of a call, with times of its submission, begin and end [µs]."""
    rest = "" if kind == "inference" else f',"kind":{json.dumps(kind)}'
    rest += "" if error is None else f',"error":{json.dumps(error)}'
    times = ",".join(map(str, times_us))
    return f'{{"call":[{times}],"rows":{encode_rows(ids, num_envs)}{rest}}}\n'


def episode_line(numbers: Iterable[int], episode_return: float, success: bool | None) -> str:
    """The line of an episode, with its row, its number, and its first and last tick."""
    rest = "" if success is None else f',"success":{json.dumps(bool(success))}'
    numbers_text = ",".join(str(int(number)) for number in numbers)
    return f'{{"episode":[{numbers_text}],"return":{finite_or_null(episode_return)}{rest}}}\n'


def note_line(text: str, at_us: int) -> str:
    """The line of a remark."""
    return f'{{"note":{json.dumps(str(text))},"at":{at_us}}}\n'


def sample_line(values: Mapping[str, float], at_us: int) -> str:
    """The line of numbers that were read at one moment."""
    texts = ",".join(f"{json.dumps(name)}:{finite_or_null(x)}" for name, x in values.items())
    return f'{{"sample":{{{texts}}},"at":{at_us}}}\n'


def _plain(value: object) -> object:
    """A NumPy or torch number as Python's, anything else as text."""
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        return value.item()
    return str(value)


def finite_or_null(number: float) -> str:
    """A number as JSON, which has no infinity and no NaN.

    >>> finite_or_null(2.5), finite_or_null(float("nan"))
    ('2.5', 'null')
    """
    number = float(number)
    return repr(number) if math.isfinite(number) else "null"
