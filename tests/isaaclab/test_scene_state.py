"""States of Isaac Lab 3's scenes on Newton physics."""

import pytest
import torch

from tests.isaaclab.conftest import silenced, trajectory
from tests.isaaclab.hard_tasks import ANT, ANT_DIRECT, CARTPOLE, CARTPOLE_DIRECT, GO2, actions_for

TASKS = [CARTPOLE, CARTPOLE_DIRECT, ANT, ANT_DIRECT, GO2]


def flat(state, prefix=""):
    for name, value in state.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{name}/")
        else:
            yield f"{prefix}{name}", value


@pytest.mark.parametrize("task", TASKS)
def test_it_is_what_isaac_labs_recorder_records(make_env, task):
    env = make_env(task)
    with silenced():
        env.reset(seed=1)
    for actions in actions_for(env, 5):
        env.step(actions)
    state = env.scene_state()
    expected = dict(flat(env.backend_env.scene.get_state(is_relative=True)))
    assert state.keys() == expected.keys()
    for path, values in state.items():
        assert torch.equal(values, expected[path]), path
        assert values.dtype == torch.float32
        values.zero_()
    again = env.scene_state()
    for path, values in expected.items():
        assert torch.equal(again[path], values)
    assert env.scene_state_attributes == {"quaternion": "xyzw"}


@pytest.mark.parametrize("task", [CARTPOLE, ANT_DIRECT, GO2])
def test_final_states_leave_no_trace(make_env, task):
    runs = []
    for enabled in (True, False):
        env = make_env(task, num_envs=6)
        env.final_state_enabled = enabled
        runs.append(trajectory(env, 30, episode_steps=10))
        env.close()
    num_ended = 0
    for with_state, without in zip(*runs, strict=True):
        _, obs, *vectors, info = with_state
        _, plain_obs, *plain_vectors, plain_info = without
        ended = vectors[1] | vectors[2]
        num_ended += int(ended.sum())
        assert ("final_state" in info) == bool(ended.any())
        assert "final_state" not in plain_info
        if ended.any():
            assert torch.equal(info["_final_state"], ended)
        assert all(torch.equal(obs[name], plain_obs[name]) for name in plain_obs)
        assert all(torch.equal(a, b) for a, b in zip(vectors, plain_vectors, strict=True))
    assert num_ended >= 6


def test_final_states_are_those_of_an_episode_that_goes_on(make_env):
    runs = []
    for episode_steps in (6, None):
        env = make_env(CARTPOLE, num_envs=4)
        env.final_state_enabled = True
        with silenced():
            env.reset(seed=1)
            env.reset(seed=1)
        if episode_steps is not None:
            env.episode_length_buf = torch.full((4,), env.max_episode_length - episode_steps)
        infos, states = [], []
        for actions in actions_for(env, 6):
            infos.append(env.step(actions)[-1])
            states.append(env.scene_state())
        runs.append((infos, states))
        env.close()
    final = runs[0][0][-1]["final_state"]
    assert runs[0][0][-1]["_final_state"].all()
    for path, values in final.items():
        assert torch.equal(values, runs[1][1][-1][path]), path
    assert not torch.equal(
        final["articulation/robot/joint_position"],
        runs[0][1][-1]["articulation/robot/joint_position"],
    )


@pytest.mark.parametrize("task", TASKS)
def test_a_state_that_was_set_is_told_again_and_observed(make_env, task):
    env = make_env(task)
    with silenced():
        env.reset(seed=1)
        env.reset(seed=1)
    for actions in actions_for(env, 6):
        env.step(actions)
    rows = [0, 2]
    state = {path: values[rows] for path, values in env.scene_state().items()}
    for actions in actions_for(env, 6):
        env.step(actions)
    before = env.scene_state()
    last = env.step(actions_for(env, 1)[0])[0]
    before = env.scene_state()
    obs = env.set_scene_state(state, rows)
    after = env.scene_state()
    for path, values in after.items():
        torch.testing.assert_close(values[rows], state[path], rtol=0, atol=1e-5, msg=path)
        assert torch.equal(values[[1, 3]], before[path][[1, 3]]), path
    for name in obs:
        assert torch.equal(obs[name][[1, 3]], last[name][[1, 3]])
        assert not torch.equal(obs[name][rows], last[name][rows])


def test_the_same_actions_from_a_set_state_give_the_same_course(make_env):
    env = make_env(CARTPOLE)
    with silenced():
        env.reset(seed=1)
        env.reset(seed=1)
    initial = env.scene_state()
    plan = actions_for(env, 20)
    for actions in plan:
        obs, *_ = env.step(actions)
    recorded, seen = env.scene_state(), obs
    with silenced():
        env.reset(seed=9)
    env.set_scene_state(initial)
    for actions in plan:
        obs, *_ = env.step(actions)
    for path, values in env.scene_state().items():
        torch.testing.assert_close(values, recorded[path], rtol=0, atol=1e-4, msg=path)
    torch.testing.assert_close(obs["policy"], seen["policy"], rtol=0, atol=1e-4)


def test_rows_that_are_not_set_go_on_as_if_nothing_had_happened(make_env):
    runs = []
    for is_set in (False, True):
        env = make_env(CARTPOLE)
        with silenced():
            env.reset(seed=1)
            env.reset(seed=1)
        run = []
        for step, actions in enumerate(actions_for(env, 14)):
            if step == 7 and is_set:
                state = {path: values[[0, 2]] for path, values in env.scene_state().items()}
                state["articulation/robot/joint_position"] += 0.1
                env.set_scene_state(state, [0, 2])
            run.append(env.step(actions))
        runs.append(run)
        env.close()
    for left, right in zip(*runs, strict=True):
        assert torch.equal(left[0]["policy"][[1, 3]], right[0]["policy"][[1, 3]])
    assert not torch.equal(runs[0][-1][0]["policy"][0], runs[1][-1][0]["policy"][0])


def test_processed_actions(make_env):
    env = make_env(CARTPOLE)
    with silenced():
        env.reset(seed=1)
    actions = actions_for(env, 1)[0]
    env.step(actions)
    term = next(iter(env.backend_env.action_manager._terms.values()))
    assert torch.equal(env.processed_actions(), term.processed_actions)
    env.close()
    env = make_env(CARTPOLE_DIRECT)
    with silenced():
        env.reset(seed=1)
    assert env.processed_actions() is None
