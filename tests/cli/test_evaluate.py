"""``holdstep evaluate`` as a user calls it."""

import sys

import pytest

from holdstep.cli import main
from holdstep.cli.evaluate import parse_scheduler, suspended
from holdstep.envs import adapt, make
from holdstep.errors import CapabilityError, ConfigError
from holdstep.policies import (
    Adaptive,
    AnyTrigger,
    Cohort,
    Continuous,
    EvalResult,
    GlobalClock,
    Prefetch,
    Threshold,
)
from holdstep.wrappers import SuspendOnWait

POLICIES = """
import torch
from holdstep.policies import ChunkResult, ChunkSpec

closed = []

def to_the_goal(env):
    assert env.num_envs == 4
    return lambda obs: 2.0 * obs["policy"][:, 4:] - 1.5 * obs["policy"][:, 2:4]

class Chunks:
    spec = ChunkSpec(chunk_length=5, action_dim=2, uses_instructions=True)

    def __init__(self, env):
        self.device = env.device

    def infer(self, request):
        obs = request.obs["policy"]
        actions = 2.0 * obs[:, 4:] - 1.5 * obs[:, 2:4]
        return ChunkResult(actions=actions[:, None].expand(-1, 5, -1))

    def reset(self, env_ids, episode_ids):
        pass

    def close(self):
        closed.append(self)

def never(env):
    return lambda obs: torch.zeros(len(obs["policy"]), 2)
"""
COMMON = ("evaluate", "holdstep:PointMass", "--num-envs", "4", "--device", "cpu")


