"""Results: numbers, files, tables, pictures."""

import dataclasses
import io
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from holdstep import evaluate
from holdstep.errors import ConfigError, MissingExtraError
from holdstep.policies.evaluation import EpisodeResult, EvalResult, wilson_interval
from tests.policies.evaluation.envs import Coin, idle


def made(outcomes, **changes):
    """A result of episodes given as (return, length, success, terminated, instruction)."""
    episodes = tuple(
        EpisodeResult(
            episode=number,
            env_id=number % 3,
            seed=None if number % 2 else 7 * number,
            episode_return=episode_return,
            length=length,
            success=success,
            terminated=terminated,
            truncated=not terminated,
            instruction=instruction,
            wall_time_s=0.5 * number,
        )
        for number, (episode_return, length, success, terminated, instruction) in enumerate(
            outcomes
        )
    )
    given_fields = {
        "episodes": episodes,
        "num_episodes": len(episodes),
        "confidence": 0.9,
        "determinism": "exact",
        "seed_scope": "episode",
        "success_source": "info['success']",
        "idle_rows": "suspended",
        "seed": 3,
        "num_envs": 3,
        "num_steps": 40,
        "wall_time_s": 1.5,
        "metadata": {"env": "holdstep:[Coin]", "policy": "a $policy$"},
    }
    return EvalResult(**given_fields | changes)


FOUR = [
    (1.0, 10, True, True, "lift"),
    (-2.0, 40, False, True, "push"),
    (4.0, 20, True, False, "lift"),
    (0.5, 30, None, False, "lift"),
]


def printed(result):
    console = Console(file=io.StringIO(), width=160)
    console.print(result.table())
    return console.file.getvalue()


def test_the_numbers():
    result = made(FOUR)
    assert result.num_successes == 2
    assert result.success_rate == 0.5
    assert result.confidence_interval == wilson_interval(2, 4, 0.9)
    assert result.mean_return == 0.875
    low, high = result.return_interval
    assert low < 0.875 < high
    assert result.mean_length == 25.0
    assert (result.num_terminated, result.num_truncated) == (2, 2)
    assert result.is_complete


def test_the_time_limit_and_the_task_in_the_same_step_is_the_task():
    result = made(FOUR)
    both = dataclasses.replace(result.episodes[0], terminated=True, truncated=True)
    result = dataclasses.replace(result, episodes=(both,), num_episodes=1)
    assert (result.num_terminated, result.num_truncated) == (1, 0)


def test_by_instruction():
    parts = made(FOUR).by_instruction()
    assert list(parts) == ["lift", "push"]
    assert parts["lift"].success_rate == 2 / 3
    assert parts["push"].success_rate == 0.0
    assert all(part.is_complete for part in parts.values())
    assert "lift" in printed(made(FOUR))
    assert made([(1.0, 2, True, True, None)]).by_instruction() == {}


def test_nothing_ended():
    result = made([], num_episodes=5)
    assert result.success_rate is None
    assert math.isnan(result.mean_return)
    assert math.isnan(result.mean_length)
    assert result.return_interval is None
    assert "only 0 of 5 ended" in printed(result)
    with pytest.raises(ConfigError, match="nothing to draw"):
        result.plot("x.png")


numbers = st.floats(-1e100, 1e100)
texts = st.none() | st.text(max_size=8)
outcomes = st.tuples(
    numbers, st.integers(1, 10**6), st.none() | st.booleans(), st.booleans(), texts
)


@given(st.lists(outcomes, max_size=6), st.dictionaries(st.text(), st.text() | st.booleans()))
def test_files_are_read_back_as_they_were(tmp_path_factory, episodes, metadata):
    result = made(episodes, metadata=metadata, num_episodes=9)
    path = result.to_json(tmp_path_factory.mktemp("results") / "a" / "b.json")
    assert EvalResult.from_json(path) == result
    summary = json.loads(path.read_text(encoding="utf-8"))["summary"]
    assert summary["success_rate"] == result.success_rate
    assert summary["is_complete"] is False


