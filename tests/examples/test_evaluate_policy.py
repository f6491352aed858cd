"""Two ways of running a controller, evaluated on the same episodes."""

from holdstep.policies import EvalResult
from tests.examples.load import load_example

example = load_example("evaluate_policy")


def test_chunks_are_worse_and_the_usual_count_hides_it(tmp_path):
    outcome = example.main(example.Arguments(num_episodes=150, out=tmp_path))
    assert [e.seed for e in outcome.steps.episodes] == [e.seed for e in outcome.chunks.episodes]
    assert outcome.steps.success_rate > outcome.chunks.success_rate
    gained, lost = outcome.only_chunks, outcome.only_steps
    difference = outcome.steps.num_successes - outcome.chunks.num_successes
    assert lost - gained == difference > 0
    assert outcome.first_to_end > outcome.chunks.success_rate + 0.05
    for name, result in (("steps", outcome.steps), ("chunks", outcome.chunks)):
        assert EvalResult.from_json(tmp_path / f"{name}.json") == result
        assert (tmp_path / f"{name}.png").stat().st_size > 0
