"""A finished episode, as it is written to a dataset and read back from one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from holdstep.wrappers.record.columns import Array

Ended = Literal["terminated", "truncated", "reset", "closed"]
"""How an episode ended: by itself, by its time limit, cut by a reset, cut by the recorder's end."""


@dataclass(frozen=True)
class Episode:
    """An episode of T steps.

    Attributes:
        name: in its dataset, such as ``"demo_12"``.
        num_steps: T.
        arrays: by path. Step columns (``"actions"``, ``"rewards"``, ...) are ``[T, ...]``;
            ``"obs/<group>"`` is ``[T, ...]``, what was observed before each step;
            ``"final_obs/<group>"`` is ``[1, ...]`` and missing where the env could not tell it;
            ``"initial_state/..."`` is ``[1, ...]``; ``"states/..."``, as in Isaac Lab, is the state
            *after* each step: ``[T, ...]``, or ``[T - 1, ...]`` where the final one is not known.
        ended: how.
        success: whether it succeeded, or None where nothing says.
        attributes: everything else about it (seed, env_id, instruction, ...), plain JSON values.
    """

    name: str
    num_steps: int
    arrays: Mapping[str, Array]
    ended: Ended = "truncated"
    success: bool | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
