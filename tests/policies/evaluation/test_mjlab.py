"""Real physics: mjlab's cartpole, with episodes that end by themselves at different times."""

import dataclasses
import itertools

import pytest
import torch

from holdstep import evaluate
from holdstep.errors import CapabilityError, ConfigError, EvaluationError
from holdstep.wrappers import SuspendOnWait
from tests.conftest import make_mjlab

TASK = "Mjlab-Cartpole-Balance"
LIMIT = 50


def leant_right(env):
    return env.scene["cartpole"].data.joint_pos[:, 1] > 0.15


def leant_left(env):
    return env.scene["cartpole"].data.joint_pos[:, 1] < -0.15


def cartpole(num_envs, *, rng):
    """Leaning to the right is a success, to the left a failure; at the latest after 50 steps."""
    pytest.importorskip("mjlab", reason="the extra 'mjlab' is not installed")
    from mjlab.managers.termination_manager import TerminationTermCfg
    from mjlab.tasks.registry import load_env_cfg

    cfg = load_env_cfg(TASK)
    cfg.episode_length_s = LIMIT * cfg.sim.mujoco.timestep * cfg.decimation
    cfg.terminations["success"] = TerminationTermCfg(func=leant_right)
    cfg.terminations["leant_left"] = TerminationTermCfg(func=leant_left)
    env = make_mjlab(TASK, num_envs=num_envs, seed=num_envs, cfg=cfg)
    return SuspendOnWait(env, level="skip", rng=rng)


def push(obs):
    """Pushes the cart the way the pole is turning, so that it soon falls."""
    return obs["actor"][:, -1:].sign()


def outcomes(result):
    return [dataclasses.replace(episode, env_id=0, wall_time_s=0.0) for episode in result.episodes]


def test_the_same_episodes_for_any_number_of_rows():
    results, starts = [], {}

    def policy(obs):
        starts.setdefault(env.num_envs, obs["actor"].clone())
        return push(obs)

    for num_envs in (3, 5):
        env = cartpole(num_envs, rng="per_env")
        results.append(evaluate(env, policy, 7, seed=3))
        assert not env.suspended.any()
        env.close()
    assert outcomes(results[0]) == outcomes(results[1])
    assert results[0].seed_scope == "episode"
    assert results[0].idle_rows == "suspended"
    assert len({episode.length for episode in results[0].episodes}) > 3
    assert "mjlab" in results[0].metadata["versions"]
    # A new env of one row, reset with an episode's seed, starts that episode.
    env = cartpole(1, rng="per_env")
    for episode in results[1].episodes[:5]:
        obs, _ = env.reset(seed=episode.seed)
        assert torch.equal(obs["actor"][0], starts[5][episode.env_id])
    env.close()


@pytest.fixture(scope="module")
def env():
    env = cartpole(4, rng="global")
    yield env
    env.close()


def test_termination_terms_are_those_of_the_step_that_ended_an_episode(env):
    """Autoreset has put the pole upright by the time that the term is read."""
    right = evaluate(env, push, 8)
    left = evaluate(env, push, 8, success="leant_left")
    assert right.seed_scope == "run"
    for one, other in zip(right.episodes, left.episodes, strict=True):
        assert one.episode_return == other.episode_return
        assert one.success + other.success == one.terminated
        assert one.truncated == (one.length == LIMIT)
    assert 0 < right.success_rate < 1
    assert 0 < left.success_rate < 1
    assert right.success_source == "info['success'] or termination term 'success'"


def test_idle_rows_stand_still(env):
    """The last state of a parked row is that in which its episodes were over."""
    states = []

    def policy(obs):
        states.append((env.suspended, obs["actor"].clone()))
        return push(obs)

    evaluate(env, policy, 6)
    assert states[-1][0].any()
    for (suspended, before), (_, after) in itertools.pairwise(states):
        assert torch.equal(before[suspended], after[suspended])
    assert not env.suspended.any()


def test_what_cannot_be_had_is_refused(env):
    with pytest.raises(CapabilityError, match=r'SuspendOnWait\(env, rng="per_env"\)'):
        evaluate(env, push, 4, per_episode_seeds=True)
    with pytest.raises(ConfigError, match=r"terms: .*'leant_left'.*Did you mean: leant_left"):
        evaluate(env, push, 4, success="leant_lft")
    assert not env.suspended.any()


def test_an_episode_that_does_not_end(env):
    with pytest.raises(EvaluationError, match=r"have not ended after \[40.* at most 40") as caught:
        evaluate(env, push, 60, max_steps=40)
    partial = caught.value.partial
    assert not partial.is_complete
    assert partial.num_episodes == 60
    assert all(episode.length <= 40 for episode in partial.episodes)
    assert not env.suspended.any()


def test_play_configurations_that_never_end_are_refused_at_once():
    endless = make_mjlab(TASK, num_envs=1, seed=0, play=True)
    with pytest.raises(ConfigError, match="which is to say for ever"):
        evaluate(endless, push, 4)
    endless.close()
