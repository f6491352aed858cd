"""Sessions that are started again: who was paused stays so until they say otherwise."""

from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("isaacteleop", reason="the extra 'teleop' is not installed")
pytest.importorskip("flatbuffers", reason="recordings are made with flatbuffers")
from isaacteleop.retargeting_engine.interface.execution_events import ExecutionEvents
from isaacteleop.retargeting_engine.interface.execution_events import ExecutionState as TheirState
from isaacteleop.teleop_session_manager import teleop_session
from isaacteleop.teleop_session_manager.teleop_state_manager_retargeter import (
    TeleopStateManager,
)

from holdstep.policies.teleop import IsaacTeleopSource, session_config
from holdstep.wrappers.pipeline.events import ExecutionState, SourceEvents
from tests.policies.teleop.graphs import external_pipeline
from tests.policies.teleop.pedal_recordings import write_pedals
from tests.policies.teleop.requests import request

PAUSED, RUNNING, STOPPED = ExecutionState.PAUSED, ExecutionState.RUNNING, ExecutionState.STOPPED


class DeadMansSwitch(TeleopStateManager):
    """Runs while it is held, from the first frame on: it remembers nothing."""

    held = TheirState.RUNNING  # by whoever holds it in this test

    def input_spec(self):
        return {}

    def _compute_execution_events(self, inputs, context):
        return ExecutionEvents(reset=False, execution_state=type(self).held)


def with_switch():
    return external_pipeline(), DeadMansSwitch("manager").connect({})


@pytest.fixture(autouse=True)
def _let_go(monkeypatch):
    monkeypatch.setattr(DeadMansSwitch, "held", TheirState.RUNNING)


@pytest.fixture
def source(monkeypatch):
    """A live one, without a headset behind it."""
    devices = SimpleNamespace(
        get_required_extensions=lambda trackers, vendors: [],
        run=lambda *args: nullcontext(SimpleNamespace(update=lambda: None)),
    )
    monkeypatch.setattr(teleop_session.deviceio, "DeviceIOSession", devices)
    source = IsaacTeleopSource(lambda: session_config(with_switch, oxr_handles=(1, 2, 3, 4)))
    yield source
    source.stop()


def states(source, switch, **host):
    given = {"robot": np.ones(2, np.float32)}
    found = []
    for number, state in enumerate(switch):
        DeadMansSwitch.held = TheirState(state.name.lower())
        events = SourceEvents(**host) if number == 0 else SourceEvents()
        result = source.compute(request(number, external_inputs=given, host_events=events))
        assert (result.actions is None) == (result.state is not RUNNING)
        found.append(result.state)
    return found


@pytest.mark.parametrize("before", [PAUSED, STOPPED, RUNNING])
def test_an_operator_who_was_not_driving_drives_on_when_they_say_so(source, before):
    source.start((0,))
    assert states(source, [RUNNING, before]) == [RUNNING, before]
    first = RUNNING if before is RUNNING else PAUSED
    for _ in range(2):
        source.start((0,))
        source.start((0,))  # failed before its first frame, as it were
        assert states(source, [RUNNING, RUNNING]) == [first, first]
    assert states(source, [PAUSED, RUNNING]) == [PAUSED, RUNNING]
    source.start((0,))
    assert states(source, [RUNNING]) == [RUNNING]


def test_a_pause_of_the_hosts_that_is_told_again_holds(source):
    source.start((0,))
    assert states(source, [RUNNING], state=PAUSED) == [PAUSED]
    source.start((0,))
    assert states(source, [RUNNING, RUNNING], state=PAUSED) == [PAUSED, PAUSED]
    assert states(source, [RUNNING], state=RUNNING) == [RUNNING]


def test_a_replay_says_again_what_it_said(tmp_path):
    path = write_pedals(tmp_path / "session.mcap", [])
    source = IsaacTeleopSource(lambda: session_config(with_switch, mode="replay", mcap=path))
    for _ in range(2):
        source.start((0,))
        assert states(source, [RUNNING, PAUSED]) == [RUNNING, PAUSED]
    source.stop()
