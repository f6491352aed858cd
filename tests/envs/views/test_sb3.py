"""The Stable-Baselines3 view: what SB3 sees is what the raw env did, and SB3 learns from it."""

import numpy as np
import pytest
import torch

from tests.envs.views.stand_ins import (
    NUM_ENVS,
    NUM_STEPS,
    Corrected,
    Holding,
    NoFinalObs,
    Renamed,
    Unbounded,
    check_missing_extra,
    point_mass,
    record,
)

pytest.importorskip("stable_baselines3", reason="the extra 'sb3' is not installed")

from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.logger import configure
from stable_baselines3.common.monitor import Monitor

from holdstep.envs import Sb3VecEnv, make
from holdstep.envs.reference import CartPole
from holdstep.errors import (
    CapabilityError,
    ConfigError,
    ContractViolationError,
    HoldstepError,
    InvalidActionError,
)
from holdstep.wrappers import VectorWrapper


def cartpole(**kwargs):
    return make("holdstep:CartPole", num_envs=4, device="cpu", seed=0, **kwargs)


def seeded(view, seed):
    view.seed(seed)
    return view.reset()


@pytest.mark.parametrize("groups", [None, "critic", ("policy", "critic")])
def test_steps_are_those_of_the_raw_env(groups):
    first, actions, results = record(point_mass(), seed=5)
    view = Sb3VecEnv(point_mass(), obs_group=groups)

    def shown(obs):
        if isinstance(groups, tuple):
            return {name: obs[name].numpy() for name in groups}
        return obs[groups or "policy"].numpy()

    np.testing.assert_equal(seeded(view, 5), shown(first))
    returns, lengths = np.zeros(NUM_ENVS), np.zeros(NUM_ENVS, dtype=int)
    kept, copies = [], []
    for action, (obs, reward, terminated, truncated, info) in zip(actions, results, strict=True):
        given = view.step(action.numpy())
        np.testing.assert_equal(given[0], shown(obs))
        assert view.observation_space.contains(
            {name: value[0] for name, value in given[0].items()}
            if isinstance(given[0], dict)
            else given[0][0]
        )
        assert given[1].dtype == np.float32
        np.testing.assert_array_equal(given[1], reward)
        assert given[2].dtype == np.bool_
        np.testing.assert_array_equal(given[2], terminated | truncated)
        returns += reward.double().numpy()
        lengths += 1
        for row, row_info in enumerate(given[3]):
            if not (terminated | truncated)[row]:
                assert row_info == {}
                continue
            final = {name: value[row : row + 1] for name, value in info["final_obs"].items()}
            expected = shown(final)
            np.testing.assert_equal(
                row_info["terminal_observation"],
                {k: v[0] for k, v in expected.items()}
                if isinstance(expected, dict)
                else expected[0],
            )
            assert row_info["TimeLimit.truncated"] is bool(truncated[row] & ~terminated[row])
            assert row_info["is_success"] is bool(terminated[row])
            assert row_info["episode"]["r"] == pytest.approx(returns[row], abs=1e-6)
            assert row_info["episode"]["l"] == lengths[row]
            returns[row] = lengths[row] = 0
        kept.append(given)
        copies.append((np.copy(given[1]), np.copy(given[2])))
        # SB3 writes the bootstrapped value into rewards; the returns must not take it over.
        given[1][:] += 100
    for given, (reward, dones) in zip(kept, copies, strict=True):
        np.testing.assert_array_equal(given[1], reward + 100)
        np.testing.assert_array_equal(given[2], dones)


class Keeping(VectorWrapper):
    """Keeps every tensor that it returned."""

    def step(self, actions):
        result = self.env.step(actions)
        self.returned = [result[0]["policy"], *result[1:4], result[4]["final_obs"]["policy"]]
        return result


def test_nothing_is_shared_with_the_env_or_with_later_steps():
    env = Keeping(cartpole(max_episode_length=2))
    view = Sb3VecEnv(env)
    arrays = [view.reset()]
    for _ in range(4):
        obs, reward, dones, infos = view.step(np.zeros((4, 1), dtype=np.float32))
        new = [obs, reward, dones]
        if dones[0]:
            new += [info["terminal_observation"] for info in infos]
        for array in new:
            for tensor in env.returned:
                assert not np.shares_memory(array, tensor.numpy())
            for older in arrays:
                assert not np.shares_memory(array, older)
        arrays += new
    assert dones.all()


def test_info_dictionaries_are_of_one_row_and_one_step():
    view = Sb3VecEnv(cartpole())
    view.reset()
    actions = np.zeros((4, 1), dtype=np.float32)
    infos = view.step(actions)[3]
    infos[0]["note"] = 1
    assert infos[1] == {}
    assert view.step(actions)[3][0] == {}


