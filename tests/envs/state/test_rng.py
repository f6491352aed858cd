import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from holdstep.envs.state.rng import PerEnvRng, mix64
from holdstep.errors import ConfigError, InvalidEnvIdsError

# Seeds are fixed, so the statistical tests give the same verdict in every run. Their bounds are
# what a true uniform source exceeds about once in 10,000 (4 standard errors, or the like).


def ks_statistic(sample):
    """Kolmogorov-Smirnov distance from uniform on [0, 1), times sqrt(n)."""
    ordered, _ = sample.double().flatten().sort()
    n = ordered.numel()
    grid = torch.arange(n, dtype=torch.float64)
    distance = torch.maximum((grid + 1) / n - ordered, ordered - grid / n).max()
    return float(distance) * math.sqrt(n)


def chi_square_z(counts):
    """Chi-square against equal counts, as standard deviations from its mean."""
    expected = counts.sum() / counts.numel()
    dof = counts.numel() - 1
    return (float(((counts - expected) ** 2 / expected).sum()) - dof) / math.sqrt(2 * dof)


def correlation(a, b):
    """Pearson correlation times sqrt(n): standard normal for independent samples."""
    a, b = a.double().flatten(), b.double().flatten()
    return float(torch.corrcoef(torch.stack((a, b)))[0, 1]) * math.sqrt(a.numel())


def draw_table(seed, num_envs=256, num_draws=1024):
    return PerEnvRng(num_envs, "cpu", seed).uniform(num_draws)


def test_mix_is_splitmix64():
    # Reference outputs for state 1234567, from Vigna's splitmix64.c (as listed at Rosetta Code).
    gamma = 0x9E3779B97F4A7C15 - 2**64
    states = torch.tensor(1234567) + torch.arange(1, 6) * gamma
    expected = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    assert [value % 2**64 for value in mix64(states).tolist()] == expected


def by_the_book(seed, row, num_draws):
    """The same stream in Python's integers, after SplittableRandom's mix64 and mixGamma."""
    golden, word = 0x9E3779B97F4A7C15, 2**64 - 1

    def mix(z, shifts, factors):
        z = (z ^ (z >> shifts[0])) * factors[0] & word
        z = (z ^ (z >> shifts[1])) * factors[1] & word
        return z ^ (z >> shifts[2])

    def mix64(z):
        return mix(z & word, (30, 27, 31), (0xBF58476D1CE4E5B9, 0x94D049BB133111EB))

    def mix_gamma(z):
        z = mix(z & word, (33, 33, 33), (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53)) | 1
        return z if (z ^ (z >> 1)).bit_count() >= 24 else z ^ 0xAAAAAAAAAAAAAAAA

    state = mix64(seed + golden) + 2 * row * golden
    key, gamma = mix64(state + golden), mix_gamma(state + 2 * golden)
    return [(mix64(key + j * gamma) >> 40) / 2**24 for j in range(1, num_draws + 1)]


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**64 - 1), row=st.integers(0, 999))
def test_streams_are_by_the_book(seed, row):
    # Also what keeps a seed's meaning from one version to the next.
    assert PerEnvRng(1000, "cpu", seed).uniform(5)[row].tolist() == by_the_book(seed, row, 5)


@pytest.mark.parametrize("seed", [0, 1, 2**64 - 1])
def test_draws_are_uniform(seed):
    table = draw_table(seed)
    n = table.numel()
    assert table.dtype == torch.float32
    assert table.min() >= 0
    assert table.max() < 1
    assert abs(table.double().mean() - 0.5) < 4 * math.sqrt(1 / 12 / n)
    # The variance of (u - 1/2)^2 is 1/180.
    assert abs(table.double().var() - 1 / 12) < 4 * math.sqrt(1 / 180 / n)
    assert ks_statistic(table) < 2.2
    assert abs(chi_square_z(torch.histc(table, 1024, 0, 1))) < 4


def test_first_draws_across_rows_and_across_seeds_are_uniform():
    # What a reset uses: few draws of many rows, and of many seeds.
    rows = PerEnvRng(65536, "cpu", 3).uniform(1)
    seeds = torch.cat([PerEnvRng(1, "cpu", seed).uniform(4) for seed in range(1024)])
    for sample in (rows, seeds):
        assert ks_statistic(sample) < 2.2
        assert abs(chi_square_z(torch.histc(sample, 256, 0, 1))) < 4


def test_every_output_bit_is_fair():
    bits = (draw_table(5) * 2**24).long()
    n = bits.numel()
    for bit in range(24):
        ones = int(((bits >> bit) & 1).sum())
        assert abs(ones - n / 2) < 4.5 * math.sqrt(n / 4), bit


