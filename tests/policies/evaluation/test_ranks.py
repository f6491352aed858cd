"""Several processes evaluate the episodes that one would, and come to one result."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdstep.distributed import Rank
from holdstep.errors import ConfigError, EvaluationError
from holdstep.policies import EvalResult
from holdstep.policies.evaluation.accounting import EpisodeAccounts
from holdstep.policies.evaluation.ranks import merged, result_of_all
from tests.launch_ranks import run_ranks
from tests.policies.evaluation.evaluating_ranks import chunks, command, one_seed_for_all, plain


def test_two_ranks_find_what_one_process_does(tmp_path):
    function = "tests.policies.evaluation.evaluating_ranks:evaluate_everything"
    first, second = run_ranks(function, 2, tmp_path)
    alone = chunks(11)
    command(tmp_path, num_envs=3).run()

    printed = first.pop("printed"), second.pop("printed")
    said = [answer["failure"].pop("says") for answer in (first, second)]
    assert first == second, "all ranks return the same"
    assert first["chunks"] == plain(alone)
    assert first["num_by_instruction"] == alone.num_by_instruction
    assert first["few"] == plain(chunks(1)), "of the second rank's none"
    assert (first["num_envs"], first["num_ranks"]) == (6, 2)
    assert first["rows"] == list(range(6))
    # Without seeds of their own, the episodes are others; but none of them is run by both ranks.
    returns = [episode.episode_return for episode in one_seed_for_all(8).episodes]
    assert first["runs"][::2] == returns[:4]
    assert len(set(first["runs"])) == 8
    # The first rank's are all there, and of the second one's those that ended.
    assert first["failure"]["partial"] == [0, 1, 2, 3, 4, 6, 8]
    assert said[0].startswith("Rank 1: Episodes of rows [0, 1] have not ended")
    assert said[1].startswith("Episodes of rows [0, 1] have not ended")
    assert "9 in 8 rows" in printed[0]
    assert printed[1] == ""
    both, one = (
        EvalResult.from_json(tmp_path / f"rows-{num_envs}" / "result.json") for num_envs in (4, 3)
    )
    assert plain(both) == plain(one)
    assert len(list((tmp_path / "rows-4").iterdir())) == 3


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 6), st.lists(st.integers(1, 5), min_size=6, max_size=6))
def test_every_number_is_run_once_whatever_the_others_do(num_episodes, world_size, num_rows):
    numbers = []
    for number in range(world_size):
        accounts = EpisodeAccounts(num_rows[number], num_episodes, Rank(number, world_size))
        own = accounts.start(range(num_rows[number]))
        while accounts.running_mask.any():
            row = int(accounts.running_mask.nonzero()[0][-1])
            assert accounts.finish(row) in own
            own += accounts.start([row])
        assert accounts.all_finished
        assert own == sorted(own)
        numbers += own
        assert abs(len(own) - num_episodes / world_size) < 1
    assert sorted(numbers) == list(range(num_episodes))


@pytest.mark.parametrize("num_episodes", [0, True, 2.0])
def test_no_episodes_at_all_are_refused_of_every_rank(num_episodes):
    with pytest.raises(ConfigError, match="num_episodes must be an integer of at least 1"):
        EpisodeAccounts(2, num_episodes, Rank(1, 2))


def test_one_process_is_left_as_it_is():
    own = chunks(4)
    assert result_of_all(own, None, Rank()) is own
    assert merged([own]) is own
    failure = EvaluationError("An episode has not ended.")
    with pytest.raises(EvaluationError) as raised:
        result_of_all(own, failure, Rank())
    assert raised.value is failure
    assert failure.partial is own


def test_times_steps_and_rows_of_parts():
    part = chunks(3)
    parts = [
        dataclasses.replace(part, num_envs=rows, num_steps=steps, wall_time_s=time_s)
        for rows, steps, time_s in ((3, 10, 1.0), (5, 20, 4.0), (4, 7, 2.0))
    ]
    whole = merged(parts)
    assert (whole.num_envs, whole.num_steps, whole.wall_time_s) == (12, 37, 4.0)
    rows = [episode.env_id for episode in part.episodes]
    of_last = sorted(whole.episodes, key=lambda episode: episode.env_id)[-1]
    assert of_last.env_id == 3 + 5 + max(rows)
