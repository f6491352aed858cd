"""Has an adapter tell what there was in rows that ended, for as long as that is recorded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from holdstep.wrappers.record.keys import needs_obs, needs_states

if TYPE_CHECKING:
    from holdstep.envs.contract import TorchVectorEnv


class FinalValues:
    """Switches on what an adapter can tell of rows that end, where it is recorded and off.

    Args:
        env: the stack.
        keys: what is recorded.
    """

    def __init__(self, env: TorchVectorEnv, keys: Sequence[str] | None) -> None:
        self._adapter = adapter = env.unwrapped
        # A view that was made of the env before this may have switched them off.
        self._enables_obs = (
            env.capabilities.final_obs
            and not adapter.final_obs_enabled
            and needs_obs(keys, env.single_observation_space)
        )
        self._enables_states = needs_states(keys) and not adapter.final_state_enabled
        if self._enables_obs:
            adapter.final_obs_enabled = True
        if self._enables_states:
            adapter.final_state_enabled = True

    def restore(self) -> None:
        """Switch off again what this has switched on."""
        if self._enables_obs:
            self._adapter.final_obs_enabled = False
        if self._enables_states:
            self._adapter.final_state_enabled = False
