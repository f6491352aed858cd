"""The example that puts everything into one stack, on Isaac Lab."""

from tests.examples.load import load_example
from tests.examples.test_full_stack import check_recorded, check_report


def test_it_trains_evaluates_records_exports_and_deploys(tmp_path):
    example = load_example("full_stack")
    file = example.main(
        example.Arguments(
            env_id="isaaclab:Isaac-Cartpole-v0",
            num_envs=6,
            iterations=2,
            num_episodes=8,
            episode_s=1.0,
            out=tmp_path / "runs",
        )
    )
    check_recorded(check_report(file, 8), file)
