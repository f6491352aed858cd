"""A dataset in numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from holdstep.wrappers.record.dataset import Dataset


@dataclass(frozen=True)
class Summary:
    """What is in a dataset.

    Attributes:
        num_files: HDF5 files.
        num_bytes: their size [byte].
        lengths: of the episodes [step], in their order.
        returns: sums of rewards, NaN for an episode without rewards.
        success: 1 for success, 0 for failure, -1 where nothing says.
        ended: how many ended in which way.
        env_args: about the env.
        shapes: of the first episode's arrays: of one step, and dtypes.
        pending: why there are more episodes than these; None if these are all.
    """

    num_files: int
    num_bytes: int
    lengths: npt.NDArray[np.int64]
    returns: npt.NDArray[np.float64]
    success: npt.NDArray[np.int8]
    ended: dict[str, int]
    env_args: dict[str, Any] = field(default_factory=dict)
    shapes: dict[str, tuple[tuple[int, ...], str]] = field(default_factory=dict)
    pending: str | None = None

    @property
    def success_rate(self) -> float | None:
        """Share of successes, of the episodes of which it is known; None if of none."""
        known = self.success[self.success >= 0]
        return float(known.mean()) if known.size else None


def summarize(dataset: Dataset, *, on_episode: Callable[[], None] = lambda: None) -> Summary:
    """Read what is needed to describe a dataset: attributes, and rewards.

    Args:
        dataset: what to describe.
        on_episode: called after each episode.

    Raises:
        DatasetError: an episode is damaged.
    """
    lengths, returns, success = [], [], []
    ended: Counter[str] = Counter()
    for episode in dataset:
        lengths.append(episode.num_steps)
        rewards = episode.arrays.get("rewards")
        returns.append(float("nan") if rewards is None else float(np.sum(rewards, dtype=float)))
        success.append(-1 if episode.success is None else int(episode.success))
        ended[episode.ended] += 1
        on_episode()
    return Summary(
        num_files=len(dataset.files),
        num_bytes=sum(file.stat().st_size for file in dataset.files),
        lengths=np.array(lengths, np.int64),
        returns=np.array(returns, np.float64),
        success=np.array(success, np.int8),
        ended=dict(ended),
        env_args=dataset.env_args,
        shapes=dataset.shapes(),
        pending=dataset.pending,
    )
