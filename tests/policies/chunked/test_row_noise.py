"""Noise of which each row's part depends on that row's seed alone."""

import math
import threading

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from holdstep.errors import PolicyError
from holdstep.policies.chunked.random_ops import RandomOpsRefused
from holdstep.policies.chunked.row_noise import RowStreams, per_row_noise
from holdstep.policies.chunked.row_noise_mode import RowNoiseMode

seed_lists = st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=40)


@settings(max_examples=60, deadline=None)
@given(
    seeds=seed_lists,
    shape=st.lists(st.integers(1, 7), max_size=3),
    threads=st.integers(1, 2),
    data=st.data(),
)
def test_a_row_does_not_depend_on_the_others(seeds, shape, threads, data):
    chosen = data.draw(st.lists(st.integers(0, len(seeds) - 1), min_size=1))
    noise = per_row_noise(torch.tensor(seeds), shape)
    torch.set_num_threads(threads)
    try:
        part = per_row_noise(torch.tensor(seeds)[chosen], shape)
    finally:
        torch.set_num_threads(1)
    assert torch.equal(part, noise[chosen])


def test_a_row_does_not_depend_on_the_others_where_threads_share_the_work():
    seeds = torch.arange(3000)
    torch.set_num_threads(2)
    try:
        noise = per_row_noise(seeds, (31,))
    finally:
        torch.set_num_threads(1)
    for start in (0, 1, 1057, 2999):
        assert torch.equal(noise[start : start + 1], per_row_noise(seeds[start : start + 1], (31,)))


def test_it_is_standard_normal():
    noise = per_row_noise(torch.arange(2000), (10, 25)).double()
    assert noise.mean().abs() < 0.01
    assert noise.var() == pytest.approx(1.0, abs=0.01)
    assert (noise**4).mean() == pytest.approx(3.0, abs=0.05)
    for bound in (-2.0, -1.0, 0.5, 3.0):
        expected = 0.5 * (1 + math.erf(bound / math.sqrt(2)))
        assert (noise < bound).double().mean() == pytest.approx(expected, abs=3e-3)


def test_rows_and_draws_are_uncorrelated():
    # Seeds that follow each other are what a run without a hash would use.
    noise = per_row_noise(torch.arange(400), (400,)).double()
    for pairs in (noise.T.corrcoef(), noise.corrcoef()):
        beside = pairs - torch.eye(400, dtype=torch.float64)
        assert beside.abs().max() < 6 / 20
        assert beside.mean().abs() < 1e-3
    shifted = (noise[:-1, 1:] * noise[1:, :-1]).mean()
    assert shifted.abs() < 0.02


def test_numbers_go_on_from_draw_to_draw():
    at_once = RowStreams(torch.tensor([3, 4])).uniform((6,))
    streams = RowStreams(torch.tensor([3, 4]))
    in_parts = torch.cat([streams.uniform((2,)), streams.uniform((4,))], dim=1)
    assert torch.equal(at_once, in_parts)
    assert ((at_once > 0) & (at_once < 1)).all()


class Uploads(TorchDispatchMode):
    """Counts copies to a device."""

    def __init__(self, device):
        super().__init__()
        self.device, self.count = device, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is torch.ops.aten._to_copy.default and kwargs.get("device") == self.device:
            self.count += 1
        return func(*args, **kwargs)


def test_what_a_device_draws_from_is_copied_to_it_once():
    """Not at every draw of a network that draws in each of its steps."""
    streams = RowStreams(torch.tensor([3, 4]))
    with Uploads(torch.device("meta")) as uploads:
        for _ in range(5):
            assert streams.normal((2,), "meta").shape == (2, 2)
    assert uploads.count == 1


def test_a_dtype_can_be_named():
    assert per_row_noise(torch.tensor([1]), (2,), dtype=torch.float16).dtype == torch.float16


