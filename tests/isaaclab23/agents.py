"""The RSL-RL config of the stand-in tasks; importing it needs rsl-rl-lib and tensordict."""

from __future__ import annotations

from isaaclab.utils import configclass
from isaaclab_rl.rsl_rl import (
    RslRlOnPolicyRunnerCfg,
    RslRlPpoActorCriticCfg,
    RslRlPpoAlgorithmCfg,
)


@configclass
class StandinCartpolePPORunnerCfg(RslRlOnPolicyRunnerCfg):
    """A small PPO run: seconds on a CPU."""

    device = "cpu"
    num_steps_per_env = 16
    max_iterations = 5
    save_interval = 100
    experiment_name = "standin_cartpole"
    clip_actions = 1.0
    obs_groups = {"policy": ["policy"], "critic": ["policy", "critic"]}  # noqa: RUF012
    policy = RslRlPpoActorCriticCfg(
        init_noise_std=1.0,
        actor_obs_normalization=False,
        critic_obs_normalization=False,
        actor_hidden_dims=[32, 32],
        critic_hidden_dims=[32, 32],
        activation="elu",
    )
    algorithm = RslRlPpoAlgorithmCfg(
        value_loss_coef=1.0,
        use_clipped_value_loss=True,
        clip_param=0.2,
        entropy_coef=0.005,
        num_learning_epochs=2,
        num_mini_batches=2,
        learning_rate=1.0e-3,
        schedule="adaptive",
        gamma=0.99,
        lam=0.95,
        desired_kl=0.01,
        max_grad_norm=1.0,
    )
