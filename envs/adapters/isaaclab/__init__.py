"""Isaac Lab 2.3 (inside Isaac Sim) and 3.x (also without it), manager-based and direct.

Nothing of Isaac Lab is imported before an env is made, listed or adapted.
"""

from holdstep.envs.adapters.isaaclab.adapter import IsaacLabEnv
from holdstep.envs.adapters.isaaclab.make import adapt_isaaclab, env_names, make_env
from holdstep.envs.adapters.isaaclab.runner_config import load_runner_config

__all__ = ["IsaacLabEnv", "adapt_isaaclab", "env_names", "load_runner_config", "make_env"]
