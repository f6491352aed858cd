"""Do a contract's names lead to what the model was traced with, for somebody who only has names?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch

from holdstep.errors import ContractError, WiringError
from holdstep.wrappers.export.connections import INPUT_ROLES, Connection
from holdstep.wrappers.export.live_inputs import LiveInputs
from holdstep.wrappers.export.semantics.lookup import element_names
from holdstep.wrappers.export.simulators import workflow_of

if TYPE_CHECKING:
    from holdstep.wrappers.export.contract import Contract, TensorSpec
    from holdstep.wrappers.export.pipeline import Pipeline
    from holdstep.wrappers.export.workflow import Workflow


def check_wiring(pipeline: Pipeline, contract: Contract) -> None:
    """Look up every input and target at the env, by its name in the contract alone.

    Inputs must have the values that the pipeline reads; a target must be a method of an entity that
    has all the elements. What an env without managers marks as a target goes to no entity.

    Args:
        pipeline: an open one.
        contract: of it, as it was read back.

    Raises:
        WiringError: a name leads nowhere, or elsewhere; all of them are listed.
    """
    inputs = [(contract.inputs, pipeline.read_inputs())]
    if pipeline.apply_module is not None:
        own = [
            spec
            for spec in contract.apply_inputs
            if Connection.parse(spec.connection).role in INPUT_ROLES
        ]
        inputs.append((tuple(own), pipeline.read_inputs(pipeline.plan.apply_inputs)))
    workflow = workflow_of(pipeline.env)
    problems = [
        *(problem for specs, values in inputs for problem in _inputs(pipeline, specs, values)),
        *(problem for spec in contract.writes for problem in _target(workflow, spec)),
    ]
    if problems:
        lines = "\n".join(f"  - {problem}" for problem in problems)
        raise WiringError(f"The contract does not fit the env that it was made on:\n{lines}")


def _inputs(
    pipeline: Pipeline, specs: Sequence[TensorSpec], expected: Sequence[torch.Tensor]
) -> Iterator[str]:
    try:
        found = LiveInputs(pipeline.env, specs).read()
    except ContractError as error:
        yield str(error)
        return
    for spec, value in zip(specs, expected, strict=True):
        if not torch.equal(found[spec.connection].nan_to_num(), value.nan_to_num()):
            yield f"{spec.connection}: has other values than what the model was traced with."


def _target(workflow: Workflow, spec: TensorSpec) -> Iterator[str]:
    connection = Connection.parse(spec.connection)
    entities = [
        owner
        for owner in workflow.owners()
        if owner.takes_writes and owner.prefix == f"state:{connection.target}"
    ]
    is_marked = not workflow.action_terms
    if not entities and is_marked:
        return
    for owner in entities:
        entity, method = owner.get(), connection.attribute or ""
        if callable(getattr(entity, method, None)):
            semantics = workflow.lookup.find(type(entity), method)
            known = element_names(semantics, *owner.named_by, entity)
            missing = set(spec.element_names or ()) - set(known or spec.element_names or ())
            if missing:
                yield f"{spec.connection}: the env has no {', '.join(sorted(missing))} there."
            return
    if not is_marked:
        yield f"{spec.connection}: the env has no such entity, or the entity no such method."
