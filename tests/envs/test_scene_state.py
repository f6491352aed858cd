"""States of scenes: told, set, and told once more just before a row is reset."""

import gymnasium
import pytest
import torch

from holdstep.envs import adapt, make
from holdstep.envs.scene_state import ScenePart, SceneState
from holdstep.errors import (
    CapabilityError,
    ClosedEnvError,
    ConfigError,
    InvalidEnvIdsError,
    ResetNeededError,
)
from holdstep.wrappers import SuspendOnWait, VectorWrapper


def cartpole(**options):
    env = make("holdstep:CartPole", num_envs=4, device="cpu", seed=0, **options)
    env.reset(seed=0)
    return env


def assert_same(left, right):
    assert left.keys() == right.keys()
    for name in left:
        assert torch.equal(left[name], right[name]), name


def test_a_reference_env_continues_from_a_state_as_it_did_the_first_time():
    env = cartpole(max_episode_length=12)
    for _ in range(5):
        env.step(torch.ones(4, 1))
    state = env.scene_state()
    assert set(state) == {f"row/{name}" for name in env.row_buffers}

    def going_on():
        return [env.step(torch.full((4, 1), -0.3)) for _ in range(15)]  # ends episodes, and resets

    first = going_on()
    obs = env.set_scene_state(state)
    assert_same(obs, env.observe())
    for (*one, _), (*other, _) in zip(first, going_on(), strict=True):
        assert_same(one[0], other[0])
        assert all(torch.equal(a, b) for a, b in zip(one[1:], other[1:], strict=True))


def test_a_told_state_is_the_callers():
    env = cartpole()
    state = env.scene_state()
    kept = {path: values.clone() for path, values in state.items()}
    env.step(torch.ones(4, 1))
    assert_same(state, kept)
    for values in state.values():
        values.zero_()
    assert not torch.equal(env.scene_state()["row/state"], state["row/state"])


def test_only_the_named_rows_and_paths_are_set():
    env = cartpole()
    before = env.scene_state()
    target = torch.full((2, 4), 0.01)
    env.set_scene_state({"row/state": target}, [3, 1])
    after = env.scene_state()
    assert torch.equal(after["row/state"][[3, 1]], target)
    assert torch.equal(after["row/state"][[0, 2]], before["row/state"][[0, 2]])
    del after["row/state"], before["row/state"]
    assert_same(after, before)
    assert target.unique().numel() == 1  # the caller's tensor is left alone


@pytest.mark.parametrize("task", ["holdstep:CartPole", "holdstep:PointMass"])
def test_final_states_are_those_before_the_reset_and_leave_no_trace(task):
    runs, told = [], []
    for enabled in (False, True):
        env = make(task, num_envs=4, device="cpu", seed=0, max_episode_length=9)
        assert env.final_state_enabled is False
        env.final_state_enabled = enabled
        env.reset(seed=1)
        env.episode_length_buf = torch.arange(4)
        generator = torch.Generator().manual_seed(0)
        run = []
        for _ in range(30):
            actions = torch.rand(env.action_space.shape, generator=generator) * 2 - 1
            before = {name: buffer.clone() for name, buffer in env.row_buffers.items()}
            obs, reward, terminated, truncated, info = env.step(actions)
            ended = terminated | truncated
            assert ("final_state" in info) == (enabled and bool(ended.any()))
            if "final_state" in info:
                assert torch.equal(info["_final_state"], ended)
                rows = info["_final_state"]
                final = info["final_state"]
                assert set(final) == set(env.scene_state())
                # What is observed of the final state is the final observation.
                again = env._observe(final["row/state"], final["row/episode_length"])
                for name, value in info["final_obs"].items():
                    assert torch.equal(again[name][rows], value[rows])
                counted = before["episode_length"][rows] + 1
                assert torch.equal(final["row/episode_length"][rows], counted)
                assert torch.equal(final["row/rng_counter"], before["rng_counter"])
                told.append((final, {path: values.clone() for path, values in final.items()}))
            run.append((obs, reward, terminated, truncated))
        runs.append(run)
        env.close()
    assert len(told) >= 4
    for final, kept in told:
        assert_same(final, kept)  # no later step writes into what was told
    for (off_obs, *off), (on_obs, *on) in zip(*runs, strict=True):
        assert_same(off_obs, on_obs)
        assert all(torch.equal(a, b) for a, b in zip(off, on, strict=True))


