"""Training on stacks that suspend rows: what rsl_rl's runners, and ``train``, make of them."""

import dataclasses

import pytest
import torch

pytest.importorskip("rsl_rl", reason="the extra 'rsl-rl' is not installed")

from rsl_rl.algorithms import PPO
from rsl_rl.modules import GaussianDistribution
from rsl_rl.runners import OnPolicyRunner

from holdstep.envs import RslRlVecEnv, make
from holdstep.errors import CheckpointError, ConfigError
from holdstep.policies.rsl_rl import MaskedPPO, RslRlPolicy, TrainingSettings, train
from holdstep.policies.rsl_rl.masking import MASKED_PPO, mask_learning
from holdstep.policies.rsl_rl.runner import make_runner
from holdstep.policies.rsl_rl.task_config import small_ppo
from holdstep.wrappers import ActionChunkReplay, SuspendOnWait
from tests.policies.rsl_rl.suspending import Scheduled, thirty_percent
from tests.policies.rsl_rl.tapes import equal_shares

ENV_ID = "holdstep:CartPole"
NUM_ENVS, NUM_STEPS, NUM_ACTIVE = 10, 10, 7


class Determined(GaussianDistribution):
    """Samples that follow from the mean alone, so that a row's own steps decide its actions."""

    def sample(self):
        return self.mean + self.std * torch.sin(1e4 * self.mean)


def settings_of(env, memory):
    config = small_ppo(env)
    config["actor"]["distribution_cfg"]["class_name"] = Determined
    for model in ("actor", "critic"):
        config[model]["obs_normalization"] = False  # rsl_rl's own order of sums, see the tapes
        config[model]["hidden_dims"] = [16]
        if memory:
            config[model] |= {"class_name": "RNNModel", "rnn_type": memory, "rnn_hidden_dim": 8}
            config[model]["rnn_num_layers"] = 1
    config["algorithm"]["num_mini_batches"] = 2
    return config


