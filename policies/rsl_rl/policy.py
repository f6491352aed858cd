"""A trained rsl_rl actor as a policy: a callable from observations to actions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from holdstep.policies.rsl_rl.checkpoint import find_checkpoint
from holdstep.policies.rsl_rl.run_dir import RunDir
from holdstep.policies.rsl_rl.runner import explain_misfit, make_runner
from holdstep.policies.rsl_rl.task_config import runner_class, runner_config
from holdstep.policies.rsl_rl.trained_config import trained_config

if TYPE_CHECKING:
    from holdstep.envs.contract import Obs, TorchVectorEnv
    from holdstep.envs.views.rsl_rl import RslRlVecEnv


class RslRlPolicy:
    """The deterministic actor of a checkpoint.

    Args:
        actor: rsl_rl's actor model, in evaluation mode.
        num_envs: rows of the observations that it will get.
        clip_actions: bound of the actions' absolute value, None for none.
    """

    def __init__(self, actor: Any, *, num_envs: int, clip_actions: float | None = None) -> None:
        self.actor = actor
        self.num_envs = num_envs
        self.clip_actions = clip_actions

    @classmethod
    def load(cls, checkpoint: str | Path, view: RslRlVecEnv, *, env_id: str) -> RslRlPolicy:
        """Load a checkpoint for an env.

        The network's shape comes from the settings beside the checkpoint (``params/agent.yaml``, as
        ``holdstep train`` writes), else from the task's own configuration. Neither file can make
        it import anything, see :func:`~holdstep.policies.rsl_rl.trained_config.trained_config`.

        Args:
            checkpoint: a ``model_*.pt`` file, or a run's folder for its latest.
            view: the rsl_rl view of the env that the policy will act in.
            env_id: the id that the env was made by.

        Raises:
            CheckpointError: the file can't be used, was trained on another task, or doesn't fit.
        """
        file = find_checkpoint(checkpoint, env_id=env_id)
        config = trained_config(RunDir.of_checkpoint(file), env_id=env_id, env=view.env)
        with explain_misfit(file, env_id):
            runner = make_runner(view, config, base=runner_class(env_id), quiet=True, alone=True)
            runner.load(str(file), load_cfg={"actor": True})
        actor = runner.get_inference_policy(device=str(view.device))
        return cls(actor, num_envs=view.num_envs, clip_actions=view.clip_actions)

    @classmethod
    def untrained(
        cls,
        env: TorchVectorEnv,
        *,
        env_id: str,
        seed: int = 0,
        config: dict[str, Any] | None = None,
    ) -> RslRlPolicy:
        """The task's actor with random weights: to try things out without training.

        Args:
            env: the env that the policy will act in.
            env_id: the id that the env was made by.
            seed: of the weights; torch's own random stream is left as it is.
            config: the runner's configuration; by default the task's own.

        Raises:
            ConfigError: the task registers no rsl_rl configuration.
        """
        from holdstep.envs.views.rsl_rl import RslRlVecEnv

        if config is None:
            config = runner_config(env_id, env)
        view = RslRlVecEnv(env, clip_actions=config.get("clip_actions"))
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            runner = make_runner(view, config, base=runner_class(env_id), quiet=True, alone=True)
        actor = runner.get_inference_policy(device=str(view.device))
        return cls(actor, num_envs=view.num_envs, clip_actions=view.clip_actions)

    def __call__(self, obs: Obs) -> torch.Tensor:
        """Actions, float32 ``[N, A]``, for observations by group, each ``[N, ...]``."""
        from tensordict import TensorDict

        with torch.inference_mode():
            actions: torch.Tensor = self.actor(TensorDict(dict(obs), batch_size=[self.num_envs]))
        if self.clip_actions is not None:
            actions = actions.clamp(-self.clip_actions, self.clip_actions)
        return actions

    def reset(self, done_mask: torch.Tensor | None = None) -> None:
        """Forget the recurrent state of rows whose episode ended (bool ``[N]``; None for all)."""
        self.actor.reset(done_mask)
