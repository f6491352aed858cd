import pytest
import torch

from holdstep.envs.reference import CartPole, PointMass
from holdstep.envs.state.snapshot import Snapshot
from holdstep.errors import CapabilityError, ClosedEnvError, SnapshotError

ENVS = pytest.mark.parametrize("env_class", [CartPole, PointMass])


def make(env_class, num_envs=4, **kwargs):
    env = env_class(num_envs, **({"seed": 3, "max_episode_length": 5} | kwargs))
    env.reset()
    return env, env.row_control(level="skip", rng="per_env")


def ids(*rows):
    return torch.tensor(rows)


def roll(env, num_steps, value=0.4):
    """Observations, rewards and flags of all rows over steps, resets included."""
    actions = torch.full(env.action_space.shape, value)
    seen = []
    for _ in range(num_steps):
        obs, *outcome, info = env.step(actions)
        seen.append([*obs.values(), *outcome, *info["final_obs"].values()])
    return seen


def assert_same_future(got, got_row, expected, expected_row):
    for parts, expected_parts in zip(got, expected, strict=True):
        for part, expected_part in zip(parts, expected_parts, strict=True):
            assert torch.equal(part[got_row], expected_part[expected_row])


@ENVS
def test_a_row_put_back_lives_its_future_again(env_class):
    env, control = make(env_class)
    roll(env, 3)
    snapshot = control.snapshot(ids(2, 0))
    expected = roll(env, 20)
    obs = control.restore(snapshot, ids(2, 0))
    for name, value in obs.items():
        assert torch.equal(value[[2, 0]], snapshot.obs[name])
    got = roll(env, 20)
    for row in (0, 2):
        assert_same_future(got, row, expected, row)


@ENVS
def test_into_another_row_of_another_env_of_the_task(env_class):
    env, control = make(env_class)
    roll(env, 3)
    snapshot = control.snapshot(ids(1))
    other, other_control = make(env_class, num_envs=7, seed=8)
    roll(other, 2)
    before = {name: value.clone() for name, value in other.row_buffers.items()}
    last_obs = other.observe()
    obs = other_control.restore(snapshot, ids(6))
    for name, value in other.row_buffers.items():
        assert torch.equal(value[:6], before[name][:6])
    assert all(torch.equal(obs[name][:6], last_obs[name][:6]) for name in obs)
    assert_same_future(roll(other, 15), 6, roll(env, 15), 1)


@ENVS
def test_from_a_file(env_class, tmp_path):
    env, control = make(env_class)
    path = control.snapshot(ids(0, 1, 2, 3)).save(tmp_path / "rows.pt")
    expected = roll(env, 12)
    control.restore(Snapshot.load(path), ids(0, 1, 2, 3))
    got = roll(env, 12)
    for row in range(4):
        assert_same_future(got, row, expected, row)


@ENVS
def test_snapshots_are_the_callers(env_class):
    env, control = make(env_class)
    snapshot = control.snapshot(ids(0, 1))
    before = {name: value.clone() for name, value in snapshot.rows.items()}
    roll(env, 3)
    for name, value in snapshot.rows.items():
        assert torch.equal(value, before[name])
    state = env.row_buffers["state"].clone()
    snapshot.rows["state"].fill_(7.0)
    assert torch.equal(env.row_buffers["state"], state)
    control.restore(snapshot, ids(0, 1))["policy"].fill_(9.0)
    assert (env.row_buffers["state"][:2] == 7.0).all()


@ENVS
def test_fork(env_class):
    env, control = make(env_class)
    roll(env, 3)
    untouched = {name: value[1].clone() for name, value in env.row_buffers.items()}
    obs = control.fork(ids(3, 3), ids(0, 2))
    for name, value in env.row_buffers.items():
        assert torch.equal(value[1], untouched[name])
    for name, value in obs.items():
        assert torch.equal(value[0], value[3]), name
    future = roll(env, 15)
    assert_same_future(future, 0, future, 3)
    assert_same_future(future, 2, future, 3)


DIFFERENT = {
    "task": (lambda: make(PointMass), "task: "),
    "limit": (lambda: make(CartPole, max_episode_length=6), "max_episode_length=6"),
}


@pytest.mark.parametrize("difference", DIFFERENT)
def test_another_task_is_refused_with_the_difference(difference):
    make_other, message = DIFFERENT[difference]
    _, other = make_other()
    env, control = make(CartPole)
    before = {name: value.clone() for name, value in env.row_buffers.items()}
    with pytest.raises(SnapshotError, match=message):
        control.restore(other.snapshot(ids(0)), ids(0))
    with pytest.raises(SnapshotError, match="2 rows, 1 env_ids"):
        control.restore(control.snapshot(ids(0, 1)), ids(0))
    for name, value in env.row_buffers.items():
        assert torch.equal(value, before[name])


def test_the_number_of_rows_is_no_difference():
    assert make(CartPole)[1].snapshot(ids(0)).fingerprint == (
        make(CartPole, num_envs=9, seed=1)[1].snapshot(ids(4)).fingerprint
    )
    fingerprint = make(CartPole)[1].snapshot(ids(0)).fingerprint
    assert fingerprint["state"] == "float32[4]"
    assert fingerprint["episode_length"] == "int64[]"
    assert "CartPole" in fingerprint["task"]


@pytest.mark.parametrize("level", ["approximate", "none"])
def test_other_levels_are_refused(level):
    with pytest.raises(CapabilityError, match=level):
        CartPole(2).row_control(level=level, rng="global")


def test_one_control_at_a_time():
    env = CartPole(2)
    control = env.row_control(level="exact", rng="global")
    with pytest.raises(CapabilityError, match="already"):
        env.row_control(level="exact", rng="global")
    control.close()
    control.close()
    env.row_control(level="skip", rng="per_env")
    env.close()
    with pytest.raises(ClosedEnvError):
        env.row_control(level="skip", rng="per_env")


def test_a_step_goes_to_the_rows_that_are_active():
    env, control = make(CartPole)
    control.hold(ids(1))
    *_, info = control.step(torch.zeros(4, 1), torch.tensor([True, False, True, True]))
    assert info["active"].tolist() == [True, False, True, True]
    control.release(ids(1))
    assert env.episode_length_buf.tolist() == [1, 0, 1, 1]


def test_in_inference_mode():
    with torch.inference_mode():
        env, control = make(CartPole)
        snapshot = control.snapshot(ids(0))
    control.restore(snapshot, ids(2))
    assert torch.equal(env.row_buffers["state"][2], env.row_buffers["state"][0])
