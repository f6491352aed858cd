"""What is said of graphs in files that can't be built, and where."""

import re
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("isaacteleop", reason="the extra 'teleop' is not installed")
from holdstep.errors import MissingExtraError, RunConfigError
from holdstep.policies.teleop import GraphConfig
from holdstep.policies.teleop.config import parse_run, session_source

RUN = """\
env: {id: "holdstep:PointMass"}
source:
  kind: isaacteleop
  session: replay
  mcap: a.mcap
  pipeline:
    nodes:
      controllers: {type: ControllersSource}
      gripper:
        type: GripperRetargeter
        options:
          hand_side: left
        inputs:
          controller_left: controllers.controller_left
      walk:
        type: LocomotionRootCmdRetargeter
        inputs: {controller_left: controllers.controller_left}
      action:
        type: TensorReorderer
        options:
          input_config: {gripper: [g], walk: [x, y, yaw, hip]}
          output_order: [x, y, g]
          input_types: {walk: array}
        inputs:
          gripper: gripper.gripper_command
          walk: walk.root_command
    outputs:
      action: action.output
"""
NODES = "source.pipeline.nodes"


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before
    assert not Path("a.mcap").exists()


def problems_of(*edits):
    text = RUN
    for old, new in edits:
        assert old in text, old
        text = text.replace(old, new, 1)
    with pytest.raises(RunConfigError) as caught:
        parse_run(text.encode())
    return caught.value.problems


