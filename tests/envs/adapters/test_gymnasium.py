import gc

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.envs.classic_control.cartpole import CartPoleVectorEnv
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.wrappers import TimeLimit
from gymnasium.wrappers import vector as vector_wrappers
from hypothesis import given, settings
from hypothesis import strategies as st

from holdstep.envs import adapt, make
from holdstep.envs.adapters.gymnasium import GymnasiumVectorEnv
from holdstep.envs.adapters.gymnasium_make import env_names
from holdstep.errors import (
    BackendUnavailableError,
    CapabilityError,
    ClosedEnvError,
    ConfigError,
    InvalidActionError,
    ResetNeededError,
    UnknownEnvError,
)

MODES = list(AutoresetMode)
LENGTHS = (3, 1, 4)
SAME_STEP = {"autoreset_mode": AutoresetMode.SAME_STEP}


class Clockwork(gymnasium.Env):
    """Says in its observation which episode and step it is in; episode ``k`` of row ``r`` lasts
    ``LENGTHS[(r + k) % 3]`` steps and ends in turns by termination and by truncation."""

    action_space = spaces.Box(-1.0, 1.0, (2,), dtype=np.float64)

    def __init__(self, row=0, dict_obs=False, lengths=LENGTHS):
        self.row, self.lengths = row, lengths
        self.episode, self.clock, self.resets = -1, 0, 0
        self.dict_obs = dict_obs
        array = spaces.Box(-np.inf, np.inf, (3,), dtype=np.float64)
        parts = {"array": array, "nested": spaces.Dict({"step": spaces.Discrete(10)})}
        self.observation_space = spaces.Dict(parts) if dict_obs else array

    def observe(self):
        array = np.array([self.row, self.episode, self.clock], dtype=np.float64)
        return {"array": array, "nested": {"step": self.clock}} if self.dict_obs else array

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        if self.clock or self.episode < 0 or options:
            self.episode += 1
        self.resets += 1
        self.clock = 0
        info = {"draw": self.np_random.random(), "resets": self.resets, "name": f"r{self.resets}"}
        return self.observe(), info | ({"options": str(options)} if options else {})

    def step(self, action):
        self.action = action
        self.clock += 1
        end = self.clock >= self.lengths[(self.row + self.episode) % len(self.lengths)]
        info = {"step": self.clock, "resets": -self.resets, "name": "step", "deep": {"er": 0.5}}
        if end:
            info["success"] = self.episode % 2 == 0
        by_truncation = bool(self.episode % 2)
        reward = 10.0 * self.episode + self.clock
        return self.observe(), reward, end and not by_truncation, end and by_truncation, info


def vector(mode, kind=SyncVectorEnv, num_envs=3, vector_kwargs=None, **kwargs):
    fns = [lambda row=row: Clockwork(row, **kwargs) for row in range(num_envs)]
    return kind(fns, autoreset_mode=mode, **(vector_kwargs or {}))


def adapted(*args, **kwargs):
    env = GymnasiumVectorEnv(vector(*args, **kwargs))
    env.reset(seed=0)
    return env


def zeros(env):
    return torch.zeros(env.num_envs, 2)


def plain(tree):
    """Tensors and arrays as lists, so that == compares whole results."""
    if isinstance(tree, torch.Tensor | np.ndarray):
        return [str(tree.dtype), tree.tolist()]
    if isinstance(tree, dict):
        return {key: plain(value) for key, value in tree.items()}
    return [plain(item) for item in tree] if isinstance(tree, tuple | list) else tree


ASYNC = {"context": "forkserver"}
KINDS = {
    "sync": (SyncVectorEnv, {}),
    "sync-nocopy": (SyncVectorEnv, {"copy": False}),
    "async": (AsyncVectorEnv, ASYNC),
    "async-nocopy": (AsyncVectorEnv, ASYNC | {"copy": False}),
    "async-noshm": (AsyncVectorEnv, ASYNC | {"shared_memory": False}),
}


