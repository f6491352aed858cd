"""The tensors of Isaac Lab's own exports, as tensors of a contract."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from holdstep.documents.problems import FieldsError
from holdstep.wrappers.export.connections import connection_problem, tensor_name
from holdstep.wrappers.export.contract import Check, Memory, TensorSpec
from holdstep.wrappers.export.isaaclab_fields import (
    as_text,
    axis_names,
    is_gain,
    memory_kind,
    quaternion_order,
    row_dim,
    shape_of,
)


class TensorReader:
    """Makes tensors of a contract from descriptions, and collects all that is wrong with them.

    Args:
        num_rows: of the export.

    Attributes:
        problems: why they can't be run, one sentence each.
        memory_row_dims: which dimensions of the memories are the rows, in the order of reading.
    """

    def __init__(self, num_rows: int) -> None:
        self._num_rows = num_rows
        self._histories: list[str] = []
        self._unnamed: list[str] = []
        self._gains: list[str] = []
        self.problems: list[str] = []
        self.memory_row_dims: list[int] = []

    def input(self, name: str, description: Mapping[str, Any]) -> TensorSpec | None:
        """What is read from the host; None if it can't be used."""
        connection = description.get("isaaclab_connection")
        if isinstance(connection, str):
            return self._spec(f"inputs.{name}", connection, description)
        self.problems.append(
            f"inputs.{name}: has no isaaclab_connection, so that nothing says where to read it."
        )
        return None

    def output(self, name: str, description: Mapping[str, Any]) -> TensorSpec | None:
        """What is written to the host, or only looked at; None if it can't be used."""
        connection = description.get("isaaclab_connection")
        if isinstance(connection, str) and is_gain(connection):
            self._gains.append(connection)
            connection = None
        if not isinstance(connection, str):
            connection = f"obs:{name}"
        return self._spec(f"outputs.{name}", connection, description)

    def memory(self, name: str, description: Mapping[str, Any]) -> Memory | None:
        """What is kept from step to step; None if it can't be used."""
        shape = shape_of(description.get("shape"))
        rows = row_dim(shape, self._num_rows)
        if rows is None:
            self.problems.append(
                f"memory.{name}: nothing says which dimension of {list(shape)} are the "
                f"{self._num_rows} rows."
            )
            return None
        self.memory_row_dims.append(rows)
        spec = self._spec(f"memory.{name}", f"memory:{name}", description, rows)
        if spec is None:
            return None
        kind = memory_kind(name)
        if kind == "history":
            self._histories.append(name)
        return Memory(spec, kind=kind)

    def checks(self) -> tuple[Check, ...]:
        """What could not be taken over, as checks that were skipped."""
        details = {
            "memories": (
                self._histories,
                "begin with zeros: the export has only the values of the moment at which it was "
                "made, and no rule to fill them after a reset.",
            ),
            "element_names": (
                self._unnamed,
                "have names that do not fit their shapes, and were left out: joints and bodies "
                "can't be matched by name there.",
            ),
            "gains": (
                self._gains,
                "are computed, to be looked at, and not written: the export repeats what the "
                "physics engine had at the training (zeros for actuators that compute torques "
                "themselves) in every step. The host's own actuators are used.",
            ),
        }
        return tuple(
            Check(name, "skipped", detail=f"{', '.join(concerned)} {sentence}")
            for name, (concerned, sentence) in details.items()
            if concerned
        )

    def _spec(
        self, place: str, connection: str, description: Mapping[str, Any], rows: int = 0
    ) -> TensorSpec | None:
        if message := connection_problem(connection):
            self.problems.append(f"{place}: {message}")
            return None
        shape = shape_of(description.get("shape"))
        if not shape:
            self.problems.append(f"{place}: has no shape.")
            return None
        row = (*shape[:rows], *shape[rows + 1 :])
        names_of_axes = axis_names(description.get("element_names"))
        of_row = names_of_axes[0] if names_of_axes and row else ()
        names = of_row if of_row and len(of_row) == row[0] else None
        at_host = connection.startswith(("state:", "sensor:", "write:"))
        if names is None and at_host and description.get("element_names"):
            self._unnamed.append(connection)
        try:
            return TensorSpec(
                name=tensor_name(connection),
                connection=connection,
                dtype=description.get("dtype"),  # type: ignore[arg-type]  # checked by TensorSpec
                shape=row,
                kind=as_text(description.get("kind")),
                quaternion_order=quaternion_order(connection, names_of_axes, row),
                element_names=names,
            )
        except FieldsError as error:
            self.problems += [f"{place}: {problem}" for problem in error.problems]
            return None