def test_files_hold_nothing_that_json_does_not_know(tmp_path):
    result = made([(math.nan, 3, True, True, None), (math.inf, 3, True, True, None)])
    path = result.to_json(tmp_path / "result.json")
    content = json.loads(path.read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert [episode["episode_return"] for episode in content["episodes"]] == [None, None]
    assert content["summary"]["mean_return"] is None
    again = EvalResult.from_json(path)
    assert math.isnan(again.mean_return)
    assert again.success_rate == 1.0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "null",
        '{"holdstep_evaluation": 1}',
        '{"holdstep_evaluation": 1, "summary": {}, "episodes": [{"episode": 1}]}',
        '{"holdstep_evaluation": 1, "summary": {}, "episodes": 3}',
    ],
)
def test_other_files_are_refused(tmp_path, text):
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"is no result of an evaluation"):
        EvalResult.from_json(path)


def test_files_of_the_future_are_refused(tmp_path):
    path = made(FOUR).to_json(tmp_path / "result.json")
    content = json.loads(path.read_text()) | {"holdstep_evaluation": 2}
    path.write_text(json.dumps(content))
    with pytest.raises(ConfigError, match="has evaluation format 2, this holdstep reads 1"):
        EvalResult.from_json(path)


def test_a_real_result_is_read_back(tmp_path):
    result = evaluate(Coin(4), idle, 20)
    assert EvalResult.from_json(result.to_json(tmp_path / "result.json")) == result


def test_the_table_says_what_a_reader_must_know():
    text = printed(made(FOUR))
    assert "holdstep:[Coin]" in text  # no markup
    low, high = wilson_interval(2, 4, 0.9)
    assert f"0.500  ({low:.4g} to {high:.4g}" in text
    assert "a seed for each episode, from 3" in text
    text = printed(made(FOUR, determinism="timing", seed_scope="run", num_episodes=9))
    assert "depends on how long things took" in text
    assert "depends on the number of rows" in text
    assert "only 4 of 9 ended" in text
    assert "not reported" in printed(made([(1.0, 2, None, True, None)]))


@pytest.mark.parametrize(
    "episodes",
    [
        FOUR,
        FOUR[:1],
        [(1.0, 10, None, True, None)] * 5,
        [(0.25, 10, True, True, None)] * 5,
        [(math.nan, 10, True, True, None)],
        [(1e30, 10**6, False, True, None), (-1e-30, 1, True, True, None)],
    ],
)
@pytest.mark.filterwarnings("error")
def test_pictures(tmp_path, episodes):
    pytest.importorskip("matplotlib", reason="the extra 'plot' is not installed")
    from matplotlib.image import imread

    image = imread(made(episodes).plot(tmp_path / "new" / "result.png"))
    assert image.shape[:2] == (480, 1440)
    assert image[..., :3].std() > 0.05  # something is drawn


def test_what_is_drawn(tmp_path, monkeypatch):
    figures = []
    figure_module = pytest.importorskip("matplotlib.figure")
    monkeypatch.setattr(
        figure_module.Figure, "savefig", lambda self, *args, **kwargs: figures.append(self)
    )
    result = evaluate(Coin(16), idle, 100)
    result.plot(tmp_path / "x.png")
    returns, lengths, order = figures[0].axes
    for axes in (returns, lengths):
        heights = sum(patch.get_height() for patch in axes.patches)
        assert heights == 100
    running = order.lines[0].get_ydata()
    assert running[-1] == result.success_rate
    firsts = [episode.success for episode in result.episodes[:10]]
    assert running[9] == sum(firsts) / 10


def test_pictures_need_their_extra_and_a_png(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match=r"must end in \.png"):
        made(FOUR).plot(tmp_path / "result.jpg")
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"holdstep\[plot\]"):
        made(FOUR).plot(tmp_path / "result.png")


def test_instructions_of_which_not_all_ended_are_incomplete():
    result = made(FOUR, num_episodes=9, num_by_instruction={"lift": 8, "push": 1})
    parts = result.by_instruction()
    assert (parts["lift"].is_complete, parts["push"].is_complete) == (False, True)
    assert parts["lift"].num_episodes == 8
    assert "only 3 of 8 ended" in printed(parts["lift"])