@pytest.mark.parametrize("dict_obs", [False, True], ids=["array", "dict"])
@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        pytest.param(mode, kind, id=f"{mode.name}-{kind}")
        for mode in MODES
        for kind in KINDS
        # Refused: test_async_next_step_without_shared_memory_is_refused.
        if (mode, kind) != (AutoresetMode.NEXT_STEP, "async-noshm")
    ],
)
def test_every_mode_gives_gymnasiums_same_step_results(mode, kind, dict_obs):
    kind, vector_kwargs = KINDS[kind]
    env = GymnasiumVectorEnv(vector(mode, kind, dict_obs=dict_obs, vector_kwargs=vector_kwargs))
    reference = GymnasiumVectorEnv(vector(AutoresetMode.SAME_STEP, dict_obs=dict_obs))
    results = [env.reset(seed=4)] + [env.step(zeros(env)) for _ in range(12)]
    expected = [reference.reset(seed=4)] + [reference.step(zeros(env)) for _ in range(12)]
    env.close()
    for got, want in zip(results, expected, strict=True):  # last, so that overwriting would show
        assert plain(got) == plain(want)


@pytest.mark.parametrize("mode", MODES)
def test_episodes_are_whole(mode):
    env = adapted(mode)
    assert env.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    episode, clock = [0, 0, 0], [0, 0, 0]
    for _ in range(20):
        obs, reward, terminated, truncated, info = env.step(zeros(env))
        final = info.get("final_obs", obs)["policy"]
        for row in range(3):
            clock[row] += 1
            assert final[row].tolist() == [row, episode[row], clock[row]]
            assert reward[row] == 10 * episode[row] + clock[row]
            ends = clock[row] == LENGTHS[(row + episode[row]) % 3]
            assert bool(terminated[row] | truncated[row]) == ends
            assert bool(truncated[row]) == (ends and episode[row] % 2 == 1)
            if ends:
                assert info["_final_obs"][row]
                assert info["final_info"]["_success"][row]
                assert bool(info["final_info"]["success"][row]) == (episode[row] % 2 == 0)
                assert info["final_info"]["step"][row] == clock[row]
                episode[row], clock[row] = episode[row] + 1, 0
                assert info["resets"][row] == episode[row] + 1  # one reset for each episode
            else:
                assert "_final_obs" not in info or not info["_final_obs"][row]
                assert info["resets"][row] == -(episode[row] + 1)
            assert obs["policy"][row].tolist() == [row, episode[row], clock[row]]
        assert env.episode_length_buf.tolist() == clock
        assert info["active"].tolist() == [True] * 3


def test_mode_is_the_envs_own_whatever_was_made_after_it():
    # Gymnasium before 1.3 writes the mode into metadata that all envs of a class share.
    next_step = vector(AutoresetMode.NEXT_STEP)
    same_step = vector(AutoresetMode.SAME_STEP)
    for env in map(GymnasiumVectorEnv, (next_step, same_step)):
        env.reset()
        for _ in range(5):
            obs, *_ = env.step(zeros(env))
        assert obs["policy"].tolist() == [[0, 2, 1], [1, 2, 0], [2, 1, 1]]


@settings(deadline=None, max_examples=40)
@given(
    mode=st.sampled_from(MODES),
    lengths=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    partial=st.dictionaries(st.integers(0, 14), st.sets(st.integers(0, 2), min_size=1), max_size=4),
)
def test_partial_resets_and_autoresets_agree_in_all_modes(mode, lengths, partial):
    env = adapted(mode, lengths=lengths)
    reference = adapted(AutoresetMode.SAME_STEP, lengths=lengths)
    for step in range(15):
        if step in partial:
            options = {"env_ids": sorted(partial[step])}
            assert plain(env.reset(options=options)) == plain(reference.reset(options=options))
        assert plain(env.step(zeros(env))) == plain(reference.step(zeros(env)))
        assert torch.equal(env.episode_length_buf, reference.episode_length_buf)


@pytest.mark.parametrize("mode", MODES)
def test_partial_reset_resets_those_rows_with_their_own_seeds(mode):
    env = adapted(mode, lengths=(9,))
    last, *_ = env.step(zeros(env))
    last["policy"] += 100  # the caller's own; the env must remember for itself
    obs, info = env.reset(seed=7, options={"env_ids": torch.tensor([True, False, True])})
    assert obs["policy"].tolist() == [[0, 1, 0], [1, 0, 1], [2, 1, 0]]
    _, all_rows = adapted(mode).reset(seed=7)
    assert torch.equal(info["draw"][[0, 2]], all_rows["draw"][[0, 2]])
    assert info["_draw"].tolist() == [True, False, True]
    assert env.episode_length_buf.tolist() == [0, 1, 0]
    empty, _ = env.reset(options={"env_ids": []})
    assert torch.equal(empty["policy"], obs["policy"])


