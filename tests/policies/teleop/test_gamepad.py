"""Gamepads through SDL itself, which can pretend to have one plugged in."""

import pytest

from holdstep.errors import BackendUnavailableError, ConfigError
from holdstep.policies.teleop import GamepadSource, KeyboardSource, Se2Gamepad, Se3Gamepad
from holdstep.wrappers.pipeline.events import ExecutionState, SourceEvents
from tests.policies.teleop.requests import request

pygame = pytest.importorskip("pygame", reason="the extra 'devices' is not installed")
from tests.policies.teleop.sdl import plugged_in, thread_names, until  # noqa: E402

LEFT_X, LEFT_Y, RIGHT_X, RIGHT_Y, LEFT_TRIGGER, RIGHT_TRIGGER = range(6)
A, B, X, Y, BACK, GUIDE, START = range(7)
DPAD_UP, DPAD_DOWN, DPAD_LEFT, DPAD_RIGHT = range(11, 15)
FULL, NONE = 32767, 0


@pytest.fixture(autouse=True)
def _sdl(monkeypatch):
    """Opened for the whole test, since a pretended gamepad needs a SDL that is open."""
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    window = KeyboardSource({"action_dim": 1})
    window.start((0,))
    yield
    window.stop()
    assert "holdstep-sdl" not in thread_names()


@pytest.fixture
def pad():
    with plugged_in() as pad:
        yield pad


@pytest.fixture
def started():
    sources = []

    def start(source):
        sources.append(source)
        source.start((0,))
        return source

    yield start
    for source in sources:
        source.stop()


def acts(source, expected):
    def done():
        actions = source.compute(request()).actions
        return actions is not None and actions[0].tolist() == pytest.approx(expected, abs=1e-4)

    until(done)


def test_sticks_move_an_arm(pad, started):
    arm = started(Se3Gamepad(pos_sensitivity=0.5, rot_sensitivity=2.0))
    acts(arm, [0, 0, 0, 0, 0, 0, 1])
    for axis, value, index, expected in (
        (LEFT_Y, -32768, 0, 0.5),  # up is forward
        (LEFT_Y, FULL, 0, -0.5),
        (LEFT_X, -32768, 1, 0.5),
        (RIGHT_Y, -32768, 2, 0.5),
        (RIGHT_X, FULL, 5, -2.0),
    ):
        pad.axis(axis, value)
        action = [0.0] * 6 + [1.0]
        action[index] = expected
        acts(arm, action)
        pad.axis(axis, NONE)
    for button, index, expected in (
        (DPAD_UP, 4, -2.0),
        (DPAD_DOWN, 4, 2.0),
        (DPAD_LEFT, 3, -2.0),
        (DPAD_RIGHT, 3, 2.0),
    ):
        pad.button(button, 1)
        action = [0.0] * 6 + [1.0]
        action[index] = expected
        acts(arm, action)
        pad.button(button, 0)
    pad.button(X, 1)
    acts(arm, [0, 0, 0, 0, 0, 0, -1])
    assert Se3Gamepad(gripper_term=False).action_dim == 6


def test_sticks_move_a_base_beyond_their_dead_zone(pad, started):
    base = started(Se2Gamepad(v_x_sensitivity=2.0, dead_zone=0.5))
    pad.axis(LEFT_Y, -16000)
    pad.axis(RIGHT_X, FULL)
    acts(base, [0, 0, -1])
    pad.axis(LEFT_Y, -24576)
    acts(base, [1, 0, -1])


def test_triggers_go_from_zero_to_one(pad, started):
    moves = [{"input": "right_trigger", "index": 0, "dead_zone": 0.0}]
    source = started(GamepadSource({"action_dim": 1, "moves": moves}))
    acts(source, [0])
    pad.axis(RIGHT_TRIGGER, FULL)
    acts(source, [1])


def test_buttons_give_orders(pad, started):
    source = started(Se2Gamepad())
    expected = {
        Y: SourceEvents(reset=True, reset_env_ids=(0,), success=True),
        B: SourceEvents(reset=True, reset_env_ids=(0,), success=False),
        BACK: SourceEvents(reset=True, reset_env_ids=(0,)),
        START: SourceEvents(state=ExecutionState.PAUSED),
        GUIDE: SourceEvents(state=ExecutionState.STOPPED),
    }
    for button, events in expected.items():
        pad.button(button, 1)
        until(lambda: source._listener.inputs._pressed)
        assert source.compute(request()).events == events
        assert not source.compute(request()).events
        pad.button(button, 0)


def test_an_unplugged_gamepad_pauses_and_goes_on_when_the_operator_says_so(pad, started):
    source = started(Se2Gamepad())
    pad.axis(LEFT_Y, -32768)
    acts(source, [1, 0, 0])
    pad.unplug()
    until(lambda: source.compute(request()).state is ExecutionState.PAUSED)
    assert source.compute(request()).actions is None
    with plugged_in() as again:
        until(lambda: source._listener.instance_id is not None)
        assert source.compute(request()).state is ExecutionState.PAUSED
        again.button(START, 1)
        until(lambda: source.compute(request()).state is ExecutionState.RUNNING)
        again.axis(LEFT_Y, -32768)
        acts(source, [1, 0, 0])


