"""RL libraries learn with chunks as actions, on top of the data that the stack gives."""

import warnings

import numpy as np
import pytest
import torch

from holdstep.envs.reference import CartPole, PointMass
from holdstep.errors import InvalidActionError
from holdstep.wrappers import ActionChunkReplay, SuspendOnWait
from tests.wrappers.chunk_tools import Spy

LENGTH = 5


def chunked(env_class=CartPole, num_envs=4, *, limit=23, gamma=1.0):
    """A replay, and the spy inside that sees each step of the env."""
    spy = Spy(SuspendOnWait(env_class(num_envs, seed=0, max_episode_length=limit)))
    return ActionChunkReplay(spy, LENGTH, gamma=gamma), spy


def chunks_of(env, count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, *env.action_space.shape, generator=generator) * 2 - 1


def rollout(env, chunks, seed):
    """What the stack gives for these chunks, without any view."""
    env.reset(seed=seed)
    return [env.step(chunk) for chunk in chunks]


def check_varied(results):
    num_steps = torch.stack([result[4]["num_steps"] for result in results])
    assert (num_steps < LENGTH).any()
    assert torch.stack([result[3] for result in results]).any()


def test_rsl_rl_sees_flat_chunks():
    pytest.importorskip("rsl_rl", reason="the extra 'rsl-rl' is not installed")
    from holdstep.envs import RslRlVecEnv

    env, _ = chunked(PointMass)
    results = rollout(env, chunks := chunks_of(env, 12), seed=None)
    check_varied(results)
    env, _ = chunked(PointMass)
    view = RslRlVecEnv(env)
    view.env.reset(seed=0)
    env, _ = chunked(PointMass)
    view = RslRlVecEnv(env)
    assert view.num_actions == 2 * LENGTH
    assert view.action_space.shape == (4, 2 * LENGTH)
    assert view.max_episode_length == 23  # env steps
    for chunk, (obs, reward, terminated, truncated, info) in zip(chunks, results, strict=True):
        given = view.step(chunk.reshape(4, -1))
        assert torch.equal(given[0]["policy"], obs["policy"])
        assert torch.equal(given[1], reward)
        assert torch.equal(given[2], (terminated | truncated).long())
        assert torch.equal(given[3]["time_outs"], truncated)
        assert torch.equal(given[3]["num_steps"], info["num_steps"])
    with pytest.raises(InvalidActionError, match=r"of shape \(4, 5, 2\)"):
        view.step(torch.zeros(4, 7))
    view = RslRlVecEnv(chunked(PointMass)[0], clip_actions=0.25)
    view.step(torch.full((4, 10), 9.0))
    assert (view.env.env.ticks[-1]["actions"] == 0.25).all()


def test_rsl_rl_trains():
    pytest.importorskip("rsl_rl", reason="the extra 'rsl-rl' is not installed")
    from rsl_rl.runners import OnPolicyRunner

    from holdstep.envs import RslRlVecEnv
    from holdstep.policies.rsl_rl.runner import make_runner
    from holdstep.policies.rsl_rl.task_config import small_ppo

    env, spy = chunked(num_envs=8, gamma=0.99)
    config = small_ppo(env)
    config["algorithm"]["gamma"] = 0.99**LENGTH
    runner = make_runner(RslRlVecEnv(env), config, base=OnPolicyRunner, quiet=True)
    before = [parameter.clone() for parameter in runner.alg.actor.parameters()]
    runner.learn(2, init_at_random_ep_len=True)
    after = list(runner.alg.actor.parameters())
    assert all(parameter.isfinite().all() for parameter in after)
    assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert spy.episode.sum() > 8
    assert len(spy.ticks) > 2 * config["num_steps_per_env"]
    assert not all(tick["active"].all() for tick in spy.ticks)


def test_stable_baselines3_sees_flat_chunks_and_true_episodes():
    pytest.importorskip("stable_baselines3", reason="the extra 'sb3' is not installed")
    from holdstep.envs import Sb3VecEnv

    env, _ = chunked(PointMass)
    results = rollout(env, chunks := chunks_of(env, 12), seed=3)
    check_varied(results)
    env, _ = chunked(PointMass)
    view = Sb3VecEnv(env)
    assert view.action_space.shape == (2 * LENGTH,)
    view.seed(3)
    view.reset()
    returns, lengths, num_ended = np.zeros(4), np.zeros(4, dtype=int), 0
    for chunk, (obs, reward, terminated, truncated, info) in zip(chunks, results, strict=True):
        given = view.step(chunk.reshape(4, -1).numpy())
        np.testing.assert_array_equal(given[0], obs["policy"])
        np.testing.assert_array_equal(given[1], reward)
        np.testing.assert_array_equal(given[2], terminated | truncated)
        returns += reward.double().numpy()
        lengths += info["num_steps"].numpy()
        for row in np.flatnonzero(given[2]):
            entry = given[3][row]
            np.testing.assert_array_equal(
                entry["terminal_observation"], info["final_obs"]["policy"][row]
            )
            assert entry["TimeLimit.truncated"] == bool(truncated[row] & ~terminated[row])
            assert entry["is_success"] == bool(terminated[row])
            assert entry["episode"]["l"] == lengths[row]
            assert entry["episode"]["r"] == pytest.approx(returns[row], abs=1e-5)
            assert terminated[row] or entry["episode"]["l"] == 23
            returns[row] = lengths[row] = 0
            num_ended += 1
    assert num_ended > 4


