"""Policies that look at several observations of a row are told of every step."""

import numpy as np
import pytest
import torch

from holdstep.envs import make
from holdstep.errors import ConfigError
from holdstep.policies import ChunkResult, ChunkRunner, ChunkSpec, Cohort, Continuous, Prefetch
from holdstep.wrappers import SuspendOnWait

NUM_ENVS, LENGTH = 5, 4


class Remembering:
    """Keeps what it was told of each row, and what it was asked about."""

    def __init__(self):
        self.spec = ChunkSpec(
            chunk_length=LENGTH, action_dim=1, obs_keys=("policy",), uses_history=True
        )
        self.seen = [[] for _ in range(NUM_ENVS)]
        self.asked = []

    def infer(self, request):
        for row, obs in zip(request.env_ids.tolist(), request.obs["policy"], strict=True):
            if not self.seen[row]:
                self.seen[row].append(obs.clone())
            assert torch.equal(self.seen[row][-1], obs)
            self.asked.append((row, len(self.seen[row])))
        return ChunkResult(actions=request.obs["policy"][:, 2:3, None].expand(-1, LENGTH, -1) * 4)

    def observe(self, obs, active_mask):
        assert set(obs) == {"policy"}
        for row in active_mask.nonzero().squeeze(-1).tolist():
            self.seen[row].append(obs["policy"][row].clone())
        obs["policy"].zero_()  # it is the policy's own

    def reset(self, env_ids, episode_ids):
        for row in env_ids.tolist():
            self.seen[row].clear()


@pytest.fixture
def env():
    env = SuspendOnWait(
        make("holdstep:CartPole", num_envs=NUM_ENVS, device="cpu", seed=0), rng="per_env"
    )
    yield env
    env.close()


@pytest.mark.parametrize("scheduler", [Cohort(), Continuous(max_batch=2, min_batch=1)])
def test_it_has_seen_every_step_of_the_episode_when_it_is_asked(env, scheduler):
    policy = Remembering()
    with ChunkRunner(env, policy, scheduler) as runner:
        runner.reset(seed=0)
        env.episode_length_buf = torch.arange(NUM_ENVS) * 97 + 20
        since = np.zeros(NUM_ENVS, dtype=int)
        num_ended = 0
        for _ in range(150):
            step = runner.step()
            assert step.obs["policy"].any()
            since = np.where(step.active_mask, since + 1, since)
            since[step.ended_ids] = 0
            num_ended += len(step.ended_ids)
        runner.step()
    assert num_ended >= 2
    # One observation for each step of the episode, and the one from which it began.
    assert {count % LENGTH for _, count in policy.asked} == {1}
    assert max(count for _, count in policy.asked) > 10 * LENGTH


def test_it_is_not_asked_about_earlier_observations(env):
    with pytest.raises(ConfigError, match="without prefetching"):
        ChunkRunner(env, Remembering(), Prefetch(2))


def test_it_must_be_able_to_observe(env):
    class Plain:
        spec = ChunkSpec(chunk_length=4, action_dim=1, uses_history=True)

        def infer(self, request): ...

        def reset(self, env_ids, episode_ids): ...

    with pytest.raises(ConfigError, match="no observe"):
        ChunkRunner(env, Plain())
