"""Finding terms that read something which is no declared input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from holdstep.errors import PurityError
from holdstep.wrappers.export.policies import POLICY

if TYPE_CHECKING:
    from holdstep.wrappers.export.pipeline import Pipeline
    from holdstep.wrappers.export.runs import ModuleRun


@dataclass(frozen=True)
class PurityReport:
    """How the purity check went.

    Attributes:
        impure_terms: terms whose result changed though their inputs did not, with the largest
            difference; an observation term as ``"group/term"``, an action term as
            ``"action/term"``.
        num_terms: terms that were looked at.
    """

    impure_terms: dict[str, float]
    num_terms: int

    @property
    def passed(self) -> bool:
        """Whether no term reads anything else."""
        return not self.impure_terms

    def raise_for_failure(self) -> None:
        """Raise if a term reads anything else.

        Raises:
            PurityError: it does; all such terms are named.
        """
        if self.passed:
            return
        lines = "\n".join(
            f"  - {term} (differs by up to {difference:g})"
            for term, difference in self.impure_terms.items()
        )
        raise PurityError(
            "Terms gave another result from the same inputs after the env had moved on, so that "
            f"they read something that is no declared input ({len(self.impure_terms)} found):\n"
            f"{lines}\nRead it from an entity, a sensor, a command or the env itself, where it is "
            "seen, or keep it in the term (a class with a tensor attribute).",
            term=next(iter(self.impure_terms)),
        )


def check_purity(pipeline: Pipeline, *, num_steps: int, seed: int) -> PurityReport:
    """Compute twice from the same inputs, with a reset and steps of the env in between.

    Args:
        pipeline: an open one.
        num_steps: steps in between.
        seed: of the actions in between.
    """
    env = pipeline.env
    given = (*pipeline.read_inputs(), *pipeline.initial_memories())
    first = _terms(pipeline, given)
    baked = pipeline.baked_values()
    generator = torch.Generator(device="cpu").manual_seed(seed)
    env.reset()
    for _ in range(num_steps):
        shape = (env.num_envs, pipeline.plan.num_actions)
        env.step(torch.randn(shape, generator=generator).to(env.device))
    second = _terms(pipeline, given)
    moved = {
        name: difference
        for name, value in pipeline.baked_values().items()
        if (difference := _difference(value, baked[name])) > 0
    }
    if moved:
        return PurityReport(moved, len(first))
    differences = {term: _difference(value, second[term]) for term, value in first.items()}
    impure = {term: difference for term, difference in differences.items() if difference > 0}
    # What comes later in the pipeline differs because of what came before.
    for stage in (_is_observation, _is_policy, _is_action):
        blamed = {term: difference for term, difference in impure.items() if stage(term)}
        if blamed:
            return PurityReport(blamed, len(first))
    return PurityReport({}, len(first))


def _is_policy(term: str) -> bool:
    return term == POLICY


def _is_action(term: str) -> bool:
    return term.startswith("action/")


def _is_observation(term: str) -> bool:
    return not _is_policy(term) and not _is_action(term)


def _terms(pipeline: Pipeline, given: tuple[torch.Tensor, ...]) -> dict[str, torch.Tensor]:
    """What each term gives; of action terms, what they write."""
    found: dict[str, torch.Tensor] = {}

    def note(run: ModuleRun) -> None:
        found.update({term: value.detach().clone() for term, value in run.returned.items()})
        for write in run.writes:
            _add(found, write.term, write.target.detach().clone())

    pipeline.module.on_run = note
    try:
        with torch.inference_mode(False), torch.no_grad():
            outputs = pipeline.module(*given)
            found[POLICY] = outputs[len(pipeline.contract.outputs) - 1]
            if pipeline.apply_module is not None:
                handed = outputs[: len(pipeline.contract.outputs) - 1][
                    -len(pipeline.plan.handovers) :
                ]
                state = [
                    given[pipeline.plan.inputs.index(name)]
                    if name in pipeline.plan.inputs
                    else torch.zeros_like(pipeline.read_inputs([name])[0])
                    for name in pipeline.plan.apply_inputs
                ]
                targets = pipeline.apply_module(*state, *handed)
                terms = [write.term for write in pipeline.plan.writes if write.phase == "apply"]
                for term, target in zip(terms, targets, strict=True):
                    _add(found, term, target)
    finally:
        pipeline.module.on_run = None
    return found


def _add(found: dict[str, torch.Tensor], term: str, target: torch.Tensor) -> None:
    """A term that writes several targets has an entry for each."""
    key, number = term, 1
    while key in found:
        number += 1
        key = f"{term} (target {number})"
    found[key] = target


def _difference(first: torch.Tensor, second: torch.Tensor) -> float:
    if first.shape != second.shape:
        return float("inf")
    first, second = first.double(), second.double()
    same = (first == second) | (first.isnan() & second.isnan())
    if bool(same.all()):
        return 0.0
    difference = torch.where(same, torch.zeros_like(first), (first - second).abs())
    return float(torch.nan_to_num(difference, nan=float("inf")).max())
