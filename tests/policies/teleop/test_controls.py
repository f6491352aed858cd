import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdstep.policies.teleop import ActionMapping
from holdstep.policies.teleop.devices.controls import OperatorControls
from holdstep.policies.teleop.devices.input_state import InputState
from holdstep.wrappers.pipeline.events import ExecutionState, SourceEvents

PAUSED, RUNNING, STOPPED = ExecutionState.PAUSED, ExecutionState.RUNNING, ExecutionState.STOPPED
COMMANDS = {
    "r": "reset",
    "return": ["success", "reset"],
    "b": "failure",
    "delete": "discard_last",
    "space": "pause",
    "f1": "start",
    "escape": "stop",
}


class Desk:
    """An operator at a device that is looked at when a test says so."""

    def __init__(self, env_ids=(0,), state=RUNNING, reclutch=True, **mapping):
        mapping.setdefault("moves", [
            {"input": "d", "index": 0},
            {"input": "a", "index": 0, "scale": -1.0},
            {"input": "stick", "index": 1, "scale": 2.0, "dead_zone": 0.5},
        ])  # fmt: skip
        mapping = ActionMapping.of({"action_dim": 2, "commands": COMMANDS, **mapping})
        self.inputs = InputState()
        self.controls = OperatorControls(mapping, env_ids, state=state, reclutch=reclutch)
        self.time_s = 0.0

    def hold(self, name, value=1.0):
        self.inputs.set(name, value)

    def let_go(self, name):
        self.inputs.set(name, 0.0)

    def tap(self, *names):
        for name in names:
            self.hold(name)
            self.let_go(name)

    def look(self, elapsed_s=0.02, **host):
        self.time_s += elapsed_s
        return self.controls.update(
            self.inputs.take(), host_events=SourceEvents(**host), sim_time_s=self.time_s
        )

    def actions(self, **host):
        return self.look(**host).actions.tolist()


def test_held_inputs_add_up():
    desk = Desk()
    assert desk.actions() == [[0.0, 0.0]]
    desk.hold("d")
    desk.hold("stick", 0.75)
    assert desk.actions() == [[1.0, 1.0]]
    desk.hold("a")
    assert desk.actions() == [[0.0, 1.0]]
    desk.let_go("d")
    desk.hold("stick", -1.0)
    assert desk.actions() == [[-1.0, -2.0]]


def test_small_deflections_count_for_nothing():
    desk = Desk()
    for value in (0.0, 0.3, -0.5, 0.5):
        desk.hold("stick", value)
        assert desk.actions() == [[0.0, 0.0]]


def test_a_tap_between_two_looks_counts_for_one_frame():
    desk = Desk()
    desk.tap("d")
    assert desk.actions() == [[1.0, 0.0]]
    assert desk.actions() == [[0.0, 0.0]]


def test_a_released_key_does_not_linger():
    desk = Desk()
    desk.hold("d")
    assert desk.actions() == [[1.0, 0.0]]
    desk.let_go("d")
    assert desk.actions() == [[0.0, 0.0]]


def test_actions_stay_within_their_bounds():
    desk = Desk(low=[-0.5, -1.0], high=[0.5, 1.0])
    desk.hold("d")
    desk.hold("stick", -1.0)
    assert desk.actions() == [[0.5, -1.0]]


def test_all_rows_do_the_same():
    desk = Desk(env_ids=(3, 5))
    desk.hold("d")
    done = desk.look()
    assert done.actions.dtype == np.float32
    assert done.actions.tolist() == [[1.0, 0.0], [1.0, 0.0]]


def test_a_toggle_switches_at_each_press():
    desk = Desk(moves=[], toggles=[{"input": "k", "index": 1, "off": 1.0, "on": -1.0}])
    seen = []
    for pressed in (False, True, False, True, False):
        if pressed:
            desk.tap("k")
        seen.append(desk.actions()[0][1])
    assert seen == [1.0, -1.0, -1.0, 1.0, 1.0]
    desk.tap("k", "k")  # twice within a frame
    assert desk.actions()[0][1] == 1.0
    desk.tap("k")
    assert desk.actions()[0][1] == -1.0
    assert desk.actions(reset=True)[0][1] == 1.0


