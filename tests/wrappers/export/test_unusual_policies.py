"""Policies that are no plain network are exported all the same, or refused by the reason."""

from __future__ import annotations

import functools

import pytest
import torch

from holdstep.errors import ConfigError, DiscoveryError
from holdstep.wrappers.export import export_policy
from tests.wrappers.export.pipeline_tools import CARTPOLE, export_env

WIDTH = 5


@pytest.fixture(scope="module")
def env():
    env = export_env(CARTPOLE)
    yield env
    env.close()


def export(env, policy, tmp_path, method="jit-trace", **options):
    return export_policy(
        env, policy, tmp_path / "out", backend="torch", method=method, num_steps=12, **options
    )


def network(*, width=WIDTH, num_actions=1):
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(width, 8), torch.nn.Linear(8, num_actions))


class Smoothed(torch.nn.Module):
    """Keeps its last action in a tensor that was allocated for all rows, in one way or another."""

    def __init__(self, num_rows, *, how):
        super().__init__()
        self.network = network()
        self.how = how
        if how == "buffer":
            self.register_buffer("last", torch.zeros(num_rows, 1))
        else:
            self.last = torch.zeros(num_rows, 1)

    def forward(self, obs):
        actions = self.network(obs["actor"])
        if self.how == "in place":
            self.last.mul_(0.5).add_(actions)
        else:
            self.last = 0.5 * self.last + actions
        return self.last.clone()

    def reset(self, dones=None):
        if dones is None:
            self.last.zero_()
        else:
            self.last[dones.bool()] = 0.0


@pytest.mark.parametrize("how", ["attribute", "buffer", "in place"])
def test_what_was_allocated_for_all_rows_is_a_memory(env, tmp_path, how):
    policy = Smoothed(env.num_envs, how=how)
    policy.last += 3.0
    report = export(env, policy, tmp_path)
    assert [memory.spec.connection for memory in report.contract.memories] == ["memory:hidden:last"]
    assert report.parity.max_abs_diff == 0.0
    assert report.parity.num_resets > 0
    assert policy.last.unique().tolist() == [3.0]


@pytest.mark.parametrize("reset", [None, lambda: None, lambda dones: None])
def test_what_can_not_be_forgotten_is_refused(env, tmp_path, reset):
    policy = Smoothed(env.num_envs, how="attribute")
    policy.reset = reset
    with pytest.raises(DiscoveryError, match=r"keeps 'last' .* a method reset\(dones\)") as caught:
        export(env, policy, tmp_path)
    assert caught.value.term == "policy"


class Square(Smoothed):
    def __init__(self, num_rows):
        super().__init__(num_rows, how="attribute")
        self.last = torch.zeros(num_rows, num_rows)

    def forward(self, obs):
        self.last = self.last + self.network(obs["actor"])
        return self.last[:, :1]


def test_rows_that_can_not_be_told_from_others_are_said(env, tmp_path):
    with pytest.raises(DiscoveryError, match=r"where in 'last' the rows are.*num_envs, such as 5"):
        export(env, Square(env.num_envs), tmp_path)


class Counting(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.network = network()
        self.calls = 0

    def forward(self, obs):
        self.calls += 1
        return self.network(obs["actor"]) + self.calls


def test_a_number_in_python_is_no_memory(env, tmp_path):
    with pytest.raises(DiscoveryError, match="something else when it is called again"):
        export(env, Counting(), tmp_path)


@pytest.mark.parametrize("method", ["jit-trace", "onnx-torchscript"])
@pytest.mark.parametrize("kind", ["closure", "partial", "bound method"])
def test_a_callable_over_a_network(env, tmp_path, method, kind):
    net = network()

    class Agent:
        def act(self, obs):
            return net(obs["actor"])

    policy = {
        "closure": lambda obs: net(obs["actor"]),
        "partial": functools.partial(lambda inner, obs: inner(obs["actor"]), net),
        "bound method": Agent().act,
    }[kind]
    assert export(env, policy, tmp_path, method).passed
    assert all(weight.requires_grad for weight in net.parameters())


@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method:DeprecationWarning")  # torch's own
def test_a_compiled_network_is_exported_as_it_was_written(env, tmp_path):
    inner = torch.compile(network())
    policy = torch.compile(torch.nn.Sequential(inner, torch.nn.Tanh()))
    assert export(env, policy, tmp_path, obs_keys="actor").passed
    assert policy._orig_mod[0] is inner


@pytest.mark.parametrize(
    ("policy", "obs_keys", "error", "words"),
    [
        (network(), None, ConfigError, "observations by group .*obs_keys='actor'"),
        (network(), "actr", ConfigError, "there are actor, critic. Did you mean: actor"),
        (network(), ["actor", "x"], ConfigError, "no observations of the env: x; there are actor"),
        (network(width=6), "actor", ConfigError, r"'actor', \[3, 5\] of torch.float32 \(Runtime"),
        (network().double(), "actor", ConfigError, "must have the same dtype"),
        (network(num_actions=2), "actor", DiscoveryError, r"actions \[N, 1\], got \[3, 2\]"),
        (lambda obs: obs["critic"], ["actor"], ConfigError, r"of actor \(obs_keys\) \(KeyError"),
    ],
)
def test_a_policy_that_does_not_fit_is_told_why(env, tmp_path, policy, obs_keys, error, words):
    with pytest.raises(error, match=words):
        export(env, policy, tmp_path, obs_keys=obs_keys)