NOISES = {
    "randn": lambda rows: torch.randn(rows, 3),
    "randn of a tuple": lambda rows: torch.randn((rows, 3)),
    "randn by name": lambda rows: torch.randn(size=(rows, 3), generator=None, device="cpu"),
    "rand": lambda rows: torch.rand([rows, 3]),
    "randn_like": lambda rows: torch.randn_like(torch.zeros(rows, 3)),
    "rand_like": lambda rows: torch.rand_like(torch.zeros(rows, 3)),
    "normal": lambda rows: torch.normal(0.0, 1.0, size=(rows, 3)),
    "normal of tensors": lambda rows: torch.normal(torch.zeros(rows, 3), torch.ones(rows, 3)),
    "normal of a tensor": lambda rows: torch.normal(0.0, torch.ones(rows, 3)),
    "normal_": lambda rows: torch.empty(rows, 3).normal_(0.0, 1.0),
    "uniform_": lambda rows: torch.empty(rows, 3).uniform_(0, 1),
    "a distribution": lambda rows: torch.distributions.Normal(
        torch.zeros(rows, 3), torch.ones(rows, 3)
    ).rsample(),
}


@pytest.mark.parametrize("draw", NOISES.values(), ids=NOISES.keys())
def test_what_a_network_draws_is_made_row_by_row(draw):
    state = torch.get_rng_state()
    with RowNoiseMode(torch.tensor([5, 6, 7])):
        first, second = draw(3), draw(3)
    with RowNoiseMode(torch.tensor([6])):
        alone = torch.cat([draw(1), draw(1)])
    assert torch.equal(alone, torch.stack([first[1], second[1]]))
    assert not torch.equal(first, second)
    assert len({tuple(row) for row in first.tolist()}) == 3
    assert torch.equal(state, torch.get_rng_state())


INTO = {
    "randn": lambda rows, out: torch.randn(rows, 3, out=out),
    "rand": lambda rows, out: torch.rand((rows, 3), out=out),
    "normal": lambda rows, out: torch.normal(2.0, 3.0, (rows, 3), out=out),
    "normal of a tensor": lambda rows, out: torch.normal(torch.zeros(rows, 3), 1.0, out=out),
}


@pytest.mark.parametrize("draw", INTO.values(), ids=INTO.keys())
@pytest.mark.parametrize("shape", [(2, 3), (0,)])
def test_what_is_to_be_drawn_into_a_tensor_is_there(draw, shape):
    out = torch.zeros(shape)
    with RowNoiseMode(torch.tensor([5, 6])):
        drawn = draw(2, out)
    with RowNoiseMode(torch.tensor([5, 6])):
        expected = draw(2, None)
    assert drawn is out
    assert torch.equal(out, expected)
    assert out.abs().min() > 0


def test_what_is_drawn_into_a_tensor_has_its_dtype():
    out = torch.empty(50, 100, dtype=torch.bfloat16)
    with RowNoiseMode(torch.arange(50)):
        torch.rand(50, 100, out=out)
    assert out.dtype == torch.bfloat16
    assert out.max() < 1


def test_scale_and_location_are_heeded():
    with RowNoiseMode(torch.arange(4000)):
        normal = torch.normal(5.0, 2.0, (4000, 10))
        in_place = torch.empty(4000, 10).normal_(mean=-3.0, std=0.5)
        uniform = torch.empty(4000, 10).uniform_(2.0, 4.0)
        per_row = torch.normal(torch.arange(4000.0), torch.full((4000,), 1e-3))
    assert normal.mean() == pytest.approx(5.0, abs=0.05)
    assert normal.std() == pytest.approx(2.0, abs=0.05)
    assert in_place.mean() == pytest.approx(-3.0, abs=0.02)
    assert in_place.std() == pytest.approx(0.5, abs=0.02)
    assert uniform.min() >= 2.0
    assert uniform.max() < 4.0
    assert uniform.mean() == pytest.approx(3.0, abs=0.02)
    assert (per_row - torch.arange(4000.0)).abs().max() < 0.01


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_uniform_numbers_stay_below_one_in_any_dtype(dtype):
    with RowNoiseMode(torch.arange(50)):
        numbers = torch.rand(50, 2000, dtype=dtype)
    assert numbers.dtype == dtype
    assert numbers.max() < 1
    assert numbers.mean(dtype=torch.float64) == pytest.approx(0.5, abs=0.01)