@pytest.mark.parametrize("algorithm", ["PPO", "SAC"])
def test_stable_baselines3_trains(algorithm):
    sb3 = pytest.importorskip("stable_baselines3", reason="the extra 'sb3' is not installed")
    from holdstep.envs import Sb3VecEnv

    env, spy = chunked(num_envs=2)
    common = {"device": "cpu", "seed": 0, "gamma": 0.99**LENGTH, "policy_kwargs": {"net_arch": [8]}}
    if algorithm == "PPO":
        model = sb3.PPO("MlpPolicy", Sb3VecEnv(env), n_steps=8, batch_size=16, **common)
    else:
        model = sb3.SAC("MlpPolicy", Sb3VecEnv(env), learning_starts=8, batch_size=8, **common)
    before = [value.clone() for value in model.policy.parameters()]
    model.learn(32)
    after = list(model.policy.parameters())
    assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert all(value.isfinite().all() for value in after)
    assert spy.episode.sum() > 0


def test_skrl_sees_flat_chunks_and_trains(tmp_path):
    pytest.importorskip("skrl", reason="the extra 'skrl' is not installed")
    from skrl.agents.torch.ppo import PPO, PPO_CFG
    from skrl.memories.torch import RandomMemory
    from skrl.models.torch import DeterministicMixin, GaussianMixin, Model
    from skrl.trainers.torch import SequentialTrainer

    from holdstep.envs import SkrlEnv

    env, _ = chunked(PointMass)
    results = rollout(env, chunks := chunks_of(env, 12), seed=3)
    check_varied(results)
    view = SkrlEnv(chunked(PointMass)[0], seed=3)
    assert view.action_space.shape == (2 * LENGTH,)
    for chunk, result in zip(chunks, results, strict=True):
        given = view.step(chunk.reshape(4, -1))
        assert torch.equal(given[0], result[0]["policy"])
        for value, expected in zip(given[1:4], result[1:4], strict=True):
            assert torch.equal(value.squeeze(1), expected)

    view = SkrlEnv(chunked()[0])
    spaces = {
        "observation_space": view.observation_space,
        "action_space": view.action_space,
        "device": view.device,
    }

    class Policy(GaussianMixin, Model):
        def __init__(self):
            Model.__init__(self, **spaces)
            GaussianMixin.__init__(self, clip_actions=True)
            self.net = torch.nn.Linear(self.num_observations, self.num_actions)
            self.log_std = torch.nn.Parameter(torch.zeros(self.num_actions))

        def compute(self, inputs, role):
            return self.net(inputs["observations"]), {"log_std": self.log_std}

    class Value(DeterministicMixin, Model):
        def __init__(self):
            Model.__init__(self, **spaces)
            DeterministicMixin.__init__(self)
            self.net = torch.nn.Linear(self.num_observations, 1)

        def compute(self, inputs, role):
            return self.net(inputs["observations"]), {}

    models = {"policy": Policy(), "value": Value()}
    assert models["policy"].num_actions == LENGTH
    cfg = PPO_CFG(rollouts=8, learning_epochs=2, mini_batches=2, discount_factor=0.99**LENGTH)
    cfg.experiment.directory = str(tmp_path)
    cfg.experiment.write_interval, cfg.experiment.checkpoint_interval = 1000, 0
    agent = PPO(
        models=models,
        memory=RandomMemory(memory_size=8, num_envs=4, device=view.device),
        cfg=cfg,
        **spaces,
    )
    before = [value.clone() for value in models["policy"].parameters()]
    trainer_cfg = {"timesteps": 16, "disable_progressbar": True, "close_environment_at_exit": False}
    SequentialTrainer(env=view, agents=agent, cfg=trainer_cfg).train()
    after = list(models["policy"].parameters())
    assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert all(value.isfinite().all() for value in after)


def test_torchrl_reads_the_stack_itself():
    pytest.importorskip("torchrl", reason="the extra 'torchrl' is not installed")
    from torchrl.envs import GymWrapper
    from torchrl.envs.utils import check_env_specs

    env, _ = chunked(PointMass, gamma=0.9)
    results = rollout(env, chunks := chunks_of(env, 12), seed=3)
    check_varied(results)
    wrapped = GymWrapper(chunked(PointMass, gamma=0.9)[0])
    assert wrapped.action_spec.shape == (4, LENGTH, 2)
    remaining = iter(chunks)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = wrapped.rollout(
            12,
            lambda tensordict: tensordict.set("action", next(remaining).clone()),
            tensordict=wrapped.reset(seed=3),
            auto_reset=False,
            break_when_any_done=False,
        )
    for index, (obs, reward, terminated, truncated, info) in enumerate(results):
        step = data[:, index]["next"]
        assert torch.equal(step["reward"].squeeze(-1), reward)
        assert torch.equal(step["terminated"].squeeze(-1), terminated)
        assert torch.equal(step["truncated"].squeeze(-1), truncated)
        assert torch.equal(step["num_steps"], info["num_steps"])
        assert torch.equal(step["active"], info["active"])
        ended = (terminated | truncated).unsqueeze(1)
        expected = torch.where(ended, info["final_obs"]["policy"], obs["policy"])
        assert torch.equal(step["policy"], expected)
    fresh = GymWrapper(chunked(PointMass)[0])
    check_env_specs(fresh)
