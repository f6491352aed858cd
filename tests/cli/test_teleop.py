"""``holdstep teleop``: whole runs from a file."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from holdstep.cli import main
from holdstep.wrappers.pipeline import ExecutionState
from holdstep.wrappers.record import Dataset
from holdstep.wrappers.record.recorder import RecordEpisodes

SOURCES = '''
import time
import torch
from holdstep.wrappers.pipeline import (
    ActionSource, ExecutionState, FunctionSource, SourceEvents, SourceResult
)

EVENTS = {
    5: SourceEvents(success=True, reset=True),
    8: SourceEvents(success=False, reset=True),
    11: SourceEvents(discard_last=True, reset=True),
}

class Scripted(ActionSource):
    """An operator who marks two episodes, takes one back, pauses, and stops."""

    def start(self, env_ids):
        self.num_rows = len(env_ids)

    def compute(self, request):
        frame = request.frame_id
        state = ExecutionState.RUNNING
        if frame in (3, 4):
            state = ExecutionState.PAUSED
        if frame >= 14:
            state = ExecutionState.STOPPED
        return SourceResult(
            actions=torch.full((self.num_rows, 2), frame / 100),
            events=EVENTS.get(frame, SourceEvents()),
            state=state,
        )

class Late(Scripted):
    """An operator who has yet to press start."""

    def compute(self, request):
        runs = 3 <= request.frame_id < 9
        return SourceResult(
            actions=torch.zeros(self.num_rows, 2),
            state=ExecutionState.RUNNING if runs else ExecutionState.STOPPED,
        )

class Early(Late):
    """One who drives from the start, and stops first."""

    def compute(self, request):
        runs = request.frame_id < 3
        return SourceResult(
            actions=torch.zeros(self.num_rows, 2),
            state=ExecutionState.RUNNING if runs else ExecutionState.STOPPED,
        )

class Replay(Scripted):
    lossless = True

    def compute(self, request):
        ended = request.frame_id >= 6
        actions = None if ended else torch.zeros(self.num_rows, 2)
        return SourceResult(actions=actions, end_of_replay=ended)

def slow():
    def act():
        time.sleep(0.005)
        return torch.zeros(2)
    return FunctionSource(act, uses_obs=False)

def inputs(env_ids):
    return {"rows": list(env_ids)}
'''
RUN = """
env: {{id: "holdstep:PointMass", num_envs: 2, device: cpu}}
source: {{kind: function, function: "my_sources:{source}"}}
pipeline: {{{pipeline}}}
recorder: {{path: demos{recorder}}}
loop: {{realtime: false{loop}}}
"""


@pytest.fixture(autouse=True)
def _in_a_folder_with_sources(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "my_sources", raising=False)
    Path("my_sources.py").write_text(SOURCES)
    # To start a writer takes longer than all else; the run that is killed below has a real one.
    monkeypatch.setitem(RecordEpisodes.__init__.__kwdefaults__, "writer", "thread")


def write(source="Scripted", *, pipeline="mode: sync", recorder="", loop=""):
    Path("run.yaml").write_text(
        RUN.format(source=source, pipeline=pipeline, recorder=recorder, loop=loop)
    )


def episodes():
    with Dataset("demos") as dataset:
        return list(dataset)


def test_the_example_is_checked_and_runs(capsys):
    assert main(["teleop", "--example"]) == 0
    Path("run.yaml").write_text(capsys.readouterr().out)
    assert main(["teleop", "run.yaml", "--check"]) == 0
    assert capsys.readouterr().out == "run.yaml is fine\n"
    assert not Path("demos").exists()
    assert main(["teleop", "run.yaml", "--live"]) == 0
    printed = capsys.readouterr()
    assert "everything recorded after" in printed.out
    assert "demos: 4 episodes" in printed.out
    assert "PipelinedActions" in printed.err  # of the table
    assert len(episodes()) == 4


def test_an_operators_session_is_recorded_with_marks_and_without_pauses(capsys):
    write()
    assert main(["teleop", "run.yaml"]) == 0
    assert "stopped by the operators after 12 steps" in capsys.readouterr().out
    found = [e for e in episodes() if e.attributes["env_id"] == 0]
    assert [e.success for e in found] == [True, False, None]
    frames = [e.arrays["teleop/frame_id"].tolist() for e in found]
    assert frames == [[0, 1, 2], [5, 6, 7], [11, 12, 13]]  # 8 to 10 were taken back
    for episode in found:
        # What was applied is what the columns say it was.
        ids = np.rint(100 * episode.arrays["actions"][:, 0])
        np.testing.assert_array_equal(ids, episode.arrays["teleop/frame_id"])
        assert set(episode.arrays["teleop/execution_state"]) == {ExecutionState.RUNNING}


def test_it_is_over_when_all_operators_have_driven_and_stopped(capsys):
    write("Late")
    assert main(["teleop", "run.yaml"]) == 0
    assert "stopped by the operators after 6 steps" in capsys.readouterr().out
    one = 'source: {kind: function, function: "my_sources:Late"}'
    text = Path("run.yaml").read_text()
    assert one in text
    two = (
        'sources:\n  a: {kind: function, function: "my_sources:Early"}\n'
        '  b: {kind: function, function: "my_sources:Late"}'
    )
    Path("run.yaml").write_text(text.replace(one, two))
    assert main(["teleop", "run.yaml"]) == 0
    assert "stopped by the operators after 9 steps" in capsys.readouterr().out


def test_a_replay_ends_the_run_and_the_next_run_adds_to_it(capsys):
    write("Replay", pipeline="external_inputs: 'my_sources:inputs'")
    for num_runs in (1, 2):
        assert main(["teleop", "run.yaml"]) == 0
        assert "end of the replay after 6 steps" in capsys.readouterr().out
        found = episodes()
        assert [episode.num_steps for episode in found] == [6] * 2 * num_runs
        assert [e.arrays["teleop/frame_id"].tolist() for e in found] == [[*range(6)]] * len(found)


def test_a_replay_ends_the_run_also_where_rows_cannot_stand_still(capsys):
    write("Replay", loop=", max_steps: 30")
    text = Path("run.yaml").read_text().replace("device: cpu", "device: cpu, suspend: none")
    Path("run.yaml").write_text(text)
    assert main(["teleop", "run.yaml"]) == 0
    assert "end of the replay after" in capsys.readouterr().out


def test_it_ends_after_as_many_steps_as_wanted_in_real_time(capsys):
    write("slow", pipeline="", loop=", max_steps: 10")
    text = Path("run.yaml").read_text().replace("realtime: false", "realtime: true")
    Path("run.yaml").write_text(text)
    begin = time.monotonic()
    assert main(["teleop", "run.yaml"]) == 0
    assert time.monotonic() - begin > 9 * 0.02
    assert "done after 10 steps" in capsys.readouterr().out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_without_end_ends_well(number):
    write("slow", pipeline="on_stale: wait")
    path = os.pathsep.join([os.getcwd(), os.environ.get("PYTHONPATH", "")])
    environment = dict(os.environ, PYTHONUNBUFFERED="1", PYTHONPATH=path)
    process = subprocess.Popen(
        [sys.executable, "-m", "holdstep", "teleop", "run.yaml"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        start_new_session=True,
    )
    try:
        while "driving" not in (line := process.stdout.readline()) and line:
            pass
        time.sleep(2.0)
        # To all of its processes, as a terminal does.
        os.killpg(process.pid, number)
        printed, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0, printed
    assert "stopped after" in printed
    num_steps = int(printed.split("stopped after ")[1].split()[0])
    for row in (0, 1):  # every step is there, also those of the episode that was cut
        mine = [e for e in episodes() if e.attributes["env_id"] == row]
        assert sum(e.num_steps for e in mine) == num_steps > 0


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("PointMass", "PointMess", "Did you mean"),
        ("kind: function", "kind: fnction", "run.yaml:3:16: source.kind: must be one of"),
        ("my_sources:Scripted", "my_sources:Typo", "source.function"),
        ("mode: sync", "on_stale: hold, hold_action: [1]", "pipeline.hold_action has 1 entries"),
        ("mode: sync", "external_inputs: 'my_sources:gone'", "pipeline.external_inputs"),
        ("path: demos", "path: demos, keys: [nothing]", "nothing named 'nothing'"),
    ],
)
def test_what_is_wrong_is_said(old, new, words, capsys):
    write()
    text = Path("run.yaml").read_text()
    assert old in text
    Path("run.yaml").write_text(text.replace(old, new))
    assert main(["teleop", "run.yaml"]) == 2
    assert words in capsys.readouterr().err


def test_a_file_is_needed(capsys):
    assert main(["teleop"]) == 2
    assert "--example prints one" in capsys.readouterr().err
    assert main(["teleop", "gone.yaml"]) == 2
    assert "gone.yaml can't be read" in capsys.readouterr().err
    Path("run.yaml").write_text("env: {id: 3}\npipeline: 5\n")
    assert main(["teleop", "run.yaml", "--check"]) == 2
    printed = capsys.readouterr().err
    assert "run.yaml:1:11: env.id" in printed
    assert "run.yaml:2:11: pipeline: must be a mapping" in printed


def test_a_keyboard_from_a_file(monkeypatch, capsys):
    pytest.importorskip("pygame", reason="the extra 'devices' is not installed")
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    write(loop=", max_steps: 5")
    text = Path("run.yaml").read_text()
    text = text.replace('{kind: function, function: "my_sources:Scripted"}', "{kind: keyboard}")
    Path("run.yaml").write_text(text)
    assert main(["teleop", "run.yaml"]) == 0
    assert "done after 5 steps" in capsys.readouterr().out


GRAPH = """
  kind: isaacteleop
  session: replay
  mcap: session.mcap
  action_dim: 2
  pipeline:
    nodes:
      pedals: {type: Generic3AxisPedalSource}
      feet:
        type: FootPedalRootCmdRetargeter
        options: {deadzone_threshold: 0.0}
        inputs: {pedals: pedals.pedals}
      action:
        type: TensorReorderer
        options:
          input_config: {feet: [x, y, turn, height]}
          output_order: [turn, x]
          input_types: {feet: array}
        inputs: {feet: feet.root_command}
    outputs: {action: action.output}
