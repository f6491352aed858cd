"""The tensors of a contract: what the model reads, keeps and writes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from holdstep.documents.problems import Problem
from holdstep.wrappers.export.checked import Checked
from holdstep.wrappers.export.connections import Connection, connection_problem, tensor_name
from holdstep.wrappers.export.contract_rules import name_problem

MAX_ROW_SIZE = 1 << 24
"""The most numbers that one row of a tensor may have."""

QuaternionOrder: TypeAlias = Literal["wxyz", "xyzw"]

DType: TypeAlias = Literal[
    "float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool"
]

MemoryKind: TypeAlias = Literal[
    "history", "delay", "last_action", "hidden", "counter", "action_state"
]


@dataclass(frozen=True)
class TensorSpec(Checked):
    """One tensor of the model.

    Attributes:
        name: its name in model files: letters, digits and underscores.
        connection: what it is at the host (:mod:`holdstep.wrappers.export.connections`).
        dtype: of its entries.
        shape: of one row, without the leading dimension; ``()`` for one number per row.
        kind: what it is physically, such as ``"joint_position"`` or ``"linear_velocity"``; None if
            it is not known.
        unit: such as ``"rad"`` or ``"m/s"``; ``"1"`` for pure numbers; None if it is not known.
        frame: ``"world"``, ``"body"``, ``"env"`` (the world's axes, from the env's origin) or the
            name of another; None where frames mean nothing or it is not known.
        quaternion_order: order of the quaternions in the last dimension, which then has 4 entries,
            or 7 or more with a quaternion after the position (a pose or a root state); None if
            there are none.
        element_names: names along the first dimension of ``shape``: joints, bodies, or ``x y z``;
            None if it has none. Joints and bodies are matched by these, never by their position.
    """

    name: str
    connection: str
    dtype: DType
    shape: tuple[int, ...]
    kind: str | None = None
    unit: str | None = None
    frame: str | None = None
    quaternion_order: QuaternionOrder | None = None
    element_names: tuple[str, ...] | None = None

    @classmethod
    def of(
        cls,
        connection: str,
        shape: tuple[int, ...],
        *,
        dtype: DType = "float32",
        kind: str | None = None,
        unit: str | None = None,
        frame: str | None = None,
        quaternion_order: QuaternionOrder | None = None,
        element_names: tuple[str, ...] | None = None,
    ) -> TensorSpec:
        """A tensor named after its connection."""
        name = tensor_name(connection)
        return cls(
            name, connection, dtype, shape, kind, unit, frame, quaternion_order, element_names
        )

    @property
    def size(self) -> int:
        """Numbers in one row."""
        return math.prod(self.shape)

    @property
    def parsed_connection(self) -> Connection:
        """The connection, taken apart."""
        return Connection.parse(self.connection)

    def _problems(self) -> Iterator[Problem]:
        if message := name_problem(self.name):
            yield Problem(("name",), message)
        if message := connection_problem(self.connection):
            yield Problem(("connection",), message)
        if len(self.shape) > 8 or any(not 0 <= size <= MAX_ROW_SIZE for size in self.shape):
            yield Problem(("shape",), f"must be sizes of a row, got {list(self.shape)}.")
        elif self.size > MAX_ROW_SIZE:
            yield Problem(("shape",), f"a row has at most {MAX_ROW_SIZE} numbers, got {self.size}.")
        names = self.element_names
        if names is not None:
            if not self.shape or len(names) != self.shape[0]:
                yield Problem(
                    ("element_names",),
                    f"must name the first dimension of {list(self.shape)}, got {len(names)} names.",
                )
            elif len(set(names)) < len(names):
                repeated = sorted({name for name in names if names.count(name) > 1})
                yield Problem(("element_names",), f"must not repeat: {', '.join(repeated)}.")
        if self.quaternion_order is not None and (
            not self.shape or (self.shape[-1] != 4 and self.shape[-1] < 7)
        ):
            yield Problem(
                ("quaternion_order",),
                "a tensor of quaternions has 4 entries in its last dimension, or at least 7 with a "
                f"position before the quaternion, got shape {list(self.shape)}.",
            )


@dataclass(frozen=True)
class Memory(Checked):
    """A tensor that the model is given as it returned it one control step before.

    Attributes:
        spec: the tensor; its connection is ``memory:<name>``.
        reset: what a row of it is after a reset, flattened; None for zeros.
        kind: what it remembers.
    """

    spec: TensorSpec
    reset: tuple[float, ...] | None = None
    kind: MemoryKind = "history"

    @property
    def update_name(self) -> str:
        """Name in model files of the output that becomes this memory."""
        return f"{self.spec.name}_next"

    def _problems(self) -> Iterator[Problem]:
        if not self.spec.connection.startswith("memory:"):
            yield Problem(
                ("spec", "connection"),
                f"a memory's begins with 'memory:', got {self.spec.connection!r}.",
            )
        if self.reset is not None and len(self.reset) != self.spec.size:
            yield Problem(
                ("reset",),
                f"must have the {self.spec.size} numbers of one row, got {len(self.reset)}.",
            )
        if self.reset is not None and not all(map(math.isfinite, self.reset)):
            yield Problem(("reset",), "must be finite.")
