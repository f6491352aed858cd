"""The Isaac Lab adapter on 2.3.2's own env classes."""

from __future__ import annotations

import pytest
import torch

from holdstep.envs import adapt, check_vector_env, make
from holdstep.envs.registry import list_envs
from holdstep.errors import (
    BackendUnavailableError,
    CapabilityError,
    ClosedEnvError,
    ConfigError,
    ResetNeededError,
    UnknownEnvError,
)
from tests.isaaclab23.rollouts import (
    DIRECT_ID,
    MANAGER_BASED_ID,
    STATEFUL_DIRECT_ID,
    actions,
    ignore_failed_destructor,
    ignore_jit_warning,
)

pytestmark = ignore_jit_warning
ALL = pytest.mark.parametrize("env_id", [MANAGER_BASED_ID, DIRECT_ID, STATEFUL_DIRECT_ID])
NUM_ENVS = 8


@pytest.fixture
def make_holdstep(standins, tmp_path):
    """Makes envs by id; the manager-based one with all kinds of stateful observations."""
    opened = []

    def make_one(env_id, *, num_envs=NUM_ENVS, seed=3, record=False, rich=True, **overrides):
        from holdstep.envs.adapters.isaaclab import tasks
        from tests.isaaclab23 import rich_observations

        cfg = None
        if env_id == MANAGER_BASED_ID:
            cfg = tasks.load_env_cfg(env_id)
            if rich:
                rich_observations.add_to(cfg)
            if record:
                standins.tasks.record_to(cfg, tmp_path, f"run{len(opened)}")
        env = make(
            f"isaaclab:{env_id}", num_envs=num_envs, device="cpu", seed=seed, cfg=cfg, **overrides
        )
        opened.append(env)
        return env

    yield make_one
    for env in opened:
        env.close()


def run(env, num_steps, *, reset_rows_at=()):
    """Results of steps after a seeded reset; rows 1 and 4 are reset before some of them."""
    env.reset(seed=3)
    results = []
    for index in range(num_steps):
        if index in reset_rows_at:
            env.reset(options={"env_ids": [1, 4]})
        results.append(env.step(actions(env.num_envs, index)))
    return results


def assert_same(first, second):
    assert len(first) == len(second)
    for (obs, *vectors, _), (other, *other_vectors, _) in zip(first, second, strict=True):
        assert obs.keys() == other.keys()
        for name in obs:
            assert torch.equal(obs[name], other[name]), name
        assert all(map(torch.equal, vectors, other_vectors))


@ALL
def test_it_keeps_the_contract(make_holdstep, env_id):
    env = make_holdstep(env_id)
    env.reset()  # the stateful task shows its true space with the first reset
    if env_id == STATEFUL_DIRECT_ID:
        # It counts all its observations into them, so that no reset repeats another.
        with pytest.raises(AssertionError, match=r"1 found.*\n.*second time"):
            check_vector_env(env, num_steps=60)
        return
    if env_id == MANAGER_BASED_ID:
        env.close()
        env = make_holdstep(env_id, rich=False)
    report = check_vector_env(env, num_steps=60)
    assert report.num_ended >= NUM_ENVS


@ALL
@pytest.mark.parametrize("record", [False, True])
def test_final_observations_leave_no_trace(make_holdstep, env_id, record):
    if record and env_id != MANAGER_BASED_ID:
        pytest.skip("direct envs have no recorder")
    runs = []
    for enabled in (True, False):
        env = make_holdstep(env_id, record=record)
        env.final_obs_enabled = enabled
        runs.append(run(env, 110))
        state = _global_state(env)
        env.close()
        runs.append(state)
    assert_same(runs[0], runs[2])
    assert runs[1] == runs[3]
    num_final = 0
    for _, _, terminated, truncated, info in runs[0]:
        ended = terminated | truncated
        assert ("final_obs" in info) == bool(ended.any())
        if ended.any():
            assert torch.equal(info["_final_obs"], ended)
            num_final += int(ended.sum())
    assert num_final > NUM_ENVS


