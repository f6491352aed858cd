"""Files of runs: what is read, and what is said of those that can't be."""

import dataclasses
import re
import textwrap

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdstep.errors import ConfigError, RunConfigError
from holdstep.policies.teleop.config import EXAMPLE, parse_run, read_run
from holdstep.policies.teleop.config.source_config import (
    DeviceConfig,
    IsaacTeleopConfig,
    Se3GamepadConfig,
)
from holdstep.policies.teleop.registry import SOURCES
from holdstep.wrappers.pipeline.pacing import Adaptive, Deadline, Immediate

SMALL = "env: {id: 'holdstep:PointMass', num_envs: 3}\n"
POLICY = "source: {kind: policy, policy: zero}\n"


def parse(text):
    return parse_run(textwrap.dedent(text).encode())


def problems_of(text):
    with pytest.raises(RunConfigError) as caught:
        parse(text)
    return caught.value.problems


def test_the_example_is_valid_and_all_that_is_commented_out_too():
    run = parse(EXAMPLE)
    assert run.env.id == "holdstep:PointMass"
    assert isinstance(run.pacing, Adaptive)
    assert run.recorder.num_episodes == 4
    head = EXAMPLE[: EXAMPLE.index("source:")]
    tail = EXAMPLE[EXAMPLE.index("pipeline:\n") :]
    blocks = re.split(r"(?m)^(?=# sources?:)", EXAMPLE)[1:]
    assert len(blocks) == 3
    for block in blocks:
        lines = [line[2:] for line in block.splitlines() if re.match(r"# ( |source|groups)", line)]
        assert parse(head + "\n".join(lines) + "\n" + tail).env == run.env


def test_what_is_left_out_is_as_in_the_classes():
    run = parse(SMALL + POLICY)
    assert run.pacing == Immediate()
    assert run.recorder is None
    assert run.pipeline.on_stale == "repeat"
    assert run.rows_by_name == {"source": (0, 1, 2)}
    run = parse(SMALL + POLICY + "pacing: {kind: deadline, safety_margin_s: 0.01}")
    assert run.pacing == Deadline(safety_margin_s=0.01)


