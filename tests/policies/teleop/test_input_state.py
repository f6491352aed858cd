from hypothesis import given
from hypothesis import strategies as st

from holdstep.policies.teleop.devices.input_state import InputState

NAMES = ("w", "s", "left_trigger")


def test_a_press_is_reported_once_however_short_it_was():
    inputs = InputState(clock=lambda: 3.0)
    inputs.set("w", 1.0)
    inputs.set("w", 0.0)
    frame = inputs.take()
    assert frame.pressed == ("w",)
    assert frame.values["w"] == 0.0
    assert frame.time_s == 3.0
    assert inputs.take().pressed == ()


def test_what_is_held_is_pressed_once():
    inputs = InputState()
    inputs.set("w", 1.0)
    assert inputs.take().pressed == ("w",)
    inputs.set("w", 1.0)  # as a keyboard's repetition says
    frame = inputs.take()
    assert frame.pressed == ()
    assert frame.values["w"] == 1.0


def test_a_trembling_trigger_is_pressed_once():
    inputs = InputState()
    for value in (0.3, 0.61, 0.55, 0.62, 0.5, 0.7, 0.39, 0.65):
        inputs.set("left_trigger", value)
    assert inputs.take().pressed == ("left_trigger", "left_trigger")


def test_the_least_magnitude_since_the_last_look():
    inputs = InputState()
    inputs.set("left_x", -0.9)
    assert inputs.take().least["left_x"] == 0.0  # where it was before it was touched
    for value in (-0.5, 0.2, -0.8):
        inputs.set("left_x", value)
    frame = inputs.take()
    assert frame.values["left_x"] == -0.8
    assert frame.least["left_x"] == 0.2
    assert inputs.take().least["left_x"] == 0.8


def test_a_lost_device_holds_nothing():
    inputs = InputState()
    inputs.set("w", 1.0)
    inputs.take()
    inputs.set_connected(False)
    frame = inputs.take()
    assert (frame.connected, frame.values["w"]) == (False, 0.0)
    inputs.set_connected(True)
    assert inputs.take().connected
    inputs.set("w", 1.0)
    inputs.close()
    frame = inputs.take()
    assert (frame.closed, frame.values["w"]) == (True, 0.0)
    assert not inputs.take().closed


@given(
    st.lists(
        st.one_of(
            st.just("look"),
            st.tuples(st.sampled_from(NAMES), st.sampled_from([0.0, 0.3, 0.5, 0.7, 1.0])),
        ),
        max_size=60,
    )
)
def test_presses_are_neither_lost_nor_doubled(steps):
    inputs = InputState()
    seen, expected = [], []
    down = dict.fromkeys(NAMES, False)
    for step in steps:
        if step == "look":
            seen += inputs.take().pressed
            continue
        name, value = step
        inputs.set(name, value)
        if value >= 0.6 and not down[name]:
            expected.append(name)
            down[name] = True
        elif value <= 0.4:
            down[name] = False
    assert seen + list(inputs.take().pressed) == expected
