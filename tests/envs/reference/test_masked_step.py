import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from holdstep.envs.reference import CartPole, PointMass
from holdstep.errors import InvalidActionError, InvalidEnvIdsError, ResetNeededError

NUM_ENVS = 4
ENVS = pytest.mark.parametrize("env_class", [CartPole, PointMass])
env_classes = st.sampled_from([CartPole, PointMass])
masks = st.lists(
    st.lists(st.booleans(), min_size=NUM_ENVS, max_size=NUM_ENVS), min_size=1, max_size=40
)


def make(env_class, max_episode_length=6):
    env = env_class(NUM_ENVS, seed=3, max_episode_length=max_episode_length)
    return env, env.reset()[0]


def actions_at(env, step_of_row):
    """Actions that depend on the row and on how many steps it has made, and on nothing else."""
    rows = torch.arange(env.num_envs, dtype=torch.float32)
    phase = rows * 1.7 + step_of_row.float() * 0.9
    columns = [torch.sin(phase + 2.3 * axis) for axis in range(env.single_action_space.shape[0])]
    return torch.stack(columns, dim=1)


def rows_of(tree, mask):
    return {name: value[mask].clone() for name, value in tree.items()}


def assert_equal(got, expected):
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(got[name], value), name


@settings(deadline=None, max_examples=60)
@given(env_class=env_classes, schedule=masks)
def test_inactive_rows_leave_no_trace(env_class, schedule):
    env, obs = make(env_class)
    for step, row_mask in enumerate(schedule):
        active = torch.tensor(row_mask)
        still = ~active
        before = rows_of(env.row_buffers, still)
        last_obs = obs
        actions = actions_at(env, torch.full((NUM_ENVS,), step))
        actions[still] = float("nan")
        obs, reward, terminated, truncated, info = env.step_masked(actions, active)
        assert_equal(rows_of(env.row_buffers, still), before)
        assert_equal(rows_of(obs, still), rows_of(last_obs, still))
        assert_equal(rows_of(info["final_obs"], still), rows_of(last_obs, still))
        assert (reward[still] == 0).all()
        assert not (terminated | truncated | info["_final_obs"])[still].any()
        assert not info.get("_success", torch.zeros(NUM_ENVS, dtype=torch.bool))[still].any()
        assert torch.equal(info["active"], active)


@settings(deadline=None, max_examples=60)
@given(env_class=env_classes, schedule=masks)
def test_a_rows_trajectory_does_not_depend_on_when_anyone_was_inactive(env_class, schedule):
    env, _ = make(env_class)
    own_step = torch.zeros(NUM_ENVS, dtype=torch.int64)
    seen = [[] for _ in range(NUM_ENVS)]
    for row_mask in schedule:
        active = torch.tensor(row_mask)
        result = env.step_masked(actions_at(env, own_step), active)
        own_step += active
        for row in active.nonzero().flatten().tolist():
            seen[row].append(record_of(result, row))
    reference, _ = make(env_class)
    for step in range(int(own_step.max())):
        result = reference.step(actions_at(reference, torch.full((NUM_ENVS,), step)))
        for row in range(NUM_ENVS):
            if step < own_step[row]:
                assert seen[row][step] == record_of(result, row)


def record_of(result, row):
    obs, reward, terminated, truncated, info = result
    parts = [*obs.values(), reward, terminated, truncated]
    parts += [*info["final_obs"].values(), info["_final_obs"]]
    return [part[row].tolist() for part in parts]


@ENVS
def test_all_active_is_a_step(env_class):
    (stepped, _), (masked, _) = make(env_class), make(env_class)
    everyone = torch.ones(NUM_ENVS, dtype=torch.bool)
    for step in range(20):
        actions = actions_at(stepped, torch.full((NUM_ENVS,), step))
        one, other = stepped.step(actions), masked.step_masked(actions, everyone)
        for row in range(NUM_ENVS):
            assert record_of(one, row) == record_of(other, row)
    assert_equal(dict(masked.row_buffers), dict(stepped.row_buffers))


@ENVS
def test_rows_about_to_end_wait_while_they_are_inactive(env_class):
    env, _ = make(env_class)
    falling, arriving = [2.39, 5.0, 0.0, 0.0], [0.1, 0.0, 0.0, 0.0, 0.11, 0.0]
    state = torch.tensor(falling if env_class is CartPole else arriving)
    env.row_buffers["state"].copy_(state.expand(NUM_ENVS, -1))
    env.episode_length_buf = torch.tensor([0, 0, 5, 9])
    actions = torch.zeros(NUM_ENVS, env.single_action_space.shape[0])
    first = torch.tensor([True, False, False, False])
    _, _, terminated, truncated, info = env.step_masked(actions, first)
    assert terminated.tolist() == info["_final_obs"].tolist() == first.tolist()
    assert not truncated.any()
    _, _, terminated, truncated, _ = env.step_masked(actions, ~first)
    assert terminated.tolist() == [False, True, True, True]
    assert truncated.tolist() == [False, False, True, True]


@ENVS
def test_returned_mask_is_not_the_callers(env_class):
    env, _ = make(env_class)
    active = torch.tensor([True, False, True, False])
    *_, info = env.step_masked(actions_at(env, torch.zeros(NUM_ENVS)), active)
    active.fill_(True)
    assert info["active"].tolist() == [True, False, True, False]


@ENVS
def test_bad_actions_of_active_rows_are_refused(env_class):
    env, _ = make(env_class)
    before = {name: value.clone() for name, value in env.row_buffers.items()}
    active = torch.tensor([True, True, False, False])
    actions = actions_at(env, torch.zeros(NUM_ENVS))
    actions[1] = float("nan")
    with pytest.raises(InvalidActionError, match=r"rows \[1\]"):
        env.step_masked(actions, active)
    for wrong in (actions[:2], actions[0], actions.double(), actions.numpy(), actions.long()):
        with pytest.raises(InvalidActionError):
            env.step_masked(wrong, active)
    assert_equal(dict(env.row_buffers), before)


@ENVS
@pytest.mark.parametrize(
    "wrong",
    [torch.ones(NUM_ENVS), torch.ones(3, dtype=torch.bool), [True] * NUM_ENVS, torch.tensor(True)],
    ids=["dtype", "shape", "type", "0-d"],
)
def test_bad_masks_are_refused(env_class, wrong):
    env, _ = make(env_class)
    with pytest.raises(InvalidEnvIdsError, match="active_mask"):
        env.step_masked(actions_at(env, torch.zeros(NUM_ENVS)), wrong)


@ENVS
def test_reset_comes_first(env_class):
    env = env_class(NUM_ENVS)
    with pytest.raises(ResetNeededError):
        env.step_masked(
            actions_at(env, torch.zeros(NUM_ENVS)), torch.ones(NUM_ENVS, dtype=torch.bool)
        )
