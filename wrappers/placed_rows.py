"""Rows whose states were put there by a restore or a fork."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdstep.wrappers.base import find_wrapper
from holdstep.wrappers.suspend import SuspendOnWait

if TYPE_CHECKING:
    from holdstep.envs.contract import TorchVectorEnv


class PlacedRows:
    """Notices ``restore`` and ``fork`` of the :class:`~holdstep.wrappers.SuspendOnWait` inside.

    They are called on that wrapper, so the ones around it are not asked; but what those know of the
    rows (a recorded episode, the frames of a source) is of another state from then on.

    Args:
        env: a stack, in which there may be such a wrapper.
    """

    def __init__(self, env: TorchVectorEnv) -> None:
        self._suspend = find_wrapper(env, SuspendOnWait)
        self._seen = 0 if self._suspend is None else self._suspend.num_placements

    def take(self) -> list[int]:
        """The rows that were written over since the last call, ascending; known on the host."""
        suspend = self._suspend
        if suspend is None or suspend.num_placements == self._seen:
            return []
        seen, self._seen = self._seen, suspend.num_placements
        return sorted(row for row, number in suspend.placements.items() if number > seen)
