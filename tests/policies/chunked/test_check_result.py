"""What a policy may return, and what is refused before anything of it is executed."""

import pytest
import torch

from holdstep.errors import ConfigError, PolicyError
from holdstep.policies import ChunkRequest, ChunkResult, ChunkSpec
from holdstep.policies.chunked.check_result import checked_result, joined

SPEC = ChunkSpec(chunk_length=4, action_dim=2)


def request_of(num_rows, first=0, **rest):
    ids = torch.arange(first, first + num_rows)
    return ChunkRequest(
        obs={"policy": ids[:, None].float()},
        env_ids=ids,
        episode_ids=ids + 10,
        chunk_ids=ids + 20,
        seeds=ids + 30,
        **rest,
    )


def check(result, num_rows=3):
    return checked_result(result, request_of(num_rows, first=5), SPEC)


def good(num_rows=3):
    return torch.zeros(num_rows, 4, 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_any_floating_point_type_is_taken_as_it_is(dtype):
    result = ChunkResult(actions=good().to(dtype), info={"a": 1})
    assert check(result) is result


@pytest.mark.parametrize("lengths", [[1, 2, 4], [4, 4, 4], [1, 1, 1]])
@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
def test_lengths_from_one_to_the_whole_chunk_are_taken(lengths, dtype):
    check(ChunkResult(actions=good(), valid_lengths=torch.tensor(lengths, dtype=dtype)))


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (torch.zeros(3, 4, 2), "must return a ChunkResult, got Tensor"),
        (None, "got NoneType"),
        (ChunkResult(actions=torch.zeros(2, 4, 2)), r"shape \(2, 4, 2\) for 3 rows.*\(3, 4, 2\)"),
        (ChunkResult(actions=torch.zeros(3, 5, 2)), r"\(3, 5, 2\)"),
        (ChunkResult(actions=torch.zeros(3, 4, 1)), r"\(3, 4, 1\)"),
        (ChunkResult(actions=torch.zeros(3, 8)), r"\(3, 8\)"),
        (ChunkResult(actions=[[0.0]]), "list"),
        (
            ChunkResult(actions=torch.zeros(3, 4, 2).long()),
            "floating point actions, got torch.int64",
        ),
        (ChunkResult(actions=torch.zeros(3, 4, 2, dtype=torch.complex64)), "complex64"),
    ],
)
def test_wrong_results(result, message):
    with pytest.raises(PolicyError, match=message):
        check(result)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("place", [0, 3])
def test_actions_that_are_no_numbers_are_refused_by_row(value, place):
    actions = good()
    actions[1, place, 1] = value
    with pytest.raises(PolicyError, match=r"NaN or infinite for rows \[6\]"):
        check(ChunkResult(actions=actions))


def test_what_is_finite_only_before_it_is_made_an_action_is_refused():
    actions = good().double()
    actions[2, 0, 0] = 1e39
    with pytest.raises(PolicyError, match=r"infinite for rows \[7\]"):
        check(ChunkResult(actions=actions))


def test_what_lies_behind_the_valid_actions_may_be_no_numbers():
    actions = good()
    actions[0, 1:], actions[1, 3:] = torch.nan, torch.inf
    result = ChunkResult(actions=actions, valid_lengths=torch.tensor([1, 3, 4]))
    assert check(result) is result
    for lengths in ([2, 3, 4], [1, 4, 4]):
        row = 5 if lengths[0] == 2 else 6
        with pytest.raises(PolicyError, match=rf"NaN or infinite for rows \[{row}\]"):
            check(ChunkResult(actions=actions, valid_lengths=torch.tensor(lengths)))


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        (torch.tensor([0, 1, 1]), r"\[0, 1, 1\]; each must be from 1 to the chunk_length of 4"),
        (torch.tensor([1, 5, 1]), r"\[1, 5, 1\]"),
        (torch.tensor([-1, 1, 1]), r"\[-1, 1, 1\]"),
        (torch.tensor([1, 1]), r"int64 \[3\]"),
        (torch.tensor([[1], [1], [1]]), r"int64 \[3\]"),
        (torch.tensor([1.0, 1.0, 1.0]), r"int64 \[3\]"),
        (torch.tensor([True, True, True]), r"int64 \[3\]"),
        ([1, 1, 1], r"int64 \[3\]"),
        (4, r"int64 \[3\]"),
    ],
)
def test_wrong_lengths(lengths, message):
    with pytest.raises(PolicyError, match=message):
        check(ChunkResult(actions=good(), valid_lengths=lengths))


def test_one_result_is_passed_on_as_it_is():
    result = ChunkResult(actions=good())
    assert joined([result]) is result


def test_parts_are_joined_in_order():
    parts = [
        ChunkResult(actions=torch.full((2, 4, 2), 1.0), info={"a": 1}),
        ChunkResult(actions=torch.full((1, 4, 2), 2.0), info={"b": 2}),
    ]
    whole = joined(parts)
    assert whole.actions[:, 0, 0].tolist() == [1.0, 1.0, 2.0]
    assert whole.valid_lengths is None
    assert whole.info == {"a": [1, None], "b": [None, 2]}


def test_a_part_without_lengths_is_whole_chunks_among_others_that_are_not():
    parts = [
        ChunkResult(actions=torch.zeros(2, 4, 2)),
        ChunkResult(actions=torch.zeros(1, 4, 2), valid_lengths=torch.tensor([3])),
    ]
    assert joined(parts).valid_lengths.tolist() == [4, 4, 3]


def test_a_part_of_a_request_is_cut_everywhere():
    whole = request_of(
        5,
        instructions=list("abcde"),
        prefix=torch.arange(5.0)[:, None, None].expand(-1, 3, 2),
        prefix_lengths=torch.arange(5),
        delays=torch.arange(5) * 2,
    )
    part = whole.rows(1, 3)
    assert len(part) == 2
    assert part.obs["policy"].tolist() == [[1.0], [2.0]]
    assert part.env_ids.tolist() == [1, 2]
    assert part.episode_ids.tolist() == [11, 12]
    assert part.chunk_ids.tolist() == [21, 22]
    assert part.seeds.tolist() == [31, 32]
    assert part.instructions == ["b", "c"]
    assert part.prefix[:, 0, 0].tolist() == [1.0, 2.0]
    assert part.prefix_lengths.tolist() == [1, 2]
    assert part.delays.tolist() == [2, 4]
    plain = request_of(3).rows(0, 1)
    assert (plain.prefix, plain.prefix_lengths, plain.delays) == (None, None, None)
    assert len(plain.instructions) == 0


@pytest.mark.parametrize("name", ["chunk_length", "action_dim", "max_batch"])
@pytest.mark.parametrize("value", [0, -1, 1.0, True, "4"])
def test_a_spec_of_impossible_numbers(name, value):
    with pytest.raises(ConfigError, match=f"ChunkSpec.{name} must be an integer >= 1, got"):
        ChunkSpec(**{"chunk_length": 4, "action_dim": 2, name: value})


def test_a_spec_whose_groups_are_one_word_is_not_read_letter_by_letter():
    with pytest.raises(ConfigError, match=r"obs_keys must be a tuple.*\('actor',\)"):
        ChunkSpec(chunk_length=4, action_dim=2, obs_keys="actor")