@ALL
def test_final_observations_are_of_the_ended_episode(make_holdstep, env_id):
    """The critic's positions are not noisy: at a failure they lie beyond the limits."""
    env = make_holdstep(env_id)
    failures = 0
    for obs, _, terminated, _, info in run(env, 110):
        if not terminated.any():
            continue
        final = info["final_obs"]["critic"][terminated]
        beyond = (final[:, 0].abs() > 2.0) | (final[:, 1].abs() > 0.6)
        assert beyond.all()
        fresh = obs["critic"][terminated]
        assert ((fresh[:, 0].abs() < 1.5) & (fresh[:, 1].abs() < 0.2)).all()
        failures += int(terminated.sum())
    assert failures > 2


@ALL
def test_final_observations_are_what_the_env_returns_when_the_episode_goes_on(
    make_holdstep, env_id
):
    """Noise, filters and histories included: until the first reset the course is the same."""
    runs = []
    for episode_length_s in (0.1, 0.8):  # 6 steps, 48 steps; no push and no new command before
        env = make_holdstep(env_id, episode_length_s=episode_length_s)
        runs.append(run(env, 6))
        env.close()
    end = next(index for index, result in enumerate(runs[0]) if "final_obs" in result[-1])
    obs, *_, info = runs[0][end]
    assert end >= 4
    assert info["_final_obs"].all()
    for name, expected in runs[1][end][0].items():
        assert torch.equal(info["final_obs"][name], expected), name
        assert not torch.equal(obs[name], expected), name


@ALL
def test_what_a_step_returned_is_never_overwritten(make_holdstep, env_id):
    env = make_holdstep(env_id)
    results = run(env, 3)
    copies = [
        [tensor.clone() for tensor in (*obs.values(), *vectors)] for obs, *vectors, _ in results
    ]
    amp = results[0][-1].get("amp_obs")
    amp_copy = None if amp is None else amp.clone()
    for index in range(3, 60):
        env.step(actions(NUM_ENVS, index))
    env.close()
    for (obs, *vectors, _), copy in zip(results, copies, strict=True):
        assert all(map(torch.equal, (*obs.values(), *vectors), copy))
    assert amp is None or torch.equal(amp, amp_copy)


@pytest.mark.parametrize("env_id", [DIRECT_ID, STATEFUL_DIRECT_ID])
def test_callers_may_write_into_what_they_gave_and_got(make_holdstep, env_id):
    runs = []
    for spoils in (False, True):
        env = make_holdstep(env_id)
        env.reset(seed=3)
        results = []
        for index in range(60):
            given = actions(NUM_ENVS, index, scale=2.0)
            obs, *rest = env.step(given)
            assert torch.equal(given, actions(NUM_ENVS, index, scale=2.0))
            results.append(({name: tensor.clone() for name, tensor in obs.items()}, *rest))
            if spoils:
                for tensor in (*obs.values(), given):
                    tensor.fill_(7.0)
        last, _ = env.reset(options={"env_ids": [0]})
        for name, tensor in last.items():
            assert torch.equal(tensor[1:], results[-1][0][name][1:])
        runs.append(results)
        env.close()
    assert_same(*runs)


def test_a_reset_of_some_rows_leaves_other_rows_histories_alone(make_holdstep):
    env = make_holdstep(MANAGER_BASED_ID)
    before = run(env, 20)[-1][0]
    histories = env.backend_env.observation_manager._group_obs_term_history_buffer
    entries = histories["policy"]["joint_vel"].buffer.clone()
    obs, info = env.reset(options={"env_ids": torch.tensor([1, 4])})
    others = torch.tensor([0, 2, 3, 5, 6, 7])
    # Not only with the next entry: a recorder looks at the histories before that.
    assert torch.equal(histories["policy"]["joint_vel"].buffer[others], entries[others])
    for name in obs:
        assert torch.equal(obs[name][others], before[name][others]), name
    assert "log" not in info
    # The recorder takes the last observation from here.
    assert torch.equal(env.backend_env.obs_buf["policy"], obs["policy"])
    manager = env.backend_env.observation_manager
    counter = manager._group_obs_class_term_cfgs["stateful"][0].func
    assert torch.equal(counter.in_episode[others], before["stateful"][others, 10])
    assert counter.in_episode[[1, 4]].tolist() == [1.0, 1.0]
    after = env.step(actions(NUM_ENVS, 99))[0]
    history, old = after["policy"][:, 2:8], before["policy"][:, 2:8]
    assert torch.equal(history[others, :4], old[others, 2:])
    assert torch.equal(history[[1, 4], :2], history[[1, 4], 2:4])  # filled with its first entry
    biased, old = after["stateful"][:, 4:8], before["stateful"][:, 4:8]
    assert torch.equal(biased[others, :2], old[others, 2:])
    assert torch.equal(after["stateful"][others, 10], before["stateful"][others, 10] + 1)