def test_other_options_reach_the_env():
    env = adapted(AutoresetMode.SAME_STEP)
    options = {"difficulty": 3}
    _, info = env.reset(options=options)
    assert list(info["options"]) == ["{'difficulty': 3}"] * 3
    _, info = env.reset(options={"difficulty": 4, "env_ids": [1]})
    assert list(info["options"]) == [None, "{'difficulty': 4}", None]
    assert options == {"difficulty": 3}


def test_seed_of_the_construction_is_for_the_first_reset_only():
    env = GymnasiumVectorEnv(vector(AutoresetMode.SAME_STEP), seed=5)
    _, first = env.reset()
    _, second = env.reset()
    _, expected = GymnasiumVectorEnv(vector(AutoresetMode.SAME_STEP)).reset(seed=5)
    assert torch.equal(first["draw"], expected["draw"])
    assert not torch.equal(second["draw"], first["draw"])


def test_final_obs_can_be_switched_off():
    for mode in MODES:
        env = adapted(mode)
        env.final_obs_enabled = False
        for _ in range(6):
            assert not {"final_obs", "_final_obs"} & env.step(zeros(env))[4].keys()


def test_infos_are_tensors_with_masks_and_objects_stay():
    env = adapted(AutoresetMode.SAME_STEP)
    *_, info = env.step(zeros(env))
    assert info["step"].tolist() == [1, 0, 1]
    assert info["_step"].tolist() == [True, False, True]
    assert info["_step"].dtype == torch.bool
    assert info["deep"]["er"].tolist() == [0.5, 0.0, 0.5]
    assert info["deep"]["_er"].tolist() == [True, False, True]
    assert isinstance(info["name"], np.ndarray)
    assert info["name"].tolist() == ["step", "r2", "step"]
    assert info["final_info"]["name"].tolist() == [None, "step", None]
    assert info["_final_info"].tolist() == info["_final_obs"].tolist() == [False, True, False]


def test_env_cannot_write_to_what_it_returned_or_was_given():
    class Meddler(Clockwork):
        action_space = spaces.Box(-1.0, 1.0, (2,), dtype=np.float32)

        def step(self, action):
            action *= 0.0
            return super().step(action)

    raw = SyncVectorEnv([Meddler] * 2, copy=False, autoreset_mode=AutoresetMode.SAME_STEP)
    env = GymnasiumVectorEnv(raw)
    env.reset()
    actions = torch.ones(2, 2)
    obs, *_ = env.step(actions)
    copy = obs["policy"].clone()
    raw._observations += 1000
    assert torch.equal(obs["policy"], copy)
    assert torch.equal(actions, torch.ones(2, 2))


def test_info_arrays_are_not_the_envs():
    custom = CustomVector(AutoresetMode.SAME_STEP)
    env = GymnasiumVectorEnv(custom)
    env.reset()
    *_, info = env.step(torch.zeros(2, 1))
    custom.clock += 1
    assert info["t"].tolist() == [0, 1]


def test_spaces_describe_the_tensors():
    env = adapted(AutoresetMode.SAME_STEP, dict_obs=True)
    obs, *_ = env.step(zeros(env))
    assert set(obs) == {"array", "nested/step"}
    assert obs["array"].dtype == torch.float32
    assert obs["nested/step"].dtype == torch.int64
    assert env.observation_space.contains({k: v.numpy() for k, v in obs.items()})
    assert env.single_observation_space["nested/step"] == spaces.Discrete(10)
    assert env.single_action_space == spaces.Box(-1.0, 1.0, (2,), dtype=np.float32)


class AnyObs(gymnasium.Env):
    """An env of any spaces; observations are samples, and the last action is kept."""

    def __init__(self, observation_space=None, action_space=None):
        self.observation_space = observation_space or spaces.Box(-1, 1, (2,))
        self.action_space = action_space or spaces.Discrete(2)
        self.observation_space.seed(0)

    def reset(self, *, seed=None, options=None):
        return self.observation_space.sample(), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        self.action = action
        return self.observation_space.sample(), 0.0, False, False, {}


