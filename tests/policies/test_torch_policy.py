"""Networks as chunked policies: whose rows depend on what, and what is refused."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from holdstep.envs import make
from holdstep.errors import ConfigError, PolicyError
from holdstep.policies import ChunkRunner, Cohort, Threshold, TorchChunkedPolicy
from holdstep.policies.chunked.protocol import ChunkedPolicy, ChunkRequest
from holdstep.wrappers import SuspendOnWait

LENGTH, DIM, NUM_ENVS = 4, 3, 13


def request_of(env_ids, *, obs=None, instructions=(), **kwargs):
    """A request whose every entry is a function of the row alone."""
    ids = torch.as_tensor(env_ids, dtype=torch.int64)
    if obs is None:
        table = torch.randn(64, 24, generator=torch.Generator().manual_seed(1))
        obs = {"state": table[ids % 64], "step": ids % 5}
    return ChunkRequest(
        obs=obs,
        env_ids=ids,
        episode_ids=torch.zeros_like(ids),
        chunk_ids=torch.zeros_like(ids),
        seeds=ids * 1_000_003 + 17,
        instructions=instructions,
        **kwargs,
    )


class Mlp(nn.Sequential):
    def __init__(self):
        super().__init__(
            nn.Linear(24, 200),
            nn.LayerNorm(200),
            nn.GELU(),
            nn.Dropout(0.5),
            nn.Linear(200, LENGTH * DIM),
            nn.Unflatten(1, (LENGTH, DIM)),
        )


class Conv(nn.Sequential):
    def __init__(self):
        super().__init__(
            nn.Unflatten(1, (1, 4, 6)),
            nn.Conv2d(1, 16, 3, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 8, 3),
            nn.Flatten(),
            nn.Linear(8 * 2 * 4, LENGTH * DIM),
            nn.Unflatten(1, (LENGTH, DIM)),
        )


class Transformer(nn.Sequential):
    def __init__(self):
        layer = nn.TransformerEncoderLayer(24, 4, 48, dropout=0.1, batch_first=True)
        super().__init__(
            nn.Linear(24, LENGTH * 24),
            nn.Unflatten(1, (LENGTH, 24)),
            nn.TransformerEncoder(layer, 2),
            nn.Linear(24, DIM),
        )


class Diffusion(nn.Module):
    """Draws a prior, and noise in each of its steps, as a DDPM does."""

    def __init__(self):
        super().__init__()
        self.net = nn.Linear(24 + LENGTH * DIM, LENGTH * DIM)

    def forward(self, state):
        sample = torch.randn(len(state), LENGTH, DIM, device=state.device)
        for _ in range(3):
            flat = self.net(torch.cat([state, sample.flatten(1)], dim=1))
            sample = flat.reshape(sample.shape) + 0.1 * torch.randn_like(sample)
        return sample


def policy_of(network, **options):
    options = {"obs_keys": "state"} | options
    return TorchChunkedPolicy(network, chunk_length=LENGTH, action_dim=DIM, **options)


NETWORKS = {network.__name__: network for network in (Mlp, Conv, Transformer, Diffusion)}
BATCHINGS = {
    "pad": {"batching": "pad", "max_batch": NUM_ENVS},
    "pad in blocks": {"batching": "pad", "max_batch": 5},
    "rowwise": {"batching": "rowwise"},
}


@pytest.fixture(scope="module")
def networks():
    torch.manual_seed(0)
    return {name: network() for name, network in NETWORKS.items()}


@pytest.mark.parametrize("options", BATCHINGS.values(), ids=BATCHINGS.keys())
@pytest.mark.parametrize("name", NETWORKS)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_a_row_does_not_depend_on_who_else_is_asked_for(networks, name, options, data):
    policy = policy_of(networks[name], **options)
    assert policy.spec.reproducible
    everyone = policy.infer(request_of(range(NUM_ENVS))).actions
    env_ids = data.draw(
        st.lists(st.integers(0, NUM_ENVS - 1), unique=True, min_size=1, max_size=NUM_ENVS)
    )
    some = policy.infer(request_of(env_ids)).actions
    assert some.shape == (len(env_ids), LENGTH, DIM)
    assert torch.equal(some, everyone[env_ids])


def test_a_subset_does_depend_on_its_size():
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Linear(24, 512), nn.Tanh(), nn.Linear(512, LENGTH * DIM), nn.Unflatten(1, (LENGTH, DIM))
    )
    policy = policy_of(network)
    assert not policy.spec.reproducible
    everyone = policy.infer(request_of(range(64))).actions
    alone = torch.cat([policy.infer(request_of([env_id])).actions for env_id in range(64)])
    torch.testing.assert_close(alone, everyone, rtol=1e-4, atol=1e-5)
    assert not torch.equal(alone, everyone), "then 'pad' would be for nothing"


def test_a_subset_has_its_own_noise_all_the_same(networks):
    policy = policy_of(networks["Diffusion"])
    everyone = policy.infer(request_of(range(NUM_ENVS))).actions
    alone = policy.infer(request_of([7])).actions
    torch.testing.assert_close(alone, everyone[7:8])


def test_noise_of_the_same_rows_is_new_with_each_seed(networks):
    policy = policy_of(networks["Diffusion"])
    request = request_of([0, 1])
    other = ChunkRequest(
        obs=request.obs,
        env_ids=request.env_ids,
        episode_ids=request.episode_ids,
        chunk_ids=request.chunk_ids + 1,
        seeds=request.seeds + 1,
    )
    first, again, second = (policy.infer(r).actions for r in (request, request, other))
    assert torch.equal(first, again)
    assert not torch.isclose(first, second).any()


def test_without_row_noise_torch_draws():
    policy = policy_of(Diffusion(), batching="rowwise", row_noise=False)
    assert not policy.spec.reproducible
    request = request_of([0])
    assert not torch.equal(policy.infer(request).actions, policy.infer(request).actions)


def test_noise_can_be_an_argument():
    def network(obs, noise):
        assert noise.shape == (len(obs["state"]), LENGTH, DIM)
        return noise + obs["state"][:, :1, None]

    policy = policy_of(network, obs_keys=None, noise_shape=(LENGTH, DIM))
    everyone = policy.infer(request_of(range(5))).actions
    assert torch.equal(policy.infer(request_of([3])).actions[0], everyone[3])
    assert (everyone[0] - everyone[0].mean()).abs().max() > 0.1
    assert not torch.equal(everyone[0], everyone[1])


def test_a_large_request_is_split():
    sizes = []

    def network(state):
        sizes.append(len(state))
        return torch.zeros(len(state), LENGTH, DIM)

    policy = policy_of(network, max_batch=4)
    assert policy.spec.max_batch == 4
    assert len(policy.infer(request_of(range(10))).actions) == 10
    assert sizes == [4, 4, 2]


def test_padding_infers_only_blocks_that_were_asked_for():
    seen = []

    def network(obs):
        seen.append(obs["state"].clone())
        return torch.zeros(len(obs["state"]), LENGTH, DIM)

    policy = policy_of(network, obs_keys=None, batching="pad", max_batch=4)
    request = request_of([9, 2, 8])
    policy.infer(request)
    assert [tuple(state.shape) for state in seen] == [(4, 24), (4, 24)]
    assert torch.equal(seen[0][2], request.obs["state"][1])
    assert not seen[0][[0, 1, 3]].any()
    assert torch.equal(seen[1][[1, 0]], request.obs["state"][[0, 2]])


def test_padding_refuses_a_row_twice():
    policy = policy_of(Mlp(), batching="pad", max_batch=4)
    with pytest.raises(PolicyError, match="more than once"):
        policy.infer(request_of([1, 1]))


def test_the_network_is_left_as_it_was():
    network = Mlp()
    network[1].eval()
    before = [module.training for module in network.modules()]
    seen = []
    network[3].register_forward_hook(lambda module, *_: seen.append(module.training))
    policy = policy_of(network)
    actions = policy.infer(request_of([0, 1])).actions
    assert seen == [False]
    assert [module.training for module in network.modules()] == before
    assert True in before
    assert not actions.requires_grad
    assert torch.equal(actions, policy.infer(request_of([0, 1])).actions)


def test_the_network_is_left_as_it_was_after_an_error():
    network = nn.Sequential(nn.Linear(24, 24), nn.Linear(1, 1))
    with pytest.raises(RuntimeError):
        policy_of(network).infer(request_of([0]))
    assert all(module.training for module in network.modules())


def test_what_a_network_caches_can_be_trained_with():
    class Cached(nn.Module):
        def __init__(self):
            super().__init__()
            self.net, self.positions = nn.Linear(24, LENGTH * DIM), None

        def forward(self, state):
            if self.positions is None:
                self.positions = torch.arange(24.0) / 24
            return self.net(state * self.positions).reshape(-1, LENGTH, DIM)

    network = Cached()
    policy_of(network).infer(request_of([0]))
    network(torch.ones(1, 24, requires_grad=True)).sum().backward()
    assert network.net.weight.grad is not None


def test_actions_may_be_written_to_and_belong_to_the_caller():
    policy = policy_of(Mlp())
    with torch.no_grad():
        first = policy.infer(request_of([0])).actions
    first.add_(1.0)
    assert not torch.equal(first, policy.infer(request_of([0])).actions)


def test_only_the_groups_that_are_named_are_handed_over():
    seen = []

    def network(obs):
        seen.append(set(obs))
        return torch.zeros(1, LENGTH, DIM)

    assert policy_of(network, obs_keys=["step"]).spec.obs_keys == ("step",)
    policy_of(network, obs_keys=["step"]).infer(request_of([0]))
    policy_of(network, obs_keys=None).infer(request_of([0]))
    assert seen == [{"step"}, {"state", "step"}]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    network = Mlp().to(dtype)
    seen = []

    def call(obs):
        seen.append({key: value.dtype for key, value in obs.items()})
        return network.eval()(obs["state"])

    actions = policy_of(call, obs_keys=None, dtype=dtype).infer(request_of([0, 1])).actions
    assert actions.dtype == torch.float32
    assert seen == [{"state": dtype, "step": torch.int64}]


def test_a_compiled_network_is_a_network():
    compiled = torch.compile(Mlp().eval(), backend="aot_eager")
    policy = policy_of(compiled, batching="pad", max_batch=8)
    everyone = policy.infer(request_of(range(8))).actions
    assert torch.equal(policy.infer(request_of([3])).actions[0], everyone[3])


BAD_OUTPUTS = {
    "shape": (lambda state: torch.zeros(len(state), LENGTH, DIM + 1), r"\(1, 4, 4\).*\(1, 4, 3\)"),
    "rows": (lambda state: torch.zeros(2, LENGTH, DIM), r"\(2, 4, 3\) for 1 rows"),
    "type": (lambda state: (torch.zeros(1, LENGTH, DIM),), "tuple for 1 rows"),
    "dtype": (lambda state: torch.zeros(1, LENGTH, DIM, dtype=torch.int64), "floating point"),
    "finite": (lambda state: torch.full((1, LENGTH, DIM), torch.nan), r"NaN.*rows \[5\]"),
    "draws": (lambda state: torch.randint(2, (1, LENGTH, DIM)).float(), "randint"),
    "dropout": (lambda state: nn.Dropout(0.5)(torch.ones(1, LENGTH, DIM)), "bernoulli"),
}


@pytest.mark.parametrize(("network", "message"), BAD_OUTPUTS.values(), ids=BAD_OUTPUTS.keys())
def test_what_can_not_be_used_is_refused(network, message):
    with pytest.raises(PolicyError, match=message):
        policy_of(network).infer(request_of([5]))


def test_rows_that_fill_a_batch_up_may_be_nan():
    policy = policy_of(
        lambda state: (state[:, :1, None] / state[:, :1, None]).expand(-1, LENGTH, DIM),
        batching="pad",
        max_batch=4,
    )
    assert policy.infer(request_of([1])).actions.tolist() == [[[1.0] * DIM] * LENGTH]


def test_a_missing_group_is_named():
    with pytest.raises(ConfigError, match=r"\['camera'\].*\['state', 'step'\]"):
        policy_of(Mlp(), obs_keys=["state", "camera"]).infer(request_of([0]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batching": "padded"}, "batching"),
        ({"batching": "pad"}, "max_batch=num_envs"),
        ({"batching": "rowwise", "max_batch": 4}, "one row at a time"),
        ({"max_batch": 0}, "max_batch"),
        ({"chunk_length": 0}, "chunk_length"),
        ({"dtype": torch.int64}, "dtype"),
        ({"obs_keys": []}, "obs_keys"),
        ({"network": 3}, "callable"),
    ],
)
def test_arguments_are_checked(options, message):
    options = {"network": Mlp(), "chunk_length": LENGTH, "action_dim": DIM} | options
    with pytest.raises(ConfigError, match=message):
        TorchChunkedPolicy(**options)


def traces_of(network, scheduler, num_steps, **options):
    """What each row did, as one list of actions per row."""
    env = SuspendOnWait(make("holdstep:CartPole", num_envs=6, device="cpu", seed=0), rng="per_env")
    policy = TorchChunkedPolicy(network, chunk_length=4, action_dim=1, obs_keys="policy", **options)
    traces = [[] for _ in range(6)]
    with ChunkRunner(env, policy, scheduler, seed=5) as runner:
        runner.reset(seed=3)
        for _ in range(num_steps):
            step = runner.step()
            for row in step.active_mask.nonzero()[0]:
                traces[row].append(step.actions[row].item())
    env.close()
    return traces


class NoisyPush(nn.Module):
    """Balances for a while, with noise, so that episodes end at different times."""

    def __init__(self, obs_dim):
        super().__init__()
        self.net = nn.Linear(obs_dim, 4)

    def forward(self, obs):
        return (self.net(obs) + torch.randn(len(obs), 4)).tanh().unsqueeze(-1)


def test_what_a_row_does_is_the_same_whoever_is_inferred_with_it():
    torch.manual_seed(0)
    env = make("holdstep:CartPole", num_envs=1, device="cpu")
    network = NoisyPush(env.single_observation_space["policy"].shape[0])
    options = {"batching": "pad", "max_batch": 6}
    together = traces_of(network, Cohort(), 250, **options)
    one_by_one = traces_of(network, Threshold(1), 250, **options)
    lengths = [min(len(a), len(b)) for a, b in zip(together, one_by_one, strict=True)]
    assert min(lengths) > 100
    for a, b, length in zip(together, one_by_one, lengths, strict=True):
        assert a[:length] == b[:length]
    assert together[0][:50] != together[1][:50]


def test_it_is_a_chunked_policy():
    policy = policy_of(Mlp())
    assert isinstance(policy, ChunkedPolicy)
    policy.reset(torch.tensor([0]), torch.tensor([1]))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", NETWORKS)
def test_rows_are_independent_on_a_gpu(name):
    torch.manual_seed(0)
    policy = policy_of(NETWORKS[name]().to("cuda"), batching="pad", max_batch=NUM_ENVS)
    everyone = policy.infer(request_of(range(NUM_ENVS))).actions
    assert everyone.device.type == "cuda"
    assert torch.equal(policy.infer(request_of([3, 1])).actions, everyone[[3, 1]])
