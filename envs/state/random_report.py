"""What a simulator draws that can't be told the rows of: counted, and warned about once a place."""

from __future__ import annotations

import ctypes
import os
import warnings

import torch

from holdstep.envs.state.random_scopes import location

_INTERNAL = (os.path.dirname(torch.__file__) + os.sep, os.path.dirname(__file__) + os.sep)


class UnattributedDrawWarning(UserWarning):
    """A simulator drew numbers that holdstep can't tell the rows of."""


class UnattributedDraws:
    """Counts them by their places, and notices draws from torch's own streams.

    Attributes:
        counts: how many there were, by place in the code.
        missed: whether something drew from torch's global streams between :meth:`watch` and
            :meth:`check`.

    Args:
        device: whose stream of torch is watched besides the CPU's.
    """

    def __init__(self, device: torch.device) -> None:
        self.counts: dict[str, int] = {}
        self.missed = False
        self._device = device
        self._before: tuple[bytes, int] | None = None

    def add(self, what: str, advice: str) -> None:
        """Count a draw of the code that runs now; the first one of a place is warned about.

        Args:
            what: was drawn.
            advice: what to do about it.
        """
        where = location(lambda file: file.startswith(_INTERNAL))
        count = self.counts.get(where, 0)
        self.counts[where] = count + 1
        if count == 0:
            warnings.warn(
                f"{what} at {where} belongs to no row: rows that use it may depend on one another. "
                f"If it is for certain rows, {advice}.",
                UnattributedDrawWarning,
                stacklevel=2,
            )

    def watch(self) -> None:
        """From now on nothing should draw from torch's global streams."""
        self._before = self._global_state()

    def forgive(self) -> None:
        """What has drawn from them since then is known, or was no draw but a seed."""
        self._before = None

    def check(self) -> None:
        """Warn if something has, the first time."""
        before, self._before = self._before, None
        if before is None or self.missed or self._global_state() == before:
            return
        self.missed = True
        warnings.warn(
            "Something drew from torch's global random stream during a step, in a way that "
            "can't be redirected (compiled code, a function imported by name, another thread): "
            "its numbers depend on other rows.",
            UnattributedDrawWarning,
            stacklevel=2,
        )

    def _global_state(self) -> tuple[bytes, int]:
        offset = 0
        if self._device.type == "cuda":
            offset = torch.cuda.default_generators[self._device.index].get_offset()
        state = torch.default_generator.get_state()
        # Comparing the 5000 bytes with ``torch.equal`` takes longer.
        return ctypes.string_at(state.data_ptr(), state.numel()), offset