def any_env(**space):
    return GymnasiumVectorEnv(SyncVectorEnv([lambda: AnyObs(**space)] * 3))


@pytest.mark.parametrize(
    ("space", "expected"),
    [
        (spaces.Box(0, 255, (4, 4, 3), np.uint8), {"policy": (torch.uint8, (4, 4, 3))}),
        (spaces.Box(0, 60000, (2,), np.uint16), {"policy": (torch.int32, (2,))}),
        (spaces.Box(-1, 1, (2,), np.float64), {"policy": (torch.float32, (2,))}),
        (spaces.Box(-1, 1, (), np.float32), {"policy": (torch.float32, ())}),
        (spaces.Discrete(5, start=3), {"policy": (torch.int64, ())}),
        (spaces.MultiDiscrete([3, 4]), {"policy": (torch.int64, (2,))}),
        (spaces.MultiBinary(6), {"policy": (torch.int8, (6,))}),
        (
            spaces.Tuple((spaces.Discrete(2), spaces.Dict({"x": spaces.Box(0, 1, (1,))}))),
            {"0": (torch.int64, ()), "1/x": (torch.float32, (1,))},
        ),
    ],
    ids=str,
)
def test_observation_spaces(space, expected):
    env = any_env(observation_space=space)
    env.reset()
    obs, *_ = env.step(torch.zeros(3, dtype=torch.int64))
    assert {name: (value.dtype, value.shape[1:]) for name, value in obs.items()} == expected
    assert env.observation_space.contains({k: v.numpy() for k, v in obs.items()})
    assert set(env.single_observation_space) == set(expected)


def test_bounds_beyond_float32_become_infinite():
    env = any_env(observation_space=spaces.Box(-1e300, 1e300, (2,), np.float64))
    assert env.single_observation_space["policy"] == spaces.Box(-np.inf, np.inf, (2,), np.float32)


@pytest.mark.parametrize(
    "space",
    [
        spaces.Text(4),
        spaces.Dict({"a": spaces.Sequence(spaces.Discrete(2))}),
        spaces.Box(0, 2**60, (1,), np.uint64),
        spaces.Dict({"a/b": spaces.Discrete(2), "a": spaces.Dict({"b": spaces.Discrete(2)})}),
    ],
    ids=str,
)
def test_observations_that_are_no_tensors_are_refused(space):
    with pytest.raises(CapabilityError, match=r"wrapper|Rename"):
        any_env(observation_space=space)


@pytest.mark.parametrize(
    ("space", "actions"),
    [
        (spaces.Box(-1, 1, (2,), np.float64), torch.full((3, 2), 0.25)),
        (spaces.Discrete(3), torch.tensor([0, 2, 1])),
        (spaces.Discrete(3, start=4), torch.tensor([4, 6, 5], dtype=torch.int32)),
        (spaces.MultiDiscrete([2, 3]), torch.tensor([[0, 2], [1, 1], [0, 0]])),
        (spaces.MultiBinary(2), torch.tensor([[0, 1], [1, 1], [0, 0]])),
    ],
    ids=str,
)
def test_action_spaces(space, actions):
    env = any_env(action_space=space)
    env.reset()
    env.step(actions)
    taken = [row.action for row in env.backend_env.envs]
    np.testing.assert_array_equal(np.stack(taken), actions.numpy())
    assert taken[0].dtype == space.dtype


def test_wrong_actions_are_refused():
    env = any_env(action_space=spaces.Discrete(3))
    env.reset()
    for wrong in (torch.zeros(3), torch.zeros(3, 1, dtype=torch.int64), np.zeros(3)):
        with pytest.raises(InvalidActionError):
            env.step(wrong)
    box = adapted(AutoresetMode.SAME_STEP)
    with pytest.raises(InvalidActionError, match="finite"):
        box.step(torch.full((3, 2), float("nan")))
    with pytest.raises(CapabilityError, match="action space"):
        any_env(action_space=spaces.Dict({"a": spaces.Discrete(2)}))


