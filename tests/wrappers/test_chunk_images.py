"""Images that are drawn on request: once per chunk, where nobody else looks at them."""

import pytest
import torch

pytest.importorskip("mjlab", reason="the extra 'mjlab' is not installed")

from holdstep.envs import lazy_obs, make
from holdstep.wrappers import ActionChunkReplay, SuspendOnWait
from tests.conftest import silenced
from tests.envs.adapters.camera_tasks import IMAGES, calm_camera_cfg


def play(*, lazy):
    """What steps gave, images included, and what was drawn by the replay itself."""
    with silenced():
        cfg = calm_camera_cfg()
        env = make("mjlab:Mjlab-Cartpole-Balance", num_envs=4, device="cpu", seed=0, cfg=cfg)
        env = ActionChunkReplay(SuspendOnWait(env, rng="per_env"), 4)
        env.reset(seed=1)
    env.lazy_rendering = lazy
    env.episode_length_buf = env.max_episode_length - torch.tensor([2, 3, 9, 30])
    generator = torch.Generator().manual_seed(0)
    seen, pending = [], []
    for _ in range(3):
        obs, *_, info = env.step(torch.randn(env.action_space.shape, generator=generator))
        pending.append(getattr(obs, "pending", None))
        seen.append(dict(obs) | {f"final {n}": x for n, x in info.get("final_obs", {}).items()})
    env.close()
    return seen, pending


def test_images_are_drawn_at_the_end_of_a_chunk_only(monkeypatch):
    num_drawn = []
    images = lazy_obs.Tick.images
    monkeypatch.setattr(
        lazy_obs.Tick, "images", lambda self, name: num_drawn.append(name) or images(self, name)
    )
    eager, _ = play(lazy=False)
    assert not num_drawn
    lazy, pending = play(lazy=True)
    # Where rows ended, those that did not have their present images as final ones.
    assert [set(names) for names in pending] == [set(), IMAGES, set()]
    assert len(num_drawn) <= 3 * len(IMAGES)
    for one, other in zip(lazy, eager, strict=True):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)
