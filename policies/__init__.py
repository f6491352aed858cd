"""What produces actions."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdstep.policies.chunked.ensemble import TemporalEnsemble, TemporalEnsembling
    from holdstep.policies.chunked.protocol import (
        ChunkedPolicy,
        ChunkRequest,
        ChunkResult,
        ChunkSpec,
        ObservingPolicy,
    )
    from holdstep.policies.chunked.runner import ChunkRunner
    from holdstep.policies.chunked.runner_step import RunnerStep
    from holdstep.policies.chunked.schedulers import (
        Adaptive,
        AnyTrigger,
        Cohort,
        Continuous,
        GlobalClock,
        Prefetch,
        Scheduler,
        Threshold,
    )
    from holdstep.policies.chunked.statistics import RunnerStats
    from holdstep.policies.episodes import FirstEpisodes, play_first_episodes
    from holdstep.policies.evaluation import EpisodeResult, EvalResult, EvalStep, evaluate
    from holdstep.policies.exported import ExportedPolicy
    from holdstep.policies.lerobot import LeRobotPolicy
    from holdstep.policies.rsl_rl import RslRlPolicy
    from holdstep.policies.teleop import TeleopPolicy
    from holdstep.policies.torch_policy import TorchChunkedPolicy

__all__ = [
    "Adaptive",
    "AnyTrigger",
    "ChunkRequest",
    "ChunkResult",
    "ChunkRunner",
    "ChunkSpec",
    "ChunkedPolicy",
    "Cohort",
    "Continuous",
    "EpisodeResult",
    "EvalResult",
    "EvalStep",
    "ExportedPolicy",
    "FirstEpisodes",
    "GlobalClock",
    "LeRobotPolicy",
    "ObservingPolicy",
    "Prefetch",
    "RslRlPolicy",
    "RunnerStats",
    "RunnerStep",
    "Scheduler",
    "TeleopPolicy",
    "TemporalEnsemble",
    "TemporalEnsembling",
    "Threshold",
    "TorchChunkedPolicy",
    "evaluate",
    "play_first_episodes",
]

# Imported when first asked for: a policy's module imports the library that it comes from.
_MODULES = {
    "ExportedPolicy": "holdstep.policies.exported",
    "LeRobotPolicy": "holdstep.policies.lerobot",
    "TemporalEnsemble": "holdstep.policies.chunked.ensemble",
    "TemporalEnsembling": "holdstep.policies.chunked.ensemble",
    "TorchChunkedPolicy": "holdstep.policies.torch_policy",
    "ChunkedPolicy": "holdstep.policies.chunked.protocol",
    "ObservingPolicy": "holdstep.policies.chunked.protocol",
    "ChunkSpec": "holdstep.policies.chunked.protocol",
    "ChunkRequest": "holdstep.policies.chunked.protocol",
    "ChunkResult": "holdstep.policies.chunked.protocol",
    "ChunkRunner": "holdstep.policies.chunked.runner",
    "RunnerStep": "holdstep.policies.chunked.runner_step",
    "RunnerStats": "holdstep.policies.chunked.statistics",
    "Adaptive": "holdstep.policies.chunked.schedulers",
    "AnyTrigger": "holdstep.policies.chunked.schedulers",
    "Cohort": "holdstep.policies.chunked.schedulers",
    "Continuous": "holdstep.policies.chunked.schedulers",
    "GlobalClock": "holdstep.policies.chunked.schedulers",
    "Prefetch": "holdstep.policies.chunked.schedulers",
    "Scheduler": "holdstep.policies.chunked.schedulers",
    "Threshold": "holdstep.policies.chunked.schedulers",
    "EpisodeResult": "holdstep.policies.evaluation",
    "EvalResult": "holdstep.policies.evaluation",
    "EvalStep": "holdstep.policies.evaluation",
    "evaluate": "holdstep.policies.evaluation",
    "FirstEpisodes": "holdstep.policies.episodes",
    "RslRlPolicy": "holdstep.policies.rsl_rl",
    "TeleopPolicy": "holdstep.policies.teleop",
    "play_first_episodes": "holdstep.policies.episodes",
}


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'holdstep.policies' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
