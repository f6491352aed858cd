"""``holdstep train --live``: a table of the stack while rsl_rl's runner drives it."""

import sys
from types import SimpleNamespace

import pytest

from holdstep.cli import main
from holdstep.cli.train_live import train_with_table
from holdstep.policies.rsl_rl import TrainingSettings
from holdstep.wrappers import SuspendOnWait

pytest.importorskip("rsl_rl", reason="the extra 'rsl-rl' is not installed")

TRAIN = ("train", "holdstep:CartPole", "--device", "cpu", "--num-envs", "2", "--iterations", "2")
SHORT = ("--set", "agent.num_steps_per_env=8", "--live")


@pytest.fixture(autouse=True)
def wide(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")


def train(capsys, *arguments):
    stdout = sys.stdout
    code = main([*TRAIN, *SHORT, *arguments])
    assert sys.stdout is stdout
    return code, capsys.readouterr()


def test_a_table_tells_of_the_stack_and_of_the_training(capsys):
    code, printed = train(capsys)
    assert code == 0
    assert "16 steps" in printed.err
    assert "own time per step" in printed.err
    assert "CartPole" in printed.err
    assert "iteration 2 of 2, return" in printed.err
    assert "steps/s" in printed.err
    assert "checkpoint" in printed.out
    assert "training" not in printed.out  # no bar
    assert "Learning iteration" not in printed.out


@pytest.mark.parametrize("verbose", [False, True])
def test_in_a_terminal_what_rsl_rl_prints_runs_by_above_the_table(capsys, monkeypatch, verbose):
    monkeypatch.setenv("FORCE_COLOR", "1")  # takes any stream for a terminal
    code, printed = train(capsys, *(["--verbose"] if verbose else []))
    assert code == 0
    assert printed.err.index("building holdstep:CartPole") < printed.err.index("own time per step")
    assert "Learning iteration" not in printed.out  # it would tear the table apart
    assert ("Learning iteration" in printed.err) == verbose
    last_table = printed.err.rindex("own time per step")
    assert printed.err.rfind("Learning iteration") < last_table
    assert "iteration 2 of 2" in printed.err[last_table:]


def test_the_layers_that_are_wrapped_around_the_env_are_in_it(capsys):
    settings = TrainingSettings(
        env_id="holdstep:CartPole",
        num_envs=2,
        device="cpu",
        iterations=1,
        agent_overrides={"num_steps_per_env": 8},
    )
    stacks = []

    def wrap(env):
        stacks.append(SuspendOnWait(env))
        return stacks[0]

    train_with_table(settings, wrap=wrap)
    printed = capsys.readouterr().err
    assert "SuspendOnWait" in printed
    assert "suspended share 0%" in printed
    assert "step" not in vars(stacks[0])  # it is watched no more


def test_a_run_that_cannot_begin_shows_its_error_and_no_table(capsys):
    code, printed = train(capsys, "--set", "agent.gama=1")
    assert code == 2
    assert "no setting" in printed.err
    assert "own time per step" not in printed.err
    assert "building" not in printed.err


def test_a_run_that_fails_leaves_the_table_and_the_error(capsys, monkeypatch):
    def fail(self, *args):
        raise RuntimeError("the robot fell over")

    monkeypatch.setattr("rsl_rl.algorithms.PPO.update", fail)
    with pytest.raises(RuntimeError, match="fell over"):
        train(capsys)
    printed = capsys.readouterr()
    assert "8 steps" in printed.err
    assert "iteration 0 of 2" in printed.err


@pytest.mark.parametrize(
    ("rank", "options", "shown"),
    [("0", SHORT, ["table"]), ("1", SHORT, ["bar"]), ("0", SHORT[:-1], ["bar"])],
)
def test_only_the_first_rank_shows_it_and_only_when_asked(monkeypatch, rank, options, shown):
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", "2")
    used = []
    result = SimpleNamespace()
    monkeypatch.setattr(
        "holdstep.cli.train_live.train_with_table", lambda _: used.append("table") or result
    )
    monkeypatch.setattr(
        "holdstep.cli.train.train_with_progress", lambda _, console: used.append("bar") or result
    )
    monkeypatch.setattr("holdstep.cli.train.print_result", lambda _, console: None)
    assert main([*TRAIN, *options]) == 0
    assert used == shown
