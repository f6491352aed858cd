"""What is wrong with a request for an Isaac Lab 3 env is said before or instead of a crash."""

import pytest
import torch

from holdstep.envs import make
from holdstep.envs.registry import list_envs
from holdstep.errors import (
    BackendUnavailableError,
    CapabilityError,
    ClosedEnvError,
    ConfigError,
    InvalidActionError,
    ResetNeededError,
    UnknownEnvError,
)
from tests.isaaclab.conftest import silenced

CARTPOLE = "isaaclab:Isaac-Cartpole-v0"


def test_tasks_are_listed_and_near_names_offered():
    assert CARTPOLE in list_envs("isaaclab")
    with pytest.raises(UnknownEnvError, match="Did you mean: Isaac-Cartpole-v0"):
        make("isaaclab:Isaac-Cartpol-v0", device="cpu")


@pytest.mark.parametrize(
    ("overrides", "error", "message"),
    [
        ({"presets": "newton_mjwrap"}, ConfigError, "Did you mean: newton_mjwarp"),
        ({"presets": "physx"}, BackendUnavailableError, "Isaac Sim is not"),
        ({"episode_length": 1.0}, ConfigError, "Did you mean: episode_length_s"),
        ({"render_mode": "human"}, ConfigError, "rgb_array"),
    ],
)
def test_bad_arguments_say_what_to_do(overrides, error, message):
    with silenced(), pytest.raises(error, match=message):
        make(CARTPOLE, num_envs=2, device="cpu", **overrides)


def test_a_task_that_needs_isaac_sim_says_so():
    with silenced(), pytest.raises(BackendUnavailableError, match=r"its presets: .*newton_mjwarp"):
        make("isaaclab:Isaac-Cartpole-RGB-v0", num_envs=2, device="cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="about machines without CUDA")
def test_rendering_without_a_gpu_is_refused():
    with silenced(), pytest.raises(BackendUnavailableError, match="CUDA"):
        make(CARTPOLE, num_envs=2, device="cpu", render_mode="rgb_array")


@pytest.mark.parametrize("task", ["Isaac-Cartpole-v0", "Isaac-Cartpole-Direct-v0"])
def test_a_second_env_is_refused_with_the_remedy(make_env, task):
    env = make_env("Isaac-Cartpole-v0")
    with silenced(), pytest.raises(BackendUnavailableError, match="close"):
        make(f"isaaclab:{task}", num_envs=2, device="cpu")
    with silenced():
        env.reset()
    env.step(torch.zeros(env.num_envs, 1))


def test_misuse_is_refused(make_env):
    env = make_env("Isaac-Cartpole-v0")
    with pytest.raises(ResetNeededError):
        env.step(torch.zeros(env.num_envs, 1))
    with pytest.raises(ResetNeededError, match="all rows"):
        env.reset(options={"env_ids": [0]})
    with pytest.raises(CapabilityError, match="render_mode"):
        env.render()
    with silenced():
        env.reset()
    with pytest.raises(InvalidActionError, match="shape"):
        env.step(torch.zeros(env.num_envs, 2))


def test_close_unhooks_and_may_be_repeated(make_env):
    env = make_env("Isaac-Cartpole-Direct-v0")
    with silenced():
        obs, _ = env.reset()
    simulator = env.backend_env
    assert "_reset_idx" in vars(simulator)
    env.close()
    env.close()
    assert "_reset_idx" not in vars(simulator)
    assert obs["policy"].isfinite().all()  # the backend clears its own dictionary
    assert (env.num_envs, env.max_episode_length) == (4, 300)
    for call in (env.reset, lambda: env.step(torch.zeros(4, 1)), env.render):
        with pytest.raises(ClosedEnvError):
            call()


def test_a_configuration_of_the_users_own_is_used_and_not_changed(make_env):
    from holdstep.envs.adapters.isaaclab import tasks

    with silenced():
        cfg = tasks.load_env_cfg("Isaac-Cartpole-v0")
    cfg.episode_length_s = 2.0
    num_envs = cfg.scene.num_envs
    env = make_env("Isaac-Cartpole-v0", num_envs=3, cfg=cfg, decimation=4)
    assert env.max_episode_length == 60
    assert env.cfg.decimation == 4
    assert (env.num_envs, cfg.scene.num_envs, cfg.decimation) == (3, num_envs, 2)