class CustomVector(VectorEnv):
    """A vector env of its own kind, which autoresets as it says and gives batched final_obs."""

    def __init__(self, mode, num_envs=2):
        self.num_envs, self.metadata = num_envs, {"autoreset_mode": mode}
        self.clock = np.arange(num_envs)
        self.single_observation_space = spaces.Box(-10, 10, (1,))
        self.single_action_space = spaces.Box(-1, 1, (1,))
        self.observation_space = spaces.Box(-10, 10, (num_envs, 1))
        self.action_space = spaces.Box(-1, 1, (num_envs, 1))

    def reset(self, *, seed=None, options=None):
        return np.zeros((self.num_envs, 1), np.float32), {}

    def step(self, actions):
        ended = np.array([False, True])
        infos = {"final_obs": np.full((2, 1), 5.0), "_final_obs": ended, "t": self.clock}
        return np.ones((2, 1), np.float32), np.ones(2), ended, ~np.ones(2, bool), infos


def test_custom_vector_env_in_same_step_mode_passes_through():
    env = GymnasiumVectorEnv(CustomVector(AutoresetMode.SAME_STEP))
    assert env.capabilities.rng == "global"
    env.reset()
    obs, _, terminated, _, info = env.step(torch.zeros(2, 1))
    assert terminated.tolist() == info["_final_obs"].tolist() == [False, True]
    assert info["final_obs"]["policy"].tolist() == [[1.0], [5.0]]
    assert obs["policy"].tolist() == [[1.0], [1.0]]
    assert info["t"].tolist() == [0, 1]
    with pytest.raises(CapabilityError, match="reset_mask"):
        env.reset(options={"env_ids": [0]})


@pytest.mark.parametrize(
    ("env_fn", "reason"),
    [
        (lambda: CartPoleVectorEnv(2), "CartPoleVectorEnv .*NEXT_STEP"),
        (lambda: CustomVector(AutoresetMode.NEXT_STEP), "reset_mask"),
        (lambda: CustomVector(AutoresetMode.DISABLED), "reset_mask"),
        (lambda: CustomVector(None), "does not say"),
        (
            lambda: vector_wrappers.NormalizeObservation(vector(AutoresetMode.NEXT_STEP)),
            "NormalizeObservation",
        ),
        (
            lambda: vector_wrappers.NormalizeReward(vector(AutoresetMode.NEXT_STEP)),
            "NormalizeReward",
        ),
        (
            lambda: vector_wrappers.RecordEpisodeStatistics(vector(AutoresetMode.DISABLED)),
            "RecordEpisodeStatistics",
        ),
    ],
    ids=["next-step", "custom-next", "custom-off", "no-mode", "norm-obs", "norm-reward", "stats"],
)
def test_autoreset_that_cannot_be_translated_is_refused(env_fn, reason):
    with pytest.raises(CapabilityError, match=reason):
        GymnasiumVectorEnv(env_fn())


def test_async_next_step_without_shared_memory_is_refused():
    kind, vector_kwargs = KINDS["async-noshm"]
    env = vector(AutoresetMode.NEXT_STEP, kind, vector_kwargs=vector_kwargs)
    with pytest.raises(CapabilityError, match="shared_memory"):
        GymnasiumVectorEnv(env)
    env.close()


def test_vector_wrappers_stay_in_effect():
    inner = vector(AutoresetMode.SAME_STEP)
    env = GymnasiumVectorEnv(vector_wrappers.RecordEpisodeStatistics(inner))
    env.reset()
    env.step(zeros(env))
    for _ in range(2):
        *_, info = env.step(zeros(env))
    statistics = info["final_info"] if "episode" in info["final_info"] else info
    assert statistics["episode"]["l"][0] == 3
    assert statistics["_episode"][0]
    with pytest.raises(CapabilityError, match="RecordEpisodeStatistics"):
        env.reset(options={"env_ids": [0]})


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_time_limit_is_known_and_follows_the_set_length(kind):
    fns = [lambda: TimeLimit(Clockwork(lengths=(1000,)), 20)] * 2
    kind, vector_kwargs = KINDS[kind]
    env = GymnasiumVectorEnv(kind(fns, **SAME_STEP, **vector_kwargs))
    assert env.max_episode_length == 20
    env.reset()
    env.episode_length_buf = torch.tensor([18, 5])
    _, _, _, truncated, _ = env.step(zeros(env))
    assert truncated.tolist() == [False, False]
    _, _, _, truncated, _ = env.step(zeros(env))
    assert truncated.tolist() == [True, False]
    assert env.episode_length_buf.tolist() == [0, 7]
    env.close()


