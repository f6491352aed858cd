"""Which term has something baked in that depends on values?"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from holdstep.wrappers.export.policies import POLICY
from holdstep.wrappers.export.validation.differences import difference

if TYPE_CHECKING:
    from holdstep.wrappers.export.pipeline import Pipeline
    from holdstep.wrappers.export.runs import ModuleRun


class _TermValues(torch.nn.Module):
    """What each term of a pipeline's module computes, instead of the module's outputs."""

    def __init__(self, pipeline: Pipeline) -> None:
        super().__init__()
        self.module = pipeline.module
        self.names: list[str] = []
        self._action_index = [spec.connection for spec in pipeline.contract.outputs].index("action")

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Values of terms in the order in which they ran; :attr:`names` says whose."""
        observed: list[tuple[str, torch.Tensor]] = []
        written: list[tuple[str, torch.Tensor]] = []

        def note(run: ModuleRun) -> None:
            observed.extend(run.returned.items())
            written.extend((write.term, write.target) for write in run.writes)

        self.module.on_run = note
        try:
            action = self.module(*tensors)[self._action_index]
        finally:
            self.module.on_run = None
        values = [*observed, (POLICY, action), *written]
        self.names = [name for name, _ in values]
        return tuple(value.clone() for _, value in values)


def baked_term(
    pipeline: Pipeline, traced: Sequence[torch.Tensor], given: Sequence[torch.Tensor]
) -> str | None:
    """The first term that computes something else in a trace than in Python.

    Args:
        pipeline: an open one.
        traced: inputs and memories that it was traced with.
        given: inputs and memories in which a difference was seen.

    Returns:
        ``"group/term"``, ``"policy"``, ``"action/term"``, or None where all terms agree.
    """
    values = _TermValues(pipeline)
    try:
        with torch.inference_mode(False), torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            script = torch.jit.trace(  # type: ignore[no-untyped-call]
                values, tuple(traced), check_trace=False
            )
            from_trace = script(*given)
            from_python = values(*given)
    except RuntimeError:
        return None  # it can't be traced this way, so nothing was baked in this way
    for name, left, right in zip(values.names, from_trace, from_python, strict=True):
        if difference(left, right).scaled > 1e-6:
            return name
    return None


def advice(term: str | None) -> str:
    """The sentence of an error that says whose fault a difference is, and what to do.

    Args:
        term: from :func:`baked_term`.
    """
    if term is None:
        return (
            "No term has anything baked in that depends on values. Take another method, or give "
            "a tolerance."
        )
    return (
        f"{term!r} is to blame: what it decided in the traced step is baked in. Use torch.where() "
        "instead of `if`, and no .item() or .tolist() on tensors."
    )
