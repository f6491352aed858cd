"""First observations of episodes that began before it was known what is recorded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from holdstep.wrappers.record.keys import layout_of, needs_info, needs_states
from holdstep.wrappers.record.sources import Frame

if TYPE_CHECKING:
    import torch

    from holdstep.envs.contract import Obs, TorchVectorEnv

_Kept = tuple[Frame, "torch.Tensor", int | None]


class FirstValues:
    """Keeps copies of what resets returned, until the recording starts.

    With entries of a step's info among the keys, that is in the first step; else at once.

    Args:
        keys: what is recorded.
        env: the stack.

    Attributes:
        waits: whether the recording starts with the first step.
    """

    def __init__(self, keys: Sequence[str] | None, env: TorchVectorEnv) -> None:
        self._env = env
        self.waits = needs_info(keys)
        self._keys = keys
        self._reads_states = needs_states(keys)
        self._kept: list[_Kept] = []

    def keep(self, obs: Obs, rows: torch.Tensor, seed: int | None) -> None:
        """Rows, given as ids or as a mask of all, were reset."""
        adapter = self._env.unwrapped
        if not self.waits:
            self._kept = [(Frame(adapter, obs), rows, seed)]
            return
        before_info = [key for key in self._keys or () if not needs_info([key])]
        layout = layout_of(before_info, self._env, obs, None)
        names = [c.name.removeprefix("obs/") for c in layout if c.name.startswith("obs/")]
        copies = {name: obs[name].clone() for name in names}
        states = adapter.scene_state() if self._reads_states else {}
        self._kept.append((Frame(adapter, copies, states=states), rows.clone(), seed))

    def take(self) -> list[_Kept]:
        """What was kept, in order; the caller's now."""
        kept, self._kept = self._kept, []
        return kept
