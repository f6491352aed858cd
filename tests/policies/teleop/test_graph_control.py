"""A graph's control pipeline orders what the same one orders that is built in Python."""

import numpy as np
import pytest

pytest.importorskip("isaacteleop", reason="the extra 'teleop' is not installed")
pytest.importorskip("flatbuffers", reason="recordings are made with flatbuffers")
from isaacteleop.retargeters import FootPedalRootCmdRetargeter, FootPedalRootCmdRetargeterConfig
from isaacteleop.retargeting_engine.deviceio_source_nodes import Generic3AxisPedalSource
from isaacteleop.retargeting_engine.interface import OutputCombiner
from isaacteleop.teleop_session_manager import DefaultTeleopStateManager, create_bool_selector

from holdstep.policies.teleop.config.session_source import session_source
from tests.policies.teleop.graph_sessions import connected, graph_time, parsed, theirs
from tests.policies.teleop.pedal_recordings import write_pedals
from tests.policies.teleop.requests import request

FEET = """
nodes:
  pedals: {type: Generic3AxisPedalSource}
  feet:
    type: FootPedalRootCmdRetargeter
    options: {mode: vertical, max_squat_pos: 0.9}
    inputs: {pedals: pedals.pedals}
  run: {type: Button, options: OPTIONS(left_pedal), inputs: {source: pedals.pedals}}
  kill: {type: Button, options: OPTIONS(rudder), inputs: {source: pedals.pedals}}
  again: {type: Button, options: OPTIONS(right_pedal), inputs: {source: pedals.pedals}}
  operator:
    type: DefaultTeleopStateManager
    inputs: {kill_button: kill.value, run_toggle_button: run.value, reset_button: again.value}
outputs: {action: feet.root_command}
control: {teleop_state: operator.teleop_state, reset_event: operator.reset_event}
"""


def feet_with_control():
    pedals = Generic3AxisPedalSource("pedals").output("pedals")
    config = FootPedalRootCmdRetargeterConfig(mode="vertical", max_squat_pos=0.9)
    feet = connected(FootPedalRootCmdRetargeter(config, name="feet"), pedals=pedals)

    def button(index):
        return create_bool_selector(
            pedals,
            name=f"button_{index}",
            selector_fn=lambda values: values[index],
            threshold=0.6,
            release_threshold=0.4,
            activate_frames=1,
        ).output("value")

    control = connected(
        DefaultTeleopStateManager("operator"),
        run_toggle_button=button(0),
        reset_button=button(1),
        kill_button=button(2),
    )
    return OutputCombiner({"action": feet.output("root_command")}), control


def test_buttons_order_what_they_order_in_python(tmp_path):
    rng = np.random.default_rng(3)
    frames = np.stack([rng.uniform(0, 1, 60), rng.uniform(0, 0.7, 60), rng.uniform(0, 0.62, 60)], 1)
    mcap = write_pedals(tmp_path / "p.mcap", [tuple(row) for row in frames.tolist()])
    options = (
        "{{entry: pedal_{0}, threshold: 0.6, release_threshold: 0.4, activate_frames: 1, "
        "deactivate_frames: 2}}"
    )
    text = FEET
    for name in ("left_pedal", "right_pedal", "rudder"):
        text = text.replace(f"OPTIONS({name})", options.format(name))
    source = parsed(text, mcap)
    ours = session_source(source, source.pipeline)
    pipeline, control = feet_with_control()
    states, num_resets = [], 0
    last_reset = False
    ours.start((0,))
    try:
        with theirs(pipeline, mcap, control) as session:
            for number in range(60):
                asked = request(number)
                expected = session.step(graph_time=graph_time(asked))["action"]
                events = session.last_context.execution_events
                got = ours.compute(asked)
                assert got.state.name.lower() == events.execution_state.value
                assert got.events.reset == (events.reset and not last_reset)
                last_reset = events.reset
                num_resets += got.events.reset
                states.append(got.state.name)
                if got.state.name == "RUNNING":
                    assert np.array_equal(got.actions.numpy(), expected[0])
    finally:
        ours.stop()
    assert set(states) == {"RUNNING", "PAUSED", "STOPPED"}
    assert num_resets > 3
