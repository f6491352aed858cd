"""The parts of a plan: memories, targets, constants."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

from holdstep.wrappers.export.manager_based import ACTION_MANAGER
from holdstep.wrappers.export.plan import ConstantPlan, MemoryPlan, WritePlan
from holdstep.wrappers.export.resets import reset_rows
from holdstep.wrappers.export.runs import CONST, KEPT, MEMORY, DiscoveryRun
from holdstep.wrappers.export.specs import write_spec

if TYPE_CHECKING:
    from holdstep.wrappers.export.computation import Computation
    from holdstep.wrappers.export.observed import Observed
    from holdstep.wrappers.export.proxies.owners import Route
    from holdstep.wrappers.export.proxies.writes import Write
    from holdstep.wrappers.export.tensors import MemoryKind
    from holdstep.wrappers.export.workflow import Workflow

_ACTION_MEMORIES = {
    f"{ACTION_MANAGER}._action": "last_action",
    f"{ACTION_MANAGER}._prev_action": "previous_action",
    f"{ACTION_MANAGER}._prev_prev_action": "action_before_previous",
}


def memories_of(
    computation: Computation,
    run: DiscoveryRun,
    needed: frozenset[str],
    rewritten: frozenset[str],
    aliases: Mapping[str, str],
) -> tuple[MemoryPlan, ...]:
    """What is kept from one control step to the next, as far as results depend on it.

    Args:
        computation: the pipeline's.
        run: in which it was seen.
        needed: sources that results depend on.
        rewritten: paths that terms write to.
        aliases: paths that lead to the same tensor as an earlier one.
    """
    resets = {f"hidden:{state.name}": state.reset for state in computation.policy.states}
    resets |= computation.workflow.memory_resets()
    found = [
        MemoryPlan(name, kind, None, tuple(value.shape[1:]), value.dtype, resets.get(name))
        for name, (kind, value) in run.memories.items()
        if MEMORY + name in needed
    ]
    paths = [
        path
        for path in run.kept
        if KEPT + path in needed and path in rewritten and path not in aliases
    ]
    rows = reset_rows(computation, paths, run)
    for path in paths:
        value = run.kept[path][1]
        name, kind = _memory_name(path)
        found.append(MemoryPlan(name, kind, path, tuple(value.shape[1:]), value.dtype, rows[path]))
    return tuple(found)


def writes_of(workflow: Workflow, observed: Observed) -> tuple[WritePlan, ...]:
    """The targets, in the order in which they are written.

    Args:
        workflow: the env's.
        observed: the run in which they were caught.
    """
    phases = [("process", i, write) for i, write in enumerate(observed.process_writes)]
    phases += [("apply", i, write) for i, write in enumerate(observed.apply_writes)]
    connections = _connections([write for _, _, write in phases])
    return tuple(
        WritePlan(write_spec(workflow, write, connection), phase, index, write.term)
        for (phase, index, write), connection in zip(phases, connections, strict=True)
    )


def constants_of(
    run: DiscoveryRun,
    needed: frozenset[str],
    rewritten: frozenset[str],
    aliases: Mapping[str, str],
) -> dict[str, ConstantPlan]:
    """What is baked in, by path or connection.

    Args:
        run: in which it was read.
        needed: sources that results depend on.
        rewritten: paths that terms write to; what they hold at first matters to nobody.
        aliases: paths that lead to the same tensor as an earlier one.
    """
    found: dict[str, ConstantPlan] = {}
    for name, route in run.routes.items():
        if route.is_constant:
            live, is_memory_of_env = _live(route)
            nominal = route.semantics.nominal if route.semantics else None
            is_used = CONST + name in needed
            found[name] = ConstantPlan(name, live, is_memory_of_env, True, is_used, nominal)
    for path, (live, _) in run.kept.items():
        if path in aliases:
            continue
        is_used = KEPT + path in needed and path not in rewritten
        per_row = _is_per_row(live, run.num_rows)
        found[path] = ConstantPlan(path, live, True, per_row, is_used, None)
    return found


def _live(route: Route) -> tuple[torch.Tensor, bool]:
    first, second = route.live(), route.live()
    return first, first is second


def _is_per_row(tensor: torch.Tensor, num_envs: int) -> bool:
    """Whether a term's tensor has one entry per env; indices of joints may be as many by chance."""
    if tensor.ndim == 0 or tensor.shape[0] != num_envs:
        return False
    is_integer = not tensor.dtype.is_floating_point and tensor.dtype != torch.bool
    return not (tensor.ndim == 1 and is_integer)


def _memory_name(path: str) -> tuple[str, MemoryKind]:
    if path in _ACTION_MEMORIES:
        return _ACTION_MEMORIES[path], "last_action"
    if path.startswith("obs:"):
        return path, "history"
    return path, "last_action" if path.endswith(
        ("._raw_actions", ".raw_actions")
    ) else "action_state"


def _connections(writes: list[Write]) -> list[str]:
    """Connections of targets; a label tells apart those that go to the same method."""
    plain = [f"write:{write.owner.prefix.split(':')[1]}:{write.method}" for write in writes]
    found: list[str] = []
    for write, connection in zip(writes, plain, strict=True):
        same = [other for other, name in zip(writes, plain, strict=True) if name == connection]
        label = ""
        if len({other.term for other in same}) > 1:
            label = write.term.removeprefix("action/")
        if sum(other.term == write.term for other in same) > 1:
            label = ".".join(filter(None, (label, write.parameter)))
        name = write.connection or (f"{connection}:{label}" if label else connection)
        while name in found:
            name += "_"
        found.append(name)
    return found
