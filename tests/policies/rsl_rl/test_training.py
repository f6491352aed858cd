"""Training by id: reproducible, resumable, and safe to resume from others' files."""

import json
import re
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
import yaml

pytest.importorskip("rsl_rl", reason="the extra 'rsl-rl' is not installed")

from rsl_rl.algorithms import PPO

from holdstep.envs import RslRlVecEnv, make
from holdstep.errors import CheckpointError, ClosedEnvError, ConfigError
from holdstep.policies.episodes import play_first_episodes
from holdstep.policies.rsl_rl import (
    RslRlPolicy,
    TrainingSettings,
    load_checkpoint,
    train,
    training,
)
from holdstep.policies.rsl_rl.run_dir import RunDir
from tests.policies.rsl_rl.test_checkpoint import RunsCode


def settings(tmp_path, **changes):
    defaults = {
        "env_id": "holdstep:CartPole",
        "num_envs": 8,
        "device": "cpu",
        "iterations": 2,
        "log_root": tmp_path,
        "agent_overrides": {"num_steps_per_env": 8},
    }
    return TrainingSettings(**defaults | changes)


def actor(result):
    return load_checkpoint(result.checkpoint)["actor_state_dict"]


def same(a, b):
    return all(torch.equal(a[key], b[key]) for key in a)


def test_a_run_leaves_settings_metrics_and_checkpoints(tmp_path):
    seen = []
    result = train(settings(tmp_path, run_name="mine"), on_iteration=seen.append)
    run = result.run_dir
    assert run.path.parent == tmp_path / "cartpole"
    assert run.path.name.endswith("_mine")
    assert result.checkpoint.name == "model_1.pt"
    assert [i.index for i in seen] == [0, 1]
    assert [line["index"] for line in run.read_metrics()] == [0, 1]
    assert all(json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines())
    params = yaml.safe_load((run.path / "params" / "run.yaml").read_text())
    assert params["env_id"] == "holdstep:CartPole"
    assert params["versions"]["torch"] == torch.__version__
    assert run.read_agent()["num_steps_per_env"] == 8
    assert list(run.path.glob("events.out.tfevents*"))


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(tmp_path):
    first, again = (actor(train(settings(tmp_path, seed=3))) for _ in range(2))
    other = actor(train(settings(tmp_path, seed=4)))
    assert same(first, again)
    assert not same(first, other)


def test_a_run_is_resumed_from_its_folder(tmp_path):
    first = train(settings(tmp_path))
    resumed = train(settings(tmp_path, resume=first.run_dir.path, iterations=1))
    assert resumed.iterations[0].index == 2
    assert resumed.checkpoint.name == "model_2.pt"
    assert not same(actor(first), actor(resumed))
    optimizer = load_checkpoint(resumed.checkpoint)["optimizer_state_dict"]["state"]
    steps_each = 5 * 4  # epochs times mini-batches
    assert optimizer[0]["step"] == 3 * steps_each