def test_every_source_of_the_registry_can_be_named():
    texts = {
        "keyboard": "{kind: keyboard, start_paused: true}",
        "gamepad": "{kind: gamepad, gamepad: 1, mapping: {action_dim: 2}}",
        "se2_keyboard": "{kind: se2_keyboard, v_x_sensitivity: 1}",
        "se2_gamepad": "{kind: se2_gamepad, dead_zone: 0.2}",
        "se3_keyboard": "{kind: se3_keyboard, commands: {r: reset}}",
        "se3_gamepad": "{kind: se3_gamepad, gripper_term: false, reclutch: false}",
        "isaacteleop": "{kind: isaacteleop, pipeline: 'my:graph', session: replay, mcap: a.mcap}",
    }
    assert texts.keys() == SOURCES.keys()
    read = {kind: parse(f"{SMALL}source: {text}").source for kind, text in texts.items()}
    assert read["se3_gamepad"] == Se3GamepadConfig(gripper_term=False, reclutch=False)
    assert read["se3_gamepad"].options() == {"gripper_term": False, "reclutch": False}
    assert isinstance(read["keyboard"], DeviceConfig)
    assert read["isaacteleop"] == IsaacTeleopConfig(
        pipeline="my:graph", session="replay", mcap="a.mcap"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("env: {id: 3}\n" + POLICY, ["1:11: env.id: must be a text, got 3. Put it in quotes."]),
        (POLICY, ["1:1: env: is missing."]),
        (SMALL, ["1:1: source: is missing: what drives the env."]),
        (SMALL + "source: {kind: keybord}", ["2:16: source.kind: must be one of keyboard, "]),
        (SMALL + "source: {kind: keybord}", ["Did you mean: keyboard"]),
        (SMALL + "source: {policy: zero}", ["2:9: source.kind: is missing: one of keyboard"]),
        (SMALL + "source: zero", ["2:9: source: must be a mapping, got 'zero'."]),
        (SMALL + "source: {kind: policy, policy: mine}", ["2:32: source.policy: must be zero, ra"]),
        (
            SMALL + "source: {kind: function, function: ':f'}",
            ["2:36: source.function: must be mod"],
        ),
        (
            SMALL + "source: {kind: isaacteleop, pipeline: 'a:b', session: replay}",
            ["2:9: source.mcap: is missing: the recording to be replayed."],
        ),
        (
            SMALL + "source: {kind: isaacteleop, pipeline: 'a:b', plugins: [{plugin_name: x}]}",
            ["2:56: source.plugins[0].plugin_root_id: is missing."],
        ),
        (
            SMALL + "source: {kind: gamepad, gamepad: -1, mapping: {action_dim: 1}}",
            ["2:34: source.gamepad: must be a number, 0 or more, got -1."],
        ),
        (
            SMALL + POLICY + "pipline: {}",
            ["3:1: pipline: is no field here. Did you mean: pipeline?"],
        ),
        (
            SMALL + POLICY + "pipeline:\n  on_stale: suspends",
            ["4:13: pipeline.on_stale: must be one of repeat, hold, wait, suspend, got 's"],
        ),
        (
            SMALL + POLICY + "pipeline: {on_stale: hold}",
            ["3:22: pipeline.on_stale: needs hold"],
        ),
        (SMALL + POLICY + "pipeline: {wait_budget_s: soon}", ["3:27: pipeline.wait_budget_s: "]),
        (
            SMALL + POLICY + "pipeline: {worker: process}",
            ["3:20: pipeline.worker: process is for sources of kind function; source is policy."],
        ),
        (
            SMALL + POLICY + "pacing: {kind: adaptive, target_miss: 2}",
            ["3:39: pacing.target_miss: must be a number above 0 and at most 0.5, got 2.0."],
        ),
        (
            SMALL + POLICY + "pacing: {kind: deadline, target_miss: 0.1}",
            ["3:26: pacing.target_miss: is no field here."],
        ),
        (SMALL + POLICY + "recorder: {path: ''}", ["3:18: recorder.path: is empty: name a folder"]),
        (
            SMALL + POLICY + "recorder: {path: a, keys: obs}",
            ["3:27: recorder.keys: must be a list"],
        ),
        (
            SMALL + POLICY + "recorder: {path: a, num_episodes: 0}",
            ["3:35: recorder.num_episodes: must be at least 1, got 0."],
        ),
        (SMALL + POLICY + "loop: {realtime: 1}", ["3:18: loop.realtime: must be true or false"]),
        (
            "env: {id: a, overrides: {seed: 3}}\n" + POLICY,
            ["1:25: env.overrides: cannot be used: 'seed' is no setting"],
        ),
        (SMALL + POLICY + "env: {id: b}", ["3:1: env: is there twice."]),
        (SMALL + POLICY + "sources: {a: {kind: se2_keyboard}}", ["3:10: sources: is there beside"]),
        (SMALL + POLICY + "groups: {a: [0]}", ["3:9: groups: is of no use without sources."]),
        ("a: [", ["2:1: not YAML", ":1: not YAML"]),
        (SMALL + POLICY + "loop: &x {}", [":3: anchors and aliases"]),
        (SMALL + "source: !!python/object:os.system {}", [":2: tags are not allowed"]),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text, expected):
    listed = "\n".join(problems_of(text))
    assert any(words in listed for words in expected), listed


def test_a_plugin_can_be_given_all_that_isaacteleop_takes():
    manager = pytest.importorskip("isaacteleop.teleop_session_manager")
    text = (
        "{plugin_name: a, plugin_root_id: b, search_paths: [c], plugin_args: ['--d'], required: on}"
    )
    source = parse(
        f"{SMALL}source: {{kind: isaacteleop, pipeline: 'a:b', plugins: [{text}]}}"
    ).source
    given = dataclasses.asdict(source.plugins[0])
    theirs = manager.PluginConfig(**given)
    assert dataclasses.asdict(theirs) == given
    assert theirs.plugin_args == ("--d",)
    assert theirs.required


