"""The rsl_rl view: training through it is training through mjlab's own wrapper, bit for bit."""

from dataclasses import asdict

import pytest
import torch

from tests.conftest import make_mjlab, silenced

pytest.importorskip("rsl_rl", reason="the extra 'rsl-rl' is not installed")

from holdstep.envs import RslRlVecEnv, make
from holdstep.errors import ConfigError
from holdstep.policies.rsl_rl.runner import make_runner
from holdstep.policies.rsl_rl.task_config import small_ppo
from holdstep.wrappers import VectorWrapper

ITERATIONS = 3


def trained_weights(task, view, agent_cfg):
    from mjlab.rl import MjlabOnPolicyRunner
    from mjlab.tasks.registry import load_runner_cls

    runner_cls = load_runner_cls(task) or MjlabOnPolicyRunner
    with silenced():
        runner = runner_cls(view, asdict(agent_cfg), None, "cpu")
        runner.learn(ITERATIONS, init_at_random_ep_len=True)
    view.close()
    alg = runner.alg
    return [*alg.actor.state_dict().values(), *alg.critic.state_dict().values()]


@pytest.mark.parametrize("task", ["Mjlab-Cartpole-Balance", "Mjlab-Velocity-Flat-Unitree-Go1"])
@pytest.mark.parametrize("stack", ["adapter", "wrapped, with final_obs"])
def test_training_equals_mjlabs_own_wrapper_bit_for_bit(task, stack):
    pytest.importorskip("mjlab", reason="the extra 'mjlab' is not installed")
    from mjlab.envs import ManagerBasedRlEnv
    from mjlab.rl import RslRlVecEnvWrapper
    from mjlab.tasks.registry import load_env_cfg, load_rl_cfg

    agent_cfg = load_rl_cfg(task)
    agent_cfg.num_steps_per_env = 16
    # Short episodes, so that resets, and what they draw, are part of what is compared.
    env_cfg = load_env_cfg(task)
    env_cfg.scene.num_envs, env_cfg.seed, env_cfg.episode_length_s = 8, 7, 0.5

    torch.manual_seed(0)
    with silenced():
        reference = RslRlVecEnvWrapper(
            ManagerBasedRlEnv(cfg=env_cfg, device="cpu"), clip_actions=agent_cfg.clip_actions
        )
    expected = trained_weights(task, reference, agent_cfg)

    torch.manual_seed(0)
    env = make_mjlab(task, num_envs=8, seed=7, episode_length_s=0.5)
    final_obs = stack != "adapter"
    if final_obs:
        env = VectorWrapper(VectorWrapper(env))
    with silenced():
        view = RslRlVecEnv(env, clip_actions=agent_cfg.clip_actions, final_obs=final_obs)
    assert env.final_obs_enabled == final_obs
    weights = trained_weights(task, view, agent_cfg)

    assert len(weights) == len(expected)
    assert all(torch.equal(a, b) for a, b in zip(weights, expected, strict=True))


@pytest.fixture
def cartpole():
    env = make("holdstep:CartPole", num_envs=4, device="cpu", seed=0, max_episode_length=20)
    yield env
    env.close()


def test_two_iterations_of_learning_change_the_weights(cartpole):
    view = RslRlVecEnv(cartpole)
    runner = make_runner(view, small_ppo(cartpole), base=_on_policy_runner(), quiet=True)
    before = [p.clone() for p in runner.alg.actor.parameters()]
    runner.learn(2)
    after = list(runner.alg.actor.parameters())
    assert all(p.isfinite().all() for p in after)
    assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))


def _on_policy_runner():
    from rsl_rl.runners import OnPolicyRunner

    return OnPolicyRunner


def test_flags_and_time_outs(cartpole):
    view = RslRlVecEnv(cartpole)
    cartpole.episode_length_buf = torch.tensor([18, 0, 0, 0])
    obs, reward, dones, extras = view.step(torch.zeros(4, 1))
    assert obs.batch_size == torch.Size([4])
    assert set(obs.keys()) == {"policy", "critic"}
    assert (reward.dtype, dones.dtype) == (torch.float32, torch.int64)
    assert dones.tolist() == [0, 0, 0, 0]
    _, _, dones, extras = view.step(torch.zeros(4, 1))
    assert dones.tolist() == [1, 0, 0, 0]
    assert extras["time_outs"].tolist() == [True, False, False, False]


def test_a_finite_horizon_is_not_bootstrapped(cartpole):
    cartpole.is_finite_horizon = True
    _, _, _, extras = RslRlVecEnv(cartpole).step(torch.zeros(4, 1))
    assert "time_outs" not in extras


def test_final_observations_stay_on_when_a_wrapper_needs_them(cartpole):
    class NeedsThem(VectorWrapper):
        needs_final_obs = True

    RslRlVecEnv(VectorWrapper(cartpole))
    assert not cartpole.final_obs_enabled
    cartpole.final_obs_enabled = True
    RslRlVecEnv(VectorWrapper(NeedsThem(cartpole)))
    assert cartpole.final_obs_enabled


def test_actions_are_clipped_before_they_enter_the_stack(cartpole):
    seen = []

    class Spy(VectorWrapper):
        def step(self, actions):
            seen.append(actions.clone())
            return super().step(actions)

    view = RslRlVecEnv(Spy(cartpole), clip_actions=0.5)
    view.step(torch.tensor([[2.0], [-2.0], [0.25], [0.5]]))
    assert seen[0].squeeze(-1).tolist() == [0.5, -0.5, 0.25, 0.5]


def test_observations_are_the_last_ones_and_cost_nothing(cartpole):
    view = RslRlVecEnv(cartpole)
    obs = view.step(torch.ones(4, 1))[0]
    again = view.get_observations()
    assert all(again[name] is obs[name] for name in obs.keys())  # noqa: SIM118 (a TensorDict)


def test_what_rsl_rl_cannot_use_is_refused(cartpole):
    with pytest.raises(ConfigError, match="adapt"):
        RslRlVecEnv(object())
    with pytest.raises(ConfigError, match="clip_actions"):
        RslRlVecEnv(cartpole, clip_actions=-1.0)
    discrete = make("gymnasium:CartPole-v1", num_envs=2, device="cpu")
    with pytest.raises(ConfigError, match="continuous"):
        RslRlVecEnv(discrete)
    discrete.close()
