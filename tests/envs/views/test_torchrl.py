"""TorchRL's own ``GymWrapper`` on a holdstep env: true data, and PPO learns from them."""

import warnings

import pytest
import torch

from tests.conftest import make_mjlab, silenced
from tests.envs.views.stand_ins import NUM_ENVS, NUM_STEPS, point_mass, record

pytest.importorskip("torchrl", reason="the extra 'torchrl' is not installed")

from tensordict.nn import NormalParamExtractor, TensorDictModule
from torchrl.envs import GymWrapper
from torchrl.modules import ProbabilisticActor, TanhNormal, ValueOperator
from torchrl.objectives import ClipPPOLoss
from torchrl.objectives.value import GAE

from holdstep.envs import make


def cartpole(**kwargs):
    return make("holdstep:CartPole", num_envs=4, device="cpu", seed=0, **kwargs)


def rollout(env, actions, *, seed):
    """The transitions ``[N, T]`` of a TorchRL env under given actions."""
    remaining = iter(actions)

    def policy(tensordict):
        return tensordict.set("action", next(remaining).clone())

    start = env.reset(seed=seed)
    return env.rollout(
        len(actions), policy, tensordict=start, auto_reset=False, break_when_any_done=False
    )


def check_equal(data, first, results, rename):
    terminated = torch.stack([result[2] for result in results], dim=1)
    truncated = torch.stack([result[3] for result in results], dim=1)
    ended = terminated | truncated
    assert torch.equal(data["next", "terminated"].squeeze(-1), terminated)
    assert torch.equal(data["next", "truncated"].squeeze(-1), truncated)
    assert torch.equal(data["next", "done"].squeeze(-1), ended)
    reward = torch.stack([result[1] for result in results], dim=1)
    assert torch.equal(data["next", "reward"].squeeze(-1), reward)
    for old, new in rename.items():
        after = torch.stack([result[0][old] for result in results], dim=1)
        root = torch.cat((first[old].unsqueeze(1), after[:, :-1]), dim=1)
        assert torch.equal(data[new], root)
        final = torch.stack([result[4]["final_obs"][old] for result in results], dim=1)
        expected = torch.where(ended.unsqueeze(-1), final, after)
        assert torch.equal(data["next", new], expected)


@pytest.mark.parametrize("to_numpy", [False, True])
def test_data_are_those_of_the_raw_env(to_numpy):
    first, actions, results = record(point_mass(), seed=5)
    env = GymWrapper(point_mass(), convert_actions_to_numpy=to_numpy)
    data = rollout(env, actions, seed=5)
    assert data.batch_size == (NUM_ENVS, NUM_STEPS)
    check_equal(data, first, results, {"policy": "policy", "critic": "critic"})


def test_a_simulators_log_is_not_taken_for_rows():
    """mjlab logs in steps in which a row ended; such a log has no value per row."""
    env = GymWrapper(make_mjlab("Mjlab-Cartpole-Balance", num_envs=4, seed=0, episode_length_s=0.2))
    with silenced():
        data = env.rollout(12, auto_reset=True, break_when_any_done=False)
    flags = {"reward", "done", "terminated", "truncated"}
    assert set(data["next"].keys()) == flags | {"actor", "critic", "active"}
    assert data["next", "truncated"].sum() == 12  # every fourth step, in four rows
    assert data["next", "actor"][data["next", "truncated"].squeeze(-1)].abs().sum() > 0
    env.close()


def test_what_torchrl_writes_into_observations_does_not_come_back():
    raw = cartpole()
    env = GymWrapper(raw)
    tensordict = env.rand_step(env.reset(seed=0))
    expected = tensordict["next", "policy"][1:].clone()
    tensordict["next", "policy"].fill_(7.0)
    obs, _ = raw.reset(options={"env_ids": [0]})
    assert torch.equal(obs["policy"][1:], expected)


def collector(env, policy, frames_per_batch, total_frames):
    import torchrl.collectors

    # Renamed in TorchRL 0.11; the old name warns.
    name = "Collector" if hasattr(torchrl.collectors, "Collector") else "SyncDataCollector"
    return getattr(torchrl.collectors, name)(
        env, policy, frames_per_batch=frames_per_batch, total_frames=total_frames
    )


def test_ppo_learns():
    torch.manual_seed(0)
    env = GymWrapper(cartpole(max_episode_length=20))
    num_actions = env.action_spec.shape[-1]
    net = torch.nn.Sequential(torch.nn.Linear(4, 2 * num_actions), NormalParamExtractor())
    actor = ProbabilisticActor(
        TensorDictModule(net, in_keys=["policy"], out_keys=["loc", "scale"]),
        in_keys=["loc", "scale"],
        distribution_class=TanhNormal,
        spec=env.action_spec,
        return_log_prob=True,
    )
    # An asymmetric critic: it sees the other group.
    critic = ValueOperator(torch.nn.Linear(5, 1), in_keys=["critic"])
    advantage = GAE(gamma=0.99, lmbda=0.95, value_network=critic)
    loss_module = ClipPPOLoss(actor, critic)
    optimizer = torch.optim.Adam(loss_module.parameters(), lr=1e-3)
    before = [value.clone() for value in loss_module.parameters()]
    num_updates = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for data in collector(env, actor, frames_per_batch=128, total_frames=256):
            assert data["next", "done"].any()
            advantage(data)
            losses = loss_module(data.reshape(-1))
            loss = sum(value for name, value in losses.items() if name.startswith("loss_"))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            num_updates += 1
    assert num_updates == 2
    after = list(loss_module.parameters())
    assert all(not torch.equal(old, new) for old, new in zip(before, after, strict=True))
    assert all(value.isfinite().all() for value in after)
    env.close()


def test_discrete_actions_are_indices():
    env = GymWrapper(
        make("gymnasium:CartPole-v1", num_envs=4, device="cpu", seed=0),
        categorical_action_encoding=True,
    )
    data = env.rollout(30, break_when_any_done=False)
    assert data["action"].shape == (4, 30)
    assert set(data["action"].unique().tolist()) == {0, 1}
    assert data["next", "done"].any()
    assert data["next", "policy"].shape == (4, 30, 4)
    env.close()
