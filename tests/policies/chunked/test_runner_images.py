"""Images are drawn at the ticks at which a chunk is asked for, and are what eager ones would be."""

import pytest
import torch

pytest.importorskip("mjlab", reason="the extra 'mjlab' is not installed")

from holdstep.envs import lazy_obs
from holdstep.policies import ChunkResult, ChunkRunner, ChunkSpec, Cohort
from holdstep.wrappers import SuspendOnWait
from tests.envs.adapters.camera_tasks import build, calm_camera_cfg

NUM_TICKS, LENGTH = 20, 5


class Watching:
    """Steers by what it sees, so that a wrong image changes everything after it."""

    def __init__(self):
        self.spec = ChunkSpec(chunk_length=LENGTH, action_dim=1, obs_keys=("camera",))
        self.images = []

    def infer(self, request):
        image = request.obs["camera"]
        self.images.append((request.env_ids.tolist(), image))
        push = (image.flatten(1).double().mean(dim=1) * 40).sin().float()
        return ChunkResult(actions=push[:, None, None].expand(-1, LENGTH, -1))

    def reset(self, env_ids, episode_ids):
        pass


def run(*, lazy):
    env = SuspendOnWait(build(calm_camera_cfg(), lazy=lazy), rng="per_env")
    env.final_obs_enabled = False
    policy = Watching()
    with ChunkRunner(env, policy, Cohort()) as runner:
        runner.reset(seed=0)
        env.episode_length_buf = env.max_episode_length - torch.tensor([2, 8, 13, 30])
        states = [runner.step().obs["actor"] for _ in range(NUM_TICKS)]
        stats = runner.stats()
    env.close()
    return policy.images, torch.stack(states), stats


def test_images_are_drawn_for_inference_only_and_are_the_same(monkeypatch):
    drawn = []
    images = lazy_obs.Tick.images
    monkeypatch.setattr(
        lazy_obs.Tick, "images", lambda self, name: drawn.append(name) or images(self, name)
    )
    eager_images, eager_states, _ = run(lazy=False)
    assert not drawn
    lazy_images, lazy_states, stats = run(lazy=True)
    assert stats.waiting_steps > 0
    assert drawn == ["camera"] * stats.num_inferences
    assert stats.num_inferences < NUM_TICKS / 2
    assert torch.equal(lazy_states, eager_states)
    assert [rows for rows, _ in lazy_images] == [rows for rows, _ in eager_images]
    for (_, lazy_image), (_, eager_image) in zip(lazy_images, eager_images, strict=True):
        assert torch.equal(lazy_image, eager_image)
