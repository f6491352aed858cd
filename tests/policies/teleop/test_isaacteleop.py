"""Sessions of isaacteleop through holdstep's source, and as they are used without it."""

import threading
import time

import numpy as np
import pytest
import torch

pytest.importorskip("isaacteleop", reason="the extra 'teleop' is not installed")
pytest.importorskip("flatbuffers", reason="recordings are made with flatbuffers")
from isaacteleop.deviceio_session import McapReplayConfig
from isaacteleop.retargeting_engine.interface import TensorGroup
from isaacteleop.retargeting_engine.interface.execution_events import ExecutionEvents
from isaacteleop.retargeting_engine.interface.execution_events import ExecutionState as TheirState
from isaacteleop.retargeting_engine.interface.retargeter_core_types import GraphTime
from isaacteleop.teleop_session_manager import (
    RetargetingExecutionConfig,
    SessionMode,
    TeleopSession,
    TeleopSessionConfig,
)

from holdstep.errors import ConfigError
from holdstep.policies.teleop import IsaacTeleopSource, session_config
from holdstep.wrappers.pipeline.events import ExecutionState, SourceEvents
from holdstep.wrappers.pipeline.snapshots import snapshot
from tests.policies.teleop.graphs import (
    external_pipeline,
    pedals_pipeline,
    pedals_with_control,
    two_outputs,
    vector,
)
from tests.policies.teleop.pedal_recordings import write_pedals
from tests.policies.teleop.requests import STEP_S, request

PAUSED, RUNNING, STOPPED = ExecutionState.PAUSED, ExecutionState.RUNNING, ExecutionState.STOPPED
RESET = SourceEvents(reset=True, reset_env_ids=(0,))


def pedals(num_frames, seed=0):
    rng = np.random.default_rng(seed)
    return [tuple(row) for row in rng.uniform(0, 1, (num_frames, 3)).astype(np.float32).tolist()]


@pytest.fixture
def recording(tmp_path):
    return write_pedals(tmp_path / "session.mcap", pedals(50))


@pytest.fixture
def opened():
    sources = []

    def open_source(config, env_ids=(0,), **options):
        source = IsaacTeleopSource(config, **options)
        sources.append(source)
        source.start(env_ids)
        return source

    yield open_source
    for source in sources:
        source.stop()
    assert all("retarget" not in thread.name.lower() for thread in threading.enumerate())


def replay(path, pipeline=None, **options):
    pipeline = pedals_pipeline() if pipeline is None else pipeline
    return session_config(pipeline, mode="replay", mcap=path, **options)


def buttons(tmp_path, *frames):
    """A replay of frames of pressed pedals: R runs or pauses, X resets, K kills."""
    rows = [tuple(float(name in frame) for name in "RXK") for frame in frames]
    path = write_pedals(tmp_path / "buttons.mcap", rows)
    graph, control = pedals_with_control()
    return replay(path, graph, control_pipeline=control), graph.retargeter


@pytest.mark.parametrize("gaps", [(), (0, 7, 8, 30)])
def test_the_same_outputs_as_without_holdstep_frame_by_frame(tmp_path, opened, gaps):
    frames = [None if number in gaps else row for number, row in enumerate(pedals(50))]
    path = write_pedals(tmp_path / "session.mcap", frames)
    theirs = TeleopSessionConfig(
        app_name="without",
        pipeline=pedals_pipeline(),
        mode=SessionMode.REPLAY,
        mcap_config=McapReplayConfig(str(path)),
        verbose=False,
    )
    source = opened(replay(path))
    with TeleopSession(theirs) as session:
        for number in range(50):
            expected = session.step()["action"]
            actions = source.compute(request(number)).actions
            assert (actions is None) == expected.is_none == (number in gaps)
            if actions is not None:
                assert actions.dtype == torch.float32
                assert torch.equal(actions, torch.from_dlpack(expected[0]))
                assert np.array_equal(actions.numpy(), expected[0])
        assert session.frame_count == source.frame_count == 50


def test_actions_are_not_what_a_retargeter_writes_to_next(recording, opened):
    source = opened(replay(recording))
    first = source.compute(request(0)).actions
    kept = first.clone()
    source.compute(request(1))
    assert torch.equal(first, kept)


