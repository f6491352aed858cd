import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from holdstep.envs.env_ids import canonical_env_ids
from holdstep.errors import HoldstepError, InvalidEnvIdsError

CPU = torch.device("cpu")


@given(st.lists(st.integers(0, 9), unique=True))
def test_all_ways_to_write_the_same_rows_agree(ids):
    mask = torch.zeros(10, dtype=torch.bool)
    mask[ids] = True
    expected = torch.tensor(ids, dtype=torch.int64)
    for form in (ids, np.array(ids, dtype=np.int32), expected.int(), expected):
        assert torch.equal(canonical_env_ids(form, num_envs=10, device=CPU), expected)
    if ids:
        from_mask = canonical_env_ids(mask, num_envs=10, device=CPU)
        assert torch.equal(from_mask, expected.sort().values)


def test_reversed_arrays_and_unsigned_ids_are_ids():
    ids = np.arange(3)
    assert canonical_env_ids(ids[::-1], num_envs=4, device=CPU).tolist() == [2, 1, 0]
    assert canonical_env_ids(ids.astype(np.uint16), num_envs=4, device=CPU).tolist() == [0, 1, 2]
    mask = np.array([True, False, False, False])
    assert canonical_env_ids(mask[::-1], num_envs=4, device=CPU).tolist() == [3]


def test_one_id_is_a_batch_of_one():
    assert canonical_env_ids(3, num_envs=4, device=CPU).tolist() == [3]


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([4], r"\[0, 4\), got 4"),
        ([-1], "got -1"),
        ([1, 1], "must not repeat"),
        ([0.0], "integers or a bool mask"),
        ([[0, 1]], "1-D"),
        ([True, False], r"shape \(4,\)"),
        ("all", "got 'all'. To mean all rows, leave env_ids out"),
        ({1, 2}, "a list or array of rows"),
        (None, "got None"),
        ([0, None], "a list or array of rows"),
        (2**70, "a list or array of rows"),
        (np.array([object()]), "a list or array of rows"),
        (np.array(["a"]), "a list or array of rows"),
        (torch.tensor([1]).to_sparse(), "dense tensor"),
        (torch.zeros(2, dtype=torch.int64, device="meta"), "with values"),
    ],
)
def test_what_cannot_be_rows_is_refused(ids, message):
    with pytest.raises(InvalidEnvIdsError, match=message) as caught:
        canonical_env_ids(ids, num_envs=4, device=CPU)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, HoldstepError)
