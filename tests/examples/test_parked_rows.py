"""A curriculum that lets rows in one after the other."""

from tests.examples.load import load_example

example = load_example("parked_rows")


def test_levels_join_when_the_ones_before_are_solved():
    outcome = example.main(example.Arguments(num_levels=8, seed=0))
    assert outcome.solved == 8
    assert outcome.num_active[0] == 1
    assert outcome.num_active[-1] == 8
    assert outcome.num_active == sorted(outcome.num_active)
    # Nothing happened to a level before it joined, and harder ones have been stepped less.
    assert outcome.parked_unchanged
    assert outcome.row_steps == sum(outcome.steps_of_level)
    trials_before_it_joined = outcome.num_active.index(8)
    assert trials_before_it_joined > 0
    assert outcome.steps_of_level[7] <= 100 * (
        len(outcome.num_active) - trials_before_it_joined + 1
    )


def test_hard_levels_stay_parked_as_long_as_the_first_is_not_solved():
    outcome = example.main(example.Arguments(num_levels=8, max_trials=1, seed=0))
    assert outcome.num_active == [1, 1]
    assert outcome.steps_of_level[1:] == [0] * 7