def test_a_replay_says_which_frame_is_its_last(recording, opened):
    source = opened(replay(recording))
    assert source.lossless
    assert source.num_frames == 50
    ended = [source.compute(request(number)).end_of_replay for number in range(50)]
    assert ended == [False] * 49 + [True]
    calls = len(source.config.pipeline.retargeter.contexts)
    for number in range(50, 53):
        result = source.compute(request(number))
        assert (result.actions, result.end_of_replay, result.state) == (None, True, RUNNING)
    assert len(source.config.pipeline.retargeter.contexts) == calls


def test_lost_tracking_is_no_end(tmp_path, opened):
    path = write_pedals(tmp_path / "gap.mcap", [(1, 0, 0), None, None, (2, 0, 0)])
    source = opened(replay(path))
    results = [source.compute(request(number)) for number in range(4)]
    assert [result.actions is None for result in results] == [False, True, True, False]
    assert [result.end_of_replay for result in results] == [False, False, False, True]
    assert results[-1].actions.tolist() == [3.0, 0.0]


def test_a_replay_begins_again_when_it_is_started_again(recording, opened):
    source = opened(replay(recording))
    first = [source.compute(request(number)).actions.tolist() for number in range(50)]
    session = source.session
    source.stop()
    assert source.frame_count == 50  # still there to be looked at
    source.start((0,))
    assert source.session is not session
    again = [source.compute(request(number)).actions.tolist() for number in range(50)]
    assert again == first  # retargeters were told to reset


def test_a_callable_builds_the_pipeline_anew(recording, opened):
    built = []

    def config():
        built.append(replay(recording, pedals_pipeline))
        return built[-1]

    source = opened(config)
    first = source.compute(request()).actions
    source.start((0,))
    assert len(built) == 2
    assert source.config is built[1]
    assert built[0].pipeline is not built[1].pipeline
    assert torch.equal(source.compute(request()).actions, first)
    assert not built[1].pipeline.retargeter.contexts[0].execution_events.reset


