"""What produces actions."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdstep.policies.episodes import FirstEpisodes, play_first_episodes
    from holdstep.policies.rsl_rl import RslRlPolicy

__all__ = ["FirstEpisodes", "RslRlPolicy", "play_first_episodes"]

# Imported when first asked for: a policy's module imports the library that it comes from.
_MODULES = {
    "FirstEpisodes": "holdstep.policies.episodes",
    "RslRlPolicy": "holdstep.policies.rsl_rl",
    "play_first_episodes": "holdstep.policies.episodes",
}


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'holdstep.policies' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