def test_groups_have_every_row_once():
    several = SMALL + "sources: {a: {kind: se2_keyboard}, b: {kind: se3_keyboard}}\n"
    assert "has 2 entries for 3 rows" in problems_of(several)[0]
    good = parse(several + "groups: {a: [0, 2], b: [1]}")
    assert good.rows_by_name == {"a": (0, 2), "b": (1,)}
    assert problems_of(several + "groups: {a: [0, 1, 2]}") == (
        "run.yaml:3:9: groups.b: is missing: the rows of that source.",
    )
    assert problems_of(several + "groups: {a: [0, 3], c: [0], b: []}") == (
        "run.yaml:3:9: groups: leaves rows [1, 2] without a source.",
        "run.yaml:3:17: groups.a[1]: must be a row, 0 to 2, got 3.",
        "run.yaml:3:24: groups.c: is no source; there are a, b.",
        "run.yaml:3:25: groups.c[0]: row 0 is driven by 'a' already.",
        "run.yaml:3:32: groups.b: has no rows.",
    )
    assert (
        "give it as source"
        in problems_of("env: {id: a}\nsources: {a: {kind: policy, policy: zero}}")[0]
    )


def test_of_what_is_not_understood_nothing_else_is_said():
    # Not that there is no source as well.
    assert problems_of(SMALL + "sorce: {kind: policy, policy: zero}") == (
        "run.yaml:2:1: sorce: is no field here. Did you mean: source, sources?",
    )


def test_a_keyboards_mapping_is_looked_at_entry_by_entry():
    pytest.importorskip("pygame", reason="the extra 'devices' is not installed")
    text = """\
        env: {id: a}
        source:
          kind: keyboard
          mapping:
            action_dim: 2
            moves:
              - {input: w, index: 0}
              - {input: sx, index: 1}
        """
    assert problems_of(text)[0].startswith(
        "run.yaml:8:9: source.mapping.moves[1]: A keyboard has no 'sx'."
    )
    found = problems_of(text.replace("index: 1", "index: 2"))[0]
    assert found.startswith("run.yaml:8:9: source.mapping.moves[1]: 'sx' moves entry 2")


def test_everything_is_listed_at_once_in_the_order_of_the_file():
    found = problems_of(
        """\
        env: {id: 3, num_env: 2}
        source:
          kind: keybord
        pipeline: {mode: async, max_age: 3}
        pacing: 5
        recorder:
          pth: demos
        """
    )
    places = [re.match(r"run.yaml:(\d+):(\d+): ([\w.]+):", line).groups() for line in found]
    assert places == sorted(places, key=lambda place: (int(place[0]), int(place[1])))
    assert {place[2] for place in places} == {
        *("env.id", "env.num_env", "source.kind", "pipeline.mode", "pipeline.max_age", "pacing"),
        *("recorder.pth", "recorder.path"),
    }


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_wrong_key_anywhere_is_found_where_it_stands(data):
    keys = list(re.finditer(r"^( *)(\w+):", EXAMPLE, re.MULTILINE))
    key = data.draw(st.sampled_from(keys))
    wrong = data.draw(st.from_regex(r"[a-z]{3,8}", fullmatch=True)) + "_q"
    text = EXAMPLE[: key.start(2)] + wrong + EXAMPLE[key.end(2) :]
    line = EXAMPLE.count("\n", 0, key.start(2)) + 1
    place = f"run.yaml:{line}:{len(key[1]) + 1}: "
    listed = problems_of(text)
    if key[2] == "kind":  # without it, nobody knows what the others are
        assert any(f"{key[2]}: is missing" in one for one in listed)
    else:
        assert any(one.startswith(place) and wrong in one for one in listed), listed


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=60) | st.binary(max_size=60).map(lambda b: b.decode("latin-1")))
def test_whatever_is_in_a_file_ends_in_our_own_error(text):
    with pytest.raises(RunConfigError):
        parse_run(text.encode("utf-8", "surrogatepass"))


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match="--example prints such a file"):
        read_run(tmp_path / "nowhere.yaml")
    (tmp_path / "run.yaml").write_text(SMALL)
    with pytest.raises(RunConfigError, match=re.escape(f"{tmp_path}/run.yaml:1:1: source")):
        read_run(tmp_path / "run.yaml")