def test_a_toggle_is_not_pressed_while_paused():
    desk = Desk(moves=[], toggles=[{"input": "k", "index": 1, "off": 1.0, "on": -1.0}])
    desk.tap("space")
    desk.look()
    desk.tap("k")
    desk.look()
    desk.tap("space")
    assert desk.actions()[0][1] == 1.0


def test_integrated_inputs_move_a_position_over_simulated_time():
    desk = Desk(
        moves=[{"input": "d", "index": 0, "scale": 2.0, "integrate": True}],
        neutral=[0.5, 0.25],
        high=1.0,
    )
    assert desk.actions() == [[0.5, 0.25]]
    desk.hold("d")
    assert desk.look(elapsed_s=0.1).actions == pytest.approx(np.array([[0.7, 0.25]]))
    desk.let_go("d")
    assert desk.look(elapsed_s=0.1).actions == pytest.approx(np.array([[0.7, 0.25]]))
    desk.hold("d")
    desk.look(elapsed_s=10.0)
    desk.hold("d", -1.0)  # the way back begins at the limit, not at 20
    assert desk.look(elapsed_s=0.1).actions == pytest.approx(np.array([[0.8, 0.25]]))


def test_time_during_a_pause_moves_nothing():
    desk = Desk(moves=[{"input": "d", "index": 0, "integrate": True}], reclutch=False)
    desk.look()
    desk.hold("d")
    desk.tap("space")
    assert desk.look(elapsed_s=5.0).actions is None
    desk.tap("space")
    assert desk.look(elapsed_s=5.0).actions.tolist() == [[0.0, 0.0]]
    assert desk.look(elapsed_s=0.5).actions.tolist() == [[0.5, 0.0]]


def test_only_rows_that_begin_anew_lose_their_position():
    desk = Desk(
        env_ids=(3, 5), reclutch=False, moves=[{"input": "d", "index": 0, "integrate": True}]
    )
    desk.hold("d")
    desk.look()
    assert desk.look(elapsed_s=0.5).actions[:, 0].tolist() == [0.5, 0.5]
    desk.let_go("d")
    assert desk.actions(reset=True, reset_env_ids=(5,)) == [[0.5, 0.0], [0.0, 0.0]]
    assert desk.actions(reset=True) == [[0.0, 0.0], [0.0, 0.0]]


@pytest.mark.parametrize("how", ["pause", "reset", "host reset", "host pause", "start"])
def test_what_is_held_over_a_break_counts_again_once_it_was_released(how):
    desk = Desk(state=STOPPED if how == "start" else RUNNING)
    desk.hold("d")
    desk.hold("stick")
    host = {}
    if how == "pause":
        desk.look()
        desk.tap("space")
        desk.look()
        desk.tap("space")
    elif how == "reset":
        desk.tap("r")
    elif how == "host reset":
        host = {"reset": True}
    elif how == "host pause":
        desk.look(state=PAUSED)
        host = {"state": RUNNING}
    else:
        desk.tap("f1")
    assert desk.actions(**host) == [[0.0, 0.0]]
    assert desk.actions() == [[0.0, 0.0]]
    desk.let_go("d")
    desk.hold("d")  # released and pressed again between two looks
    desk.hold("stick", 0.5)
    assert desk.actions() == [[1.0, 0.0]]
    desk.hold("stick")
    assert desk.actions() == [[1.0, 2.0]]


def test_without_reclutch_held_inputs_go_on():
    desk = Desk(reclutch=False)
    desk.hold("d")
    assert desk.actions(reset=True) == [[1.0, 0.0]]