def test_noise_without_the_batch_in_front_is_refused():
    with RowNoiseMode(torch.tensor([1, 2])):
        with pytest.raises(PolicyError, match=r"shape \(3, 2\) for a batch of 2"):
            torch.randn(3, 2)
        with pytest.raises(PolicyError, match=r"shape \(\)"):
            torch.randn(())


def test_other_threads_draw_as_they_did():
    drawn = []
    with RowNoiseMode(torch.tensor([1, 2])):
        thread = threading.Thread(target=lambda: drawn.append(torch.randn(7)))
        thread.start()
        thread.join()
    assert drawn[0].shape == (7,)


REFUSED = {
    "randint": lambda: torch.randint(3, (2,)),
    "bernoulli": lambda: torch.bernoulli(torch.ones(2, 3) / 2),
    "multinomial": lambda: torch.distributions.Categorical(torch.ones(2, 3)).sample(),
    "gumbel_softmax": lambda: nn.functional.gumbel_softmax(torch.zeros(2, 3)),
    "dropout": lambda: nn.functional.dropout(torch.ones(2, 3), 0.5, training=True),
    "a layer that trains": lambda: nn.Dropout(0.1)(torch.ones(2, 3)),
    "attention's dropout": lambda: nn.functional.scaled_dot_product_attention(
        *[torch.ones(2, 1, 4, 8)] * 3, dropout_p=0.1
    ),
    "init": lambda: nn.init.normal_(torch.empty(2, 3)),
}


@pytest.mark.parametrize("draw", REFUSED.values(), ids=REFUSED.keys())
def test_other_ways_to_draw_are_found(draw):
    with (
        RandomOpsRefused(),
        RowNoiseMode(torch.tensor([1, 2])),
        pytest.raises(PolicyError, match="row by row"),
    ):
        draw()


HARMLESS = {
    "a transformer": nn.TransformerEncoder(
        nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True), 1
    ),
    "a GRU": nn.GRU(8, 8, 2, dropout=0.2, batch_first=True),
    "dropout": nn.Dropout(0.5),
}


@pytest.mark.parametrize("network", HARMLESS.values(), ids=HARMLESS.keys())
def test_networks_with_their_dropout_off_pass(network):
    with torch.no_grad(), RandomOpsRefused(), RowNoiseMode(torch.tensor([1, 2])):
        network.eval()(torch.zeros(2, 4, 8))


def test_attention_without_dropout_passes():
    query = torch.ones(2, 1, 4, 8)
    with RandomOpsRefused():
        nn.functional.scaled_dot_product_attention(query, query, query)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_drawing_on_a_gpu_does_not_wait_for_it():
    per_row_noise(torch.arange(100), (50,), device="cuda")
    torch.cuda.synchronize()
    torch.cuda._sleep(400_000_000)
    slept = torch.cuda.Event()
    slept.record()
    with RowNoiseMode(torch.arange(100)):
        for _ in range(10):
            torch.randn(100, 50, device="cuda")
    assert not slept.query()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_makes_the_same_noise_to_within_rounding():
    seeds = torch.arange(100)
    on_gpu = per_row_noise(seeds, (50,), device="cuda")
    torch.testing.assert_close(on_gpu.cpu(), per_row_noise(seeds, (50,)), rtol=1e-6, atol=1e-6)
    assert torch.equal(on_gpu[7:8], per_row_noise(seeds[7:8], (50,), device="cuda"))
    with RowNoiseMode(seeds):
        drawn = torch.randn(100, 50, device="cuda")
    assert torch.equal(drawn, on_gpu)
