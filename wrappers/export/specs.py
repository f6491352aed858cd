"""Tensor specifications from what an env's objects say about themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from holdstep.wrappers.export.semantics.lookup import element_names, select_names
from holdstep.wrappers.export.tensors import DType, TensorSpec

if TYPE_CHECKING:
    from holdstep.wrappers.export.proxies.owners import Route
    from holdstep.wrappers.export.proxies.writes import Write
    from holdstep.wrappers.export.semantics.entry import Semantics
    from holdstep.wrappers.export.workflow import Workflow

_UNITS = {
    "joint": ("rad", "m"),
    "joint/s": ("rad/s", "m/s"),
    "joint/s^2": ("rad/s^2", "m/s^2"),
    "joint_effort": ("N m", "N"),
}


def dtype_name(dtype: torch.dtype) -> DType:
    """A dtype as contracts name it."""
    return str(dtype).removeprefix("torch.")  # type: ignore[return-value]  # one of them, or refused


def input_spec(workflow: Workflow, route: Route, value: torch.Tensor) -> TensorSpec:
    """The specification of an input.

    Args:
        workflow: the env's.
        route: where it is read.
        value: ``[N, ...]``.
    """
    owner = route.owner
    shape = tuple(value.shape[1:])
    names = _fitting(element_names(route.semantics, *owner.named_by, owner.get()), shape)
    return _spec(workflow, route.connection, value, route.semantics, names, owner.named_by)


def write_spec(workflow: Workflow, write: Write, connection: str) -> TensorSpec:
    """The specification of a target.

    Args:
        workflow: the env's.
        write: as it was caught.
        connection: of the output.
    """
    known_by = (*write.owner.named_by, write.owner.get())
    names = select_names(element_names(write.semantics, *known_by), write.ids)
    shape = tuple(write.target.shape[1:])
    return _spec(
        workflow,
        connection,
        write.target,
        write.semantics,
        _fitting(names, shape),
        known_by,
    )


def _spec(
    workflow: Workflow,
    connection: str,
    value: torch.Tensor,
    semantics: Semantics | None,
    names: tuple[str, ...] | None,
    entities: tuple[Any, ...],
) -> TensorSpec:
    shape = tuple(value.shape[1:])
    order = semantics.quaternion_order if semantics else None
    return TensorSpec.of(
        connection,
        shape,
        dtype=dtype_name(value.dtype),
        kind=semantics.kind if semantics else None,
        unit=_unit(workflow, semantics, names, entities),
        frame=semantics.frame if semantics else None,
        quaternion_order=order if shape and (shape[-1] == 4 or shape[-1] >= 7) else None,
        element_names=names,
    )


def _fitting(names: tuple[str, ...] | None, shape: tuple[int, ...]) -> tuple[str, ...] | None:
    """Names that fit a shape; tables may be wrong about a class of somebody's own."""
    fits = names is not None and shape and len(names) == shape[0] and len(set(names)) == len(names)
    return names if fits else None


def _unit(
    workflow: Workflow,
    semantics: Semantics | None,
    names: tuple[str, ...] | None,
    entities: tuple[Any, ...],
) -> str | None:
    """The unit; of joints, by which of them slide."""
    if semantics is None or semantics.unit not in _UNITS:
        return semantics.unit if semantics else None
    angular, linear = _UNITS[semantics.unit]
    slides: set[bool] = set()
    for entity in entities:
        prismatic = workflow.joint_is_prismatic(entity)
        all_names = tuple(getattr(entity, "joint_names", ()) or ())
        if prismatic is None or len(prismatic) != len(all_names):
            continue
        chosen = names if names is not None and set(names) <= set(all_names) else all_names
        slides |= {prismatic[all_names.index(name)] for name in chosen}
    if slides == {True}:
        return linear
    return angular if slides == {False} else f"{angular} or {linear}"
