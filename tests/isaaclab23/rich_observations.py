"""Observation groups with every kind of state that computing an observation can change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import isaaclab.envs.mdp as mdp
import torch
from isaaclab.managers import ManagerTermBase
from isaaclab.managers import ObservationGroupCfg as ObsGroup
from isaaclab.managers import ObservationTermCfg as ObsTerm
from isaaclab.utils import configclass
from isaaclab.utils.modifiers import DigitalFilterCfg, IntegratorCfg
from isaaclab.utils.noise import GaussianNoiseCfg, NoiseModelWithAdditiveBiasCfg

from tests.isaaclab23 import tasks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from isaaclab.envs import ManagerBasedRLEnv


class CallCounter(ManagerTermBase):
    """How often each row was observed in its episode, and all rows ever: (num_envs, 2)."""

    def __init__(self, cfg: ObsTerm, env: ManagerBasedRLEnv) -> None:
        super().__init__(cfg, env)
        self.in_episode = torch.zeros(self.num_envs, device=self.device)
        self.ever = 0

    def reset(self, env_ids: Sequence[int] | None = None) -> None:
        """Start counting anew in rows."""
        self.in_episode[slice(None) if env_ids is None else env_ids] = 0.0

    def __call__(self, env: ManagerBasedRLEnv) -> torch.Tensor:
        """Count, and return the counts."""
        del env
        self.in_episode = self.in_episode + 1.0  # another tensor each time
        self.ever += 1
        return torch.stack((self.in_episode, torch.full_like(self.in_episode, self.ever)), dim=-1)


def tip_position(env: ManagerBasedRLEnv) -> torch.Tensor:
    """The pole's tip, a lazily computed quantity."""
    result: torch.Tensor = env.scene["robot"].data.tip_position
    return result


def image(env: ManagerBasedRLEnv) -> torch.Tensor:
    """A picture of the joint positions, uint8 of shape (num_envs, 2, 3, 1)."""
    position = env.scene["robot"].data.joint_pos
    brightness = ((position + 4.0) * 31.0).clamp(0, 255).to(torch.uint8)
    return brightness[:, :, None, None].repeat(1, 1, 3, 1)


@configclass
class StatefulGroupCfg(ObsGroup):
    """Filters, an integrator, a noise model with a bias, a history, a class as a term."""

    filtered = ObsTerm(
        func=mdp.joint_pos_rel, modifiers=[DigitalFilterCfg(A=[-0.5], B=[0.25, 0.25])]
    )
    integrated = ObsTerm(func=mdp.joint_vel_rel, modifiers=[IntegratorCfg(dt=1 / 60)])
    biased = ObsTerm(
        func=mdp.joint_pos_rel,
        noise=NoiseModelWithAdditiveBiasCfg(
            noise_cfg=GaussianNoiseCfg(std=0.01), bias_noise_cfg=GaussianNoiseCfg(std=0.1)
        ),
        history_length=2,
    )
    tip = ObsTerm(func=tip_position)
    count = ObsTerm(func=CallCounter)

    def __post_init__(self) -> None:
        """Turn the noise on."""
        self.enable_corruption = True


@configclass
class ImageGroupCfg(ObsGroup):
    """A picture."""

    image = ObsTerm(func=image)


def add_to(cfg: Any) -> None:
    """Add the groups ``stateful``, ``image`` and ``terms`` to the manager-based task's."""
    cfg.observations.stateful = StatefulGroupCfg()
    cfg.observations.image = ImageGroupCfg()
    cfg.observations.terms = tasks.TermsGroupCfg()
