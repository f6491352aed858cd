"""The skrl view: what skrl sees is what the raw env did, and its PPO learns from it."""

import pytest
import torch

from tests.envs.views.stand_ins import (
    NUM_ENVS,
    Corrected,
    NoFinalObs,
    Renamed,
    Unbounded,
    check_missing_extra,
    point_mass,
    record,
)

pytest.importorskip("skrl", reason="the extra 'skrl' is not installed")

from skrl.agents.torch.ppo import PPO, PPO_CFG
from skrl.envs.wrappers.torch import Wrapper
from skrl.memories.torch import RandomMemory
from skrl.models.torch import DeterministicMixin, GaussianMixin, Model
from skrl.trainers.torch import SequentialTrainer

from holdstep.envs import SkrlEnv, make
from holdstep.errors import ConfigError
from holdstep.wrappers import VectorWrapper


def cartpole(**kwargs):
    return make("holdstep:CartPole", num_envs=4, device="cpu", seed=0, **kwargs)


@pytest.mark.parametrize(
    ("obs_group", "state_group"),
    [(None, None), ("policy", "critic"), (("policy", "critic"), ("policy",))],
)
def test_steps_are_those_of_the_raw_env(obs_group, state_group):
    first, actions, results = record(point_mass(), seed=5)
    view = SkrlEnv(
        point_mass(), obs_group=obs_group, state_group=state_group, seed=5, final_obs=True
    )

    def shown(obs, groups):
        names = (groups,) if isinstance(groups, str) else groups
        return torch.cat([obs[name] for name in names], dim=1)

    def check_obs(given, obs):
        assert torch.equal(given, shown(obs, obs_group or "policy"))
        assert view.observation_space.contains(given[0].numpy())
        if state_group is None:
            assert view.state() is None
            assert view.state_space is None
        else:
            assert torch.equal(view.state(), shown(obs, state_group))
            assert view.state_space.contains(view.state()[0].numpy())

    check_obs(view.reset()[0], first)
    kept = []
    for action, (obs, reward, terminated, truncated, info) in zip(actions, results, strict=True):
        given = view.step(action.clone().requires_grad_())
        check_obs(given[0], obs)
        for value, expected in zip(given[1:4], (reward, terminated, truncated), strict=True):
            assert isinstance(value, torch.Tensor)
            assert not value.requires_grad
            assert value.dtype == expected.dtype
            assert value.shape == (NUM_ENVS, 1)
            assert torch.equal(value.squeeze(1), expected)
        assert torch.equal(given[4]["final_obs"]["critic"], info["final_obs"]["critic"])
        kept.append(
            [(value, value.clone()) for value in (*given[:4], view.state()) if value is not None]
        )
        given[1].add_(100)  # skrl's PPO adds bootstrapped values in place
        kept[-1][1][1].add_(100)
    for value, copy in (pair for pairs in kept for pair in pairs):
        assert torch.equal(value, copy)


def test_the_env_gets_no_graph_to_keep():
    env = Unbounded(4)
    view = SkrlEnv(env)
    view.reset()
    view.step(torch.zeros(4, 1, requires_grad=True))
    assert not env.last_actions.requires_grad


def test_it_is_a_skrl_wrapper():
    view = SkrlEnv(cartpole())
    assert isinstance(view, Wrapper)
    assert view.num_envs == 4
    assert view.device == torch.device("cpu")
    assert view.action_space == view.unwrapped.single_action_space
    assert view.max_episode_length == 500  # skrl's wrappers pass attributes on


def test_only_the_first_reset_resets():
    view = SkrlEnv(cartpole(), state_group="critic")
    first, _ = view.reset()
    again, _ = view.reset()
    assert torch.equal(first, again)
    obs, *_ = view.step(torch.ones(4, 1))
    state = view.state()
    assert not torch.equal(obs, first)
    assert torch.equal(view.reset()[0], obs)
    assert torch.equal(view.state(), state)


def test_the_seed_is_the_envs_own_or_the_one_that_is_named():
    def first(env_seed, seed):
        env = make("holdstep:CartPole", num_envs=4, device="cpu", seed=env_seed)
        return SkrlEnv(env, seed=seed).reset()[0]

    assert not torch.equal(first(1, None), first(2, None))
    assert torch.equal(first(1, 3), first(2, 3))


