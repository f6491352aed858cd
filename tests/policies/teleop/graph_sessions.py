"""Sessions on graphs from files, and on graphs that were built in Python."""

import textwrap

from isaacteleop.deviceio_session import McapReplayConfig
from isaacteleop.retargeting_engine.interface.retargeter_core_types import GraphTime
from isaacteleop.teleop_session_manager import (
    SessionMode,
    TeleopSession,
    TeleopSessionConfig,
)

from holdstep.policies.teleop.config import parse_run


def connected(retargeter, **inputs):
    return retargeter.connect(inputs)


def parsed(graph, mcap, *, output="[action]", more=""):
    text = f"""
    env: {{id: "holdstep:PointMass"}}
    source:
      kind: isaacteleop
      session: replay
      mcap: {mcap}
      output: {output}
      {more}
      pipeline:
    """
    graph = textwrap.indent(graph, "        ")
    return parse_run((textwrap.dedent(text) + graph).encode()).source


def theirs(pipeline, mcap, control=None):
    return TeleopSession(
        TeleopSessionConfig(
            app_name="without",
            pipeline=pipeline,
            mode=SessionMode.REPLAY,
            mcap_config=McapReplayConfig(str(mcap)),
            teleop_control_pipeline=control,
            verbose=False,
        )
    )


def graph_time(asked):
    return GraphTime(
        sim_time_ns=round(asked.sim_time_s * 1e9), real_time_ns=round(asked.real_time_s * 1e9)
    )
