"""Slots of Isaac Lab's own containers: Warp arrays, histories, delays, actuator networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from holdstep.envs.adapters.isaaclab.plain import as_tensor
from holdstep.envs.adapters.isaaclab.state_names import PARAMETERS, is_view_or_scratch
from holdstep.envs.state.owned import circular_buffer_slots
from holdstep.envs.state.slot import Layout, Slot

Lookup = Callable[[], Any]
FOLLOWED = ("isaaclab.utils.modifiers", "isaaclab.utils.noise", "isaaclab.controllers")
"""Modules of the small objects that terms own and that keep rows of their own."""


def tensor_lookup(get: Lookup) -> Callable[[], torch.Tensor | None]:
    """Looks up a tensor behind a proxy or Warp array, and converts it only when it is a new one.

    Args:
        get: looks up a tensor, a Warp array, Isaac Lab 3's proxy of one, or None.
    """
    last: list[Any] = [None, None]

    def lookup() -> torch.Tensor | None:
        value = get()
        if value is not last[0]:
            last[:] = value, as_tensor(value)
        tensor: torch.Tensor | None = last[1]
        return tensor

    return lookup


def special_slots(num_envs: int) -> Callable[[str, Lookup, Any], list[Slot] | None]:
    """Makes slots of what is no plain tensor; see :class:`~holdstep.envs.state.owned.OwnedState`.

    Args:
        num_envs: number of rows.
    """

    def slots(path: str, get: Lookup, value: Any) -> list[Slot] | None:
        kinds = {base.__name__ for base in type(value).__mro__}
        if "CircularBuffer" in kinds:
            return _history_slots(path, get, value)
        if "DelayBuffer" in kinds:
            history = value._circular_buffer
            return [
                Slot(f"{path}._time_lags", lambda: get()._time_lags),
                *_history_slots(
                    f"{path}._circular_buffer", _part(get, "_circular_buffer"), history
                ),
            ]
        if any(kind.startswith("TimestampedBuffer") for kind in kinds):
            return []  # LazyRows knows them
        tensor = as_tensor(value)
        if tensor is None:
            return None
        if not tensor.ndim or tensor.shape[0] != num_envs or not tensor.is_contiguous():
            return []  # one that is not contiguous is a view of memory that is known elsewhere
        name = path.rpartition(".")[2]
        if is_view_or_scratch(name):
            return []
        is_parameter = name in PARAMETERS
        return [Slot(path, tensor_lookup(get), is_parameter=is_parameter, is_guess=True)]

    return slots


def is_followed(value: object) -> bool:
    """Whether the attributes of an object belong to the term that refers to it."""
    return any(
        base.__module__.startswith(FOLLOWED) or base.__name__ == "WrenchComposer"
        for base in type(value).__mro__
    )


def network_slots(prefix: str, actuator: Any) -> list[Slot]:
    """Slots of an ``ActuatorNetLSTM``: ``[layers, N * J, H]``, each row's joints side by side.

    Args:
        prefix: what their names start with.
        actuator: any actuator model; none but that one has such slots.
    """
    layout = Layout(dim=1, repeat=int(actuator.num_joints))
    names = ("sea_hidden_state", "sea_cell_state")
    return [
        Slot(f"{prefix}.{name}", _part(lambda: actuator, name), layout)
        for name in names
        if isinstance(vars(actuator).get(name), torch.Tensor)
    ]


NETWORK_STATE = ("sea_hidden_state", "sea_cell_state")
"""Attributes whose first dimension is no row, whatever its size."""


def _history_slots(path: str, get: Lookup, value: Any) -> list[Slot]:
    if hasattr(value, "_pointer"):  # Isaac Lab 2.3: one write position for all rows
        return circular_buffer_slots(path, get)
    # Isaac Lab 3 rolls the tensor and binds the result anew: its entries are always in order.
    return [
        Slot(f"{path}._buffer", _part(get, "_buffer"), Layout(dim=1)),
        Slot(f"{path}._num_pushes", _part(get, "_num_pushes")),
    ]


def _part(get: Lookup, name: str) -> Lookup:
    return lambda: getattr(get(), name, None)
