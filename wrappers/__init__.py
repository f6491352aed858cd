"""What can be stacked on an env."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdstep.wrappers.base import VectorWrapper, find_wrapper
    from holdstep.wrappers.chunk import ActionChunkReplay
    from holdstep.wrappers.export.annotate import AnnotateExport
    from holdstep.wrappers.order import Stage
    from holdstep.wrappers.pipeline.pipelined_actions import PipelinedActions
    from holdstep.wrappers.record.recorder import RecordEpisodes
    from holdstep.wrappers.record.stats import RecordingStats
    from holdstep.wrappers.record_timeline import RecordTimeline
    from holdstep.wrappers.suspend import SuspendOnWait
    from holdstep.wrappers.task_handle import EnvHandle
    from holdstep.wrappers.task_results import EpisodeRecord, PerEnvResult
    from holdstep.wrappers.tasks import run_per_env, run_per_env_async

__all__ = [
    "ActionChunkReplay",
    "AnnotateExport",
    "EnvHandle",
    "EpisodeRecord",
    "PerEnvResult",
    "PipelinedActions",
    "RecordEpisodes",
    "RecordTimeline",
    "RecordingStats",
    "Stage",
    "SuspendOnWait",
    "VectorWrapper",
    "find_wrapper",
    "run_per_env",
    "run_per_env_async",
]

# Imported when they are first asked for: nobody pays for a wrapper that is not used, and the
# process that writes recordings starts without torch.
_LAZY = {
    "ActionChunkReplay": "holdstep.wrappers.chunk",
    "AnnotateExport": "holdstep.wrappers.export.annotate",
    "EnvHandle": "holdstep.wrappers.task_handle",
    "EpisodeRecord": "holdstep.wrappers.task_results",
    "PerEnvResult": "holdstep.wrappers.task_results",
    "PipelinedActions": "holdstep.wrappers.pipeline.pipelined_actions",
    "RecordEpisodes": "holdstep.wrappers.record.recorder",
    "RecordTimeline": "holdstep.wrappers.record_timeline",
    "RecordingStats": "holdstep.wrappers.record.stats",
    "Stage": "holdstep.wrappers.order",
    "SuspendOnWait": "holdstep.wrappers.suspend",
    "VectorWrapper": "holdstep.wrappers.base",
    "find_wrapper": "holdstep.wrappers.base",
    "run_per_env": "holdstep.wrappers.tasks",
    "run_per_env_async": "holdstep.wrappers.tasks",
}


def __getattr__(name: str) -> object:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'holdstep.wrappers' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