def test_a_reset_of_some_rows_leaves_other_rows_courses_alone(make_holdstep):
    """Without noise, pushes and episodes' ends, other rows go on as if nothing had been reset."""
    quiet = {"observations.policy.enable_corruption": False, "episode_length_s": 100.0}
    runs = []
    for reset_rows_at in ((), (5, 6, 9)):
        env = make_holdstep(MANAGER_BASED_ID, rich=False, **quiet)
        runs.append(run(env, 14, reset_rows_at=reset_rows_at))
        env.close()
    others = [0, 2, 3, 5, 6, 7]
    for (obs, reward, *_), (other_obs, other_reward, *_) in zip(*runs, strict=True):
        assert torch.equal(obs["policy"][others, :8], other_obs["policy"][others, :8])
        assert torch.equal(reward[others], other_reward[others])
    assert not torch.equal(runs[0][-1][0]["policy"][1], runs[1][-1][0]["policy"][1])


def test_a_reset_of_some_rows_leaves_other_rows_of_a_direct_task_alone(make_holdstep):
    env = make_holdstep(STATEFUL_DIRECT_ID)
    before = run(env, 20)[-1][0]
    history = env.backend_env.history.clone()
    obs, _ = env.reset(options={"env_ids": [4, 1]})
    others = [0, 2, 3, 5, 6, 7]
    for name in obs:
        assert torch.equal(obs[name][others], before[name][others]), name
        assert not torch.equal(obs[name][[1, 4]], before[name][[1, 4]]), name
    assert torch.equal(env.backend_env.history[others], history[others])
    assert env.episode_length_buf[[1, 4]].tolist() == [0, 0]


def test_row_ids_reach_the_backend_as_int64(make_holdstep):
    env = make_holdstep(MANAGER_BASED_ID)
    env.reset()
    seen = []
    original = env.backend_env._reset_idx

    def spy(ids):
        seen.append(ids)
        return original(ids)

    env.backend_env._reset_idx = spy
    env.reset(options={"env_ids": [2, 0]})
    assert (seen[0].dtype, seen[0].tolist()) == (torch.int64, [2, 0])


@ALL
def test_the_log_is_there_only_in_steps_with_a_reset(make_holdstep, env_id):
    env = make_holdstep(env_id)
    for _, _, terminated, truncated, info in run(env, 60):
        assert ("log" in info) == bool((terminated | truncated).any())


def test_spaces_tell_the_truth(make_holdstep):
    spaces = make_holdstep(MANAGER_BASED_ID).single_observation_space
    assert (spaces["image"].shape, str(spaces["image"].dtype)) == ((2, 3, 1), "uint8")
    assert spaces["terms/joint_vel"].shape == (2, 2)
    assert spaces["stateful"].shape == (12,)


def test_a_declared_space_that_lies_is_corrected(make_holdstep):
    env = make_holdstep(STATEFUL_DIRECT_ID)
    assert env.single_observation_space["policy"].shape == (5,)
    env.reset()
    assert env.single_observation_space["policy"].shape == (13,)
    assert env.observation_space["critic"].shape == (NUM_ENVS, 3)


def test_looking_at_the_space_leaves_no_trace(make_env, standins):
    """An adapted env's first reset is that of an env that was never adapted."""
    from tests.isaaclab23 import rich_observations

    first = []
    for adapted in (False, True):
        env = make_env(MANAGER_BASED_ID, edit=rich_observations.add_to)
        reset = adapt(env).reset if adapted else env.reset
        obs, _ = reset(seed=None)
        first.append({name: obs[name].clone() for name in ("policy", "stateful")})
        env.close()
    for name, tensor in first[0].items():
        assert torch.equal(tensor, first[1][name]), name


