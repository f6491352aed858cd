"""Isaac Lab 3's tasks keep the contract: all kinds of workflows, observations and actions."""

import importlib

import gymnasium
import pytest
import torch

from holdstep.envs import adapt, check_vector_env
from holdstep.envs.adapters.isaaclab import tasks
from tests.isaaclab.conftest import actions_of, silenced, trajectory

TASKS = [
    "Isaac-Cartpole-v0",
    "Isaac-Cartpole-Direct-v0",
    "Isaac-Ant-v0",
    "Isaac-Ant-Direct-v0",
    "Isaac-Velocity-Flat-Unitree-Go2-v0",
]
SHOWCASES = [
    f"Isaac-Cartpole-Showcase-{obs}-{action}-Direct-v0"
    for obs, action in (
        ("Box", "Box"),
        ("Discrete", "Discrete"),
        ("MultiDiscrete", "MultiDiscrete"),
        ("Dict", "Box"),
        ("Tuple", "MultiDiscrete"),
    )
]


@pytest.mark.parametrize("task", TASKS + SHOWCASES)
def test_it_keeps_the_contract(make_env, task):
    env = make_env(task)
    with silenced():
        # Isaac Lab 3's first reset differs from later ones (see conftest.trajectory).
        env.reset()
        report = check_vector_env(env, num_steps=30)
    assert report.num_ended >= env.num_envs


def test_images_are_described_as_what_they_are(make_env):
    env = make_env("Isaac-Cartpole-Camera-Presets-Direct-v0", num_envs=2)
    with silenced():
        obs, _ = env.reset()
    assert obs["policy"].ndim == 4
    assert env.single_observation_space["policy"].shape == tuple(obs["policy"].shape[1:])
    first = obs["policy"].clone()
    obs, *_ = env.step(torch.ones(2, 1))
    assert obs["policy"].data_ptr() != first.data_ptr()


def test_multi_agent_tasks_are_one_agent(make_env):
    cartpole = tasks.with_presets(_cfg_of("Isaac-Cartpole-Direct-v0"), None)
    cfg = _cfg_of("Isaac-Cart-Double-Pendulum-Direct-v0")
    cfg.sim.physics = cartpole.sim.physics  # the task itself knows PhysX only
    env = make_env("Isaac-Cart-Double-Pendulum-Direct-v0", cfg=cfg)
    assert env.single_action_space.shape == (2,)
    with silenced():
        env.reset()
        report = check_vector_env(env, num_steps=30)
    assert report.num_ended >= env.num_envs


def test_multi_agent_final_observations_leave_no_trace(make_env):
    cartpole = tasks.with_presets(_cfg_of("Isaac-Cartpole-Direct-v0"), None)
    cfg = _cfg_of("Isaac-Cart-Double-Pendulum-Direct-v0")
    cfg.sim.physics = cartpole.sim.physics
    runs = []
    for enabled in (True, False):
        env = make_env("Isaac-Cart-Double-Pendulum-Direct-v0", cfg=cfg)
        env.final_obs_enabled = enabled
        runs.append(trajectory(env, 25, episode_steps=5))
        env.close()
    for (_, obs, reward, *_flags, info), (_, other, other_reward, *_rest) in zip(
        *runs, strict=True
    ):
        assert torch.equal(obs["policy"], other["policy"])
        assert torch.equal(reward, other_reward)
        if "final_obs" in info:
            ended = info["_final_obs"]
            assert not torch.equal(info["final_obs"]["policy"][ended], obs["policy"][ended])


def test_row_ids_reach_the_backend_as_int32(make_env):
    env = make_env("Isaac-Cartpole-v0")
    seen = []
    original = env.backend_env._reset_idx

    def spy(env_ids):
        seen.append(env_ids)
        return original(env_ids)

    env.backend_env._reset_idx = spy
    with silenced():
        env.reset()
        env.reset(options={"env_ids": [2, 0]})
    assert [ids.dtype for ids in seen] == [torch.int32, torch.int32]
    assert seen[1].tolist() == [2, 0]


def test_a_presets_part_is_not_shared_between_configurations(assets):
    """Isaac Lab's tasks put presets on classes; overrides of one env must not reach the next."""
    configclass = importlib.import_module("isaaclab.utils.configclass").configclass
    preset_cfg = importlib.import_module("isaaclab_tasks.utils").PresetCfg
    part = configclass(type("Part", (), {"__annotations__": {"value": int}, "value": 1}))
    choices = {"__annotations__": {"default": part}, "default": part()}
    choice = configclass(type("Choice", (preset_cfg,), choices))
    choice.alternative = part()
    whole = {"__annotations__": {"part": choice}, "part": choice()}
    cfg_class = configclass(type("Cfg", (), whole))
    tasks.with_presets(cfg_class(), "alternative").part.value = 7
    assert tasks.with_presets(cfg_class(), "alternative").part.value == 1


@pytest.mark.parametrize("task", ["Isaac-Cartpole-v0", "Isaac-Cartpole-Direct-v0"])
def test_the_log_is_there_only_when_the_backend_has_written_it(make_env, task):
    env = make_env(task)
    num_logs = num_steps_with_ends = 0
    for _, _, _, terminated, truncated, info in trajectory(env, 20, episode_steps=5):
        ended = bool((terminated | truncated).any())
        assert ("log" in info) == ended
        num_logs += "log" in info
        num_steps_with_ends += ended
    assert 0 < num_logs == num_steps_with_ends < 20


def test_an_env_that_the_user_built_is_adapted(assets, request):
    task = "Isaac-Cartpole-v0"
    cfg = tasks.with_presets(_cfg_of(task), "newton_mjwarp")
    cfg.scene.num_envs, cfg.sim.device = 2, "cpu"
    with silenced():
        built = gymnasium.make(task, cfg=cfg)
        env = adapt(built)
        request.addfinalizer(env.close)
        env.reset()
    assert env.backend_env is built.unwrapped
    assert env.step(torch.zeros(2, 1))[1].shape == (2,)


def test_an_env_serves_outside_of_inference_mode_after_it_was_stepped_inside(make_env):
    """rsl_rl trains under inference_mode; buffers made there could not be reset afterwards."""
    env = make_env(
        "Isaac-Velocity-Flat-Unitree-Go2-v0", **{"observations.policy.history_length": 2}
    )
    generator = torch.Generator().manual_seed(0)
    with silenced(), torch.inference_mode():
        env.reset()
        for _ in range(3):
            obs, *_ = env.step(actions_of(env, generator))
    assert not obs["policy"].is_inference()
    env.episode_length_buf = torch.full((env.num_envs,), env.max_episode_length - 2)
    for _ in range(3):
        env.step(actions_of(env, generator))
    with silenced():
        env.reset(options={"env_ids": [0]})


def _cfg_of(task):
    with silenced():
        importlib.import_module("isaaclab_tasks")
        return tasks.load_env_cfg(task)
