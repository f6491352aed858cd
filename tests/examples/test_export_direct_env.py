"""An env without managers, exported by its markers, and run on another pendulum."""

from tests.examples.load import load_example

example = load_example("export_direct_env")


def test_it_holds_another_pendulum_and_names_the_missing_marker(tmp_path):
    folder = tmp_path / "exported"
    outcome = example.main(example.Arguments(out=folder))
    assert outcome.parity <= 1e-5
    assert outcome.inputs == (
        "state:pendulum:joint_pos",
        "state:pendulum:joint_vel",
        "command:target",
    )
    assert 0 < outcome.distance < 0.15
    assert (folder / "contract.yaml").is_file()
    assert "_get_observations (export_direct_env.py:" in outcome.complaint
    assert "differs between rows" in outcome.complaint
