"""rsl_rl: training by id, and policies loaded from its checkpoints without running their code."""

from holdstep.policies.rsl_rl.checkpoint import latest_checkpoint, load_checkpoint
from holdstep.policies.rsl_rl.policy import RslRlPolicy
from holdstep.policies.rsl_rl.run_dir import RunDir
from holdstep.policies.rsl_rl.runner import Iteration
from holdstep.policies.rsl_rl.task_config import runner_config
from holdstep.policies.rsl_rl.training import TrainingResult, TrainingSettings, train

__all__ = [
    "Iteration",
    "RslRlPolicy",
    "RunDir",
    "TrainingResult",
    "TrainingSettings",
    "latest_checkpoint",
    "load_checkpoint",
    "runner_config",
    "train",
]
