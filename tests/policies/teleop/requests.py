"""Requests of a source, without an env."""

from holdstep.wrappers.pipeline.source import SourceRequest

STEP_S = 0.02


def request(frame_id=0, env_ids=(0,), **values):
    values.setdefault("sim_time_s", frame_id * STEP_S)
    return SourceRequest(frame_id=frame_id, env_ids=env_ids, **values)
