"""Redirected functions return what torch's do, and the numbers are right."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator

import pytest
import torch

from holdstep.envs.state.per_env_random import PerEnvRandom
from holdstep.envs.state.random_kinds import DTYPES, Kind, TorchEngine
from holdstep.envs.state.rng import PerEnvRng

N = 64

CALLS = {
    "rand sizes": lambda: torch.rand(N, 3),
    "rand tuple": lambda: torch.rand((N, 3)),
    "rand Size": lambda: torch.rand(torch.Size([N])),
    "rand named": lambda: torch.rand(size=(N, 3), dtype=torch.float64, generator=None),
    "rand half": lambda: torch.rand(N, dtype=torch.float16),
    "rand bfloat16": lambda: torch.rand(N, 2, dtype=torch.bfloat16, device="cpu"),
    "rand grad": lambda: torch.rand(N, requires_grad=True),
    "rand out": lambda: torch.rand(N, 2, out=torch.empty(0, dtype=torch.float64)),
    "rand list": lambda: torch.rand([N, 2], pin_memory=False, layout=torch.strided),
    "randn": lambda: torch.randn(N, 3),
    "randn named": lambda: torch.randn(size=(N,), dtype=torch.float64),
    "randint high": lambda: torch.randint(7, (N,)),
    "randint both": lambda: torch.randint(-3, 7, (N, 2), dtype=torch.int32),
    "randint named": lambda: torch.randint(low=-3, high=7, size=(N,), device="cpu"),
    "randint mixed": lambda: torch.randint(5, size=(N,), dtype=torch.float32),
    "randint bool": lambda: torch.randint(0, 2, (N,), dtype=torch.bool),
    "randint out": lambda: torch.randint(0, 9, (N,), out=torch.empty(N, dtype=torch.int64)),
    "randint large": lambda: torch.randint(0, 2**62, (N,)),
    "randperm": lambda: torch.randperm(N),
    "randperm int32": lambda: torch.randperm(N, dtype=torch.int32),
    "randperm 0": lambda: torch.randperm(0),
    "normal floats": lambda: torch.normal(2.0, 3.0, (N, 2)),
    "normal named": lambda: torch.normal(mean=2.0, std=3.0, size=(N,), dtype=torch.float64),
    "normal tensors": lambda: torch.normal(torch.zeros(N, 1), torch.ones(3)),
    "normal mean": lambda: torch.normal(torch.zeros(N), 2.0),
    "normal std": lambda: torch.normal(1.0, std=torch.ones(N, 2)),
    "normal default": lambda: torch.normal(torch.zeros(N, dtype=torch.float64)),
    "normal out": lambda: torch.normal(torch.zeros(N), torch.ones(N), out=torch.empty(N)),
    "rand_like": lambda: torch.rand_like(torch.empty(N, 2, dtype=torch.float64)),
    "rand_like strides": lambda: torch.rand_like(torch.empty(3, N).t()),
    "rand_like dtype": lambda: torch.rand_like(torch.empty(N, dtype=torch.int8), dtype=torch.half),
    "rand_like input": lambda: torch.rand_like(input=torch.empty(N)),
    "randn_like": lambda: torch.randn_like(torch.empty(N, 2), requires_grad=True),
    "randint_like": lambda: torch.randint_like(torch.empty(N, dtype=torch.int32), 9),
    "randint_like both": lambda: torch.randint_like(torch.empty(N), -4, 9),
    "randint_like named": lambda: torch.randint_like(torch.empty(N), low=-4, high=9),
    "bernoulli": lambda: torch.bernoulli(torch.full((N, 2), 0.4)),
    "bernoulli p": lambda: torch.bernoulli(torch.zeros(N), 0.4),
    "bernoulli out": lambda: torch.bernoulli(torch.full((N,), 0.4), out=torch.empty(N)),
    "Tensor.bernoulli": lambda: torch.full((N,), 0.4).bernoulli(),
    "multinomial": lambda: torch.multinomial(torch.ones(5), N, True),
    "multinomial rows": lambda: torch.multinomial(torch.ones(N, 5), 3, replacement=True),
    "multinomial without": lambda: torch.multinomial(torch.ones(N, 5), 5),
    "Tensor.multinomial": lambda: torch.ones(N, 5).multinomial(2),
    "uniform_": lambda: torch.empty(N, 2).uniform_(-1, 3),
    "uniform_ named": lambda: torch.empty(N).uniform_(to=2.0),
    "uniform_ from": lambda: torch.empty(N).uniform_(**{"from": -1.0, "to": 2.0}),
    "uniform_ double": lambda: torch.empty(N, dtype=torch.float64).uniform_(5, 6),
    "uniform_ column": lambda: torch.zeros(N, 3)[:, 1].uniform_(),
    "uniform_ none": lambda: torch.empty(0).uniform_(),
    "normal_": lambda: torch.empty(N, 2).normal_(1.0, std=2.0),
    "normal_ half": lambda: torch.empty(N, dtype=torch.float16).normal_(),
    "random_": lambda: torch.empty(N, dtype=torch.int64).random_(),
    "random_ to": lambda: torch.empty(N, dtype=torch.int32).random_(9),
    "random_ both": lambda: torch.empty(N).random_(-3, to=9),
    "random_ int8": lambda: torch.empty(N, dtype=torch.int8).random_(),
    "random_ bool": lambda: torch.empty(N, dtype=torch.bool).random_(),
    "random_ float": lambda: torch.empty(N).random_(),
    "exponential_": lambda: torch.empty(N, 2).exponential_(2.0),
    "exponential_ named": lambda: torch.empty(N).exponential_(lambd=0.5),
    "bernoulli_": lambda: torch.empty(N, dtype=torch.bool).bernoulli_(0.3),
    "bernoulli_ tensor": lambda: torch.empty(N).bernoulli_(torch.full((N,), 0.3)),
    "cauchy_": lambda: torch.empty(N).cauchy_(1.0, sigma=2.0),
    "geometric_": lambda: torch.empty(N).geometric_(0.3),
    "log_normal_": lambda: torch.empty(N).log_normal_(0.1, 0.2),
    "distributions": lambda: torch.distributions.Normal(torch.zeros(N), 1.0).sample(),
}

ERRORS = {
    "randint empty": lambda: torch.randint(3, 3, (N,)),
    "uniform_ of integers": lambda: torch.empty(N, dtype=torch.int64).uniform_(),
    "uniform_ reversed": lambda: torch.empty(N).uniform_(2, 1),
    "normal_ negative": lambda: torch.empty(N).normal_(0, -1),
    "random_ empty": lambda: torch.empty(N).random_(3, 3),
}


@pytest.fixture
def random() -> Iterator[PerEnvRandom]:
    made = PerEnvRandom(N, "cpu", 7, engine="torch")
    yield made
    made.close()


@pytest.mark.filterwarnings("ignore::holdstep.envs.state.per_env_random.UnattributedDrawWarning")
@pytest.mark.parametrize("name", CALLS)
def test_results_look_like_torchs(random, name):
    wanted = CALLS[name]()
    before = torch.get_rng_state()
    with random.active():
        got = CALLS[name]()
    assert torch.equal(torch.get_rng_state(), before)
    assert type(got) is type(wanted)
    assert (got.shape, got.dtype, got.device, got.stride(), got.requires_grad) == (
        wanted.shape,
        wanted.dtype,
        wanted.device,
        wanted.stride(),
        wanted.requires_grad,
    )
    if got.numel() > 1 and not name.startswith("randperm"):
        assert random.num_draws == 1
        assert not random.unattributed
        assert random.counter.unique().numel() == 1
        assert random.counter[0] > 0


@pytest.mark.parametrize("name", ERRORS)
def test_errors_are_torchs(random, name):
    with pytest.raises((RuntimeError, ValueError, TypeError)) as wanted:
        ERRORS[name]()
    with random.active(), pytest.raises(type(wanted.value)) as got:
        ERRORS[name]()
    assert str(got.value) == str(wanted.value)
    assert random.counter.sum() == 0


def test_in_place_methods_return_and_write_their_tensor(random):
    whole = torch.zeros(N, 3)
    with random.active():
        column = whole[:, 1]
        assert column.uniform_(1, 2) is column
        assert (whole[:, 1] >= 1).all()
        assert not whole[:, [0, 2]].any()
        row = torch.empty(N, 4)
        assert row.normal_() is row


def sample(random: PerEnvRandom, draw, num: int = 400) -> torch.Tensor:
    """A long sample of a row and across rows: ``[N, num]``."""
    with random.active():
        return torch.cat([draw().double().reshape(N, -1) for _ in range(num)], dim=1)


def kolmogorov_smirnov(values: torch.Tensor, cdf) -> float:
    """Scaled distance of a sample from a distribution; above 1.95 once in a thousand times."""
    ordered = values.flatten().sort().values
    num = ordered.numel()
    steps = torch.arange(1, num + 1, dtype=torch.float64) / num
    probabilities = cdf(ordered)
    upper, lower = (steps - probabilities).max(), (probabilities - steps + 1 / num).max()
    return float(torch.maximum(upper, lower)) * math.sqrt(num)


def normal_cdf(x: torch.Tensor) -> torch.Tensor:
    return torch.special.ndtr(x)


CONTINUOUS = {
    "rand": (lambda: torch.rand(N, 3), lambda x: x),
    "rand double": (lambda: torch.rand(N, 3, dtype=torch.float64), lambda x: x),
    "uniform_": (lambda: torch.empty(N, 3).uniform_(-2, 6), lambda x: (x + 2) / 8),
    "randn": (lambda: torch.randn(N, 3), normal_cdf),
    "normal_": (lambda: torch.empty(N).normal_(3, 2), lambda x: normal_cdf((x - 3) / 2)),
    "normal": (
        lambda: torch.normal(torch.full((N,), 3.0), torch.full((N,), 2.0)),
        lambda x: normal_cdf((x - 3) / 2),
    ),
    "exponential_": (lambda: torch.empty(N).exponential_(2.0), lambda x: 1 - torch.exp(-2 * x)),
    "cauchy_": (
        lambda: torch.empty(N).cauchy_(1, 2),
        lambda x: 0.5 + torch.atan((x - 1) / 2) / math.pi,
    ),
    "log_normal_": (
        lambda: torch.empty(N).log_normal_(1, 2),
        lambda x: normal_cdf((x.log() - 1) / 2),
    ),
}


@pytest.mark.parametrize("name", CONTINUOUS)
def test_distributions_are_right(random, name):
    draw, cdf = CONTINUOUS[name]
    values = sample(random, draw)
    assert kolmogorov_smirnov(values, cdf) < 1.95
    for row in (0, 31):
        assert kolmogorov_smirnov(values[row], cdf) < 1.95


def test_the_test_of_distributions_finds_wrong_ones(random):
    values = sample(random, lambda: torch.rand(N, 3))
    assert kolmogorov_smirnov(values, lambda x: x**1.05) > 1.95
    assert kolmogorov_smirnov(values * 0.98, lambda x: x) > 1.95


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_narrow_floats_stay_below_one(random, half):
    values = sample(random, lambda: torch.rand(N, 30, dtype=half), 100)
    assert values.min() >= 0
    assert values.max() < 1
    assert abs(values.mean() - 0.5) < 0.01


DISCRETE = {
    "randint": (lambda: torch.randint(-2, 3, (N,)), {-2: 0.2, -1: 0.2, 0: 0.2, 1: 0.2, 2: 0.2}),
    "random_": (lambda: torch.empty(N).random_(1, 3), {1: 0.5, 2: 0.5}),
    "bernoulli": (lambda: torch.bernoulli(torch.full((N,), 0.3)), {0: 0.7, 1: 0.3}),
    "bernoulli_": (lambda: torch.empty(N).bernoulli_(0.3), {0: 0.7, 1: 0.3}),
    "multinomial": (
        lambda: torch.multinomial(torch.tensor([1.0, 0, 2, 7]), N, True),
        {0: 0.1, 1: 0.0, 2: 0.2, 3: 0.7},
    ),
    "multinomial without replacement": (
        lambda: torch.multinomial(torch.tensor([[1.0, 0, 2, 7]]).repeat(N, 1), 1),
        {0: 0.1, 1: 0.0, 2: 0.2, 3: 0.7},
    ),
    "geometric_": (lambda: torch.empty(N).geometric_(0.5), {1: 0.5, 2: 0.25, 3: 0.125}),
}


@pytest.mark.parametrize("name", DISCRETE)
def test_frequencies_are_right(random, name):
    draw, frequencies = DISCRETE[name]
    values = sample(random, draw)
    for value, probability in frequencies.items():
        found = (values == value).double().mean()
        sigma = math.sqrt(probability * (1 - probability) / values.numel())
        assert abs(found - probability) <= 4 * sigma


def test_rows_and_consecutive_draws_are_uncorrelated(random):
    values = sample(random, lambda: torch.randn(N, 4), 500)
    correlations = torch.corrcoef(values) - torch.eye(N)
    assert correlations.abs().max() < 5 / math.sqrt(values.shape[1])
    later = torch.corrcoef(torch.stack([values[:, :-1].flatten(), values[:, 1:].flatten()]))
    assert abs(later[0, 1]) < 5 / math.sqrt(values.numel())
    assert values.unique().numel() > 0.99 * values.numel()


def test_multinomial_without_replacement_never_repeats(random):
    with random.active():
        drawn = torch.multinomial(torch.rand(N, 6), 6)
    assert torch.equal(drawn.sort(dim=1).values, torch.arange(6).expand(N, 6))


FILLS = [
    (Kind.UNIFORM, 0.0, 1.0),
    (Kind.UNIFORM, -0.3, 0.77),
    (Kind.NORMAL, 0.0, 1.0),
    (Kind.NORMAL, 0.1, 2.5),
    (Kind.INTEGER, -3, 17),
    (Kind.INTEGER, 0, 2**31 + 5),
    (Kind.INTEGER, -(2**62), 2**63),
    (Kind.UNIT, 0.0, 1.0),
]


@pytest.mark.parametrize("num_each", [1, 64, 65, 700])
@pytest.mark.parametrize("ids", [None, [60, 3, 7]])
@pytest.mark.parametrize(("kind", "a", "b"), FILLS)
def test_warp_makes_torchs_numbers(kind, a, b, ids, num_each):
    pytest.importorskip("warp", reason="the Warp engine needs warp-lang")
    from holdstep.envs.state.random_warp import WarpEngine

    rows = None if ids is None else torch.tensor(ids)
    num_rows = N if ids is None else len(ids)
    results = []
    for make in (TorchEngine, WarpEngine):
        rng = PerEnvRng(N, "cpu", 11)
        rng.counter[3] = 2**33
        engine = make(rng)
        out = torch.empty(2, num_rows, num_each, dtype=DTYPES[kind])
        engine.draw(out[0], kind, a, b, rows, advances=False)
        assert rng.counter.sum() == 2**33
        engine.draw(out[1], kind, a, b, rows)
        assert torch.equal(out[0], out[1])
        results.append((out[1], rng.counter))
    (by_torch, counter), (by_warp, warp_counter) = results
    assert torch.equal(counter, warp_counter)
    if kind is Kind.NORMAL:
        # Rounding of log and cos in float64; seen equal, but nobody promises it.
        assert (by_torch != by_warp).float().mean() < 1e-4
        torch.testing.assert_close(by_torch, by_warp, rtol=1e-6, atol=1e-6)
    else:
        assert torch.equal(by_torch, by_warp)


@pytest.mark.parametrize("max_threads", [2**30, 900])
@pytest.mark.parametrize("ids", [None, [60, 3, 7]])
def test_rows_that_threads_share(monkeypatch, ids, max_threads):
    """As on a GPU, where a thread makes one number of a long row, or several if need be."""
    pytest.importorskip("warp", reason="the Warp engine needs warp-lang")
    from holdstep.envs.state import random_warp

    monkeypatch.setattr(random_warp, "MAX_THREADS", max_threads)
    by_torch, by_warp = PerEnvRng(N, "cpu", 11), PerEnvRng(N, "cpu", 11)
    engine = random_warp.WarpEngine(by_warp)
    monkeypatch.setattr(engine, "_on_cpu", False)
    monkeypatch.setattr(engine, "_stream", lambda: None)
    rows = None if ids is None else torch.tensor(ids)
    for num_each in (64, 65, 301, 2):
        outs = [torch.empty(N if ids is None else len(ids), num_each) for _ in range(2)]
        TorchEngine(by_torch).draw(outs[0], Kind.UNIFORM, 0.0, 1.0, rows)
        engine.draw(outs[1], Kind.UNIFORM, 0.0, 1.0, rows)
        assert torch.equal(*outs)
        assert torch.equal(by_torch.counter, by_warp.counter)


def test_threads_beyond_the_rows_touch_nothing():
    """Launches are prepared for powers of two; their parameters are overwritten by each draw."""
    pytest.importorskip("warp", reason="the Warp engine needs warp-lang")
    from holdstep.envs.state.random_warp import WarpEngine

    by_torch, by_warp = PerEnvRng(N, "cpu", 11), PerEnvRng(N, "cpu", 11)
    engines = TorchEngine(by_torch), WarpEngine(by_warp)
    for num_rows in (5, 1, 33, 17, 64, 3):
        ids = torch.arange(N).flip(0)[:num_rows].clone()
        for kind, a, b in FILLS[:1] + FILLS[4:5] + FILLS[7:]:
            for rows in (None, ids):
                outs = [torch.full((N + 9, 3), -7).to(DTYPES[kind]) for _ in engines]
                for engine, out in zip(engines, outs, strict=True):
                    engine.draw(out[:num_rows], kind, a, b, rows)
                assert torch.equal(*outs)
                assert (outs[1][num_rows:] == -7).all()
                assert torch.equal(by_torch.counter, by_warp.counter)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("own_stream", [False, True])
@pytest.mark.parametrize("engine", ["warp", "torch"])
def test_a_gpu_makes_the_same_numbers_and_never_waits(engine, own_stream):
    if engine == "warp":
        pytest.importorskip("warp", reason="the Warp engine needs warp-lang")
    on_cpu = PerEnvRandom(N, "cpu", 7, engine="torch")
    on_gpu = PerEnvRandom(N, "cuda", 7, engine=engine)
    ids = torch.tensor([60, 3, 7])
    ids_on_gpu = ids.cuda()

    def draw(random: PerEnvRandom, ids: torch.Tensor) -> list[torch.Tensor]:
        drawn = []
        with random.active():
            like = torch.zeros(N, 3, device=random.device)
            for _ in range(20):  # memory is used again while the last draws are under way
                drawn += [torch.rand_like(like), like.uniform_(-1, 2).clone()]
                drawn += [torch.rand(N, 300, device=random.device)]
                drawn += [torch.randint(-3, 9, (N, 2), device=random.device)]
                with random.rows(ids):
                    drawn += [torch.rand(3, 5, device=random.device)]
                    drawn += [torch.rand(N, device=random.device)]
                drawn += [torch.randn_like(like)]
        return drawn

    wanted = draw(on_cpu, ids)
    draw(on_gpu, ids_on_gpu)  # kernels are compiled
    on_gpu.reseed(7)
    stream = torch.cuda.Stream() if own_stream else torch.cuda.current_stream()
    stream.wait_stream(torch.cuda.current_stream())
    torch.cuda.set_sync_debug_mode("error")
    try:
        with torch.cuda.stream(stream):
            got = draw(on_gpu, ids_on_gpu)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.cuda.synchronize()
    for number, (one, other) in enumerate(zip(got, wanted, strict=True)):
        if number % 7 == 6:  # normal ones: cos and log are not rounded alike everywhere
            torch.testing.assert_close(one.cpu(), other, rtol=1e-6, atol=1e-6)
        else:
            assert torch.equal(one.cpu(), other)
    assert torch.equal(on_gpu.counter.cpu(), on_cpu.counter)
    assert not on_gpu.missed
    on_cpu.close()
    on_gpu.close()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_draws_in_a_cuda_graph_are_new_ones_at_each_replay():
    pytest.importorskip("warp", reason="the Warp engine needs warp-lang")
    random = PerEnvRandom(N, "cuda", 7, engine="warp")
    wanted = PerEnvRandom(N, "cuda", 7, engine="warp")
    first, second = (torch.empty(N, 3, device="cuda") for _ in range(2))
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with random.active():
        with torch.cuda.stream(stream):
            first.uniform_()  # prepares the launch
        torch.cuda.synchronize()
        random.reseed(7)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream):
            first.uniform_()
            second.uniform_(-2, 3)  # overwrites the parameters that the first launch had
    with wanted.active():
        for _ in range(3):
            graph.replay()
            assert torch.equal(first, torch.empty_like(first).uniform_())
            assert torch.equal(second, torch.empty_like(first).uniform_(-2, 3))
    random.close()
    wanted.close()


def test_the_default_engine_is_warp_where_it_is_installed():
    pytest.importorskip("warp", reason="the Warp engine needs warp-lang")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert type(PerEnvRandom(2, "cpu", 0)._engine).__name__ == "WarpEngine"
