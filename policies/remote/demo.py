"""A chunked policy that needs no model: something to serve in the first ten minutes."""

from __future__ import annotations

import torch

from holdstep.errors import ConfigError
from holdstep.policies.chunked.protocol import ChunkRequest, ChunkResult, ChunkSpec
from holdstep.policies.remote.limits import check_count

_STEP_DT = 0.05  # of holdstep:PointMass [s]
_ACCELERATION = 2.0  # of a full action [m/s^2]
_MAX_SPEED = 1.0  # [m/s]
_STIFFNESS, _DAMPING = 4.0, 4.0  # critically damped [1/s^2, 1/s]


class DemoPolicy:
    """Steers ``holdstep:PointMass`` to its goal, several steps ahead.

    Reads the group ``policy`` (position, velocity, vector to the goal, two axes each) and plays the
    mass's motion forward under a critically damped spring to the goal; what that applies are the
    chunk. Walls are left out, which a mass on its way to a goal in the square rarely meets.

    Args:
        chunk_length: actions per inference.

    >>> import holdstep.envs
    >>> env = holdstep.envs.make("holdstep:PointMass", num_envs=2, device="cpu", seed=0)
    >>> obs, _ = env.reset()
    >>> ids = torch.arange(2)
    >>> request = ChunkRequest(obs=obs, env_ids=ids, episode_ids=ids, chunk_ids=ids, seeds=ids)
    >>> DemoPolicy().infer(request).actions.shape
    torch.Size([2, 8, 2])
    """

    def __init__(self, chunk_length: int = 8) -> None:
        check_count("chunk_length", chunk_length)
        self.spec = ChunkSpec(chunk_length=chunk_length, action_dim=2, obs_keys=("policy",))

    def infer(self, request: ChunkRequest) -> ChunkResult:
        """The chunks of a request, float32 ``[B, L, 2]``.

        Raises:
            ConfigError: the group ``policy`` is not that of ``holdstep:PointMass``.
        """
        state = request.obs["policy"]
        if state.ndim != 2 or state.shape[1] != 6:
            raise ConfigError(
                "The demo policy is for holdstep:PointMass, whose group 'policy' is [B, 6]; got "
                f"{list(state.shape)}."
            )
        _, velocity, to_goal = state.float().tensor_split(3, dim=1)
        actions = []
        for _ in range(self.spec.chunk_length):
            acceleration = _STIFFNESS * to_goal - _DAMPING * velocity
            action = (acceleration / _ACCELERATION).clamp(-1.0, 1.0)
            velocity = (velocity + action * _ACCELERATION * _STEP_DT).clamp(-_MAX_SPEED, _MAX_SPEED)
            to_goal = to_goal - velocity * _STEP_DT
            actions.append(action)
        return ChunkResult(actions=torch.stack(actions, dim=1))

    def reset(self, env_ids: torch.Tensor, episode_ids: torch.Tensor) -> None:
        """Nothing is remembered."""
