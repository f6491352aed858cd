"""The pipeline as pure functions: modules that compute outputs from inputs and memories."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch

from holdstep.errors import ExportError
from holdstep.wrappers.export.runs import ModuleRun

if TYPE_CHECKING:
    from holdstep.wrappers.export.computation import Computation
    from holdstep.wrappers.export.constants import BakedConstant
    from holdstep.wrappers.export.plan import Plan


class _GraphModule(torch.nn.Module):
    """What the two graphs have in common: a computation, a plan and baked constants."""

    def __init__(
        self, computation: Computation, plan: Plan, baked: Mapping[str, BakedConstant]
    ) -> None:
        super().__init__()
        self._computation = computation
        self._plan = plan
        self._is_closed = False
        self._constants: dict[str, tuple[str, bool]] = {}
        for index, (name, constant) in enumerate(baked.items()):
            buffer = f"constant_{index}"
            self.register_buffer(buffer, constant.value)
            self._constants[name] = (buffer, constant.plan.per_row)

    def close(self) -> None:
        """From now on, the module can't be called: what it reads may be gone."""
        self._is_closed = True

    def _run(
        self,
        given: tuple[torch.Tensor, ...],
        *,
        inputs: Mapping[str, torch.Tensor],
        memories: Mapping[str, torch.Tensor],
        kept: Mapping[str, torch.Tensor],
    ) -> ModuleRun:
        if self._is_closed:
            raise ExportError(
                "The pipeline is closed, and its module with it. Use it inside the 'with' block."
            )
        plan = self._plan
        return ModuleRun(
            given[0].shape[0],
            inputs=inputs,
            memories=memories,
            # Looked up at each call: tracers put their own tensors in the place of buffers.
            constants={
                name: (getattr(self, buffer), per_row)
                for name, (buffer, per_row) in self._constants.items()
            },
            kept=kept,
            rewritten=plan.rewritten,
            aliases=plan.aliases,
            cloned=plan.cloned,
        )

    def _check_number(self, given: tuple[torch.Tensor, ...], expected: int, what: str) -> None:
        if len(given) != expected:
            raise ExportError(f"The module takes {expected} tensors ({what}), got {len(given)}.")


class PolicyModule(_GraphModule):
    """``module(*inputs, *memories) -> (*outputs, *memory updates)``, once per control step.

    Works for any number of rows. Changes nothing: not the env, not the policy, not its arguments.
    """

    def __init__(
        self, computation: Computation, plan: Plan, baked: Mapping[str, BakedConstant]
    ) -> None:
        super().__init__(computation, plan, baked)
        self.policy = computation.policy
        self.on_run: Callable[[ModuleRun], None] | None = None

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Outputs, then one update for each memory; all ``[N, ...]``."""
        plan, computation = self._plan, self._computation
        split = len(plan.inputs)
        self._check_number(tensors, split + len(plan.memories), "inputs, then memories")
        given = dict(zip((memory.name for memory in plan.memories), tensors[split:], strict=True))
        kept = {
            memory.path: given[memory.name] for memory in plan.memories if memory.path is not None
        }
        run = self._run(
            tensors,
            inputs=dict(zip(plan.inputs, tensors[:split], strict=True)),
            memories=given,
            kept=kept,
        )
        with computation.running(run):
            _, actions = computation.act(run)
            process_writes, run.writes = run.writes, []
            handed_over = computation.kept().tensors if plan.has_apply_graph else {}
            if not plan.has_apply_graph:
                computation.apply(run)
            final = computation.kept().tensors
        if self.on_run is not None:
            run.writes = [*process_writes, *run.writes]
            self.on_run(run)
            run.writes = run.writes[len(process_writes) :]
        writes = {"process": process_writes, "apply": run.writes}
        outputs = [
            writes[write.phase][write.index].target
            for write in plan.writes
            if not (plan.has_apply_graph and write.phase == "apply")
        ]
        outputs += [handed_over[path] for path in plan.handovers]
        updates = [
            run.updates[memory.name] if memory.path is None else final[memory.path]
            for memory in plan.memories
        ]
        return (*outputs, actions, *updates)


class ApplyModule(_GraphModule):
    """``module(*apply_inputs, *handed_over) -> targets``, before each physics step."""

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Targets, ``[N, ...]`` each."""
        plan, computation = self._plan, self._computation
        split = len(plan.apply_inputs)
        self._check_number(tensors, split + len(plan.handovers), "inputs, then what is handed over")
        run = self._run(
            tensors,
            inputs=dict(zip(plan.apply_inputs, tensors[:split], strict=True)),
            memories={},
            kept=dict(zip(plan.handovers, tensors[split:], strict=True)),
        )
        with computation.running(run):
            computation.apply(run)
        return tuple(
            run.writes[write.index].target for write in plan.writes if write.phase == "apply"
        )