def test_a_finite_horizon_ends_in_terminations():
    env = cartpole(max_episode_length=2)
    env.is_finite_horizon = True
    view = SkrlEnv(env)
    view.reset()
    _, _, terminated, truncated, _ = view.step(torch.zeros(4, 1))
    assert not (terminated | truncated).any()
    _, _, terminated, truncated, _ = view.step(torch.zeros(4, 1))
    assert terminated.all()
    assert not truncated.any()


class Needing(VectorWrapper):
    needs_final_obs = True


def test_final_observations_are_off_unless_something_needs_them():
    env = cartpole()
    SkrlEnv(env)
    assert not env.final_obs_enabled
    env = cartpole()
    SkrlEnv(Needing(env))
    assert env.final_obs_enabled
    SkrlEnv(NoFinalObs(2))


def test_groups_of_mjlab_and_unknown_ones():
    env = Renamed(cartpole(), {"policy": "actor", "critic": "critic"})
    assert SkrlEnv(env).observation_space == env.single_observation_space["actor"]
    with pytest.raises(ConfigError, match="Did you mean: critic"):
        SkrlEnv(env, state_group="crtic")
    with pytest.raises(ConfigError, match="adapt"):
        SkrlEnv("CartPole")


def test_rendering_and_closing():
    view = SkrlEnv(cartpole(render_mode="rgb_array"))
    view.reset()
    assert len(view.render()) == 4
    assert SkrlEnv(cartpole()).render() is None
    view.close()
    view.close()
    assert view.unwrapped.closed


def test_the_missing_extra_is_named(monkeypatch):
    check_missing_extra(monkeypatch, view="holdstep.envs.views.skrl", library="skrl", extra="skrl")


class Policy(GaussianMixin, Model):
    def __init__(self, view):
        Model.__init__(
            self,
            observation_space=view.observation_space,
            action_space=view.action_space,
            device=view.device,
        )
        GaussianMixin.__init__(self)
        self.net = torch.nn.Linear(self.num_observations, self.num_actions)
        self.log_std = torch.nn.Parameter(torch.zeros(self.num_actions))

    def compute(self, inputs, role):
        return self.net(inputs["observations"]), {"log_std": self.log_std}


class Value(DeterministicMixin, Model):
    def __init__(self, view):
        Model.__init__(
            self,
            observation_space=view.observation_space,
            state_space=view.state_space,
            action_space=view.action_space,
            device=view.device,
        )
        DeterministicMixin.__init__(self)
        self.net = torch.nn.Linear(self.num_states or self.num_observations, 1)

    def compute(self, inputs, role):
        seen = inputs["states"] if self.num_states else inputs["observations"]
        return self.net(seen), {}


@pytest.mark.parametrize("state_group", [None, "critic"])
def test_ppo_learns(tmp_path, state_group):
    torch.manual_seed(0)
    view = SkrlEnv(cartpole(max_episode_length=10), state_group=state_group)
    models = {"policy": Policy(view), "value": Value(view)}
    before = {
        name: [value.clone() for value in model.parameters()] for name, model in models.items()
    }
    cfg = PPO_CFG(rollouts=16, learning_epochs=2, mini_batches=2, time_limit_bootstrap=True)
    cfg.experiment.directory = str(tmp_path)
    # Statistics are kept only where they would be written, here after the end.
    cfg.experiment.write_interval, cfg.experiment.checkpoint_interval = 1000, 0
    agent = PPO(
        models=models,
        memory=RandomMemory(memory_size=16, num_envs=view.num_envs, device=view.device),
        observation_space=view.observation_space,
        state_space=view.state_space,
        action_space=view.action_space,
        device=view.device,
        cfg=cfg,
    )
    trainer_cfg = {"timesteps": 32, "disable_progressbar": True, "close_environment_at_exit": False}
    SequentialTrainer(env=view, agents=agent, cfg=trainer_cfg).train()
    assert agent._rollout == 32
    # Every row was cut off after 10 steps, three times.
    assert torch.tensor(list(agent._track_timesteps)).flatten().tolist() == [10] * 12
    for name, model in models.items():
        after = list(model.parameters())
        assert any(not torch.equal(old, new) for old, new in zip(before[name], after, strict=True))
        assert all(value.isfinite().all() for value in after)


def test_the_observation_space_is_that_after_the_first_reset():
    env = Corrected(3, seed=0)
    view = SkrlEnv(env, state_group="critic", seed=4)
    obs, _ = view.reset()
    assert env.resets == [(4, None)]
    assert view.observation_space.shape == obs.shape[1:] == (4,)
    assert view.state_space.shape == view.state().shape[1:] == (5,)
