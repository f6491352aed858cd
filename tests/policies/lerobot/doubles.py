"""Requests, and policies with lerobot's interface that need no lerobot."""

from collections import deque
from enum import Enum
from types import SimpleNamespace

import torch
from torch import nn

from holdstep.policies.chunked.protocol import ChunkRequest

STATE, TOP = "observation.state", "observation.images.top"


def request_of(rows, obs, *, chunk_id=0, episode_id=0, **options):
    """A request for rows of ``obs``, of all rows; seeds are a function of row, episode, chunk.

    The ids of chunks and episodes are one for all rows, or one for each.
    """
    ids = torch.as_tensor(list(rows), dtype=torch.int64)
    chunk_ids = torch.as_tensor(chunk_id).expand(len(ids)).clone()
    episode_ids = torch.as_tensor(episode_id).expand(len(ids)).clone()
    return ChunkRequest(
        obs={key: value[ids] for key, value in obs.items()},
        env_ids=ids,
        episode_ids=episode_ids,
        chunk_ids=chunk_ids,
        seeds=ids * 1_000_003 + 7919 * chunk_ids + 104_729 * episode_ids,
        **options,
    )


def act_config(chunk_length, action_dim, image, **options):
    """lerobot's configuration of a tiny ACT: a state of width 5 and a camera, bytes channels last.

    Args:
        image: height, width and channels.
    """
    from lerobot.configs.types import FeatureType, PolicyFeature
    from lerobot.policies.act.configuration_act import ACTConfig

    height, width, channels = image
    return ACTConfig(
        input_features={
            STATE: PolicyFeature(FeatureType.STATE, (5,)),
            TOP: PolicyFeature(FeatureType.VISUAL, (channels, height, width)),
        },
        output_features={"action": PolicyFeature(FeatureType.ACTION, (action_dim,))},
        chunk_size=chunk_length,
        dim_model=32,
        n_heads=2,
        dim_feedforward=64,
        n_encoder_layers=1,
        latent_dim=8,
        pretrained_backbone_weights=None,
        device="cpu",
        push_to_hub=False,
        **options,
    )


class Kind(Enum):
    """As lerobot's FeatureType."""

    STATE = "STATE"
    VISUAL = "VISUAL"


def feature(kind, *shape):
    return SimpleNamespace(type=kind, shape=shape)


class PolicyDouble(nn.Module):
    """Sums up what it is given into its actions, and remembers how it was called.

    It keeps observations in queues if it looks at more than one, as lerobot's diffusion does, and
    has a memory of earlier calls, as lerobot's policies have in one way or another.
    """

    def __init__(self, *, num_frames=1, rtc=False, features=None, length=4, dim=2):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.length, self.dim = length, dim
        self.config = SimpleNamespace(
            n_obs_steps=num_frames,
            n_action_steps=2,
            chunk_size=length,
            input_features=features or {"observation.state": feature(Kind.STATE, 3)},
            output_features={"action": feature(Kind.STATE, dim)},
            image_features={},
            rtc_config=SimpleNamespace(enabled=True) if rtc else None,
        )
        self.calls, self.memory = [], 0.0
        self.reset()

    def reset(self):
        self.memory = 0.0
        if self.config.n_obs_steps > 1:
            length = self.config.n_obs_steps
            self._queues = {
                "observation.state": deque(maxlen=length),
                "action": deque(maxlen=2),
            }

    def predict_action_chunk(self, batch, **keywords):
        self.calls.append((dict(batch), keywords))
        state = batch["observation.state"]
        if self.config.n_obs_steps > 1:
            state = torch.stack(list(self._queues["observation.state"]), dim=1)
        total = (self.scale * state).flatten(1).sum(dim=1)
        if "prev_chunk_left_over" in keywords:
            leftover = keywords["prev_chunk_left_over"].flatten(1).sum(dim=1)
            total = total + 1000 * keywords["inference_delay"] + leftover
        total, self.memory = total + self.memory, self.memory + 1e6
        return total[:, None, None].expand(-1, self.length, self.dim)