@pytest.mark.parametrize("lag", [1, 2, 3, 4, 7, 64])
def test_no_correlation_along_draws_rows_and_seeds(lag):
    table = draw_table(11)
    assert abs(correlation(table[:, :-lag], table[:, lag:])) < 4.5
    assert abs(correlation(table[:-lag], table[lag:])) < 4.5
    # A diagonal: row i + lag would repeat row i, one draw later, if streams overlapped.
    assert abs(correlation(table[:-lag, lag:], table[lag:, :-lag])) < 4.5
    assert abs(correlation(table, draw_table(11 + lag))) < 4.5
    assert abs(correlation(table[:-lag], draw_table(11 + lag)[lag:])) < 4.5


def test_pairs_of_consecutive_draws_fill_the_square():
    table = draw_table(13)
    cells = (table[:, :-1] * 32).long() * 32 + (table[:, 1:] * 32).long()
    assert abs(chi_square_z(torch.bincount(cells.flatten(), minlength=1024).double())) < 4


def test_rows_never_share_a_stream():
    rng = PerEnvRng(4096, "cpu", 0)
    assert rng.key.unique().numel() == 4096
    assert rng.gamma.unique().numel() == 4096
    assert (rng.gamma & 1).all()


@settings(deadline=None, max_examples=50)
@given(
    masks=st.lists(st.lists(st.booleans(), min_size=5, max_size=5), max_size=12),
    sizes=st.lists(st.integers(1, 4), min_size=12, max_size=12),
    seed=st.integers(0, 2**64 - 1),
)
def test_a_row_sees_its_own_stream_whoever_else_draws(masks, sizes, seed):
    rng = PerEnvRng(5, "cpu", seed)
    drawn = [[] for _ in range(5)]
    for mask, size in zip(masks, sizes, strict=False):
        numbers = rng.uniform(size, mask=torch.tensor(mask))
        for row in range(5):
            if mask[row]:
                drawn[row] += numbers[row].tolist()
    alone = PerEnvRng(5, "cpu", seed).uniform(48)
    for row in range(5):
        assert drawn[row] == alone[row, : len(drawn[row])].tolist()
        assert rng.counter[row] == len(drawn[row])


def test_row_does_not_depend_on_the_number_of_rows():
    few, many = PerEnvRng(3, "cpu", 7).uniform(8), PerEnvRng(300, "cpu", 7).uniform(8)
    assert torch.equal(few, many[:3])


def test_same_seed_same_numbers_other_seed_other_numbers():
    assert torch.equal(draw_table(4), draw_table(4))
    assert not torch.equal(draw_table(4), draw_table(5))


def test_no_seed_means_a_fresh_one():
    assert not torch.equal(draw_table(None), draw_table(None))


@pytest.mark.parametrize("env_ids", [[1, 3], torch.tensor([False, True, False, True])])
def test_reseeding_rows_restarts_those_rows_only(env_ids):
    rng, untouched = PerEnvRng(4, "cpu", 0), PerEnvRng(4, "cpu", 0)
    rng.uniform(5)
    untouched.uniform(5)
    rng.reseed(9, env_ids)
    got, new = rng.uniform(6), PerEnvRng(4, "cpu", 9).uniform(6)
    assert torch.equal(got[[1, 3]], new[[1, 3]])
    assert torch.equal(got[[0, 2]], untouched.uniform(6)[[0, 2]])


def test_putting_counters_back_repeats_the_numbers():
    rng = PerEnvRng(4, "cpu", 0)
    saved = rng.counter.clone()
    first = rng.uniform(3)
    rng.counter.copy_(saved)
    assert torch.equal(rng.uniform(3), first)


def test_bounds_scale_the_numbers():
    unit, scaled = (
        PerEnvRng(64, "cpu", 0).uniform(64),
        PerEnvRng(64, "cpu", 0).uniform(64, low=-3.0, high=-1.0),
    )
    torch.testing.assert_close(scaled, unit * 2 - 3)


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5, "0", True])
def test_unusable_seeds_are_refused(seed):
    with pytest.raises(ConfigError, match="seed"):
        PerEnvRng(2, "cpu", seed)


def test_unusable_env_ids_are_refused():
    with pytest.raises(InvalidEnvIdsError):
        PerEnvRng(2, "cpu", 0).reseed(0, [2])


def test_made_in_inference_mode_and_used_outside_it():
    with torch.inference_mode():
        rng = PerEnvRng(2, "cpu", 0)
        rng.uniform(1)
    rng.uniform(1, mask=torch.tensor([True, False]))
    rng.reseed(1)
    assert rng.counter.tolist() == [0, 0]