def test_actions_are_taken_when_given():
    env = Unbounded(4)
    view = Sb3VecEnv(env)
    view.reset()
    actions = np.full((4, 1), 0.5, dtype=np.float32)
    view.step_async(actions)
    actions[:] = 9
    view.step_wait()
    actions[:] = 8
    assert (env.last_actions == 0.5).all()
    with pytest.raises(HoldstepError, match="step_async"):
        view.step_wait()


def test_nan_actions_are_refused():
    view = Sb3VecEnv(cartpole())
    view.reset()
    with pytest.raises(InvalidActionError, match=r"rows \[2\]"):
        view.step(np.array([[0], [0], [np.nan], [0]], dtype=np.float32))


@pytest.mark.parametrize(
    ("env_class", "clip_actions", "bound"),
    [
        ("unbounded", None, 100),
        ("unbounded", 3, 3),
        ("bounded", None, 1),
        ("bounded", 0.5, 0.5),
        ("bounded", 5, 1),
    ],
)
def test_action_bounds_are_finite_and_kept(env_class, clip_actions, bound):
    env = Unbounded(4)
    if env_class == "bounded":
        env.single_action_space = cartpole().single_action_space
    view = Sb3VecEnv(env, clip_actions=clip_actions)
    assert view.action_space.low.tolist() == [-bound]
    assert view.action_space.high.tolist() == [bound]
    assert view.action_space.dtype == np.float32
    view.reset()
    view.step(np.array([[1e6], [-1e6], [0.1], [-0.1]]))
    expected = torch.tensor([[bound], [-bound], [0.1], [-0.1]], dtype=torch.float32)
    assert torch.equal(env.last_actions, expected)


@pytest.mark.parametrize("clip_actions", [0, -1.0, float("inf"), float("nan")])
def test_unusable_clip_is_refused(clip_actions):
    with pytest.raises(ConfigError, match="clip_actions"):
        Sb3VecEnv(cartpole(), clip_actions=clip_actions)


def test_final_observations_are_switched_on_or_asked_for():
    env = cartpole()
    env.final_obs_enabled = False
    Sb3VecEnv(env)
    assert env.final_obs_enabled
    with pytest.raises(CapabilityError, match=r"bootstrap.*NoFinalObs"):
        Sb3VecEnv(NoFinalObs(2))


def test_a_missing_final_observation_is_noticed():
    env = cartpole(max_episode_length=2)
    view = Sb3VecEnv(env)
    view.reset()
    env.final_obs_enabled = False
    actions = np.zeros((4, 1), dtype=np.float32)
    view.step(actions)
    with pytest.raises(ContractViolationError, match="final observation"):
        view.step(actions)


def test_an_end_at_the_time_limit_is_no_truncation():
    env = cartpole(max_episode_length=1)
    view = Sb3VecEnv(env)
    view.reset()
    env.row_buffers["state"][0, 0] = 10  # far off the track
    _, _, dones, infos = view.step(np.zeros((4, 1), dtype=np.float32))
    assert dones.all()
    assert [info["TimeLimit.truncated"] for info in infos] == [False, True, True, True]


def test_a_finite_horizon_is_not_bootstrapped():
    env = cartpole(max_episode_length=2)
    env.is_finite_horizon = True
    view = Sb3VecEnv(env)
    view.reset()
    actions = np.zeros((4, 1), dtype=np.float32)
    view.step(actions)
    _, _, dones, infos = view.step(actions)
    assert dones.all()
    assert [info["TimeLimit.truncated"] for info in infos] == [False] * 4


def test_held_rows_are_not_counted():
    view = Sb3VecEnv(Holding(cartpole(max_episode_length=4)))
    view.reset()
    ends = {}
    for step in range(1, 9):
        infos = view.step(np.zeros((4, 1), dtype=np.float32))[3]
        for row, info in enumerate(infos):
            if info:
                ends.setdefault(row, []).append((step, info["episode"]["l"], info["episode"]["r"]))
    assert ends[0] == [(8, 4, 4.0)]
    assert ends[1] == [(4, 4, 4.0), (8, 4, 4.0)]


def test_reset_starts_the_statistics_over_and_time_is_since_construction():
    now = [10.0]
    view = Sb3VecEnv(cartpole(max_episode_length=3), clock=lambda: now[0])
    actions = np.zeros((4, 1), dtype=np.float32)
    view.reset()
    view.step(actions)
    view.reset()
    now[0] = 12.5
    for _ in range(3):
        infos = view.step(actions)[3]
    assert infos[0]["episode"] == {"r": 3.0, "l": 3, "t": 2.5}


def test_seeds_are_used_once():
    view = Sb3VecEnv(cartpole())
    first = seeded(view, 3)
    unseeded = view.reset()
    np.testing.assert_array_equal(first, seeded(view, 3))
    assert not np.array_equal(first, unseeded)
    assert not np.array_equal(first, seeded(view, 4))


