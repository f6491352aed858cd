import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdstep.wrappers.pipeline.pacing.recent import RecentValues

numbers = st.lists(st.floats(-1e3, 1e3) | st.sampled_from([0.0, 1.0]), min_size=1, max_size=40)


@given(numbers, st.integers(1, 12), st.floats(0.01, 1))
def test_everything_is_as_sorting_the_last_values_says(values, window, level):
    recent = RecentValues(window)
    for value in values:
        recent.add(value)
    last = sorted(values[-window:])
    assert len(recent) == len(last)
    assert recent.quantile(level) == last[math.ceil(level * len(last)) - 1]
    for limit in values:
        assert recent.num_above(limit) == sum(value > limit for value in last)
        not_above = [value for value in last if value <= limit]
        assert recent.largest(3, up_to=limit) == not_above[-3:]
    assert recent.largest(3) == last[-3:]


def test_the_lowest_level_is_the_smallest_value():
    recent = RecentValues(3)
    recent.add(2.0)
    recent.add(1.0)
    assert recent.quantile(0.0) == 1.0


def test_no_quantile_of_nothing():
    with pytest.raises(IndexError):
        RecentValues(3).quantile(0.5)
