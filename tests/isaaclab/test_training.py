"""rsl_rl trains an Isaac Lab 3 task with the configuration that the task registers."""

import pytest
import torch

from holdstep.envs.adapters.isaaclab import load_runner_config, runner_config, tasks
from holdstep.errors import ConfigError, UnknownEnvError
from tests.isaaclab.conftest import silenced


def test_ppo_trains_with_the_registered_configuration(assets, tmp_path):
    pytest.importorskip("rsl_rl", reason="the extra 'rsl-rl' is not installed")
    from holdstep.policies.rsl_rl import TrainingSettings, train

    settings = TrainingSettings(
        env_id="isaaclab:Isaac-Cartpole-v0",
        num_envs=16,
        device="cpu",
        iterations=2,
        log_root=tmp_path,
    )
    with silenced():
        result = train(settings)
    assert len(result.iterations) == 2
    agent = result.run_dir.read_agent()
    assert agent["num_steps_per_env"] * 16 == result.iterations[0].num_steps
    weights = torch.load(result.checkpoint, weights_only=True)
    assert any(key.startswith("actor") for key in weights)


def test_every_registered_configuration_can_be_translated(assets):
    refused = {}
    translated = 0
    with silenced():
        tasks.import_tasks()
        for task in tasks.task_names():
            try:
                config = load_runner_config(task)
            except ConfigError as error:
                refused[task] = str(error)
                continue
            translated += 1
            for model in (config["actor"], config["critic"]):
                assert "init_noise_std" not in model
                assert "stochastic" not in model
            assert config["actor"]["distribution_cfg"]["init_std"] > 0
            assert "distribution_cfg" not in config["critic"]
            assert not _unset(config)
    assert translated > 50
    assert all("registers no rsl_rl configuration" in reason for reason in refused.values())


def test_unknown_names_are_refused(assets):
    with silenced(), pytest.raises(UnknownEnvError, match="Did you mean: Isaac-Cartpole-v0"):
        runner_config.load_runner_config("Isaac-Cartpol-v0")


def _unset(value):
    from dataclasses import MISSING

    if isinstance(value, dict):
        return any(_unset(item) for item in value.values())
    return isinstance(value, type(MISSING))
