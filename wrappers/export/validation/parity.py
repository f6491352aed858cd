"""Does the exported model do what the env does, in states that it was not traced in?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from holdstep.errors import ParityError
from holdstep.wrappers.export.validation.blame import advice, baked_term
from holdstep.wrappers.export.validation.differences import difference

if TYPE_CHECKING:
    from holdstep.wrappers.export.contract import TensorSpec
    from holdstep.wrappers.export.model_runner import ModelRunner
    from holdstep.wrappers.export.pipeline import Pipeline


@dataclass(frozen=True)
class Parity:
    """How far an exported model and the live env were apart.

    Attributes:
        max_abs_diff: the largest difference of any output, in its unit.
        max_scaled_diff: the same, relative to values that are larger than 1; the limit is on this.
        limit: what was allowed.
        worst: connection of the output that differed most.
        num_steps: env steps that were compared.
        num_rows: rows of each.
        num_resets: rows that were reset in between, by ending or on purpose.
    """

    max_abs_diff: float
    max_scaled_diff: float
    limit: float
    worst: str
    num_steps: int
    num_rows: int
    num_resets: int


class ParityCheck:
    """Steps the env beside a model that was loaded from its files, and compares their outputs.

    The env acts on its own policy, so that differences do not add up. A third of the rows is reset
    after a third of the steps, all rows after two thirds, besides those whose episode ends.

    Args:
        pipeline: of the env and the policy.
        runner: the exported model, for as many rows as the env has.
        traced_inputs: what the model was traced with, to find out what was baked in.
        limit: the largest scaled difference that is allowed.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        runner: ModelRunner,
        *,
        traced_inputs: Sequence[torch.Tensor],
        limit: float,
    ) -> None:
        self._pipeline = pipeline
        self._runner = runner
        self._traced_inputs = tuple(traced_inputs)
        self._limit = limit
        self._num_resets = 0
        self._max_abs = 0.0
        self._max_scaled = 0.0
        self._worst = ""

    def run(self, num_steps: int, *, seed: int) -> Parity:
        """Compare ``num_steps`` steps, beginning with a reset of the env by ``seed``.

        Raises:
            ParityError: an output differs; the first one is named, and the term that is to blame
                where that can be found out.
        """
        env = self._pipeline.env
        env.reset(seed=seed)
        self._forget(torch.ones(env.num_envs, dtype=torch.bool, device=env.device))
        for step in range(num_steps):
            action = self._compare(step)
            _, _, terminated, truncated, _ = env.step(action)
            self._forget(terminated | truncated)
            self._reset_on_purpose(step, num_steps)
        return Parity(
            max_abs_diff=self._max_abs,
            max_scaled_diff=self._max_scaled,
            limit=self._limit,
            worst=self._worst,
            num_steps=num_steps,
            num_rows=env.num_envs,
            num_resets=self._num_resets - env.num_envs,
        )

    def _compare(self, step: int) -> torch.Tensor:
        pipeline, contract = self._pipeline, self._pipeline.contract
        inputs = pipeline.read_inputs()
        memories = self._runner.memories()
        reference = pipeline.reference()
        expected: dict[str, torch.Tensor] = {**reference.targets, "action": reference.action}
        names = (spec.connection for spec in contract.inputs)
        got = self._runner.step(dict(zip(names, inputs, strict=True)))
        specs = list(contract.outputs)
        if contract.has_apply_graph:
            own = [spec.connection for spec in contract.apply_inputs if spec.connection not in got]
            own = [name for name in own if name not in memories]
            state = dict(zip(own, pipeline.read_inputs(own), strict=True))
            got |= self._runner.apply(state)
            specs += contract.apply_outputs
        for spec in specs:
            if spec.connection in expected:
                self._compare_one(
                    step, spec, got, expected[spec.connection], (*inputs, *memories.values())
                )
        return reference.action

    def _compare_one(
        self,
        step: int,
        spec: TensorSpec,
        got: Mapping[str, torch.Tensor],
        expected: torch.Tensor,
        given: Sequence[torch.Tensor],
    ) -> None:
        found = difference(got[spec.connection], expected.to(got[spec.connection].device))
        if not found.scaled <= self._limit:
            raise self._error(step, spec, found.absolute, found.index, given)
        self._max_abs = max(self._max_abs, found.absolute)
        if found.scaled >= self._max_scaled:
            self._max_scaled, self._worst = found.scaled, spec.connection

    def _error(
        self,
        step: int,
        spec: TensorSpec,
        absolute: float,
        index: tuple[int, ...] | None,
        given: Sequence[torch.Tensor],
    ) -> ParityError:
        where = ""
        if index is not None:
            name = f" ({spec.element_names[index[1]]})" if spec.element_names else ""
            where = f" in row {index[0]}, element {list(index[1:])}{name}"
        term = baked_term(self._pipeline, self._traced_inputs, given)
        blame = advice(term)
        if term is None:
            blame = (
                "No term has anything baked in that depends on values, so that something else "
                "remembers what is neither input nor memory."
            )
        return ParityError(
            f"The exported model and the env come apart in step {step}: {spec.connection} differs "
            f"by {absolute:.3g}{where}, allowed is {self._limit:.3g}. {blame}",
            term=term,
        )

    def _forget(self, done_mask: torch.Tensor) -> None:
        ids = done_mask.nonzero().flatten()
        if ids.numel():
            self._num_resets += ids.numel()
            self._runner.reset(ids)
            self._pipeline.reset_reference(done_mask)

    def _reset_on_purpose(self, step: int, num_steps: int) -> None:
        env = self._pipeline.env
        third = max(1, num_steps // 3)
        if step + 1 not in (third, 2 * third) or step + 1 == num_steps:
            return
        every = 3 if step + 1 == third else 1
        done_mask = torch.arange(env.num_envs, device=env.device) % every == 0
        env.reset(options={"env_ids": done_mask.nonzero().flatten()})
        self._forget(done_mask)
