"""rsl_rl: training by id, and policies loaded from its checkpoints without running their code."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from holdstep.policies.rsl_rl.checkpoint import latest_checkpoint, load_checkpoint
from holdstep.policies.rsl_rl.policy import RslRlPolicy
from holdstep.policies.rsl_rl.run_dir import RunDir
from holdstep.policies.rsl_rl.runner import Iteration
from holdstep.policies.rsl_rl.task_config import runner_config
from holdstep.policies.rsl_rl.training import TrainingResult, TrainingSettings, train

if TYPE_CHECKING:
    from holdstep.policies.rsl_rl.masked_ppo import MaskedPPO

__all__ = [
    "Iteration",
    "MaskedPPO",
    "RslRlPolicy",
    "RunDir",
    "TrainingResult",
    "TrainingSettings",
    "latest_checkpoint",
    "load_checkpoint",
    "runner_config",
    "train",
]


def __getattr__(name: str) -> object:
    # Imported when it is first asked for: it subclasses rsl_rl's own class.
    if name == "MaskedPPO":
        return importlib.import_module("holdstep.policies.rsl_rl.masked_ppo").MaskedPPO
    raise AttributeError(f"module 'holdstep.policies.rsl_rl' has no attribute {name!r}")