def test_a_run_that_was_killed_in_a_save_is_resumed_from_the_checkpoint_before(
    tmp_path, monkeypatch
):
    save = torch.save

    def killed(saved, file):
        save(saved, file)
        if "model_1" in str(file):
            whole = Path(file).read_bytes()
            Path(file).write_bytes(whole[: len(whole) // 2])
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(torch, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            train(settings(tmp_path))
    (run,) = (tmp_path / "cartpole").iterdir()
    assert [path.name for path in run.glob("model_*.pt")] == ["model_0.pt"]
    resumed = train(settings(tmp_path, resume=run, iterations=1))
    assert [iteration.index for iteration in resumed.iterations] == [1]


def small_runner(config_changes=None):
    from rsl_rl.runners import OnPolicyRunner

    from holdstep.policies.rsl_rl.runner import make_runner
    from holdstep.policies.rsl_rl.task_config import small_ppo

    view = RslRlVecEnv(make("holdstep:CartPole", num_envs=2, device="cpu"))
    config = small_ppo(view.env)
    config["algorithm"] |= config_changes or {}
    return make_runner(view, config, base=OnPolicyRunner, quiet=True)


def test_a_checkpoint_is_uploaded_under_its_name_once_it_has_it(tmp_path, monkeypatch):
    runner = small_runner()
    uploaded = []

    def upload(logger, path, iteration):
        assert load_checkpoint(path)["iter"] == iteration
        uploaded.append((path, iteration))

    monkeypatch.setattr(type(runner.logger), "save_model", upload)
    runner.current_learning_iteration = 3
    for name in ("model_3.pt", "again.pt"):
        runner.save(str(tmp_path / name))
    assert uploaded == [(str(tmp_path / "model_3.pt"), 3), (str(tmp_path / "again.pt"), 3)]
    assert {path.name for path in tmp_path.iterdir()} == {"model_3.pt", "again.pt"}


class ForgetfulPPO(PPO):
    """As of rsl_rl 5.0.1, whose load() leaves the learning rate that it adapts as it was."""

    def load(self, *args):
        before = self.learning_rate
        loaded = super().load(*args)
        self.learning_rate = before
        return loaded


@pytest.mark.parametrize(("parts", "expected"), [(None, 2e-5), ({"actor": True}, 1e-3)])
def test_an_adapted_learning_rate_is_resumed_with_the_optimizer(tmp_path, parts, expected):
    algorithm = {"class_name": ForgetfulPPO, "learning_rate": 1e-3}
    adapted, resumed = (small_runner(algorithm) for _ in range(2))
    adapted.alg.optimizer.param_groups[0]["lr"] = 2e-5
    adapted.save(str(tmp_path / "model_0.pt"))
    resumed.load(str(tmp_path / "model_0.pt"), load_cfg=parts)
    assert resumed.alg.learning_rate == expected


def test_resuming_refuses_code_before_anything_is_built(tmp_path):
    file = tmp_path / "model_5.pt"
    torch.save({"infos": RunsCode(tmp_path / "ran")}, file)
    with pytest.raises(CheckpointError, match="could run code"):
        train(settings(tmp_path, resume=file))
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "cartpole").exists()


def test_the_runner_itself_never_unpickles(tmp_path):
    """Task-specific runners call load() on their own; that path is safe, too."""
    runner = small_runner()
    file = tmp_path / "model_5.pt"
    torch.save({"infos": RunsCode(tmp_path / "ran")}, file)
    with pytest.raises(CheckpointError, match="could run code"):
        runner.load(str(file))
    assert not (tmp_path / "ran").exists()


@pytest.fixture
def made(monkeypatch):
    """The envs that training makes."""
    envs = []

    def make_and_keep(*args, **kwargs):
        envs.append(make(*args, **kwargs))
        return envs[-1]

    monkeypatch.setattr(training, "make", make_and_keep)
    return envs


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"agent_overrides": {"algorithm.learning_rat": 1e-3}}, "Did you mean: learning_rate"),
        ({"iterations": 0}, "iterations must be at least 1"),
        ({"agent_overrides": {"clip_actions": "abc"}}, "clip_actions"),
        ({"agent_overrides": {"clip_actions": -1}}, "clip_actions"),
        ({"agent_overrides": {"num_steps_per_env": 0}}, "num_steps_per_env"),
        ({"agent_overrides": {"save_interval": 0}}, "save_interval"),
        ({"agent_overrides": {"algorithm": "x"}}, "algorithm"),
        ({"agent_overrides": {"obs_groups.actor": "policy"}}, "obs_groups"),
    ],
)
def test_bad_settings_are_refused_and_the_env_is_closed(tmp_path, made, changes, message):
    with pytest.raises(ConfigError, match=message):
        train(settings(tmp_path, **changes))
    assert not (tmp_path / "cartpole").exists()
    assert [env.closed for env in made] == [True]
    with pytest.raises(ClosedEnvError):
        made[0].reset()


@pytest.mark.parametrize(
    "override",
    [
        {"actor.hidden_dims": 64},
        {"actor.activation": "elul"},
        {"algorithm.learning_rate": -1.0},
        {"obs_groups.actor": ["camera"]},
        {"actor.class_name": "no.such.Model"},
    ],
)
def test_what_rsl_rl_refuses_is_a_config_error(tmp_path, made, override):
    with pytest.raises(ConfigError):
        train(settings(tmp_path, agent_overrides=override))
    assert made[0].closed


