"""A policy as a function of observations and memory; the policy itself is never touched."""

from __future__ import annotations

import pytest
import torch

from holdstep.errors import ConfigError, DiscoveryError
from holdstep.wrappers.export.policies import PolicyNetwork

OBS = {"actor": torch.linspace(-1, 1, 12).reshape(3, 4)}


class Recurrent(torch.nn.Module):
    """Keeps a cell in an attribute, a smoothed action in a buffer, and what a reset says."""

    def __init__(self):
        super().__init__()
        self.cell = torch.nn.LSTM(4, 5)
        self.head = torch.nn.Linear(5, 2)
        self.state = None
        self.register_buffer("smooth", torch.full((3, 2), 0.5))

    def forward(self, obs):
        out, self.state = self.cell(obs["actor"].unsqueeze(0), self.state)
        smooth = self.smooth[: out.shape[1]]
        if smooth.shape[0] < out.shape[1]:
            smooth = smooth[:1].expand(out.shape[1], -1)
        self.smooth = 0.5 * smooth + self.head(out[0])
        return self.smooth

    def reset(self, dones=None):
        self.state = None
        self.smooth = torch.full((3, 2), 0.5)


@pytest.fixture(autouse=True)
def _no_grad():
    with torch.no_grad():
        yield


def network_of(policy, **kwargs):
    network = PolicyNetwork(policy, **kwargs)
    network.find_states(OBS)
    return network


def test_a_policy_without_memory():
    policy = torch.nn.Linear(4, 2)
    network = network_of(policy, obs_keys="actor")
    assert network.states == ()
    actions, updates = network(OBS, {})
    assert torch.equal(actions, policy(OBS["actor"]))
    assert updates == {}


def test_what_a_policy_keeps_is_found_and_passed_along():
    policy = Recurrent()
    policy(OBS)
    network = network_of(policy)
    assert [(s.name, s.row_dim, s.shape) for s in network.states] == [
        ("state.0", 1, (1, 5)),
        ("state.1", 1, (1, 5)),
        ("smooth", 0, (2,)),
    ]
    assert [state.reset for state in network.states] == [None, None, (0.5, 0.5)]
    hidden = {s.name: torch.zeros(3, *s.shape) for s in network.states}
    hidden["smooth"] += 0.5
    policy.reset()
    for step in range(4):
        obs = {"actor": OBS["actor"] * step}
        actions, hidden = network(obs, hidden)
        assert torch.equal(actions, policy(obs))


def test_a_call_changes_nothing_but_its_results():
    network = network_of(Recurrent())
    hidden = {s.name: torch.rand(3, *s.shape) for s in network.states}
    before = {name: value.clone() for name, value in hidden.items()}
    first = network(OBS, hidden)
    assert network.network.state is None
    assert torch.equal(network.network.smooth, torch.full((3, 2), 0.5))
    second = network(OBS, hidden)
    assert torch.equal(first[0], second[0])
    assert all(torch.equal(hidden[name], before[name]) for name in hidden)


def test_the_callers_policy_stays_as_it_is():
    policy = Recurrent().train()
    with torch.enable_grad():
        policy(OBS)
    state, smooth = policy.state, policy.smooth
    assert state[0].requires_grad
    network_of(policy)(OBS, {s.name: torch.zeros(3, *s.shape) for s in network_of(policy).states})
    assert policy.state is state
    assert policy.smooth is smooth
    assert policy.training
    assert all(parameter.requires_grad for parameter in policy.parameters())


def test_dropout_is_off():
    policy = torch.nn.Sequential(torch.nn.Linear(4, 64), torch.nn.Dropout(0.5)).train()
    network = network_of(policy, obs_keys="actor")
    assert torch.equal(network(OBS, {})[0], network(OBS, {})[0])
    assert policy.training


def test_actions_are_clipped_as_the_policy_says():
    policy = type("Clipped", (), {"actor": torch.nn.Linear(4, 2), "clip_actions": 0.01})()
    network = network_of(policy, obs_keys="actor")
    assert network(OBS, {})[0].abs().max() <= 0.01


def test_one_group_several_or_all():
    seen = []

    def policy(obs):
        seen.append(obs if isinstance(obs, torch.Tensor) else tuple(obs))
        return OBS["actor"]

    two = {**OBS, "critic": OBS["actor"]}
    for keys in ("actor", ("critic",), None):
        PolicyNetwork(policy, obs_keys=keys)(two, {})
    assert torch.equal(seen[0], OBS["actor"])
    assert seen[1:] == [("critic",), ("actor", "critic")]


class Counter(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(2))

    def forward(self, obs):
        self.calls += 1
        return obs["actor"][:, :2] + self.calls


def test_memory_that_rows_share_is_refused():
    with pytest.raises(DiscoveryError, match=r"'calls'.*not one value per row") as caught:
        network_of(Counter())
    assert caught.value.term == "policy"


def test_what_is_no_policy():
    with pytest.raises(ConfigError, match="callable, got int"):
        PolicyNetwork(3)
    uncopyable = torch.nn.Linear(4, 2)
    uncopyable.lock = __import__("threading").Lock()
    with pytest.raises(ConfigError, match="can't be copied"):
        PolicyNetwork(uncopyable)
