"""How to record."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from holdstep.errors import ConfigError, RecordingError
from holdstep.wrappers.record.block_queue import OnFull
from holdstep.wrappers.record.families import SuccessFilter
from holdstep.wrappers.record.files import recording_errors
from holdstep.wrappers.record.folder import RecordingFolder
from holdstep.wrappers.record.formats.hdf5 import Compression
from holdstep.wrappers.record.keys import checked_keys
from holdstep.wrappers.record.quota import Partial, SuccessWhen
from holdstep.wrappers.record.store import Durability

WriterKind = Literal["process", "thread"]

_CHOICES = {
    "durability": Durability,
    "on_full": OnFull,
    "writer": WriterKind,
    "compression": Compression,
    "success_filter": SuccessFilter,
    "partial": Partial,
    "success_when": SuccessWhen,
}
_COUNTS = ("max_episodes", "max_bytes", "max_queue_bytes")
_SECONDS = ("max_age_s", "writer_timeout_s")


@dataclass(frozen=True)
class RecordOptions:
    """The options of :class:`~holdstep.wrappers.RecordEpisodes`, checked; described there.

    Raises:
        ConfigError: a value can't be used.
    """

    keys: Sequence[str] | None = None
    durability: Durability = "disk"
    on_full: OnFull = "block"
    writer: WriterKind = "process"
    compression: Compression = "none"
    success_filter: SuccessFilter = "all"
    success_when: SuccessWhen = "end"
    partial: Partial = "keep"
    max_episodes: int | None = None
    max_bytes: int | None = None
    max_queue_bytes: int = 256 << 20
    max_age_s: float = 1.0
    writer_timeout_s: float = 120.0
    attributes: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "keys", checked_keys(self.keys))
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in get_args(choices):
                raise ConfigError(
                    f"{name} must be one of {', '.join(map(repr, get_args(choices)))}, got "
                    f"{getattr(self, name)!r}."
                )
        for name in _COUNTS:
            value = getattr(self, name)
            if value is None and name != "max_queue_bytes":
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigError(f"{name} must be an integer of at least 1, got {value!r}.")
        for name in _SECONDS:
            value = getattr(self, name)
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if not is_number or math.isnan(value) or value <= 0:
                raise ConfigError(f"{name} must be a number of seconds > 0, got {value!r}.")
        check_json("attributes", dict(self.attributes))


def check_json(what: str, values: Mapping[str, Any]) -> None:
    """Refuse what can't be written down as plain data.

    Raises:
        ConfigError: something in it is no JSON value, or a name is no string.
    """
    names = [name for name in values if not isinstance(name, str) or not name]
    if names:
        raise ConfigError(f"{what}: names must be strings, got {names[0]!r}.")
    for name, value in values.items():
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"{what}: {name!r} must be a plain value (number, text, truth value, list or "
                f"dictionary of those), got {value!r}: {error}. Convert it, with .item() or "
                ".tolist() perhaps."
            ) from error


def checked_path(path: str | os.PathLike[str]) -> Path:
    """The path of a dataset, whose folder exists from now on and can be written to.

    Raises:
        RecordingError: it can't, or something else lies there.
    """
    checked = Path(path).absolute()
    try:
        checked.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RecordingError(f"Can't record to {checked}: {error}.") from error
    where = checked if checked.is_dir() else checked.parent
    if not os.access(where, os.W_OK | os.X_OK):
        raise RecordingError(f"Can't record to {checked}: {where} can't be written to.")
    with recording_errors(f"look into {checked}"):
        RecordingFolder.of(checked).check_free()
    return checked
