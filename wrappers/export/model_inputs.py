"""The check of what a model is given: quick when all is right, complete when something is not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from holdstep.errors import ModelInputError, nearest_names

if TYPE_CHECKING:
    from holdstep.wrappers.export.contract import TensorSpec
    from holdstep.wrappers.export.runtimes.base import Value


class InputCheck:
    """Brings named inputs into the model's order, and refuses what it can't mean.

    Args:
        specs: what is expected.
        num_rows: how many rows of each.
    """

    def __init__(self, specs: Sequence[TensorSpec], num_rows: int) -> None:
        self._num_rows = num_rows
        self._names = {spec.connection for spec in specs}
        self._expected = []
        for spec in specs:
            dtype = getattr(torch, spec.dtype)
            shape = (num_rows, *spec.shape)
            exact = (dtype, np.dtype(spec.dtype))
            self._expected.append((spec.connection, shape, dtype, exact))

    def __call__(self, inputs: Mapping[str, Value]) -> list[Value]:
        """The inputs, in order.

        Raises:
            ModelInputError: with everything that is wrong.
        """
        if inputs.keys() != self._names:
            raise ModelInputError(list(self._problems(inputs)))
        values = []
        for connection, shape, dtype, exact in self._expected:
            value = inputs[connection]
            if (
                not isinstance(value, torch.Tensor | np.ndarray)
                or value.shape != shape
                or (value.dtype not in exact and not _can_be_cast(value, dtype))
            ):
                raise ModelInputError(list(self._problems(inputs)))
            values.append(value)
        return values

    def _problems(self, inputs: Mapping[str, Value]) -> Iterator[str]:
        unknown = sorted(map(str, inputs.keys() - self._names))
        for connection in sorted(self._names - inputs.keys()):
            yield f"{connection!r} is missing; nothing stands in for it."
        for name in unknown:
            yield f"{name!r} is no input of this model.{nearest_names(name, self._names)}"
        for connection, shape, dtype, _ in self._expected:
            if connection not in inputs:
                continue
            value = inputs[connection]
            if not isinstance(value, torch.Tensor | np.ndarray):
                kind = type(value).__name__
                yield f"{connection!r} must be a torch tensor or a NumPy array, got a {kind}."
                continue
            if tuple(value.shape) != shape:
                yield (
                    f"{connection!r} must have shape {list(shape)} ({self._num_rows} rows), got "
                    f"{list(value.shape)}."
                )
            if not _can_be_cast(value, dtype):
                yield f"{connection!r} must be {_name(dtype)}, got {_name(value.dtype)}."


def _can_be_cast(value: Value, dtype: torch.dtype) -> bool:
    """Whether nothing but precision is lost."""
    if isinstance(value, np.ndarray):
        try:
            value = torch.from_numpy(np.empty(0, value.dtype))
        except TypeError:  # text, objects, records, uint16
            return False
    return torch.can_cast(value.dtype, dtype)


def _name(dtype: object) -> str:
    return str(dtype).removeprefix("torch.")
