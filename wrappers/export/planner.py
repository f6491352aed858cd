"""From one run on live values to a plan of the pipeline."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from holdstep.wrappers.export.dependencies import Dependencies
from holdstep.wrappers.export.discovery_checks import (
    baked_reads,
    baked_reads_error,
    check_apply_is_repeatable,
    check_kept,
    check_random_draws,
    check_targets,
    undeclared_warnings,
)
from holdstep.wrappers.export.plan import Plan
from holdstep.wrappers.export.plan_parts import constants_of, memories_of, writes_of
from holdstep.wrappers.export.runs import HANDOVER, INPUT, KEPT, MEMORY, DiscoveryRun

if TYPE_CHECKING:
    import torch

    from holdstep.wrappers.export.computation import Computation
    from holdstep.wrappers.export.observed import Observed


class Planner:
    """Makes a plan of one observed run.

    Args:
        computation: the pipeline's.
        observed: the run.
        cloned: connections of which each reader got a copy of its own.
    """

    def __init__(
        self, computation: Computation, observed: Observed, cloned: frozenset[str]
    ) -> None:
        self._computation = computation
        self._observed = observed
        self._run = observed.run
        self._num_envs = computation.workflow.num_envs
        self._cloned = cloned
        self._rewritten = frozenset(
            path
            for path, (_, copied) in self._run.kept.items()
            if copied._version or observed.after.tensors.get(path, copied) is not copied
        )
        self._aliases = _aliases(self._run)
        self._dependencies = Dependencies(
            self._run.watch,
            updates={
                **{MEMORY + name: value for name, value in self._run.updates.items()},
                **{KEPT + path: self._final(path) for path in self._rewritten},
            },
            handed_over=observed.handed_over,
        )

    def plan(self, allow_host_reads: bool) -> Plan:
        """The plan, once everything that can't be exported is ruled out."""
        observed, run = self._observed, self._run
        check_targets((*observed.process_writes, *observed.apply_writes), self._num_envs)
        check_apply_is_repeatable(observed.apply_writes, observed.again)
        targets = [write.target for write in (*observed.process_writes, *observed.apply_writes)]
        needed = self._dependencies.needed([*targets, observed.actions])
        check_kept(observed.before, observed.after, run, needed)
        unmarked = self._computation.workflow.unmarked(run, needed, self._rewritten)
        if unmarked is not None:
            raise unmarked
        check_random_draws(run.watch, needed)
        baked = baked_reads(run.watch, self._dependencies)
        if baked and not allow_host_reads:
            raise baked_reads_error(baked)
        applied = self._dependencies.direct([write.target for write in observed.apply_writes])
        apply_inputs = _named(INPUT, applied, run.routes)
        handovers = _named(HANDOVER, applied, observed.handed_over) if apply_inputs else ()
        leaves = tuple(leaf for name, leaf in run.watch.leaves.items() if name in needed)
        return Plan(
            routes=dict(run.routes),
            inputs=self._policy_inputs(apply_inputs, handovers, needed),
            memories=memories_of(self._computation, run, needed, self._rewritten, self._aliases),
            writes=writes_of(self._computation.workflow, observed),
            handovers=handovers,
            apply_inputs=apply_inputs,
            constants=constants_of(run, needed, self._rewritten, self._aliases),
            leaves=leaves,
            rewritten=self._rewritten,
            aliases=self._aliases,
            cloned=self._cloned,
            groups=observed.observations.used_groups,
            num_actions=int(observed.actions.shape[1]),
            warnings=(
                *(f"{read}: what it was at the export is baked in." for read in baked),
                *undeclared_warnings(run.routes.values()),
            ),
        )

    def _final(self, path: str) -> torch.Tensor:
        return self._observed.after.tensors.get(path, self._run.kept[path][1])

    def _policy_inputs(
        self, apply_inputs: tuple[str, ...], handovers: tuple[str, ...], needed: frozenset[str]
    ) -> tuple[str, ...]:
        read = {INPUT + name for name, route in self._run.routes.items() if not route.is_constant}
        keeps_unused = self._computation.workflow.keeps_unused_inputs

        def lasts(memory: str) -> bool:
            return keeps_unused or memory in needed

        if apply_inputs or not keeps_unused:
            # What only the apply graph reads is no input of the policy graph.
            roots = [self._observed.actions]
            roots += [value for name, value in self._run.updates.items() if lasts(MEMORY + name)]
            roots += [self._observed.processed.tensors[path] for path in handovers]
            roots += [write.target for write in self._observed.process_writes]
            roots += [self._final(path) for path in self._rewritten if lasts(KEPT + path)]
            in_policy = self._dependencies.needed(roots)
            read = {name for name in read if name in in_policy}
        return _named(INPUT, frozenset(read), self._run.routes)


def _aliases(run: DiscoveryRun) -> dict[str, str]:
    """Paths that lead to the same tensor as an earlier one."""
    first: dict[int, str] = {}
    aliases: dict[str, str] = {}
    for path, (live, _) in run.kept.items():
        if id(live) in first:
            aliases[path] = first[id(live)]
        else:
            first[id(live)] = path
    return aliases


def _named(kind: str, sources: frozenset[str], order: Iterable[str]) -> tuple[str, ...]:
    return tuple(name for name in order if kind + name in sources)