def test_two_gamepads_are_kept_apart(pad, started):
    with plugged_in() as other:
        first, second = started(Se2Gamepad()), started(Se2Gamepad(gamepad=1))
        other.axis(LEFT_Y, -32768)
        acts(second, [1, 0, 0])
        acts(first, [0, 0, 0])
        pad.axis(LEFT_X, -32768)
        acts(first, [0, 1, 0])
        acts(second, [1, 0, 0])
        second.stop()
        first.stop()


def test_a_gamepad_that_is_plugged_in_again_is_not_mistaken_for_the_others(pad, started):
    with plugged_in() as other:
        first, second = started(Se2Gamepad()), started(Se2Gamepad(gamepad=1))
        mine = second._listener.instance_id
        pad.unplug()
        until(lambda: first.compute(request()).state is ExecutionState.PAUSED)
        with plugged_in() as again:
            until(lambda: first._listener.instance_id is not None)
            assert first._listener.instance_id != mine
            again.button(START, 1)
            until(lambda: first.compute(request()).state is ExecutionState.RUNNING)
            other.axis(LEFT_Y, -32768)
            acts(second, [1, 0, 0])
            acts(first, [0, 0, 0])
            again.axis(LEFT_X, -32768)
            acts(first, [0, 1, 0])
            acts(second, [1, 0, 0])
            # Started again, it finds its own, though the other's has its number by now.
            first.start((0,))
            assert first._listener.instance_id not in (None, mine)


def test_a_gamepad_is_not_given_to_a_second_number(pad, started):
    with plugged_in() as other:
        first, second = started(Se2Gamepad()), started(Se2Gamepad(gamepad=1))
        pad.unplug()
        until(lambda: first.compute(request()).state is ExecutionState.PAUSED)
        with pytest.raises(BackendUnavailableError, match="no gamepad 0"):
            first.start((0,))
        other.axis(LEFT_Y, -32768)
        acts(second, [1, 0, 0])


def test_only_what_was_plugged_in_takes_the_place_of_a_lost_one(pad, started):
    with plugged_in() as other, plugged_in():
        first, second = started(Se2Gamepad()), started(Se2Gamepad(gamepad=1))
        pad.unplug()
        until(lambda: first._listener.instance_id is None)
        until(lambda: other.index == 0)
        # SDL tells of those that were there from the beginning, too, and perhaps late.
        pygame.event.post(pygame.event.Event(pygame.CONTROLLERDEVICEADDED, device_index=0))
        other.axis(LEFT_Y, -32768)
        acts(second, [1, 0, 0])
        assert first._listener.instance_id is None


def test_two_gamepads_that_are_unplugged_come_back_to_two_operators(pad, started):
    with plugged_in() as other:
        both = [started(Se2Gamepad()), started(Se2Gamepad(gamepad=1))]
        pad.unplug()
        other.unplug()
        for each in both:
            until(lambda each=each: each.compute(request()).state is ExecutionState.PAUSED)
        with plugged_in(), plugged_in():
            until(lambda: all(each._listener.instance_id is not None for each in both))
            assert both[0]._listener.instance_id != both[1]._listener.instance_id


def test_one_gamepad_may_drive_for_two_sources(pad, started):
    both = [started(Se2Gamepad()), started(Se2Gamepad())]
    pad.unplug()
    for each in both:
        until(lambda each=each: each.compute(request()).state is ExecutionState.PAUSED)
    with plugged_in() as again:
        until(lambda: all(each._listener.instance_id is not None for each in both))
        again.button(START, 1)
        for each in both:
            until(lambda each=each: each.compute(request()).state is ExecutionState.RUNNING)


def test_a_gamepad_that_is_not_there(pad):
    with pytest.raises(BackendUnavailableError, match=r"no gamepad 1: 1 plugged in.*0 to 0"):
        Se2Gamepad(gamepad=1).start((0,))


def test_no_gamepad_at_all():
    with pytest.raises(BackendUnavailableError, match="no gamepad 0: 0 plugged in"):
        Se2Gamepad().start((0,))


@pytest.mark.parametrize("gamepad", [-1, True, "0"])
def test_numbers_that_can_not_be_meant(gamepad):
    with pytest.raises(ConfigError, match="gamepad must be a number"):
        Se2Gamepad(gamepad=gamepad)


def test_buttons_that_do_not_exist():
    with pytest.raises(ConfigError, match=r"A gamepad has no 'lef_x'. Did you mean: left_x"):
        GamepadSource({"action_dim": 1, "moves": [{"input": "lef_x", "index": 0}]})
