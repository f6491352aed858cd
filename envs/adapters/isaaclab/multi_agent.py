"""Isaac Lab's multi-agent envs, as Isaac Lab itself converts them to one agent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from holdstep.envs.adapters.isaaclab.direct import DirectWorkflow
from holdstep.envs.adapters.isaaclab.plain import owned, owned_obs
from holdstep.envs.adapters.preserve_rows import preserved_rows

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdstep.envs.contract import Info, Obs


class MultiAgentWorkflow(DirectWorkflow):
    """A ``DirectMARLEnv`` inside the object that ``multi_agent_to_single_agent`` returns.

    All agents' observations are one group ``policy``, their actions one vector, their rewards one
    sum; a row ends when the episode has ended for every agent.
    """

    def __init__(self, env: Any, device: torch.device) -> None:
        super().__init__(env, device)
        self.core = env.env

    def compute_obs(self) -> Mapping[str, Any]:
        """All agents' observations side by side, with each agent's observation noise."""
        obs = dict(self.core._get_observations())
        if self.core.cfg.observation_noise_model:
            for agent, model in self.core._observation_noise_model.items():
                obs[agent] = model(owned(obs[agent]))
        return self._joined(obs)

    def reset_rows(
        self, env_ids: torch.Tensor, other_ids: torch.Tensor, seed: int | None
    ) -> tuple[Obs, Info]:
        """What the multi-agent reset does, for some rows."""
        core = self.core
        if seed is not None:
            core.seed(seed)
        core._reset_idx(env_ids.long())
        with preserved_rows(self.observers(), other_ids, num_envs=core.num_envs):
            return owned_obs(self._joined(dict(core._get_observations()))), core.extras

    def _joined(self, obs: dict[str, Any]) -> dict[str, Any]:
        self.core.obs_dict = obs  # a state may be made of it
        if self.env._state_as_observation:
            return {"policy": self.core.state()}
        rows = self.core.num_envs
        parts = [obs[agent].reshape(rows, -1) for agent in self.core.possible_agents]
        return {"policy": torch.cat(parts, dim=-1)}
