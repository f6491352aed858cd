"""What is baked into a model, and what of it was randomised per env."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import torch

from holdstep.wrappers.export.contract import Constant
from holdstep.wrappers.export.plan import ConstantPlan, Plan

if TYPE_CHECKING:
    from holdstep.wrappers.export.restore import Changes

Randomized: TypeAlias = Literal["nominal", "row"]
"""Which value of a constant that differs between envs is baked in.

- ``"nominal"``: the one without randomisation where it is known, else that of a row.
- ``"row"``: that of a row.
"""


@dataclass(frozen=True)
class BakedConstant:
    """A tensor as it is baked in.

    Attributes:
        plan: where it comes from.
        value: ``[1, ...]`` if it has one row per env, else as it is.
        varies: whether envs had different values.
        choice: which value was taken then, as a sentence says it.
    """

    plan: ConstantPlan
    value: torch.Tensor
    varies: bool
    choice: str = ""


def bake(plan: Plan, *, randomized: Randomized, row: int) -> dict[str, BakedConstant]:
    """Choose the values of all constants.

    Args:
        plan: of the pipeline.
        randomized: which value is taken where envs differ.
        row: the env whose values are taken where they differ and no other is known.
    """
    return {
        name: _baked(constant, randomized=randomized, row=row)
        for name, constant in plan.constants.items()
    }


def _baked(plan: ConstantPlan, *, randomized: Randomized, row: int) -> BakedConstant:
    live = plan.live.detach()
    if not plan.per_row:
        return BakedConstant(plan, live.clone(), varies=False)
    first = live[row : row + 1].clone()
    if bool(torch.equal(live, first.expand_as(live))) or bool(torch.isnan(live).any()):
        return BakedConstant(plan, first, varies=False)
    if randomized == "nominal" and plan.nominal is not None:
        nominal = torch.full_like(first, plan.nominal)
        return BakedConstant(plan, nominal, True, f"its nominal value {plan.nominal:g}")
    return BakedConstant(plan, first, True, f"that of env {row}")


def put_into_env(baked: Mapping[str, BakedConstant], changes: Changes) -> None:
    """Give all envs the baked values for as long as the pipeline exists.

    So the env computes what the model does, and the two can be compared.

    Args:
        baked: by name.
        changes: that put the env's own values back.
    """
    for constant in baked.values():
        plan = constant.plan
        if constant.varies and plan.is_used and plan.is_memory_of_env:
            changes.set_values(plan.live, constant.value)


def randomization_warnings(baked: Mapping[str, BakedConstant]) -> Iterator[str]:
    """One sentence for each constant that differs between envs."""
    for name, constant in baked.items():
        if constant.varies and constant.plan.is_used:
            live = constant.plan.live
            spread = (
                (live.amax(0) - live.amin(0)).abs().max() if live.dtype.is_floating_point else 0
            )
            yield (
                f"{name!r} is randomised per env (values differ by up to {float(spread):g}); "
                f"baked in is {constant.choice}."
            )


def constant_records(plan: Plan, baked: Mapping[str, BakedConstant]) -> tuple[Constant, ...]:
    """What the contract lists: everything that outputs or memories depend on."""
    records = [
        Constant(
            name=name,
            source=name,
            shape=tuple(constant.value.shape[1 if constant.plan.per_row else 0 :]),
            varies=constant.varies,
            digest=_digest(constant.value),
        )
        for name, constant in baked.items()
        if constant.plan.is_used
    ]
    records += [
        Constant(
            name=leaf.name,
            source=f"{leaf.term} at {leaf.where}",
            shape=tuple(leaf.tensor.shape),
            digest=_digest(leaf.tensor),
        )
        for leaf in plan.leaves
    ]
    return tuple(records)


def _digest(tensor: torch.Tensor) -> str:
    content = tensor.detach().cpu().contiguous()
    return hashlib.sha256(content.reshape(-1).view(torch.uint8).numpy().tobytes()).hexdigest()
