"""The contract of a pipeline, from its plan."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from holdstep.wrappers.export.constants import BakedConstant, constant_records
from holdstep.wrappers.export.contract import (
    CONTRACT_VERSION,
    ActionTerm,
    Contract,
    Memory,
    ObservationTerm,
    TensorSpec,
)
from holdstep.wrappers.export.semantics.lookup import class_path
from holdstep.wrappers.export.specs import dtype_name, input_spec

if TYPE_CHECKING:
    from holdstep.envs.contract import TorchVectorEnv
    from holdstep.wrappers.export.computation import Computation
    from holdstep.wrappers.export.observations import GroupPlan, TermPlan
    from holdstep.wrappers.export.plan import MemoryPlan, Plan
    from holdstep.wrappers.export.workflow import Workflow

_PACKAGES = ("holdstep", "torch", "mjlab", "mujoco", "isaaclab", "rsl-rl-lib")


def describe(
    env: TorchVectorEnv,
    computation: Computation,
    plan: Plan,
    baked: Mapping[str, BakedConstant],
) -> Contract:
    """The contract of a pipeline, without model files.

    Args:
        env: the adapter.
        computation: the pipeline's.
        plan: of the pipeline.
        baked: the constants.
    """
    workflow = computation.workflow
    backend = workflow.env
    inputs = {name: _input(workflow, plan, name) for name in (*plan.inputs, *plan.apply_inputs)}
    kept = {path: plan.constants[path].live for path in plan.handovers}
    handed_over = tuple(
        TensorSpec.of(_handover(path), tuple(value.shape[1:]), dtype=dtype_name(value.dtype))
        for path, value in kept.items()
    )
    action = TensorSpec.of("action", (plan.num_actions,), kind="action", unit="1")
    writes = [write for write in plan.writes if not _is_applied(plan, write.phase)]
    return Contract(
        version=CONTRACT_VERSION,
        task=env.task_id or type(backend).__name__,
        simulator=workflow.simulator.rstrip("0123456789"),
        created_with=_versions(),
        step_dt=float(backend.step_dt),
        physics_dt=float(backend.physics_dt),
        decimation=workflow.decimation,
        traced_num_envs=workflow.num_envs,
        inputs=tuple(inputs[name] for name in plan.inputs),
        memories=tuple(_memory(memory) for memory in plan.memories),
        outputs=(*(write.spec for write in writes), *handed_over, action),
        apply_inputs=(*(inputs[name] for name in plan.apply_inputs), *handed_over),
        apply_outputs=tuple(write.spec for write in plan.writes if _is_applied(plan, write.phase)),
        actuators=workflow.actuators(),
        constants=constant_records(plan, baked),
        observation_terms=tuple(
            _observation_term(computation.groups[group], term)
            for group in plan.groups
            for term in computation.groups[group].terms
        ),
        action_terms=tuple(
            _action_term(name, term) for name, term in workflow.action_terms.items()
        ),
    )


def _is_applied(plan: Plan, phase: str) -> bool:
    return plan.has_apply_graph and phase == "apply"


def _input(workflow: Workflow, plan: Plan, name: str) -> TensorSpec:
    route = plan.routes[name]
    return input_spec(workflow, route, route.live())


def _handover(path: str) -> str:
    return f"apply:{path.removeprefix('action:').replace(':', '.')}"


def _memory(memory: MemoryPlan) -> Memory:
    is_action = memory.kind == "last_action"
    return Memory(
        spec=TensorSpec.of(
            f"memory:{memory.name}",
            memory.shape,
            dtype=dtype_name(memory.dtype),
            kind="action" if is_action else None,
            unit="1" if is_action else None,
        ),
        reset=memory.reset,
        kind=memory.kind,
    )


def _observation_term(group: GroupPlan, term: TermPlan) -> ObservationTerm:
    func: Any = term.func
    owner = func if hasattr(func, "__qualname__") else type(func)
    return ObservationTerm(
        group=group.name,
        name=term.name,
        function=f"{owner.__module__}.{owner.__qualname__}",
        shape=term.shape,
        scale=_numbers(term.scale),
        clip=None if term.clip is None else (float(term.clip[0]), float(term.clip[1])),
        history_length=term.history_length,
        delay=term.delay,
        params={name: _text(value) for name, value in term.params.items()},
    )


def _action_term(name: str, term: Any) -> ActionTerm:
    names = getattr(term, "_target_names", None) or getattr(term, "_joint_names", None) or ()
    cfg = getattr(term, "cfg", None)
    entity = getattr(cfg, "entity_name", None) or getattr(cfg, "asset_name", None)
    clip = getattr(term, "_clip", None)
    return ActionTerm(
        name=name,
        class_path=class_path(type(term)),
        entity=entity,
        shape=(int(term.action_dim),),
        joint_names=tuple(names),
        scale=_numbers(getattr(term, "_scale", None)),
        offset=_numbers(getattr(term, "_offset", None)),
        clip=None if not isinstance(clip, torch.Tensor) else _pairs(clip[0]),
    )


def _pairs(clip: torch.Tensor) -> tuple[tuple[float, float], ...]:
    return tuple((float(low), float(high)) for low, high in clip.reshape(-1, 2).tolist())


def _numbers(value: Any) -> tuple[float, ...] | None:
    """A number, or one row of a tensor of them."""
    if value is None:
        return None
    if isinstance(value, torch.Tensor):
        row = value[0] if value.ndim > 1 else value
        return tuple(float(number) for number in row.reshape(-1).tolist())
    numbers = value if isinstance(value, (tuple, list)) else (value,)
    return tuple(float(number) for number in numbers)


def _text(value: Any) -> str:
    name = getattr(value, "name", None)
    text = str(name) if isinstance(name, str) else str(value)
    return text if len(text) <= 200 else text[:197] + "..."


def _versions() -> dict[str, str]:
    versions = {"python": ".".join(map(str, sys.version_info[:3]))}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