def test_the_graph_that_the_others_are_made_from_is_fine():
    source = parse_run(RUN.encode()).source
    pipeline, control = source.pipeline()
    assert list(pipeline.output_types()) == ["action"]
    assert control is None


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "GripperRetargeter",
            "GriperRetargeter",
            "10:15: {}.gripper.type: there is no node type 'GriperRetargeter'. Did you mean: Gripp",
        ),
        ("ControllersSource", "os:system", "8:27: {}.controllers.type: 'os:system' must be a cl"),
        ("ControllersSource", "nope:X", "8:27: {}.controllers.type: 'nope:X': there is no module"),
        ("ControllersSource", "os:nope", "8:27: {}.controllers.type: 'os:nope': the module 'os' "),
        (
            "ControllersSource",
            "isaacteleop.retargeting_engine.interface:BaseRetargeter",
            "8:27: {}.controllers.type: 'isaacteleop.retargeting_engine.interface:BaseRetargeter' "
            "is abstract",
        ),
        (
            "GripperRetargeter",
            "DexHandRetargeter",
            "10:15: {}.gripper.type: DexHandRetargeter requires additional dependencies",
        ),
        (
            "          hand_side: left",
            "          hand_sid:\n            left",
            "12:11: {}.gripper.options.hand_sid: is no option of GripperRetargeter. Did you",
        ),
        (
            "hand_side: left",
            "name: left",
            "12:11: {}.gripper.options.name: is no option of GripperRetargeter. There are: hand_si",
        ),
        (
            "hand_side: left",
            "hand_side: up",
            "12:22: {}.gripper.options.hand_side: must be 'left' or 'right', got: up",
        ),
        (
            "hand_side: left",
            "gripper_open_meters: wide",
            "12:32: {}.gripper.options.gripper_open_meters: must be a number, got 'wide'.",
        ),
        (
            "          output_order: [x, y, g]\n",
            "",
            "21:11: {}.action.options.output_order: is missing: TensorReorderer needs it.",
        ),
        (
            "[x, y, g]",
            "[x, y, 3]",
            "22:32: {}.action.options.output_order[2]: must be a text, got 3.",
        ),
        ("[x, y, g]", "x", "22:25: {}.action.options.output_order: must be a list, got 'x'."),
        (
            "{walk: array}",
            "{walk: [array]}",
            "23:31: {}.action.options.input_types.walk: must be a text, got ['array'].",
        ),
        (
            "gripper.gripper_command",
            "griper.gripper_command",
            "25:20: {}.action.inputs.gripper: there is no node 'griper'. Did you mean: gripper?",
        ),
        (
            "walk.root_command",
            "walk",
            "26:17: {}.action.inputs.walk: must be an output of a node, as node.output, got ",
        ),
        (
            "walk.root_command",
            "walk.root",
            "26:17: {}.action.inputs.walk: the node 'walk' has no output 'root'. Did you",
        ),
        (
            "          walk: walk.root_command\n",
            "          wlk:\n            walk.root_command\n",
            "26:11: {}.action.inputs.wlk: is no input of TensorReorderer. Did you mean: walk?",
        ),
        (
            "          gripper: gripper.gripper_command\n",
            "",
            "25:11: {}.action.inputs.gripper: is missing: TensorReorderer needs it.",
        ),
        (
            "gripper: gripper.gripper_command",
            "gripper: walk.root_command",
            "25:20: {}.action.inputs.gripper: does not fit: Tensor 0 type mismatch: expected Float",
        ),
        (
            "gripper: gripper.gripper_command",
            "gripper: controllers.controller_left",
            "25:20: {}.action.inputs.gripper: does not fit: Cannot connect optional output",
        ),
        (
            "        inputs: {controller_left: controllers.controller_left}\n",
            "",
            "16:9: {}.walk: has no inputs, and would never see any of controller_left, controller_",
        ),
        (
            "type: ControllersSource",
            "type: ControllersSource, inputs: {deviceio_controller_left: walk.root_command}",
            "8:55: {}.controllers.inputs.deviceio_controller_left: is no input of Controllers",
        ),
        (
            "          controller_left: controllers.controller_left\n",
            "          controller_left: action.output\n",
            "14:28: {}.gripper.inputs.controller_left: closes a circle: action -> gripper ",
        ),
        (
            "{controller_left: controllers.controller_left}",
            "{controller_left: walk.root_command}",
            "17:35: {}.walk.inputs.controller_left: closes a circle: walk -> walk.",
        ),
        (
            "          walk: walk.root_command\n",
            "          walk: gripper.gripper_command\n",
            "15:7: {}.walk: leads to no output, so it would never run.",
        ),
        ("      walk:\n", "      gripper:\n", "15:7: {}.gripper: is there twice."),
        ("      walk:\n", "      wa.lk:\n", "15:7: {}.wa.lk: is no name of a node"),
        ("      walk:\n        type", "      walk:\n        typ", "16:9: {}.walk.typ: is no field"),
        (
            "{type: ControllersSource}",
            "{type: ValueInput, options: {tensor_type: TransformMatri}}",
            "8:62: {}.controllers.options.tensor_type: must be one of HandInput, HeadInput",
        ),
        (
            "{type: ControllersSource}",
            "{type: ValueInput, options: {tensor_type: {shape: [a]}}}",
            "8:71: {}.controllers.options.tensor_type.shape[0]: must be an integer, got 'a'.",
        ),
        (
            "action: action.output",
            "action: action.outputs",
            "28:15: source.pipeline.outputs.action: the node 'action' has no output 'outputs'. Did",
        ),
        (
            "    outputs:\n      action: action.output\n",
            "    outputs: {}\n",
            "27:14: source.pipeline.outputs: is empty",
        ),
        (
            "      action: action.output",
            "      actions: action.output",
            "3:3: source.output: The pipeline has no output 'action'. Did you mean: actions?",
        ),
        (
            "mcap: a.mcap",
            "mcap: a.mcap\n  action_dim: 7",
            "6:15: source.action_dim: The pipeline's actions have 3 entries ('action' of 3)",
        ),
        (
            "    outputs:",
            "    control: {teleop_state: walk.root_command, reset_event: walk.root_command}\n"
            "    outputs:",
            "27:14: source.pipeline.control: The session's configuration can't be used: teleop_con",
        ),
        (
            "    outputs:",
            "    control: {teleop_state: walk.root_command, reset_event: wlk.x}\n    outputs:",
            "27:61: source.pipeline.control.reset_event: there is no node 'wlk'. Did you mean: wal",
        ),
        (
            "    outputs:",
            "    control: {teleop_state: walk.root_command}\n    outputs:",
            "27:14: source.pipeline.control.reset_event: is missing.",
        ),
        (
            "  pipeline:\n",
            "  pipeline: []\n  x:\n",
            "6:13: source.pipeline: must be a single value",
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_place(old, new, expected):
    expected = "run.yaml:" + expected.replace("{}", NODES)
    found = problems_of((old, new))
    assert any(problem.startswith(expected) for problem in found), "\n".join(found)


def test_a_pipeline_in_words_is_a_name():
    text = RUN[: RUN.index("  pipeline:")] + "  pipeline: graph\n"
    with pytest.raises(RunConfigError, match=re.escape("6:13: source.pipeline: must be module:n")):
        parse_run(text.encode())


def test_everything_is_said_at_once_and_nothing_that_only_follows_from_it():
    found = problems_of(
        ('"holdstep:PointMass"', '"holdstep:PointMass", num_env: 2'),
        ("session: replay\n  mcap: a.mcap", "session: replay"),
        ("GripperRetargeter", "GriperRetargeter"),
        ("hand_side: left", "hand_side: 4"),  # of a type that is not known
        ("walk.root_command", "walk.root"),
        ("output_order: [x, y, g]", "output_order: [x, y, 3]"),
        ("action: action.output", "action: action.output\n      b: wlk.root_command"),
    )
    places = [re.match(r"run.yaml:\d+:\d+: ([^:]+): ", problem)[1] for problem in found]
    assert places == [
        "env.num_env",
        "source.mcap",
        f"{NODES}.gripper.type",
        f"{NODES}.action.options.output_order[2]",
        f"{NODES}.action.inputs.walk",
        "source.pipeline.outputs.b",
    ]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_wrong_word_anywhere_is_found_in_its_line(data):
    graph = RUN.index("nodes:")
    # Names of the elements of vectors are the file's own.
    free = {"x", "y", "g", "yaw", "hip"}
    words = [word for word in re.finditer(r"[a-zA-Z_]+", RUN[graph:]) if word[0] not in free]
    # TensorReorderer does not say what it makes of inputs and kinds of them that there are not.
    unsaid = RUN.index("input_types: ") - graph
    words = [word for word in words if not unsaid < word.start() < unsaid + 30]
    word = data.draw(st.sampled_from(words))
    begin = graph + word.start()
    wrong = word[0] + data.draw(st.from_regex(r"[a-z]{2,5}", fullmatch=True))
    text = RUN[:begin] + wrong + RUN[begin + len(word[0]) :]
    with pytest.raises(RunConfigError) as caught:
        parse_run(text.encode())
    line = text.count("\n", 0, begin) + 1
    listed = caught.value.problems
    near = [problem for problem in listed if problem.startswith(f"run.yaml:{line}:")]
    assert near or any(wrong in problem for problem in listed), (wrong, listed)


def test_without_isaacteleop_a_file_is_read_all_the_same(monkeypatch):
    def missing(*_, **__):
        raise MissingExtraError("IsaacTeleop is not installed.")

    monkeypatch.setattr("holdstep.policies.teleop.graph.building.load_teleop", missing)
    monkeypatch.setattr("holdstep.policies.teleop.session.source.load_teleop", missing)
    assert isinstance(parse_run(RUN.encode()).source.pipeline, GraphConfig)
    (found,) = problems_of(("walk: walk.root_command", "walk: wlk.root_command"))
    assert found.startswith(f"run.yaml:26:17: {NODES}.action.inputs.walk: there is no node 'wlk'.")


def test_a_graph_that_is_fine_makes_a_source_that_has_opened_nothing():
    source = parse_run(RUN.encode()).source
    made = session_source.session_source(source, source.pipeline)
    assert made.action_dim == 3
    assert made.start_time == 0
