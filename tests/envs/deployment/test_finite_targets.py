"""Targets are refused if, and only if, one of them is no finite number."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from holdstep.envs.deployment.finite_targets import check_finite
from holdstep.errors import PolicyError

WRITE = "write:robot:set_joint_position_target"
NUMBERS = st.one_of(
    st.sampled_from([3e38, -3e38, math.inf, -math.inf, math.nan]),
    st.floats(-1e3, 1e3, width=32),
)


@given(st.lists(st.lists(NUMBERS, min_size=3, max_size=3), min_size=1, max_size=4))
def test_each_row_that_is_not_finite_is_named(rows):
    bad = [index for index, row in enumerate(rows) if not all(map(math.isfinite, row))]
    value = torch.tensor(rows, dtype=torch.float32)
    if not bad:
        check_finite(WRITE, value)
        return
    with pytest.raises(PolicyError, match=rf"for {WRITE}, rows \[{', '.join(map(str, bad))}\]"):
        check_finite(WRITE, value)


def test_large_targets_may_overflow_in_a_sum():
    check_finite(WRITE, torch.full((2, 4), 3e38))
