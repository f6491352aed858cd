"""From what a retargeting pipeline returns to actions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.utils.dlpack

from holdstep.errors import ConfigError, nearest_names


class OutputActions:
    """Takes actions out of a pipeline's outputs.

    Args:
        output_types: what the pipeline returns, its ``output_types()``.
        names: of the outputs that make the action, one after another.
        action_dim: what the width has to be, A; None if any will do.

    Attributes:
        action_dim: the width; None if the pipeline doesn't say.

    Raises:
        ConfigError: no such output, or another width.
    """

    def __init__(
        self, output_types: Mapping[str, Any], names: Sequence[str], *, action_dim: int | None
    ) -> None:
        if not names:
            raise ConfigError("output must name at least one output of the pipeline.")
        check_outputs(names, output_types, option="output")
        self._names = tuple(names)
        widths = [_width(output_types[name]) for name in names]
        width = None if None in widths else sum(widths)  # type: ignore[arg-type]
        self.action_dim = action_dim if width is None else width
        if action_dim is not None and width not in (None, action_dim):
            parts = " + ".join(
                f"{name!r} of {part}" for name, part in zip(names, widths, strict=True)
            )
            raise ConfigError(
                f"The pipeline's actions have {width} entries ({parts}), the env's have "
                f"{action_dim}. Name other outputs with output=..., or add a TensorReorderer to "
                "the pipeline."
            )

    def __call__(self, outputs: Mapping[str, Any]) -> torch.Tensor | None:
        """The actions, float32 ``[A]`` or ``[k, A]`` in memory of their own.

        None if any of the outputs has no value in this frame: tracking was lost, or has not begun.

        Raises:
            ConfigError: values of another width than was declared.
        """
        values: list[Any] = []
        for name in self._names:
            found = _values(outputs[name])
            if found is None:
                return None
            values += found
        parts = [_tensor(value) for value in values]
        actions = parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)
        if self.action_dim is not None and actions.shape[-1] != self.action_dim:
            raise ConfigError(
                f"The output {', '.join(map(repr, self._names))} has {actions.shape[-1]} entries, "
                f"not {self.action_dim}."
            )
        return actions


def check_outputs(names: Sequence[str], output_types: Mapping[str, Any], *, option: str) -> None:
    """Refuse outputs that a pipeline does not have.

    Args:
        names: what is asked for.
        output_types: what the pipeline returns, its ``output_types()``.
        option: by which they are asked for.

    Raises:
        ConfigError: names the first that does not exist.
    """
    for name in names:
        if name not in output_types:
            raise ConfigError(
                f"The pipeline has no output {name!r}."
                + nearest_names(name, output_types)
                + f" It has: {', '.join(map(repr, output_types))}; say which one is meant with "
                f"{option}=..."
            )


def _values(group: Any) -> list[Any] | None:
    """Of an output; None if it has none."""
    if group.is_none:
        return None
    try:
        return [group[index] for index in range(len(group))]
    except ValueError:  # isaacteleop's rate limiters set none before tracking has begun
        return None


def _tensor(value: Any) -> torch.Tensor:
    """A copy, since retargeters may write to their outputs again in the next frame."""
    if isinstance(value, np.ndarray):
        tensor = torch.from_numpy(value.astype(np.float32))  # DLPack refuses read-only arrays
    elif hasattr(value, "__dlpack__"):
        tensor = torch.utils.dlpack.from_dlpack(value).to(torch.float32, copy=True)
    else:
        tensor = torch.tensor(float(value), dtype=torch.float32)
    return tensor.reshape(1) if tensor.ndim == 0 else tensor


def _width(group_type: Any) -> int | None:
    """Entries of an output, as far as its type says."""
    shapes = [getattr(tensor_type, "shape", ()) for tensor_type in group_type.types]
    if len(shapes) > 1:
        return sum(math.prod(shape) for shape in shapes)
    return shapes[0][-1] if shapes and shapes[0] else len(shapes)
