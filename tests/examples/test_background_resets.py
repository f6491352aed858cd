"""Start states made by threads, while their rows are suspended."""

from tests.examples.load import load_example

example = load_example("background_resets")


def test_rows_wait_alone_for_their_start_states():
    outcome = example.main(example.Arguments(num_envs=6, num_episodes=18, scene_s=0.1))
    assert outcome.stood_still
    # Each episode begins in a state that was made for it.
    assert len(outcome.start_distances) >= 18
    assert min(outcome.start_distances) >= example.MIN_DISTANCE
    # Rows stood still while others went on: otherwise all rows would step in each step.
    assert outcome.row_steps < 6 * outcome.num_steps
    assert outcome.row_steps > outcome.num_steps
    # Start states were made at the same time, and while rows were stepped.
    assert outcome.wall_s < outcome.scenes_s


def test_in_place_nobody_goes_on():
    outcome = example.main(
        example.Arguments(num_envs=4, num_episodes=6, scene_s=0.02, in_place=True)
    )
    assert outcome.row_steps == 4 * outcome.num_steps
