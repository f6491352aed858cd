"""Networks that a task trains while it runs."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import torch


class LearningTaskWarning(UserWarning):
    """A task trains a network as it runs, which is no row's state."""


def learners(core: Any) -> Iterator[tuple[str, object]]:
    """The objects that have an optimizer, with their names: the env itself or what it refers to.

    Isaac Lab's ``Isaac-Repose-Cube-Shadow-Vision-Direct-v0`` has one: it fits a network that finds
    the cube in its camera's images, at each computation of its observations.

    Args:
        core: the env object.
    """
    for name, value in (("env", core), *((f"env.{n}", v) for n, v in vars(core).items())):
        parts = getattr(value, "__dict__", {}).values()
        if any(isinstance(part, torch.optim.Optimizer) for part in parts):
            yield name, value


def warn_of_learners(core: Any) -> None:
    """Say what can't be promised of the rows of a task that learns.

    Args:
        core: the env object.
    """
    for name, value in learners(core):
        warnings.warn(
            f"{type(core).__name__} trains a network as it runs ({name}, a {type(value).__name__})."
            " Its weights belong to no row: they are not held, and neither resets nor snapshots "
            "put them back, so what it computes for a row depends on how often, and with which "
            "rows, it has run. Rows repeat bit for bit only when it does not train: see whether "
            "the task's configuration has a switch for that, as feature_extractor.train is.",
            LearningTaskWarning,
            stacklevel=2,
        )
