"""Finding out what a pipeline reads, keeps and writes, by running it once on live values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdstep.errors import DiscoveryError
from holdstep.wrappers.export.discovery_checks import check_in_place_changes
from holdstep.wrappers.export.observations import Observations
from holdstep.wrappers.export.observed import Observed
from holdstep.wrappers.export.planner import Planner
from holdstep.wrappers.export.runs import HANDOVER, INPUT, MEMORY, DiscoveryRun

if TYPE_CHECKING:
    import torch

    from holdstep.wrappers.export.computation import Computation
    from holdstep.wrappers.export.plan import Plan
    from holdstep.wrappers.export.proxies.isolation import Kept


def discover(
    computation: Computation, device: torch.device, *, allow_host_reads: bool = False
) -> Plan:
    """Run a computation on the env's live values and find out what it is made of.

    Args:
        computation: the pipeline's.
        device: the env's.
        allow_host_reads: values that leave tensors for Python are warned of instead of refused.

    Raises:
        DiscoveryError: something in it can't be exported; the message names the term.
    """
    workflow = computation.workflow
    refusal = workflow.refusal()
    if refusal is not None:
        raise DiscoveryError(
            f"The action term {refusal[0]!r} is refused: {refusal[1]}", term=f"action/{refusal[0]}"
        )
    _find_policy_states(computation, device)
    cloned: frozenset[str] = frozenset()
    while True:
        observed = _observe(computation, DiscoveryRun(workflow.num_envs, device, cloned))
        mutated = observed.run.mutated
        check_in_place_changes(observed.run)
        if mutated.keys() <= cloned:
            return Planner(computation, observed, cloned).plan(allow_host_reads)
        # A term changes in place what it read. The next run gives each reader its own copy.
        cloned |= mutated.keys()


def _find_policy_states(computation: Computation, device: torch.device) -> None:
    run = DiscoveryRun(computation.workflow.num_envs, device, frozenset())
    with computation.running(run):
        groups = computation.groups
        computation.policy.find_states(Observations(groups, computation.workflow.env, run))


def _observe(computation: Computation, run: DiscoveryRun) -> Observed:
    watch = run.watch
    policy = computation.policy
    for weight in (*policy.parameters(), *policy.buffers()):
        watch.declare(weight)
    with computation.running(run):
        before = computation.kept()
        with watch:
            observations, actions = computation.act(run)
        processed = computation.kept()
        process_writes, run.writes = tuple(run.writes), []
        handed_over = _hand_over(run, processed)
        with watch:
            computation.apply(run)
        after = computation.kept()
        apply_writes, run.writes = tuple(run.writes), []
        with watch:
            computation.apply(run)
        again, run.writes = tuple(run.writes), []
    return Observed(
        run,
        observations,
        actions,
        before,
        processed,
        after,
        process_writes,
        apply_writes,
        again,
        handed_over,
    )


def _hand_over(run: DiscoveryRun, processed: Kept) -> dict[str, frozenset[str]]:
    """From here on, what terms keep is known by its own name, if the policy had a part in it.

    So what is written is seen to come from there, or from state that is read anew.
    """
    sources = {path: run.watch.sources(tensor) for path, tensor in processed.tensors.items()}
    changing = {
        path: found
        for path, found in sources.items()
        if any(name.startswith((INPUT, MEMORY)) for name in found)
        or (path in run.kept and found != run.watch.sources(run.kept[path][1]))
    }
    by_memory: dict[int, list[str]] = {}
    for path in changing:
        by_memory.setdefault(processed.tensors[path].untyped_storage()._cdata, []).append(path)
    for paths in by_memory.values():
        tensor = processed.tensors[paths[0]]
        run.watch.declare(tensor, *(HANDOVER + path for path in paths))
    return changing
