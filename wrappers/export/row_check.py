"""Whether a pipeline computes rows independently, however many there are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from holdstep.errors import ConfigError, DiscoveryError

if TYPE_CHECKING:
    from holdstep.wrappers.export.pipeline import Pipeline

_RTOL, _ATOL = 1e-3, 1e-4
"""Far above what another order of summation does, far below what a wrong row does."""


def check_any_number_of_rows(pipeline: Pipeline) -> None:
    """One row alone, and one more than the env has, must give what all together give.

    A tensor may have as many joints as there are envs, so that its leading dimension was taken for
    rows, or the other way round; and a term may use a tensor with a row per env that it got past
    the env.

    Args:
        pipeline: a new one.

    Raises:
        DiscoveryError: they don't, or all together don't when they are computed again.
    """
    inputs = (*pipeline.read_inputs(), *pipeline.initial_memories())
    num_rows = len(inputs[0])
    together = _called(pipeline, inputs)
    if not all(map(_agree, _called(pipeline, inputs), together)):
        raise DiscoveryError(
            "The pipeline computes something else when it is called again with the same values: "
            "the policy or a term remembers what is no tensor with a row per env (a number in "
            "Python, a list). Keep it in a tensor attribute, as one value per row."
        )
    for other in (
        tuple(tensor[:1] for tensor in inputs),
        tuple(torch.cat([tensor, tensor[:1]]) for tensor in inputs),
    ):
        results = _called(pipeline, other)
        if not all(map(_agree, results, together)):
            raise _error(
                pipeline,
                f"The pipeline computes something else for {len(other[0])} rows than for the same "
                f"rows among {num_rows}.",
            )


def _called(pipeline: Pipeline, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    try:
        return tuple(pipeline.module(*inputs))
    except DiscoveryError:
        raise
    except (ConfigError, IndexError, RuntimeError) as error:
        problem = f"The pipeline can't be computed for {len(inputs[0])} rows ({error})."
        raise _error(pipeline, problem) from error


def _agree(result: torch.Tensor, all_rows: torch.Tensor) -> bool:
    number = min(len(result), len(all_rows))
    if result.shape[1:] != all_rows.shape[1:] or number == 0:
        return False
    first, second = result[:number].double(), all_rows[:number].double()
    return torch.allclose(first, second, rtol=_RTOL, atol=_ATOL, equal_nan=True)


def _error(pipeline: Pipeline, problem: str) -> DiscoveryError:
    num_envs = pipeline.env.num_envs
    suspects = [leaf for leaf in pipeline.plan.leaves if leaf.tensor.shape[:1] == (num_envs,)]
    if suspects:
        lines = "\n".join(
            f"  - {leaf.term}: a tensor {list(leaf.tensor.shape)} at {leaf.where}"
            for leaf in suspects
        )
        return DiscoveryError(
            f"Terms use tensors with a row for each env that are none of the env's quantities, nor "
            f"their own:\n{lines}\nRead such a value from an entity, a sensor, a command or the "
            "env itself, where it is seen, or keep it in the term (a class with a tensor "
            f"attribute). {problem}",
            term=suspects[0].term,
        )
    return DiscoveryError(
        f"{problem} Either rows depend on one another, or a tensor happens to have {num_envs} "
        f"entries for another reason: export from an env with another num_envs, such as "
        f"{num_envs + 2}."
    )