def test_a_row_that_begins_anew_alone_does_not_disturb_the_others():
    desk = Desk(env_ids=(0, 1))
    desk.hold("d")
    assert desk.actions(reset=True, reset_env_ids=(1,)) == [[1.0, 0.0], [1.0, 0.0]]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ((), SourceEvents()),
        (("r",), SourceEvents(reset=True, reset_env_ids=(4, 6))),
        (("r", "r"), SourceEvents(reset=True, reset_env_ids=(4, 6))),
        (("return",), SourceEvents(reset=True, reset_env_ids=(4, 6), success=True)),
        (("b",), SourceEvents(success=False)),
        (("return", "b"), SourceEvents(reset=True, reset_env_ids=(4, 6), success=False)),
        (("delete",), SourceEvents(discard_last=True)),
        (("space",), SourceEvents(state=PAUSED)),
        (("space", "space"), SourceEvents(edges=(PAUSED, RUNNING))),
        (("escape", "space"), SourceEvents(edges=(STOPPED,))),
        (("escape", "f1"), SourceEvents(edges=(STOPPED, RUNNING))),
        (("f1",), SourceEvents()),
    ],
)
def test_orders(keys, expected):
    desk = Desk(env_ids=(4, 6))
    desk.tap(*keys)
    done = desk.look()
    assert done.events == expected
    assert done.state is (RUNNING if expected.state is None else expected.state)
    assert (done.actions is None) == (done.state is not RUNNING)
    assert not desk.look().events


def test_the_host_pauses_too_without_an_echo():
    desk = Desk()
    done = desk.look(state=PAUSED)
    assert (done.state, done.events, done.actions) == (PAUSED, SourceEvents(), None)
    desk.tap("space")  # the operator goes on
    assert desk.look().events == SourceEvents(state=RUNNING)


def test_the_host_does_not_end_a_pause_of_the_operators():
    desk = Desk()
    desk.tap("space")
    assert desk.look(state=PAUSED).state is PAUSED
    assert desk.look(state=RUNNING).state is PAUSED
    desk.tap("escape")
    assert desk.look(state=RUNNING).state is STOPPED
    desk.tap("f1")
    assert desk.look().state is RUNNING
    assert desk.look(state=STOPPED).state is STOPPED
    desk.tap("space")
    assert desk.look().state is STOPPED  # only "start" goes on
    assert desk.look(state=RUNNING).state is RUNNING


def test_a_device_that_goes_during_a_pause_of_the_hosts_does_not_come_back_driving():
    desk = Desk()
    desk.look(state=STOPPED)
    desk.inputs.set_connected(False)
    assert desk.look().state is STOPPED
    desk.inputs.set_connected(True)
    assert desk.look(state=RUNNING).state is PAUSED


def test_a_device_that_is_gone_pauses_until_the_operator_goes_on():
    desk = Desk()
    desk.hold("d")
    desk.look()
    desk.inputs.set_connected(False)
    assert desk.look().events == SourceEvents(state=PAUSED)
    assert not desk.look().events
    desk.inputs.set_connected(True)
    assert desk.look().state is PAUSED
    desk.tap("space")
    assert desk.actions() == [[0.0, 0.0]]


def test_a_closed_window_stops():
    desk = Desk()
    desk.inputs.close()
    assert desk.look().events == SourceEvents(state=STOPPED)
    assert not desk.look().events
    assert desk.look().state is STOPPED


def test_after_a_closed_window_one_can_start_again():
    desk = Desk()
    desk.inputs.close()
    desk.look()
    desk.tap("f1")
    assert desk.look().events == SourceEvents(state=RUNNING)
    assert desk.look().state is RUNNING


@given(st.lists(st.sampled_from([*COMMANDS, "d", "stick", "look"]), max_size=40))
def test_every_order_arrives_once_wherever_the_looks_are(keys):
    together, apart = Desk(), Desk()
    events, merged = [], SourceEvents()
    for key in keys:
        if key == "look":
            merged = merged.merged_with(together.look().events)
            continue
        together.tap(key)
        apart.tap(key)
        events.append(apart.look().events)
    merged = merged.merged_with(together.look().events)
    expected = SourceEvents()
    for event in events:
        expected = expected.merged_with(event)
    assert merged == expected
    assert together.look().state is apart.look().state
