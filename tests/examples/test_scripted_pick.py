"""One script per arm, on real physics; the planner stops only the arm that asked."""

import pytest

from tests.examples.load import load_example


@pytest.fixture(scope="module")
def example():
    pytest.importorskip("mjlab", reason="the extra 'mjlab' is not installed")
    return load_example("scripted_pick")


def picks(example, **arguments):
    result = example.main(example.Arguments(num_envs=2, num_episodes=2, seed=0, **arguments))
    return result, result.return_values


def test_cubes_are_lifted_however_slow_the_planner_is(example):
    result, told = picks(example, think_s=0.6)
    assert all(pick.lifted for pick in told)
    assert all(pick.stood_still for pick in told)
    # Thinking took no simulated time: each script has just the steps that it asked for ...
    assert [record.length for record in result.episodes] == [130] * 2
    # ... while the batch took more, because arms waited at different times, ...
    assert result.num_steps > 131
    # ... and fewer than one after the other would, with plans that overlapped.
    assert result.num_steps < 2 * 130
    begun, ready = zip(*(plan for pick in told for plan in pick.plans), strict=True)
    thought_s = sum(ready) - sum(begun)
    assert thought_s > 3 * 0.6 * (1 + 1.5)
    first_plans = [pick.plans[0] for pick in told]
    assert max(start for start, _ in first_plans) < min(end for _, end in first_plans)

    # The very same happens with a planner that is quick.
    quick_result, quick = picks(example, think_s=0.0)
    assert [pick.height for pick in quick] == [pick.height for pick in told]
    returns = [record.episode_return for record in result.episodes]
    assert returns == [record.episode_return for record in quick_result.episodes]


def test_without_suspension_arms_move_while_they_wait(example, monkeypatch):
    """What the first test would see if nothing was suspended."""
    monkeypatch.setattr(example.SuspendOnWait, "suspend", lambda self, env_ids: None)
    monkeypatch.setattr(example.SuspendOnWait, "resume", lambda self, env_ids: None)
    result = example.main(example.Arguments(num_envs=2, num_episodes=2, think_s=0.2))
    assert not all(pick.stood_still for pick in result.return_values)