def test_eight_sessions_at_once(tmp_path, opened):
    paths = [
        write_pedals(tmp_path / f"{number}.mcap", pedals(40, seed=number)) for number in range(8)
    ]
    sources = [opened(replay(path), env_ids=(row,)) for row, path in enumerate(paths)]
    seen = [[] for _ in sources]
    barrier = threading.Barrier(8)

    def drive(number):
        barrier.wait()
        for frame_id in range(40):
            seen[number].append(sources[number].compute(request(frame_id)).actions.tolist())

    threads = [threading.Thread(target=drive, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20.0)
    for number, actions in enumerate(seen):
        rows = np.array(pedals(40, seed=number))
        assert np.allclose(actions, np.stack([rows[:, 0].cumsum(), rows[:, 1]], axis=1), atol=1e-4)


def test_graph_time_is_that_of_the_simulation(recording, opened):
    source = opened(replay(recording))
    for number in range(3):
        result = source.compute(request(number, real_time_s=100.0 + number))
        time_ns = result.context.graph_time
        assert time_ns == GraphTime(
            sim_time_ns=round(number * STEP_S * 1e9), real_time_ns=(100 + number) * 1_000_000_000
        )
        assert source.last_context.graph_time is result.context.graph_time
        assert source.last_context.execution_events is result.context.execution_events


def test_host_events_reach_the_retargeters(recording, opened):
    source = opened(replay(recording))
    seen = source.config.pipeline.retargeter.contexts
    for number, host in enumerate(
        (SourceEvents(), RESET, SourceEvents(state=PAUSED), SourceEvents(), SourceEvents())
    ):
        result = source.compute(request(number, host_events=host))
        assert not result.events  # nothing of that was the operator
        assert result.state is (PAUSED if number >= 2 else RUNNING)
        assert (result.actions is None) == (number >= 2)
    assert [context.execution_events for context in seen] == [
        ExecutionEvents(reset=False, execution_state=TheirState.RUNNING),
        ExecutionEvents(reset=True, execution_state=TheirState.RUNNING),
        *[ExecutionEvents(reset=False, execution_state=TheirState.PAUSED)] * 3,
    ]
    result = source.compute(request(5, host_events=SourceEvents(state=RUNNING)))
    assert result.state is RUNNING
    assert result.actions is not None


def test_the_operator_runs_pauses_resets_and_stops(tmp_path, opened):
    config, _ = buttons(tmp_path, "", "R", "", "R", "", "X", "", "R", "K", "K", "K", "")
    source = opened(config, env_ids=(2, 4))
    results = [source.compute(request(number)) for number in range(12)]
    assert [result.state for result in results] == [
        STOPPED, PAUSED, PAUSED, RUNNING, RUNNING, RUNNING, RUNNING, PAUSED, *[STOPPED] * 4,
    ]  # fmt: skip
    reset = {"reset": True, "reset_env_ids": (2, 4)}
    assert [result.events for result in results] == [
        SourceEvents(state=STOPPED),
        SourceEvents(state=PAUSED),
        SourceEvents(),
        SourceEvents(state=RUNNING),
        SourceEvents(),
        SourceEvents(**reset),
        SourceEvents(),
        SourceEvents(state=PAUSED),
        SourceEvents(state=STOPPED, **reset),  # once, though the button is held for three frames
        *[SourceEvents()] * 3,
    ]
    assert all((result.actions is None) == (result.state is not RUNNING) for result in results)


def test_without_holdstep_a_button_is_lost_when_the_host_has_a_say(tmp_path):
    """What ControlGraph is for. When isaacteleop no longer does this, it can go."""
    config, _ = buttons(tmp_path, "", "R", "", "R", "")
    states = []
    with TeleopSession(config) as session:
        for number in range(5):
            host = ExecutionEvents(reset=True, execution_state=TheirState.RUNNING)
            session.step(execution_events=host if number == 1 else None)
            states.append(session.last_context.execution_events.execution_state.value)
    assert states == ["stopped", "running", "stopped", "paused", "paused"]


def test_no_button_is_lost_when_the_host_has_a_say(tmp_path, opened):
    frames = ("", "R", "", "R", "", "X", "", "R", "", "R", "")
    plain_config, _ = buttons(tmp_path, *frames)
    plain = opened(plain_config)
    expected = [plain.compute(request(number)) for number in range(len(frames))]
    for busy in [{number} for number in range(len(frames))] + [set(range(len(frames)))]:
        config, retargeter = buttons(tmp_path, *frames)
        source = opened(config)
        results = [
            source.compute(request(number, host_events=RESET if number in busy else SourceEvents()))
            for number in range(len(frames))
        ]
        assert [result.events for result in results] == [result.events for result in expected]
        assert [result.state for result in results] == [result.state for result in expected]
        resets = [context.execution_events.reset for context in retargeter.contexts]
        assert resets == [number in busy or number == 5 for number in range(len(frames))]


def test_the_more_cautious_of_host_and_operator_counts(tmp_path, opened):
    config, retargeter = buttons(tmp_path, "R", "", "R", "", "", "", "")
    source = opened(config)
    host = {3: SourceEvents(state=PAUSED), 5: SourceEvents(state=RUNNING)}
    results = [
        source.compute(request(number, host_events=host.get(number, SourceEvents())))
        for number in range(7)
    ]
    assert [result.state for result in results] == [
        PAUSED, PAUSED, RUNNING, PAUSED, PAUSED, RUNNING, RUNNING,
    ]  # fmt: skip
    assert [bool(result.events) for result in results] == [
        True, False, True, False, False, False, False,
    ]  # fmt: skip
    seen = [context.execution_events.execution_state.value for context in retargeter.contexts]
    assert seen == [result.state.name.lower() for result in results]


def test_external_inputs(opened, recording):
    config = replay(recording, external_pipeline())
    source = opened(config)
    assert source.has_external_inputs()
    assert list(source.get_external_input_specs()) == ["robot"]
    assert source.num_frames is None  # nothing of the recording is read
    value = np.array([0.25, -0.5], dtype=np.float32)
    group = TensorGroup(vector("value", 2))
    group[0] = value
    for given in (
        {"robot": {"value": group}},
        {"robot": {"value": value}},
        {"robot": value},
        {"robot": {"value": value, "unused": 1}, "unused": 2},
    ):
        result = source.compute(request(external_inputs=given))
        assert result.actions.tolist() == [0.25, -0.5]


def test_outputs_one_after_another(recording, opened):
    source = opened(replay(recording, two_outputs()), output=["hand", "arm"], action_dim=3)
    row = pedals(1)[0]
    assert source.action_dim == 3
    assert source.compute(request()).actions.tolist() == [row[0], row[1], row[0]]


def test_other_outputs_belong_to_their_frame(recording, opened):
    source = opened(replay(recording, two_outputs()), output="arm", extra_outputs="hand")
    plain = opened(replay(recording, two_outputs()), output="arm")
    for number, row in enumerate(pedals(3)):
        result = source.compute(request(number))
        assert result.context.outputs["hand"][0][1] == row[1]
        copied = snapshot(result.context, "context")
        assert copied.outputs["hand"][0][1] == row[1]
        assert copied.outputs["hand"] is not result.context.outputs["hand"]
        assert plain.compute(request(number)).context.outputs == {}
    with pytest.raises(ConfigError, match=r"no output 'head'.*extra_outputs="):
        IsaacTeleopSource(replay(recording, two_outputs()), output="arm", extra_outputs=["head"])


def test_a_pipelined_session_is_run_in_step(recording, opened):
    pipelined = RetargetingExecutionConfig(mode="pipelined")
    source = opened(replay(recording, retargeting_execution=pipelined))
    for number in range(20):
        source.compute(request(number))
        assert source.last_step_info.ran_synchronously
        assert source.last_step_info.returned_age_frames == 0
    assert source.config.retargeting_execution.mode == "pipelined"  # as it was given


def test_what_else_a_session_tells(recording, opened):
    before = time.time()
    source = opened(replay(recording, app_name="mine"))
    assert source.config.app_name == "mine"
    assert before <= source.start_time <= time.time()
    assert 0 <= source.get_elapsed_time() < 60
    assert source.oxr_session is None
    assert source.last_context is None
    assert source.frame_count == 0
    source.compute(request())
    assert (source.frame_count, source.session.frame_count) == (1, 1)


def test_a_failed_session_is_started_again(opened, recording):
    source = opened(lambda: replay(recording, external_pipeline(fail_at=2)))
    given = {"robot": np.ones(2, dtype=np.float32)}
    source.compute(request(0, external_inputs=given))
    with pytest.raises(RuntimeError, match="did not converge"):
        source.compute(request(1, external_inputs=given))
    source.stop()
    source.start((0,))
    assert source.compute(request(2, external_inputs=given)).actions.tolist() == [1.0, 1.0]


class Opened:
    """What isaacteleop opens for a live session: here without a headset behind it."""

    def __init__(self, log, name):
        self.log, self.name = log, name

    def __enter__(self):
        self.log.append(f"open {self.name}")
        return self

    def __exit__(self, *error):
        self.log.append(f"close {self.name}")

    def get_handles(self):
        return "handles"

    def update(self):
        self.log.append("update")


def test_a_live_session_is_opened_stepped_and_closed(monkeypatch, opened):
    """All but OpenXR and the devices themselves is isaacteleop's own."""
    from isaacteleop.teleop_session_manager import teleop_session

    log, runs = [], []

    class DeviceIO:
        get_required_extensions = staticmethod(lambda trackers, vendors: ["XR_EXT"])

        @staticmethod
        def run(trackers, handles, mcap_config, vendors):
            runs.append((trackers, handles, mcap_config and mcap_config.filename))
            return Opened(log, "devices")

    def open_xr(app_name, extensions):
        assert (app_name, extensions) == ("mine", ["XR_EXT"])
        return Opened(log, "openxr")

    monkeypatch.setattr(teleop_session.deviceio, "DeviceIOSession", DeviceIO)
    monkeypatch.setattr(teleop_session.oxr, "OpenXRSession", open_xr)
    config = session_config(external_pipeline, app_name="mine", mcap="kept.mcap")
    source = opened(config)
    assert not source.lossless
    assert source.num_frames is None
    assert source.oxr_session.name == "openxr"
    given = {"robot": np.ones(2, dtype=np.float32)}
    results = [source.compute(request(number, external_inputs=given)) for number in range(3)]
    assert [result.actions.tolist() for result in results] == [[1.0, 1.0]] * 3
    assert not any(result.end_of_replay for result in results)
    source.stop()
    assert source.oxr_session is None
    assert runs == [([], "handles", "kept.mcap")]
    assert log == [
        "open openxr", "open devices", *["update"] * 3, "close devices", "close openxr",
    ]  # fmt: skip
    with_handles = opened(session_config(external_pipeline, oxr_handles=(1, 2, 3, 4)))
    assert with_handles.oxr_session is None  # it is somebody else's
    assert type(runs[1][1]).__name__ == "OpenXRSessionHandles"
