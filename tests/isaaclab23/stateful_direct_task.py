"""A ``DirectRLEnv`` whose observing changes it, and whose declared spaces are wrong."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import torch
from isaaclab.utils import configclass

from tests.isaaclab23.direct_task import StandinDirectCartpoleEnv, StandinDirectCartpoleEnvCfg

if TYPE_CHECKING:
    from collections.abc import Sequence

LENGTH = 3


@configclass
class StatefulDirectCartpoleEnvCfg(StandinDirectCartpoleEnvCfg):
    """Declares 5 numbers and no critic; the env returns 13 and one."""

    observation_space: int = 5
    state_space: int = 0


class StatefulDirectCartpoleEnv(StandinDirectCartpoleEnv):
    """Keeps histories as tasks do: a rolled tensor, a deque, a counter, a dictionary of its own."""

    def __init__(self, cfg: Any, render_mode: str | None = None, **kwargs: Any) -> None:
        super().__init__(cfg, render_mode, **kwargs)
        self.history = torch.zeros(self.num_envs, LENGTH, 4, device=self.device)
        self.tips: deque[torch.Tensor] = deque(maxlen=LENGTH)
        self.num_observed = 0
        self.is_fresh = torch.ones(self.num_envs, dtype=torch.bool, device=self.device)

    def _pre_physics_step(self, actions: torch.Tensor) -> None:
        self.actions = actions.clamp_(-1.0, 1.0)  # in the tensor that it was handed, and keeps

    def _get_observations(self) -> dict[str, torch.Tensor]:
        data = self.robot.data
        now = torch.cat((data.joint_pos, data.joint_vel), dim=-1)
        self.history = torch.roll(self.history, shifts=-1, dims=1)
        self.history[:, -1] = now
        self.history[self.is_fresh] = now[self.is_fresh, None]
        self.is_fresh[:] = False
        self.tips.append(data.tip_position.clone())
        self.num_observed += 1
        drift = torch.full((self.num_envs, 1), float(self.num_observed), device=self.device)
        oldest_tip = self.tips[0][:, :1]
        # As the motion-imitation tasks do, which put the discriminator's observation there.
        self.extras = {**self.extras, "amp_obs": self.history.view(self.num_envs, -1)}
        policy = torch.cat((self.history.flatten(1), drift), dim=-1)
        return {"policy": policy, "critic": torch.cat((data.joint_pos, oldest_tip), dim=-1)}

    def _reset_idx(self, env_ids: Sequence[int] | torch.Tensor) -> None:
        super()._reset_idx(env_ids)
        self.is_fresh[env_ids] = True
