"""What of everything that a run read its results depend on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import torch

from holdstep.wrappers.export.runs import HANDOVER

if TYPE_CHECKING:
    from holdstep.wrappers.export.proxies.watch import Sources, Watch


class Dependencies:
    """Follows results back to inputs, memories and constants, through as many steps as it takes.

    A memory matters if a result depends on it; then what becomes of it matters too.

    Args:
        watch: that saw the run.
        updates: what memories and terms' tensors become, by source name.
        handed_over: what stood behind terms' tensors when the action had been processed, by path.
    """

    def __init__(
        self,
        watch: Watch,
        *,
        updates: Mapping[str, torch.Tensor],
        handed_over: Mapping[str, Sources],
    ) -> None:
        self._watch = watch
        self._updates = updates
        self._handed_over = handed_over

    def direct(self, results: Iterable[torch.Tensor]) -> Sources:
        """What results were computed from in their own phase."""
        found: set[str] = set()
        for tensor in results:
            found |= self._watch.sources(tensor)
        return frozenset(found)

    def needed(self, results: Iterable[torch.Tensor]) -> Sources:
        """Everything that results depend on, in this step or by way of an earlier one."""
        return self.behind(self.direct(results))

    def behind(self, sources: Iterable[str]) -> Sources:
        """The same for sources instead of results."""
        needed: set[str] = set()
        waiting = list(sources)
        while waiting:
            name = waiting.pop()
            if name in needed:
                continue
            needed.add(name)
            if name.startswith(HANDOVER):
                waiting += self._handed_over[name.removeprefix(HANDOVER)]
            if name in self._updates:
                waiting += self._watch.sources(self._updates[name])
        return frozenset(needed)
