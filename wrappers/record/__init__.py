"""Recording of every step of every env: asynchronous, crash-safe, in constant memory.

The modules that the writer process needs import neither torch nor a simulator.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdstep.wrappers.record.dataset import Dataset
    from holdstep.wrappers.record.episode import Episode
    from holdstep.wrappers.record.episode_file import finish_file
    from holdstep.wrappers.record.generation import Generated, generate
    from holdstep.wrappers.record.isaaclab_handler import AsyncHDF5DatasetFileHandler
    from holdstep.wrappers.record.isaaclab_offload import EpisodeOffload
    from holdstep.wrappers.record.mjlab_terms import asynchronous

__all__ = [
    "AsyncHDF5DatasetFileHandler",
    "Dataset",
    "Episode",
    "EpisodeOffload",
    "Generated",
    "asynchronous",
    "finish_file",
    "generate",
]

# Imported when they are first asked for: the writer process needs none of them.
_LAZY = {
    "AsyncHDF5DatasetFileHandler": "holdstep.wrappers.record.isaaclab_handler",
    "Dataset": "holdstep.wrappers.record.dataset",
    "Episode": "holdstep.wrappers.record.episode",
    "EpisodeOffload": "holdstep.wrappers.record.isaaclab_offload",
    "Generated": "holdstep.wrappers.record.generation",
    "asynchronous": "holdstep.wrappers.record.mjlab_terms",
    "finish_file": "holdstep.wrappers.record.episode_file",
    "generate": "holdstep.wrappers.record.generation",
}


def __getattr__(name: str) -> object:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'holdstep.wrappers.record' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
