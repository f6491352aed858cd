"""Inputs that who deploys gives: commands above all; a value that was never given is an error."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch

from holdstep.envs.deployment.wiring import DTYPES
from holdstep.envs.env_ids import EnvIds, canonical_env_ids
from holdstep.errors import ConfigError, nearest_names

if TYPE_CHECKING:
    from holdstep.wrappers.export.tensors import TensorSpec

Values: TypeAlias = "torch.Tensor | np.ndarray | Sequence[float] | float"
Given: TypeAlias = "Values | Callable[[], Values]"
"""A value for one row (all rows then have it) or for all rows, or what is called for one."""


class GivenInputs:
    """The inputs that no host is read for.

    Args:
        specs: theirs.
        num_envs: rows.
        device: where they are needed.
    """

    def __init__(self, specs: Iterable[TensorSpec], *, num_envs: int, device: torch.device) -> None:
        self._specs = {spec.connection: spec for spec in specs}
        self._num_envs = num_envs
        self._device = device
        self._values: dict[str, torch.Tensor] = {}
        self._given_mask: dict[str, torch.Tensor] = {}
        self._calls: dict[str, Callable[[], Values]] = {}

    @property
    def connections(self) -> tuple[str, ...]:
        """Which there are."""
        return tuple(self._specs)

    def set(self, connection: str, value: Given, env_ids: EnvIds | None = None) -> None:
        """Give a value, which is kept until another is given.

        Args:
            connection: the contract's, such as ``"command:twist"``.
            value: for one row, ``shape``; for each of the rows, ``[k, *shape]``; or a function that
                is called for such a value of all rows in every control step.
            env_ids: the ``k`` rows; None for all.

        Raises:
            ConfigError: the contract has no such input, or the value is of another shape, not
                finite, or no numbers.
        """
        spec = self._spec(connection)
        if callable(value):
            if env_ids is not None:
                raise ConfigError(f"A function gives {connection} for all rows: leave out env_ids.")
            self._forget(connection)
            self._calls[connection] = value
            return
        if env_ids is None:
            rows = self._converted(spec, value, self._num_envs)
            self._forget(connection)
            self._values[connection] = rows
            return
        ids = canonical_env_ids(env_ids, num_envs=self._num_envs, device=self._device)
        rows = self._converted(spec, value, ids.numel())
        self._calls.pop(connection, None)
        if connection not in self._values:
            shape = (self._num_envs, *spec.shape)
            self._values[connection] = torch.zeros(shape, dtype=rows.dtype, device=self._device)
            self._given_mask[connection] = torch.zeros(self._num_envs, dtype=torch.bool)
        self._values[connection][ids] = rows
        if connection in self._given_mask:
            self._given_mask[connection][ids.cpu()] = True
            if bool(self._given_mask[connection].all()):
                del self._given_mask[connection]

    def missing(self) -> list[str]:
        """What was not given yet, one sentence each."""
        problems = []
        for connection, spec in self._specs.items():
            if connection in self._calls:
                continue
            if connection not in self._values:
                problems.append(f"{connection}: was never set; it has {_shape_text(spec)}.")
            elif connection in self._given_mask:
                rows = (~self._given_mask[connection]).nonzero().flatten().tolist()
                problems.append(f"{connection}: was not set for rows {rows}.")
        return problems

    def read(self, connection: str) -> torch.Tensor:
        """The value of all rows, ``[num_envs, *shape]``; :meth:`missing` must be empty."""
        call = self._calls.get(connection)
        if call is None:
            return self._values[connection]
        return self._converted(self._specs[connection], call(), self._num_envs)

    def _forget(self, connection: str) -> None:
        self._values.pop(connection, None)
        self._given_mask.pop(connection, None)
        self._calls.pop(connection, None)

    def _spec(self, connection: str) -> TensorSpec:
        if connection in self._specs:
            return self._specs[connection]
        listed = ", ".join(self._specs) or "nothing"
        raise ConfigError(
            f"The contract has no input {connection!r} that could be set; it takes {listed}."
            + nearest_names(connection, self._specs)
        )

    def _converted(self, spec: TensorSpec, value: Values, num_rows: int) -> torch.Tensor:
        try:
            tensor = torch.as_tensor(value)
        except (TypeError, ValueError, RuntimeError) as error:
            raise ConfigError(f"{spec.connection} takes numbers, got {value!r:.100}.") from error
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise ConfigError(f"{spec.connection} takes finite numbers, got {tensor.tolist()}.")
        dtype = DTYPES[spec.dtype]
        if tensor.is_floating_point() and not dtype.is_floating_point:
            raise ConfigError(f"{spec.connection} takes {spec.dtype}, got {tensor.dtype}.")
        if not tensor.ndim and spec.size == 1:
            tensor = tensor.reshape(spec.shape)
        if tensor.shape == spec.shape:
            tensor = tensor.expand(num_rows, *spec.shape)
        elif tensor.shape != (num_rows, *spec.shape):
            raise ConfigError(
                f"{spec.connection} takes {_shape_text(spec)} for all rows, or {num_rows} such "
                f"rows, got shape {list(tensor.shape)}."
            )
        # A copy: what the caller does with its own tensor afterwards is its own business.
        return tensor.to(device=self._device, dtype=dtype, copy=True)


def _shape_text(spec: TensorSpec) -> str:
    named = f" ({', '.join(spec.element_names)})" if spec.element_names else ""
    unit = f" [{spec.unit}]" if spec.unit else ""
    return f"shape {list(spec.shape)}{named}{unit}"
