"""What is recorded of a row in a step, and where it lies in packed memory."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from holdstep.errors import ConfigError

WORD_BYTES = 4

Kind = Literal["step", "observation"]
Array = npt.NDArray[Any]

_ITEM_BYTES = {
    "bool": 1, "uint8": 1, "int8": 1,
    "int16": 2, "uint16": 2, "float16": 2, "bfloat16": 2,
    "int32": 4, "uint32": 4, "float32": 4,
    "int64": 8, "uint64": 8, "float64": 8,
}  # fmt: skip


@dataclass(frozen=True)
class Column:
    """One recorded quantity.

    Attributes:
        name: its path in an episode, such as ``"actions"`` or ``"obs/policy"``.
        dtype: as torch and NumPy both name it; ``"bfloat16"``, which NumPy and HDF5 lack, is read
            back as float32, which holds each of its values exactly.
        shape: of one row at one time.
        kind: ``"step"`` for what belongs to a step (actions, rewards), so that an episode of T
            steps has T of them; ``"observation"`` for what is there before the first step and after
            each one (observations, states), so that it has T + 1.

    Raises:
        ConfigError: a dtype that can't be recorded.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    kind: Kind

    def __post_init__(self) -> None:
        if self.dtype not in _ITEM_BYTES:
            raise ConfigError(
                f"{self.name!r} has dtype {self.dtype}, which can't be recorded; these can: "
                f"{', '.join(_ITEM_BYTES)}."
            )

    @property
    def folder(self) -> str:
        """The first part of a name that has several; else empty."""
        return self.name.partition("/")[0] if "/" in self.name else ""

    @property
    def num_bytes(self) -> int:
        """Size of one row at one time [byte]."""
        return math.prod(self.shape) * _ITEM_BYTES[self.dtype]

    @property
    def in_words(self) -> bool:
        """Whether it lies in the plane of words, rather than in that of bytes."""
        return _ITEM_BYTES[self.dtype] >= WORD_BYTES

    @property
    def is_image(self) -> bool:
        """Whether it looks like a camera's: uint8 of shape ``[height, width, channels]``."""
        return self.dtype == "uint8" and len(self.shape) == 3


@dataclass(frozen=True)
class Place:
    """Where a column lies in its plane: ``plane[..., begin:end]``."""

    begin: int
    end: int


class RowLayout:
    """How the columns of one row at one time are packed into two planes.

    *Words* are int32 and hold every dtype of four or eight bytes; *bytes* are uint8 and hold the
    smaller ones. Two planes, since a tensor may be viewed as int32 without a copy only where its
    elements are whole words. Observation columns lie behind one another in each plane, so that
    the first and the final observation of an episode are one slice of each.

    Args:
        columns: their order is kept within each plane and kind.

    Attributes:
        columns: all of them: steps' first, then observations'.
        num_words: width of the plane of words.
        num_bytes: width of the plane of bytes.

    Raises:
        ConfigError: two columns of one name, or one whose name is a folder of another's.

    >>> layout = RowLayout([
    ...     Column("obs/policy", "float32", (3,), "observation"),
    ...     Column("actions", "float32", (2,), "step"),
    ...     Column("terminated", "bool", (), "step"),
    ... ])
    >>> layout.num_words, layout.num_bytes, layout.place("obs/policy")
    (5, 1, Place(begin=2, end=5))
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        _check_names([column.name for column in columns])
        by_kind = [c for c in columns if c.kind == "step"]
        self._num_step_words = sum(_units(c) for c in by_kind if c.in_words)
        self._num_step_bytes = sum(_units(c) for c in by_kind if not c.in_words)
        by_kind += [c for c in columns if c.kind == "observation"]
        self.columns = tuple(by_kind)
        self._places: dict[str, Place] = {}
        ends = {True: 0, False: 0}
        for column in self.columns:
            begin = ends[column.in_words]
            ends[column.in_words] = begin + _units(column)
            self._places[column.name] = Place(begin, ends[column.in_words])
        self.num_words, self.num_bytes = ends[True], ends[False]

    def place(self, name: str) -> Place:
        """Where a column lies in its plane."""
        return self._places[name]

    @cached_property
    def observation_words(self) -> slice:
        """The part of the plane of words that holds observations."""
        return slice(self._num_step_words, self.num_words)

    @cached_property
    def observation_bytes(self) -> slice:
        """The part of the plane of bytes that holds observations."""
        return slice(self._num_step_bytes, self.num_bytes)

    @property
    def row_bytes(self) -> int:
        """Size of one row at one time, both planes [byte]."""
        return self.num_words * WORD_BYTES + self.num_bytes

    def unpack(
        self,
        words: npt.NDArray[np.int32],
        bytes_: npt.NDArray[np.uint8],
        *,
        kind: Kind | None = None,
    ) -> dict[str, Array]:
        """The columns of packed rows.

        Args:
            words: int32 ``[..., num_words]``.
            bytes_: uint8 ``[..., num_bytes]``.
            kind: only columns of this kind.

        Returns:
            By name, arrays ``[..., *column.shape]``: copies, whatever the planes' memory.
        """
        return {
            column.name: self._read(column, words if column.in_words else bytes_)
            for column in self.columns
            if kind in (None, column.kind)
        }

    def _read(self, column: Column, plane: Array) -> Array:
        place = self._places[column.name]
        raw = np.array(plane[..., place.begin : place.end], order="C", copy=True)
        if column.dtype == "bfloat16":
            wide = raw.view(np.uint16).astype(np.uint32) << 16
            return wide.view(np.float32).reshape(*plane.shape[:-1], *column.shape)
        return raw.view(np.dtype(column.dtype)).reshape(*plane.shape[:-1], *column.shape)

    def to_json(self) -> list[dict[str, Any]]:
        """As plain data, for a file; :meth:`from_json` reads it back."""
        return [
            {"name": c.name, "dtype": c.dtype, "shape": list(c.shape), "kind": c.kind}
            for c in self.columns
        ]

    @classmethod
    def from_json(cls, content: Sequence[Mapping[str, Any]]) -> RowLayout:
        """The layout that :meth:`to_json` described.

        Raises:
            ConfigError: the content is not one.
        """
        try:
            return cls(
                [
                    Column(str(c["name"]), str(c["dtype"]), tuple(map(int, c["shape"])), c["kind"])
                    for c in content
                ]
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"This is no description of recorded columns: {error}") from error

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RowLayout) and self.columns == other.columns

    def __hash__(self) -> int:
        return hash(self.columns)

    def __iter__(self) -> Iterator[Column]:
        return iter(self.columns)


def _units(column: Column) -> int:
    return column.num_bytes // WORD_BYTES if column.in_words else column.num_bytes


def _check_names(names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"Two recorded columns are named {name!r}; names must differ.")
        folders = {other for other in names if other.startswith(f"{name}/")}
        if folders:
            raise ConfigError(
                f"A recorded column is named {name!r}, and others lie below that name: "
                f"{sorted(folders)}. Rename one of them."
            )
