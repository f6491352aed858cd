"""What can't be exported, found in a run on live values; every message names the term."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import torch

from holdstep.errors import DiscoveryError
from holdstep.wrappers.export.runs import HANDOVER, INPUT, KEPT, MEMORY, DiscoveryRun

if TYPE_CHECKING:
    from holdstep.wrappers.export.dependencies import Dependencies
    from holdstep.wrappers.export.proxies.isolation import Kept
    from holdstep.wrappers.export.proxies.owners import Route
    from holdstep.wrappers.export.proxies.watch import HostRead, Watch
    from holdstep.wrappers.export.proxies.writes import Write


def check_targets(writes: Sequence[Write], num_envs: int) -> None:
    """Action terms must write something, with one row per env.

    Raises:
        DiscoveryError: they don't.
    """
    if not writes:
        raise DiscoveryError(
            "The action terms wrote nothing to any entity, so that there is nothing to export. "
            "Targets are seen where they are handed over by an entity's set_...() and write_...() "
            "methods, and in an env without managers where they are marked with writes()."
        )
    for write in writes:
        target = write.target
        if target.ndim == 0 or target.shape[0] != num_envs:
            raise DiscoveryError(
                f"The action term {write.term!r} gives {write.method}() a target of shape "
                f"{list(target.shape)}; its leading dimension must be the {num_envs} envs.",
                term=write.term,
            )


def check_apply_is_repeatable(first: Sequence[Write], again: Sequence[Write]) -> None:
    """Before each physics step, terms must write the same if the state is the same.

    Raises:
        DiscoveryError: a term counts physics steps, or draws at random.
    """
    for index, write in enumerate(first):
        second = again[index] if index < len(again) else None
        same = (
            second is not None
            and second.method == write.method
            and torch.equal(second.target, write.target)
        )
        if not same:
            raise DiscoveryError(
                f"The action term {write.term!r} writes other targets before the second physics "
                "step than before the first, on the same state: it keeps something from one "
                "physics step to the next, or draws at random. Neither can be exported.",
                term=write.term,
            )


def check_in_place_changes(run: DiscoveryRun) -> None:
    """What terms change in place must be copies that the simulator made for them.

    Or readings of sensors, on which no physics depends; Isaac Lab's image term edits them.

    Raises:
        DiscoveryError: a term writes into the simulator's own state.
    """
    for connection, value in run.mutated.items():
        route = run.routes[connection]
        if route.is_shared:
            continue
        first, second = route.live(), route.live()
        if first.data_ptr() == second.data_ptr() and first.numel():
            term, where = run.watch.mutation(value)
            raise DiscoveryError(
                f"{term!r} writes into {connection!r} in place at {where}, past the methods that "
                "take targets, so that the write can't be exported. Call the entity's set_...() or "
                "write_...() method; or, if it is only to be computed with, clone() it first.",
                term=term,
            )


def check_kept(before: Kept, after: Kept, run: DiscoveryRun, needed: frozenset[str]) -> None:
    """What terms keep must be tensors with one row per env.

    Raises:
        DiscoveryError: a term keeps something else that changes.
    """
    for path, value in after.scalars.items():
        old = before.scalars.get(path, value)
        if old != value and old == old:  # not NaN
            raise DiscoveryError(
                f"{term_of(path)!r} keeps a Python number or text from step to step ({path}: "
                f"{old!r}, then {value!r}). A model can't; keep a tensor [num_envs, ...].",
                term=term_of(path),
            )
    for path, tensor in after.tensors.items():
        if path not in before.tensors and run.watch.sources(tensor) & needed:
            raise DiscoveryError(
                f"{term_of(path)!r} makes {path} while it runs, so that what it is at the "
                "beginning isn't known. Make it in __init__.",
                term=term_of(path),
            )
    for path, (_, copied) in run.kept.items():
        changed = copied._version or after.tensors.get(path, copied) is not copied
        per_row = copied.ndim > 0 and copied.shape[0] == run.num_rows
        if KEPT + path in needed and changed and not per_row:
            raise DiscoveryError(
                f"{term_of(path)!r} keeps {path} of shape {list(copied.shape)} from step to step, "
                f"which is not one value for each of the {run.num_rows} envs. A model has memory "
                "for single rows only.",
                term=term_of(path),
            )


def check_random_draws(watch: Watch, needed: frozenset[str]) -> None:
    """Nothing that matters may be drawn at random.

    Raises:
        DiscoveryError: a term does.
    """
    draws = [draw for source, draw in watch.random_draws.items() if source in needed]
    if draws:
        lines = "\n".join(f"  - {draw}" for draw in draws)
        raise DiscoveryError(
            f"Random numbers are drawn outside the terms' noise ({len(draws)} found):\n{lines}\n"
            "An exported policy is deterministic. Give the term's configuration a noise instead, "
            "which an export leaves out.",
            term=draws[0].term,
        )


def baked_reads(watch: Watch, dependencies: Dependencies) -> tuple[HostRead, ...]:
    """Values that left tensors for Python, and that depend on what changes from step to step."""
    changing = (INPUT, MEMORY, HANDOVER)
    return tuple(
        read
        for read in watch.host_reads
        if any(name.startswith(changing) for name in dependencies.behind(read.sources))
    )


def baked_reads_error(reads: Sequence[HostRead]) -> DiscoveryError:
    """The error that lists them."""
    lines = "\n".join(f"  - {read}" for read in reads)
    return DiscoveryError(
        "Values leave tensors for Python, so that a model would repeat what they were at the "
        f"export ({len(reads)} found):\n{lines}\nCompute with tensors instead, such as "
        "torch.where() in place of if.",
        term=reads[0].term,
    )


def undeclared_warnings(routes: Iterable[Route]) -> list[str]:
    """Inputs that no table knows."""
    return [
        f"{route.connection!r} is in no semantics table: it is taken for state that the host "
        f"supplies, of which neither unit nor frame are known. Say what {route.owner.key}."
        f"{route.attribute} is with register_semantics()."
        for route in routes
        if route.semantics is None
    ]


def term_of(path: str) -> str:
    """The term that keeps what is at a path, as messages call it."""
    kind, _, rest = path.partition(":")
    if kind == "action":
        return f"action/{rest.split('.')[0]}"
    return rest.split(".")[0] if kind == "obs" else path.split(".")[0]
