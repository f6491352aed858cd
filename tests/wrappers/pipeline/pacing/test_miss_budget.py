from hypothesis import example, given
from hypothesis import strategies as st

from holdstep.wrappers.pipeline.pacing.miss_budget import MissBudget

SPARE = 5  # 2 / 0.5 + 1, as the docstring says


@given(
    st.sampled_from([0.005, 0.01, 0.05, 0.2]),
    st.lists(st.booleans(), min_size=1, max_size=400),
    st.integers(0, 3000),
)
@example(0.01, [True] * 400, 3000)
def test_no_sequence_has_more_misses_than_promised(target, wishes, num_quiet):
    """An adversary misses whenever it likes, but nothing while the budget is empty."""
    budget = MissBudget(target)
    for _ in range(num_quiet):
        budget.frame(missed=False)
    num_missed = 0
    for count, wish in enumerate(wishes, start=1):
        missed = wish and not budget.is_empty
        budget.frame(missed=missed)
        num_missed += missed
        assert num_missed <= target * count + SPARE


def test_misses_at_any_rate_come_down_to_the_target():
    budget = MissBudget(0.02)
    num_missed = 0
    for _ in range(10_000):
        missed = not budget.is_empty  # as often as is let
        budget.frame(missed=missed)
        num_missed += missed
    assert 0.02 * 10_000 <= num_missed <= 0.02 * 10_000 + SPARE


def test_it_empties_fast_and_recovers_slowly():
    budget = MissBudget(0.01)
    assert budget.allowed_share == 0.01
    for _ in range(3):
        assert not budget.is_empty
        budget.frame(missed=True)
    assert budget.is_empty
    assert budget.allowed_share == 0.0
    num_frames = 0
    while budget.is_empty:
        budget.frame(missed=False)
        num_frames += 1
    assert 50 < num_frames <= 100


def test_a_quiet_time_does_not_excuse_a_burst():
    budget = MissBudget(0.01)
    for _ in range(100_000):
        budget.frame(missed=False)
    assert budget.allowed_share == 0.02