def test_time_limit_out_of_reach():
    env = adapted(AutoresetMode.SAME_STEP)
    assert env.max_episode_length is None
    env.episode_length_buf = torch.tensor([4, 0, 0])  # only counted, where there is no limit
    assert env.episode_length_buf.tolist() == [4, 0, 0]
    env = GymnasiumVectorEnv(CustomVector(AutoresetMode.SAME_STEP))
    env.max_episode_length = 10
    with pytest.raises(CapabilityError, match="time limit"):
        env.episode_length_buf = torch.tensor([4, 0])


def test_rows_with_different_limits_have_no_common_one():
    fns = [lambda limit=limit: TimeLimit(Clockwork(), limit) for limit in (5, 6)]
    assert GymnasiumVectorEnv(SyncVectorEnv(fns)).max_episode_length is None


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_make_by_id(mode):
    env = make("gymnasium:CartPole-v1", num_envs=2, device="cpu", seed=3, vectorization_mode=mode)
    theirs = gymnasium.make_vec("CartPole-v1", num_envs=2, vectorization_mode="sync")
    obs, _ = env.reset()
    np.testing.assert_array_equal(obs["policy"].numpy(), theirs.reset(seed=3)[0])
    assert env.max_episode_length == 500
    assert env.backend_env.autoreset_mode is AutoresetMode.SAME_STEP
    env.close()
    env.close()
    with pytest.raises(ClosedEnvError):
        env.reset()


def test_make_passes_options_on():
    env = make("gymnasium:Pendulum-v1", num_envs=2, device="cpu", g=1.5, max_episode_steps=7)
    assert env.backend_env.get_attr("g") == (1.5, 1.5)
    assert env.max_episode_length == 7
    kwargs = {"autoreset_mode": AutoresetMode.NEXT_STEP}
    env = make("gymnasium:Pendulum-v1", num_envs=2, device="cpu", vector_kwargs=kwargs)
    assert env.backend_env.autoreset_mode is AutoresetMode.NEXT_STEP
    with pytest.raises(ConfigError, match="gravity"):
        make("gymnasium:Pendulum-v1", device="cpu", gravity=1.5)


def test_make_refuses_what_is_not_there():
    with pytest.raises(UnknownEnvError, match="CartPole-v1"):
        make("gymnasium:CartPole-v99", device="cpu")
    with pytest.raises(CapabilityError, match="NEXT_STEP"):
        make("gymnasium:CartPole-v1", device="cpu", vectorization_mode="vector_entry_point")
    assert {"CartPole-v1", "holdstep/CartPole-v0"} <= set(env_names())


def test_missing_dependency_is_named(monkeypatch):
    def needs_a_simulator():
        raise gymnasium.error.DependencyNotInstalled("pip install simulator")

    spec = gymnasium.envs.registration.EnvSpec("Broken-v0", entry_point=needs_a_simulator)
    monkeypatch.setitem(gymnasium.registry, "Broken-v0", spec)
    with pytest.raises(BackendUnavailableError, match="pip install simulator"):
        make("gymnasium:Broken-v0", device="cpu")


def test_our_own_envs_come_as_they_are():
    env = make("gymnasium:holdstep/CartPole-v0", num_envs=2, device="cpu", seed=1)
    assert env.unwrapped is env
    assert torch.equal(
        env.reset()[0]["policy"],
        make("holdstep:CartPole", num_envs=2, device="cpu", seed=1).reset()[0]["policy"],
    )


def test_dropping_the_adapter_leaves_the_env_open():
    env = vector(AutoresetMode.SAME_STEP)
    GymnasiumVectorEnv(env)
    gc.collect()
    assert not env.closed


def test_adapt_wraps_it_and_other_things_are_refused():
    assert isinstance(adapt(vector(AutoresetMode.NEXT_STEP)), GymnasiumVectorEnv)
    with pytest.raises(ConfigError, match="VectorEnv"):
        GymnasiumVectorEnv(Clockwork())


def test_render_and_calls_out_of_order():
    env = GymnasiumVectorEnv(vector(AutoresetMode.SAME_STEP))
    with pytest.raises(ResetNeededError):
        env.step(zeros(env))
    with pytest.raises(ResetNeededError):
        env.reset(options={"env_ids": [0]})
    with pytest.raises(CapabilityError, match="rgb_array"):
        env.render()
    env.close()
    for call in (lambda: env.step(zeros(env)), env.render):
        with pytest.raises(ClosedEnvError):
            call()