def test_options_are_one_dictionary_for_all_rows():
    view = Sb3VecEnv(cartpole())
    before = view.reset()
    view.set_options({"env_ids": torch.tensor([1])})
    after = view.reset()
    assert (before != after).any(axis=1).tolist() == [False, True, False, False]
    view.set_options([{"a": row} for row in range(4)])
    with pytest.raises(ConfigError, match="one dictionary"):
        view.reset()


def test_attributes_and_methods_reach_the_stack():
    env = VectorWrapper(cartpole())
    view = Sb3VecEnv(env)
    view.reset()
    view.step(np.zeros((4, 1), dtype=np.float32))
    assert view.get_attr("max_episode_length", [0, 2]) == [500, 500]
    assert view.get_attr("episode_length_buf", [0, 2]) == [1, 1]
    view.set_attr("episode_length_buf", 7, indices=[1, 3])
    assert env.episode_length_buf.tolist() == [1, 7, 1, 7]
    view.set_attr("my_note", "x")
    assert env.my_note == "x"
    with pytest.raises(ConfigError, match="one value for all"):
        view.set_attr("max_episode_length", 9, indices=0)
    with pytest.raises(AttributeError, match="no_such_thing"):
        view.get_attr("no_such_thing")
    assert not view.has_attr("no_such_thing")
    assert view.env_is_wrapped(VectorWrapper) == [True] * 4
    assert view.env_is_wrapped(Monitor, 0) == [True]
    assert view.env_is_wrapped(Holding, 0) == [False]


def test_rendering():
    view = Sb3VecEnv(cartpole(render_mode="rgb_array"))
    view.reset()
    assert view.render().shape == (2 * 160, 2 * 240, 3)
    (frames,) = view.env_method("render", indices=[2])
    assert len(frames) == 4


def test_groups_of_mjlab_and_unknown_ones():
    env = Renamed(cartpole(), {"policy": "actor", "critic": "critic"})
    assert Sb3VecEnv(env).observation_space == env.single_observation_space["actor"]
    with pytest.raises(ConfigError, match="Did you mean: actor"):
        Sb3VecEnv(env, obs_group="actr")
    with pytest.raises(ConfigError, match="adapt"):
        Sb3VecEnv("CartPole")


def test_close_may_be_repeated():
    view = Sb3VecEnv(cartpole())
    view.close()
    view.close()
    assert view.env.closed


def test_the_missing_extra_is_named(monkeypatch):
    check_missing_extra(
        monkeypatch, view="holdstep.envs.views.sb3", library="stable_baselines3", extra="sb3"
    )


@pytest.mark.parametrize(
    ("policy", "groups"), [("MlpPolicy", None), ("MultiInputPolicy", ("policy", "critic"))]
)
def test_ppo_learns(policy, groups):
    view = Sb3VecEnv(cartpole(max_episode_length=20), obs_group=groups)
    model = PPO(policy, view, n_steps=32, batch_size=32, n_epochs=2, seed=0, device="cpu")
    model.set_logger(configure(None, []))  # the default one leaves a directory in /tmp
    before = [value.clone() for value in model.policy.parameters()]
    model.learn(2 * 32 * view.num_envs)
    after = list(model.policy.parameters())
    assert model._n_updates == 4
    assert any(not torch.equal(old, new) for old, new in zip(before, after, strict=True))
    assert all(value.isfinite().all() for value in after)
    assert len(model.ep_info_buffer) >= 2 * NUM_STEPS * 4 // 100
    # CartPole's reward is 1 in each step.
    assert all(0 < episode["r"] == episode["l"] <= 20 for episode in model.ep_info_buffer)
    mean_return, _ = evaluate_policy(model, view, n_eval_episodes=4)
    assert 0 < mean_return <= 20


def test_the_observation_space_is_that_after_the_first_reset():
    env = Corrected(3, seed=0)
    view = Sb3VecEnv(env)
    obs = view.reset()
    assert env.resets == [(None, None)]  # the one of the construction serves the first reset()
    assert view.observation_space.shape == obs.shape[1:] == (4,)
    np.testing.assert_array_equal(obs, CartPole(3, seed=0).reset()[0]["policy"])
    view.reset()
    assert len(env.resets) == 2


@pytest.mark.parametrize(
    ("prepare", "expected"),
    [
        (lambda view: view.seed(3), (3, None)),
        (lambda view: view.set_options({"key": 1}), (None, {"key": 1})),
        (lambda view: view.set_attr("max_episode_length", 3), (None, None)),
        (lambda view: view.env_method("close_extras"), (None, None)),
        (lambda view: view.step(np.zeros((3, 1), np.float32)), (None, None)),
    ],
)
def test_a_first_reset_that_may_give_something_else_resets(prepare, expected):
    env = Corrected(3, seed=0)
    view = Sb3VecEnv(env)
    prepare(view)
    view.reset()
    assert env.resets == [(None, None), expected]
