"""No target that is not a number ever reaches a robot."""

from __future__ import annotations

import math

import torch

from holdstep.errors import PolicyError


def check_finite(connection: str, value: torch.Tensor) -> None:
    """Refuse targets before any of them is written.

    Args:
        connection: what they are written to.
        value: ``[num_envs, *shape]``.

    Raises:
        PolicyError: one of them is NaN or infinite.
    """
    # One operation decides: a sum is finite only if all that is added is. It may overflow.
    if math.isfinite(float(value.sum())) or bool(value.isfinite().all()):
        return
    rows = (~value.isfinite().flatten(1).all(dim=1)).nonzero().flatten().tolist()
    raise PolicyError(
        f"The policy computed a target that is not finite for {connection}, rows {rows}. Neither "
        "it nor a target beside it was written; memories have advanced, so that a reset() must "
        "come next."
    )