@ALL
def test_it_serves_outside_of_inference_mode_after_training(make_holdstep, env_id):
    env = make_holdstep(env_id)
    with torch.inference_mode():
        env.reset()
        for index in range(60):
            obs, *_ = env.step(actions(NUM_ENVS, index))
    assert not any(tensor.is_inference() for tensor in obs.values())
    for index in range(60):
        env.step(actions(NUM_ENVS, index))
    env.reset(options={"env_ids": [0]})


def test_the_runner_configuration_is_translated(make_holdstep):
    from holdstep.envs.adapters.isaaclab import load_runner_config

    make_holdstep(MANAGER_BASED_ID)
    config = load_runner_config(MANAGER_BASED_ID)
    assert config["obs_groups"] == {"actor": ["policy"], "critic": ["policy", "critic"]}
    assert config["actor"]["distribution_cfg"]["init_std"] == 1.0
    assert config["critic"]["hidden_dims"] == [32, 32]
    assert "policy" not in config
    assert "empirical_normalization" not in config
    assert load_runner_config("Isaac-Cartpole-v0")["clip_actions"] is None


@ALL
def test_rsl_rl_trains_it(standins, tmp_path, env_id):
    pytest.importorskip("rsl_rl", reason="the extra 'rsl-rl' is not installed")
    from holdstep.policies.rsl_rl import TrainingSettings, train

    if env_id == STATEFUL_DIRECT_ID:
        pytest.skip("the same as the other direct task")
    settings = TrainingSettings(
        env_id=f"isaaclab:{env_id}", num_envs=8, device="cpu", iterations=2, log_root=tmp_path
    )
    result = train(settings)
    assert len(result.iterations) == 2
    assert result.iterations[-1].mean_episode_length < 60


@ignore_failed_destructor
def test_a_second_env_is_refused_with_the_remedy(make_holdstep):
    env = make_holdstep(MANAGER_BASED_ID)
    for env_id in (MANAGER_BASED_ID, DIRECT_ID):
        with pytest.raises(BackendUnavailableError, match="close"):
            make(f"isaaclab:{env_id}", num_envs=2, device="cpu")
    env.reset()


def test_misuse_is_refused(make_holdstep):
    env = make_holdstep(DIRECT_ID)
    with pytest.raises(ResetNeededError):
        env.step(torch.zeros(NUM_ENVS, 1))
    with pytest.raises(ResetNeededError, match="all rows"):
        env.reset(options={"env_ids": [0]})
    with pytest.raises(CapabilityError, match="render_mode"):
        env.render()
    env.reset()
    simulator = env.backend_env
    assert "_reset_idx" in vars(simulator)
    env.close()
    env.close()
    assert "_reset_idx" not in vars(simulator)
    with pytest.raises(ClosedEnvError):
        env.step(torch.zeros(NUM_ENVS, 1))


def test_bad_arguments_say_what_to_do(standins):
    assert f"isaaclab:{MANAGER_BASED_ID}" in list_envs("isaaclab")
    with pytest.raises(UnknownEnvError, match="Did you mean: Isaac-Cartpole-v0"):
        make("isaaclab:Isaac-Cartpol-v0", device="cpu")
    with pytest.raises(ConfigError, match="has no presets"):
        make(f"isaaclab:{DIRECT_ID}", device="cpu", presets="newton_mjwarp")
    with pytest.raises(ConfigError, match="Did you mean: episode_length_s"):
        make(f"isaaclab:{DIRECT_ID}", device="cpu", episode_length=1.0)


def test_rendering_without_cameras_is_refused(standins):
    """The stand-in simulation says that Kit was started without; the env is closed again."""
    for _ in range(2):
        with pytest.raises(BackendUnavailableError, match="enable_cameras=True"):
            make(f"isaaclab:{DIRECT_ID}", device="cpu", render_mode="rgb_array")


def _global_state(env):
    """What must be equal at the end of two runs besides what was returned."""
    counters = {
        name: value
        for name, value in vars(env.backend_env).items()
        if isinstance(value, int | float) and not name.startswith("_is")
    }
    return counters, torch.get_rng_state().tolist()