def test_wrappers_pass_everything_on():
    env = cartpole()
    wrapped = VectorWrapper(SuspendOnWait(env))
    wrapped.reset(seed=0)
    wrapped.final_state_enabled = True
    assert env.final_state_enabled
    assert_same(wrapped.scene_state(), env.scene_state())
    wrapped.set_scene_state({"row/state": torch.zeros(4, 4)})
    assert not env.scene_state()["row/state"].any()
    assert wrapped.scene_state_attributes == env.scene_state_attributes == {}
    assert wrapped.processed_actions() is None


def test_suspended_rows_stay_suspended_in_the_state_that_was_set():
    env = SuspendOnWait(cartpole())
    env.reset(seed=0)
    env.suspend([1])
    env.set_scene_state({"row/state": torch.full((1, 4), 0.02)}, [1])
    obs, *_ = env.step(torch.ones(4, 1))
    assert env.suspended.tolist() == [False, True, False, False]
    assert torch.equal(env.scene_state()["row/state"][1], torch.full((4,), 0.02))
    assert torch.equal(obs["policy"][1], env.unwrapped.observe()["policy"][1])


def test_what_can_not_be_meant_is_refused_and_changes_nothing():
    env = cartpole()
    before = env.scene_state()
    with pytest.raises(ConfigError, match=r"no 'row/sate'.*row/state"):
        env.set_scene_state({"row/sate": torch.zeros(4, 4)})
    with pytest.raises(ConfigError, match=r"shape \(2, 4\).*got \(4, 4\)"):
        env.set_scene_state({"row/state": torch.zeros(4, 4)}, [0, 1])
    with pytest.raises(ConfigError, match="shape"):
        env.set_scene_state({"row/episode_length": torch.zeros(4), "row/state": torch.zeros(4, 3)})
    with pytest.raises(InvalidEnvIdsError):
        env.set_scene_state({"row/state": torch.zeros(1, 4)}, [4])
    assert_same(before, env.scene_state())
    env.close()
    with pytest.raises(ClosedEnvError):
        env.scene_state()
    fresh = make("holdstep:CartPole", num_envs=2, device="cpu")
    with pytest.raises(ResetNeededError):
        fresh.scene_state()
    with pytest.raises(ResetNeededError):
        fresh.set_scene_state({})


def test_envs_that_can_not_tell_say_what_they_can_do():
    env = adapt(gymnasium.make_vec("CartPole-v1", num_envs=2, vectorization_mode="sync"))
    env.reset(seed=0)
    assert not env.capabilities.scene_state
    for call in (env.scene_state, lambda: env.set_scene_state({})):
        with pytest.raises(CapabilityError, match=r"scene_state is False.*reset\(seed=...\)"):
            call()
    with pytest.raises(CapabilityError, match="scene_state is False"):
        env.final_state_enabled = True
    env.final_state_enabled = False
    assert env.final_state_enabled is False
    assert env.processed_actions() is None
    env.close()


def test_poses_are_relative_to_the_origins_and_written_before_velocities():
    origins = torch.tensor([[10.0, 0, 0], [0, 20.0, 0]])
    world = {"pose": torch.zeros(2, 7), "velocity": torch.zeros(2, 6)}
    written = []

    def part(name, *, is_pose):
        def write(values, env_ids):
            written.append(name)
            world[name][env_ids] = values

        return ScenePart(lambda: world[name].clone(), write, is_pose)

    scene = SceneState(
        {"pose": part("pose", is_pose=True), "velocity": part("velocity", is_pose=False)},
        origins=lambda: origins,
    )
    assert torch.equal(scene.read()["pose"][:, :3], -origins)
    state = {"velocity": torch.ones(1, 6), "pose": torch.ones(1, 7)}
    scene.write(state, torch.tensor([1]))
    assert written == ["pose", "velocity"]
    assert world["pose"][1].tolist() == [1, 21, 1, 1, 1, 1, 1]
    assert torch.equal(scene.read()["pose"][1], torch.ones(7))