class Pictures(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(0.0, 1.0, (8, 8, 3))
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros((8, 8, 3), np.float32), {}

    def step(self, action):
        return np.zeros((8, 8, 3), np.float32), 0.0, False, False, {}


class TwoGroups(Pictures):
    observation_space = gymnasium.spaces.Dict(
        {name: gymnasium.spaces.Box(-1.0, 1.0, (2,)) for name in ("left", "right")}
    )

    def reset(self, *, seed=None, options=None):
        return self.observation_space.sample(), {}

    def step(self, action):
        return self.observation_space.sample(), 0.0, False, False, {}


@pytest.fixture
def registered():
    for env_class in (Pictures, TwoGroups):
        gymnasium.register(f"{env_class.__name__}-v0", env_class, max_episode_steps=5)
    yield
    for env_class in (Pictures, TwoGroups):
        del gymnasium.registry[f"{env_class.__name__}-v0"]


@pytest.mark.usefixtures("registered")
def test_an_env_of_pictures_is_refused_with_rsl_rls_words(tmp_path):
    with pytest.raises(ConfigError, match=r"rsl_rl can't train 'gymnasium:Pictures-v0'"):
        train(settings(tmp_path, env_id="gymnasium:Pictures-v0"))


@pytest.mark.usefixtures("registered")
def test_the_advice_to_name_an_obs_group_can_be_followed(tmp_path):
    two = {"env_id": "gymnasium:TwoGroups-v0", "num_envs": 2}
    with pytest.raises(ConfigError, match=r"--set agent\.obs_groups\.actor="):
        train(settings(tmp_path, **two))
    named = {"num_steps_per_env": 8, "obs_groups.actor": ["left"]}
    result = train(settings(tmp_path, **two, agent_overrides=named))
    assert result.run_dir.read_agent()["obs_groups"] == {"actor": ["left"], "critic": ["left"]}
    view = RslRlVecEnv(make("gymnasium:TwoGroups-v0", num_envs=2, device="cpu"))
    policy = RslRlPolicy.load(result.run_dir.path, view, env_id="gymnasium:TwoGroups-v0")
    assert policy(view.env.reset()[0]).shape == (2, 1)


def test_resuming_another_tasks_run_is_refused_before_anything_is_built(tmp_path, made):
    result = train(settings(tmp_path))
    made.clear()
    other = settings(tmp_path, env_id="holdstep:PointMass", resume=result.run_dir.path)
    with pytest.raises(CheckpointError, match="trained on 'holdstep:CartPole', not on"):
        train(other)
    assert made == []


@pytest.mark.parametrize(
    "damage",
    [
        {"critic_state_dict": None},
        {"optimizer_state_dict": {}},
        {"iter": "three"},
        {"actor_state_dict": {"mlp.0.weight": torch.ones(1)}},
    ],
)
def test_a_checkpoint_that_does_not_fit_is_not_resumed(tmp_path, made, damage):
    result = train(settings(tmp_path))
    torch.save(load_checkpoint(result.checkpoint) | damage, result.checkpoint)
    with pytest.raises(CheckpointError, match=r"doesn't (fit|say)"):
        train(settings(tmp_path, resume=str(result.checkpoint)))  # a str is fine, too
    assert made[-1].closed


def test_names_of_folders_are_safe(tmp_path):
    changes = {"num_steps_per_env": 8, "experiment_name": "../mine/a:b"}
    run = train(settings(tmp_path, run_name="x/y", agent_overrides=changes)).run_dir
    assert run.path.parent.parent == tmp_path
    assert re.fullmatch(r"[\w.-]+", run.path.parent.name)
    assert run.path.name.endswith("_x_y")


def test_a_policy_is_loaded_and_acts_alone(tmp_path):
    result = train(settings(tmp_path))
    view = RslRlVecEnv(make("holdstep:CartPole", num_envs=5, device="cpu", seed=0))
    policy = RslRlPolicy.load(result.checkpoint, view, env_id="holdstep:CartPole")
    episodes = play_first_episodes(view.env, policy, max_steps=600, seed=0)
    assert episodes.ended_mask.all()
    assert torch.equal(episodes.returns, episodes.lengths.float())  # CartPole pays 1 a step
    obs, _ = view.env.reset(seed=0)
    assert torch.equal(policy(obs), policy(obs))  # the mean, not a sample
    assert policy(obs).shape == (5, 1)


def test_a_checkpoint_of_another_task_is_refused(tmp_path):
    result = train(settings(tmp_path))
    view = RslRlVecEnv(make("holdstep:PointMass", num_envs=2, device="cpu"))
    with pytest.raises(CheckpointError, match="trained on 'holdstep:CartPole', not on"):
        RslRlPolicy.load(result.checkpoint, view, env_id="holdstep:PointMass")
    (result.run_dir.path / "params" / "run.yaml").unlink()
    with pytest.raises(CheckpointError, match="doesn't fit"):
        RslRlPolicy.load(result.checkpoint, view, env_id="holdstep:PointMass")
    (result.run_dir.path / "params" / "agent.yaml").unlink()
    with pytest.raises(CheckpointError, match="doesn't fit"):
        RslRlPolicy.load(result.checkpoint, view, env_id="holdstep:PointMass")


def test_clipped_actions_stay_clipped_when_played(tmp_path):
    changes = {"num_steps_per_env": 8, "clip_actions": 0.01}
    result = train(settings(tmp_path, agent_overrides=changes))
    assert RunDir.of_checkpoint(result.checkpoint).read_agent()["clip_actions"] == 0.01
    view = RslRlVecEnv(make("holdstep:CartPole", num_envs=4, device="cpu"), clip_actions=0.01)
    policy = RslRlPolicy.load(result.checkpoint, view, env_id="holdstep:CartPole")
    obs, _ = view.env.reset()
    assert policy({k: v * 100 for k, v in obs.items()}).abs().max() <= 0.01
