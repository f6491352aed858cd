"""What is wrong with a session is said at once, and leaves nothing running."""

import subprocess
import sys
import threading

import numpy as np
import pytest

pytest.importorskip("isaacteleop", reason="the extra 'teleop' is not installed")
pytest.importorskip("flatbuffers", reason="recordings are made with flatbuffers")
from isaacteleop.retargeting_engine.deviceio_source_nodes import Generic3AxisPedalSource
from isaacteleop.retargeting_engine.interface import OutputCombiner
from mcap.writer import CompressionType

from holdstep.errors import (
    BackendUnavailableError,
    ConfigError,
    DatasetError,
    MissingExtraError,
)
from holdstep.policies.teleop import IsaacTeleopSource, read_recording, session_config
from tests.policies.teleop.graphs import (
    external_pipeline,
    pedals_pipeline,
    pedals_with_control,
    two_outputs,
)
from tests.policies.teleop.pedal_recordings import schemas, write_pedals
from tests.policies.teleop.requests import request

FRAMES = [(0.5, 0.25, 0.0)] * 4


@pytest.fixture
def recording(tmp_path):
    return write_pedals(tmp_path / "session.mcap", FRAMES)


@pytest.fixture(autouse=True)
def _nothing_is_left_running():
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) == before


def replay(path, pipeline=None, **options):
    return session_config(pipeline or pedals_pipeline(), mode="replay", mcap=path, **options)


def refused(config, error, match, **options):
    """Starting fails, and can be tried again: nothing of the session was kept."""
    source = IsaacTeleopSource(config, **options)
    for _ in range(2):
        with pytest.raises(error, match=match) as caught:
            source.start((0,))
        source.stop()
    return str(caught.value)


def test_a_live_session_needs_a_runtime(monkeypatch):
    monkeypatch.delenv("NV_CXR_RUNTIME_DIR", raising=False)
    monkeypatch.delenv("XR_RUNTIME_JSON", raising=False)
    message = refused(
        session_config(pedals_pipeline()), BackendUnavailableError, "live session can't be opened"
    )
    assert "isaacteleop.cloudxr" in message
    assert "mode='replay'" in message


def test_handles_that_are_none(monkeypatch):
    config = session_config(pedals_pipeline(), oxr_handles=(1, 2, 3, 0))
    assert "invalid OpenXRSessionHandles" in refused(config, BackendUnavailableError, "live")
    with pytest.raises(ConfigError, match=r"four numbers .*got 3"):
        session_config(pedals_pipeline(), oxr_handles=(1, 2, 3))


def test_no_such_recording(tmp_path):
    refused(replay(tmp_path / "none.mcap"), DatasetError, r"none\.mcap can't be read: No such file")


@pytest.mark.parametrize("content", [b"", b"junk", b"\x89MCAP0\r\n" + bytes(100)])
def test_no_recording_at_all(tmp_path, content):
    path = tmp_path / "junk.mcap"
    path.write_bytes(content)
    refused(replay(path), DatasetError, r"junk\.mcap is no MCAP file, or one that was cut off")


def test_a_recording_that_was_cut_off(tmp_path, recording):
    path = write_pedals(tmp_path / "killed.mcap", FRAMES, finish=False)
    refused(replay(path), DatasetError, r"killed\.mcap .*cut off")
    half = tmp_path / "half.mcap"
    half.write_bytes(recording.read_bytes()[:-200])
    refused(replay(half), DatasetError, r"half\.mcap .*cut off")


def test_a_compressed_recording(tmp_path):
    path = write_pedals(tmp_path / "zstd.mcap", FRAMES, compression=CompressionType.ZSTD)
    refused(replay(path), DatasetError, r"compressed \(zstd\).*mcap decompress")


def test_a_recording_of_another_source(tmp_path):
    path = write_pedals(tmp_path / "other.mcap", FRAMES, source="pedal")
    message = refused(replay(path), DatasetError, "holds nothing of a source 'pedals'")
    assert "Did you mean: pedal?" in message
    assert read_recording(path).num_messages == {"pedal/pedals_tracked": 4}


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"schema_name": "core.HeadPoseRecord"}, "schema is named 'core.HeadPoseRecord'"),
        ({"schema": b""}, "no embedded schema|not a valid FlatBuffers"),
        ({"schema": b"not a schema"}, "not a valid FlatBuffers binary schema"),
    ],
)
def test_a_recording_of_another_schema(tmp_path, options, match):
    path = write_pedals(tmp_path / "schema.mcap", FRAMES, **options)
    assert "can't be replayed" in refused(replay(path), DatasetError, match)


def test_a_schema_of_another_layout(tmp_path):
    wrong = schemas()["core.HeadPoseRecord"]
    path = write_pedals(tmp_path / "schema.mcap", FRAMES, schema=wrong)
    refused(replay(path), DatasetError, "schema.mcap can't be replayed: MCAP schema mismatch")


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({}, "external input 'robot' is missing"),
        ({"robto": 1.0}, "Did you mean: robto"),
        ({"robot": {"valeu": 1.0}}, "'robot' lacks 'value'"),
        ({"robot": np.zeros(3, np.float32)}, "'robot/value' does not fit"),
        ({"robot": np.zeros(2, np.float64)}, "'robot/value' does not fit"),
        ({"robot": "far"}, "'robot/value' does not fit"),
        ({"robot": [1.0, 2.0]}, r"has 1 entries \(value\), 2 were given"),
    ],
)
def test_external_inputs_that_are_missing_or_do_not_fit(recording, given, match):
    source = IsaacTeleopSource(replay(recording, external_pipeline()))
    source.start((0,))
    with pytest.raises(ConfigError, match=match):
        source.compute(request(external_inputs=given))
    assert source.frame_count == 0
    assert source.config.pipeline.retargeter.calls == 0
    source.compute(request(external_inputs={"robot": np.zeros(2, np.float32)}))
    source.stop()