def test_stepped_in_inference_mode_and_edited_outside_it():
    with torch.inference_mode():
        env = adapted(AutoresetMode.NEXT_STEP)
        env.step(zeros(env))
    env.episode_length_buf = torch.zeros(3, dtype=torch.int64)
    env.step(zeros(env))


def test_groups_have_their_own_spaces_whatever_the_order_of_the_keys():
    """Gymnasium keeps the order of Dict(b=..., a=...), and sorts the keys of its batch."""
    space = spaces.Dict(state=spaces.Box(-1, 1, (2,)), extra=spaces.Discrete(3))
    env = GymnasiumVectorEnv(SyncVectorEnv([lambda: AnyObs(space)] * 2, **SAME_STEP))
    assert env.single_observation_space["state"].shape == (2,)
    assert env.observation_space["state"].shape == (2, 2)
    assert env.observation_space["extra"] == spaces.MultiDiscrete([3, 3])
    obs, _ = env.reset(seed=0)
    assert env.observation_space.contains({name: value.numpy() for name, value in obs.items()})


def test_a_batch_of_other_parts_is_refused():
    env = CustomVector(AutoresetMode.SAME_STEP)
    env.single_observation_space = spaces.Dict(a=spaces.Box(-1, 1, (2,)))
    env.observation_space = spaces.Dict(b=spaces.Box(-1, 1, (2, 2)))
    with pytest.raises(CapabilityError, match="other parts"):
        GymnasiumVectorEnv(env)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_float_actions_are_float32_outside_and_the_envs_dtype_inside(dtype):
    class Typed(Clockwork):
        action_space = spaces.Box(-1.0, 1.0, (2,), dtype=dtype)

    vector_env = SyncVectorEnv([Typed], autoreset_mode=AutoresetMode.SAME_STEP)
    env = GymnasiumVectorEnv(vector_env)
    assert env.action_space.dtype == env.single_action_space.dtype == np.float32
    env.reset(seed=0)
    env.step(torch.full((1, 2), 0.5))
    assert vector_env.envs[0].action.dtype == dtype
    assert vector_env.envs[0].action.tolist() == [0.5, 0.5]


def test_actions_that_are_one_number_per_row():
    class Scalar(Clockwork):
        action_space = spaces.Box(-1.0, 1.0, ())

    env = GymnasiumVectorEnv(SyncVectorEnv([Scalar] * 2, **SAME_STEP))
    env.reset(seed=0)
    env.step(torch.tensor([0.5, 1.0]))
    with pytest.raises(InvalidActionError, match=r"rows \[1\] hold NaN"):
        env.step(torch.tensor([0.5, torch.nan]))


def test_what_is_returned_belongs_to_the_caller():
    env = adapted(AutoresetMode.SAME_STEP)
    obs = env.step(zeros(env))[0]["policy"]
    expected = obs.clone()
    obs.fill_(7.0)
    for _ in range(2):
        again = env.reset(options={"env_ids": []})[0]["policy"]
        assert torch.equal(again, expected)
        again.fill_(7.0)


def test_a_module_or_dependency_that_is_not_there_is_named(tmp_path, monkeypatch):
    (tmp_path / "registers_nothing.py").write_text("import not_there_at_all\n")
    monkeypatch.syspath_prepend(tmp_path)
    for module in ("nosuch", "os.nosuch", "", ".a"):
        with pytest.raises(UnknownEnvError, match="Install the package that has it"):
            make(f"gymnasium:{module}:X-v0", device="cpu")
    with pytest.raises(BackendUnavailableError, match=r"not_there_at_all.*Install what it needs"):
        make("gymnasium:registers_nothing:X-v0", device="cpu")
    with pytest.raises(BackendUnavailableError, match="gymnasium-robotics"):
        make("gymnasium:Ant-v2", device="cpu")


def test_discrete_actions_out_of_range_are_refused():
    env = make("gymnasium:CartPole-v1", num_envs=2, device="cpu", seed=0)
    env.reset()
    with pytest.raises(InvalidActionError, match=r"rows \[1\].*5, must be in \[0, 1\]"):
        env.step(torch.tensor([1, 5]))