"""


def test_a_retargeting_graph_from_the_file(capsys):
    pytest.importorskip("isaacteleop", reason="the extra 'teleop' is not installed")
    pytest.importorskip("mcap", reason="the test writes its recording with it")
    from tests.policies.teleop.pedal_recordings import write_pedals

    write_pedals("session.mcap", [(0.0, 0.1 * number, 0.0) for number in range(8)])
    write(pipeline="on_stale: wait")
    text = Path("run.yaml").read_text()
    source = '{kind: function, function: "my_sources:Scripted"}'
    Path("run.yaml").write_text(text.replace(source, GRAPH))
    assert main(["teleop", "run.yaml", "--check"]) == 0
    assert main(["teleop", "run.yaml"]) == 0
    assert "end of the replay after 8 steps" in capsys.readouterr().out
    for episode in episodes():  # the right pedal is the way forward, at up to 1 m/s
        np.testing.assert_allclose(episode.arrays["actions"][:, 1], 0.1 * np.arange(8), atol=1e-6)
        assert not episode.arrays["actions"][:, 0].any()
    wrong = GRAPH.replace("feet.root_command", "feet.root_comand").replace("[turn, x]", "[3]")
    Path("run.yaml").write_text(text.replace(source, wrong))
    assert main(["teleop", "run.yaml", "--check"]) == 2
    printed = capsys.readouterr().err
    nodes = "source.pipeline.nodes"
    assert f"run.yaml:19:26: {nodes}.action.options.output_order[0]: must be a text" in printed
    assert f"run.yaml:21:24: {nodes}.action.inputs.feet: the node 'feet' has no out" in printed


def test_a_recorded_session_of_isaacteleop_is_replayed(capsys):
    pytest.importorskip("isaacteleop", reason="the extra 'teleop' is not installed")
    pytest.importorskip("mcap", reason="the test writes its recording with it")
    from tests.policies.teleop.pedal_recordings import write_pedals

    frames = [(0.01 * number, -0.02 * number, 0.0) for number in range(8)]
    write_pedals("session.mcap", frames)
    write(pipeline="on_stale: wait")
    text = Path("run.yaml").read_text()
    source = '{kind: function, function: "my_sources:Scripted"}'
    session = """
  kind: isaacteleop
  pipeline: "tests.policies.teleop.graphs:pedals_pipeline"
  session: replay
  mcap: session.mcap
  action_dim: 2
"""
    Path("run.yaml").write_text(text.replace(source, session))
    assert main(["teleop", "run.yaml"]) == 0
    assert "end of the replay after 8 steps" in capsys.readouterr().out
    by_hand = np.cumsum([frame[0] for frame in frames])  # what the retargeter does
    for episode in episodes():
        np.testing.assert_allclose(episode.arrays["actions"][:, 0], by_hand, atol=1e-6)
        np.testing.assert_allclose(episode.arrays["actions"][:, 1], [f[1] for f in frames])
    Path("run.yaml").write_text(text.replace(source, session.replace("session.mcap", "no.mcap")))
    assert main(["teleop", "run.yaml"]) == 2
    assert "no.mcap" in capsys.readouterr().err