def test_an_external_input_with_the_name_of_a_device(recording):
    source = IsaacTeleopSource(replay(recording))
    source.start((0,))
    with pytest.raises(ConfigError, match="'pedals' is read from a device"):
        source.compute(request(external_inputs={"pedals": 1.0}))
    source.stop()


def test_two_leaves_of_one_name(recording):
    left, right = pedals_pipeline("same"), pedals_pipeline("same")
    both = OutputCombiner({"action": left.output("action"), "other": right.output("action")})
    with pytest.raises(ConfigError, match=r"Duplicate leaf node name.*'same'"):
        IsaacTeleopSource(replay(recording, both))


def test_a_control_pipeline_without_what_it_has_to_say(recording):
    with pytest.raises(ConfigError, match="must output 'teleop_state'"):
        replay(recording, control_pipeline=pedals_pipeline())


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"output": "actoin"}, "no output 'actoin'. Did you mean: action"),
        ({"output": ()}, "at least one output"),
        ({"action_dim": 7}, r"have 2 entries \('action' of 2\), the env's have 7"),
    ],
)
def test_an_output_that_is_not_there_or_not_as_wide(recording, options, match):
    with pytest.raises(ConfigError, match=match):
        IsaacTeleopSource(replay(recording), **options)


def test_outputs_that_are_not_as_wide_together(recording):
    with pytest.raises(ConfigError, match=r"have 3 entries \('arm' of 1 \+ 'hand' of 2\)"):
        IsaacTeleopSource(replay(recording, two_outputs()), output=("arm", "hand"), action_dim=2)


def test_two_open_sessions_on_one_pipeline(recording):
    config = replay(recording)
    first, second = IsaacTeleopSource(config), IsaacTeleopSource(config)
    first.start((0,))
    with pytest.raises(ConfigError, match="Another open session has the same pipeline"):
        second.start((1,))
    first.stop()
    second.start((1,))
    second.stop()


def test_a_session_that_is_not_open(recording):
    source = IsaacTeleopSource(replay(recording))
    with pytest.raises(ConfigError, match="not open"):
        source.compute(request())
    source.stop()
    source.start((0,))
    with pytest.raises(RuntimeError, match="already active"), source.session:
        pass
    source.stop()
    source.stop()
    with source.session:  # which isaacteleop allows, now that it is closed
        pass
    with pytest.raises(ConfigError, match="not open"):
        source.compute(request())


@pytest.mark.parametrize("config", [None, 3, "pipeline", lambda: None])
def test_what_is_no_configuration(config):
    with pytest.raises(ConfigError, match="config must be a TeleopSessionConfig"):
        IsaacTeleopSource(config)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"mode": "live?"}, "mode must be 'live' or 'replay'"),
        ({"mode": "replay"}, "needs a recording"),
        ({"pipeline": 3}, "must be a retargeting pipeline"),
        ({"pipeline": lambda: 3}, "must be a retargeting pipeline"),
        ({"plugins": [{"name": "hands"}]}, "The plugin"),
        ({"fps": 60}, "unexpected keyword argument 'fps'"),
        ({"sinks": [3]}, "sinks"),
    ],
)
def test_pieces_that_can_not_be_used(arguments, match):
    with pytest.raises(ConfigError, match=match):
        session_config(**{"pipeline": pedals_pipeline(), **arguments})


def test_pieces_arrive(tmp_path, recording):
    graph, control = pedals_with_control()
    plugin = {"plugin_name": "p", "plugin_root_id": "r", "search_paths": ["a"], "enabled": False}
    config = session_config(
        lambda: (graph, control), plugins=[plugin], mcap=tmp_path / "new.mcap", verbose=True
    )
    assert (config.pipeline, config.teleop_control_pipeline) == (graph, control)
    assert (config.plugins[0].plugin_name, config.plugins[0].enabled) == ("p", False)
    assert type(config.mcap_config).__name__ == "McapRecordingConfig"
    assert config.verbose
    handles = session_config(Generic3AxisPedalSource("pedals"), oxr_handles=(1, 2, 3, 4))
    assert type(handles.oxr_handles).__name__ == "OpenXRSessionHandles"
    again = session_config(pedals_pipeline(), mode="replay", mcap=replay(recording).mcap_config)
    assert again.mcap_config.filename == str(recording)


def test_without_the_package(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] in ("isaacteleop", "mcap")]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match=r'pip install "holdstep\[teleop\]"'):
        session_config(None)
    with pytest.raises(MissingExtraError, match=r'pip install "holdstep\[teleop\]"'):
        read_recording("session.mcap")


def test_importing_imports_no_extras():
    code = (
        "import sys, holdstep.policies.teleop as teleop\n"
        "teleop.Se3Keyboard, teleop.IsaacTeleopSource, teleop.TeleopPolicy\n"
        "loaded = {'isaacteleop', 'mcap', 'pygame'} & sys.modules.keys()\n"
        "assert not loaded, loaded\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