@pytest.fixture(autouse=True)
def policies(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    monkeypatch.setenv("COLUMNS", "160")
    (tmp_path / "given_policies.py").write_text(POLICIES)
    yield
    sys.modules.pop("given_policies", None)


def test_a_callable(tmp_path, capsys):
    policy = ("--policy", "given_policies:to_the_goal")
    assert main([*COMMON, *policy, "--num-episodes", "12", "--out", "a/b"]) == 0
    out = capsys.readouterr().out
    assert "success rate   │ 1.000" in out
    assert "12 in 4 rows" in out
    folder = tmp_path / "a" / "b"
    result = EvalResult.from_json(folder / "result.json")
    assert len(result.episodes) == 12
    assert result.idle_rows == "suspended"
    assert result.seed_scope == "episode"
    assert result.metadata["policy"] == "given_policies:to_the_goal"
    assert "success rate" in (folder / "result.txt").read_text(encoding="utf-8")
    assert (folder / "result.png").read_bytes().startswith(b"\x89PNG")


def test_a_chunked_policy_with_instructions_and_a_trace(tmp_path, capsys):
    arguments = (
        *("--policy", "given_policies:Chunks", "--num-episodes", "9", "--out", "result"),
        *("--scheduler", "threshold:2", "--execute", "3", "--timeline", "trace.jsonl"),
        *("--instruction", "to the red goal", "--instruction", "to the blue goal"),
        *("--set", "env.max_episode_length=70", "--confidence", "0.8", "--seed", "3"),
    )
    assert main([*COMMON, *arguments]) == 0
    result = EvalResult.from_json(tmp_path / "result" / "result.json")
    assert [e.instruction.split()[2] for e in result.episodes[:3]] == ["red", "blue", "red"]
    assert (result.confidence, result.seed) == (0.8, 3)
    assert result.metadata["scheduler"] == "Threshold"
    assert result.metadata["execute"] == 3
    assert "to the blue goal" in capsys.readouterr().out
    assert (tmp_path / "trace.jsonl").stat().st_size > 0
    assert len(sys.modules["given_policies"].closed) == 1


def test_a_checkpoint(tmp_path, capsys):
    pytest.importorskip("rsl_rl", reason="the extra 'rsl-rl' is not installed")
    train = ("train", "holdstep:PointMass", "--num-envs", "4", "--iterations", "1")
    quick = ("--device", "cpu", "--set", "agent.num_steps_per_env=4", "--run-name", "try")
    assert main([*train, *quick]) == 0
    (checkpoint,) = tmp_path.glob("runs/*/*_try")
    assert main([*COMMON, "--checkpoint", str(checkpoint), "--num-episodes", "6"]) == 0
    assert "6 in 4 rows" in capsys.readouterr().out
    assert not (tmp_path / "result.json").exists()


def test_an_episode_that_is_too_long_leaves_what_there_is(tmp_path, capsys):
    arguments = ("--policy", "given_policies:never", "--max-steps", "20", "--out", "partial")
    assert main([*COMMON, *arguments]) == 2
    captured = capsys.readouterr()
    assert "have not ended after" in captured.err
    assert "Traceback" not in captured.err
    result = EvalResult.from_json(tmp_path / "partial" / "result.json")
    assert not result.is_complete
    assert "ended" in captured.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "Give either --checkpoint or --policy"),
        (("--policy", "a:b", "--checkpoint", "c.pt"), "Give either --checkpoint or --policy"),
        (("--policy", "given_policies"), "--policy takes module:name"),
        (("--policy", "given_policies:absent"), "has no 'absent'"),
        (("--policy", "no_such_module:x"), "there is no module 'no_such_module'"),
        (("--checkpoint", "absent.pt"), "absent.pt"),
        (("--policy", "given_policies:never", "--num-episodes", "0"), "must be at least 1"),
        (("--policy", "given_policies:never", "--scheduler", "cohrt"), "Did you mean: cohort"),
        (("--policy", "given_policies:never", "--scheduler", "cohort"), "for a ChunkedPolicy only"),
        (("--policy", "given_policies:never", "--success", "succes"), "Did you mean: success"),
    ],
)
def test_mistakes_are_one_line(arguments, message, capsys):
    assert main([*COMMON, "--num-episodes", "2", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_timing_needs_force(capsys, monkeypatch):
    arguments = [*COMMON, "--policy", "given_policies:Chunks", "--num-episodes", "3"]
    arguments += ["--instruction", "go"]
    scheduler = Prefetch(2, mode="discard", switch="arrival")
    monkeypatch.setattr("holdstep.cli.evaluate.parse_scheduler", lambda _: scheduler)
    assert main([*arguments, "--scheduler", "x", "--execute", "3"]) == 2
    assert "class 'timing'" in capsys.readouterr().err
    assert main([*arguments, "--scheduler", "x", "--execute", "3", "--force"]) == 0
    assert "timing: depends on how long things took" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cohort", Cohort()),
        ("any_trigger", AnyTrigger()),
        ("global_clock", GlobalClock()),
        ("global_clock:12", GlobalClock(12)),
        ("threshold:8", Threshold(8)),
        ("continuous", Continuous()),
        ("continuous:4", Continuous(4)),
        ("prefetch:3", Prefetch(3)),
        ("adaptive", Adaptive()),
    ],
)
def test_schedulers(text, expected):
    scheduler = parse_scheduler(text)
    assert type(scheduler) is type(expected)
    for name in ("k", "m", "period", "max_batch"):
        assert getattr(scheduler, name, None) == getattr(expected, name, None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "takes one of adaptive, any_trigger"),
        ("threshold", "needs a number, such as threshold:4"),
        ("prefetch:-1", "needs a number"),
        ("threshold:x", "needs a number"),
        ("threshold:0", "k must be"),
        ("cohort:3", "cohort takes no number"),
        ("cohort:", "cohort takes no number"),
    ],
)
def test_schedulers_that_make_no_sense(text, message):
    with pytest.raises(ConfigError, match=message):
        parse_scheduler(text)


def test_how_rows_are_held():
    env = make("holdstep:CartPole", num_envs=2, device="cpu")
    assert suspended(env, "none") is env
    held = suspended(env, "auto")
    assert isinstance(held, SuspendOnWait)
    assert held.level == "skip"
    held.close()
    env = make("holdstep:CartPole", num_envs=2, device="cpu")
    with pytest.raises(CapabilityError):
        suspended(env, "approximate")


def test_envs_whose_rows_cannot_be_held_are_left_as_they_are():
    import gymnasium

    vector = gymnasium.wrappers.vector.RecordEpisodeStatistics(
        gymnasium.vector.SyncVectorEnv(
            [lambda: gymnasium.make("CartPole-v1")] * 2,
            autoreset_mode=gymnasium.vector.AutoresetMode.SAME_STEP,
        )
    )
    env = adapt(vector)
    assert suspended(env, "auto") is env