@pytest.mark.parametrize(
    ("memory", "name"), [(None, MASKED_PPO), ("lstm", "holdstep.policies.rsl_rl.MaskedPPO")]
)
def test_suspension_changes_nothing_about_training_but_how_long_it_takes(memory, name):
    """Real episodes, a runner of rsl_rl's own: the weights are those of training without it."""
    weights = []
    for suspended in (False, True):
        torch.manual_seed(0)
        env = make(ENV_ID, num_envs=NUM_ENVS, device="cpu", seed=1, max_episode_length=15)
        env = SuspendOnWait(env, rng="per_env")
        config = settings_of(env, memory)
        config["num_steps_per_env"] = NUM_ACTIVE
        if suspended:
            masks = [
                equal_shares(NUM_STEPS, NUM_ENVS, NUM_ACTIVE, seed=iteration)
                for iteration in range(4)
            ]
            env = Scheduled(env, lambda step, masks=masks: masks[step // NUM_STEPS][step % 10])
            config["num_steps_per_env"] = NUM_STEPS
            config["algorithm"]["class_name"] = name
        runner = make_runner(RslRlVecEnv(env), config, base=OnPolicyRunner, quiet=True)
        assert type(runner.alg) is (MaskedPPO if suspended else PPO)
        if not suspended and not hasattr(PPO, "compile"):
            # rsl_rl 5.0 lets a recurrent critic see the last observation of a rollout twice.
            correct_memory(runner.alg)
        runner.learn(4)
        env.close()
        weights.append([*runner.alg.actor.parameters(), *runner.alg.critic.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))


def correct_memory(algorithm):
    compute_returns = algorithm.compute_returns

    def and_forget(obs):
        memory = algorithm.critic.get_hidden_state()
        compute_returns(obs)
        algorithm.critic.reset(hidden_state=memory)

    algorithm.compute_returns = and_forget


def settings(tmp_path, **changes):
    defaults = {
        "env_id": ENV_ID,
        "num_envs": 8,
        "device": "cpu",
        "iterations": 4,
        "log_root": tmp_path,
        "agent_overrides": {"num_steps_per_env": 16},
        "env_overrides": {"max_episode_length": 8},
    }
    return TrainingSettings(**defaults | changes)


def suspending(env):
    return Scheduled(SuspendOnWait(env), thirty_percent(env.num_envs))


def test_train_masks_where_rows_can_be_suspended(tmp_path):
    result = train(settings(tmp_path), wrap=suspending)
    assert result.run_dir.read_agent()["algorithm"]["class_name"] == MASKED_PPO
    for iteration in result.iterations:
        # Of 8 * 16 steps, 70% were taken.
        assert 70 < iteration.num_steps < 110
    # Time limit 8: those that fall are shorter. Steps of the batch would be 11 and more.
    assert 6 < result.iterations[-1].mean_episode_length <= 8
    view = RslRlVecEnv(make(ENV_ID, num_envs=2, device="cpu"))
    policy = RslRlPolicy.load(result.checkpoint, view, env_id=ENV_ID)
    assert policy(view.env.reset()[0]).isfinite().all()
    resumed = train(settings(tmp_path, resume=result.checkpoint, iterations=1), wrap=suspending)
    assert resumed.iterations[0].index == 4


def test_train_leaves_ppo_where_nothing_can_be_suspended(tmp_path):
    result = train(settings(tmp_path, iterations=1))
    assert result.run_dir.read_agent()["algorithm"]["class_name"] == "PPO"
    assert result.iterations[0].num_steps == 8 * 16


def test_a_stack_that_could_suspend_but_does_not_learns_the_same(tmp_path):
    weights = []
    for wrap in (None, SuspendOnWait):
        result = train(settings(tmp_path), wrap=wrap)
        weights.append(torch.load(result.checkpoint, weights_only=True)["actor_state_dict"])
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def test_an_algorithm_that_knows_no_masks_is_refused(tmp_path):
    class Own(PPO):
        pass

    class Masked(MaskedPPO):
        pass

    env = SuspendOnWait(make(ENV_ID, num_envs=2, device="cpu"))
    config = small_ppo(env)
    for named, expected in ((PPO, MASKED_PPO), ("rsl_rl.algorithms:PPO", MASKED_PPO)):
        config["algorithm"]["class_name"] = named
        mask_learning(config, env)
        assert config["algorithm"]["class_name"] == expected
    config["algorithm"]["class_name"] = Masked
    mask_learning(config, env)
    assert config["algorithm"]["class_name"] is Masked
    config["algorithm"]["class_name"] = Own
    with pytest.raises(ConfigError, match="gather=True"):
        mask_learning(config, env)
    mask_learning(config, env.env)  # nothing can be suspended there
    assert config["algorithm"]["class_name"] is Own
    unknown = {"agent_overrides": {"algorithm.class_name": "no.such:Algorithm"}}
    with pytest.raises(ConfigError, match="rsl_rl can't train"):
        train(settings(tmp_path, **unknown), wrap=suspending)


@pytest.mark.filterwarnings("ignore:The observation configuration dictionary")
def test_options_that_it_does_not_support_are_refused_by_train(tmp_path):
    rnd = {"weight": 1.0, "num_outputs": 4, "predictor_hidden_dims": [8], "target_hidden_dims": [8]}
    overrides = {"algorithm.rnd_cfg": rnd}
    with pytest.raises(ConfigError, match="rnd_cfg"):
        train(settings(tmp_path, agent_overrides=overrides), wrap=suspending)


def test_a_run_that_names_other_code_for_its_algorithm_is_refused(tmp_path):
    result = train(settings(tmp_path, iterations=1), wrap=suspending)
    file = result.run_dir.path / "params" / "agent.yaml"
    file.write_text(file.read_text().replace(MASKED_PPO, "holdstep.policies.rsl_rl:train"))
    view = RslRlVecEnv(make(ENV_ID, num_envs=2, device="cpu"))
    with pytest.raises(CheckpointError, match=r"algorithm\.class_name"):
        RslRlPolicy.load(result.checkpoint, view, env_id=ENV_ID)


def chunked(gamma):
    return lambda env: ActionChunkReplay(SuspendOnWait(env), 8, gamma=gamma)


def test_chunks_are_counted_in_env_steps(tmp_path):
    """That they are learnt from is what examples/train_on_chunks.py shows."""
    result = train(settings(tmp_path, iterations=2, env_overrides={}), wrap=chunked(0.99))
    assert result.run_dir.read_agent()["algorithm"]["class_name"] == MASKED_PPO
    last = result.iterations[-1]
    # CartPole pays 1 for each env step, discounted within chunks only.
    assert 1 < last.mean_episode_length / last.mean_return < 1.05
    assert 4 < last.num_steps / (8 * 16) <= 8


def test_different_discounts_within_and_between_chunks_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"gamma is 0\.99, and ActionChunkReplay's gamma is 1\.0"):
        train(settings(tmp_path), wrap=chunked(1.0))


def test_statistics_are_reported_without_a_log_folder(tmp_path):
    iterations = []
    env = suspending(make(ENV_ID, num_envs=8, device="cpu", seed=0))
    config = small_ppo(env)
    config["algorithm"]["class_name"] = MASKED_PPO
    runner = make_runner(
        RslRlVecEnv(env), config, base=OnPolicyRunner, on_iteration=iterations.append, quiet=True
    )
    runner.learn(2)
    assert [0.55 < i.num_steps / (8 * 32) < 0.85 for i in iterations] == [True, True]
    assert dataclasses.asdict(iterations[0])["mean_return"] is None
