"""Isaac Lab's direct workflow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gymnasium

from holdstep.envs.adapters.isaaclab.plain import owned, owned_obs
from holdstep.envs.adapters.isaaclab.workflow import Workflow
from holdstep.envs.adapters.preserve_rows import preserved_rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import torch

    from holdstep.envs.contract import Info, Obs


class DirectWorkflow(Workflow):
    """``DirectRLEnv``: a class of the task's own computes its observations."""

    def observation_space(self) -> gymnasium.spaces.Dict:
        """What the task declares, flattened; its code is not run before the first reset."""
        return gymnasium.spaces.Dict(dict(_leaves(self.env.single_observation_space)))

    def compute_obs(self) -> Mapping[str, Any]:
        """The task's observations, with the noise that ``step`` adds to the policy's."""
        obs = dict(self.env._get_observations())
        if self.env.cfg.observation_noise_model:
            obs["policy"] = self.env._observation_noise_model(owned(obs["policy"]))
        return obs

    def observers(self) -> Iterator[object]:
        """The env object, where tasks keep last actions and histories, and its noise models."""
        yield self.core
        for name in ("_observation_noise_model", "_action_noise_model"):
            model = vars(self.core).get(name)
            if isinstance(model, dict):  # by agent
                yield from model.values()
            elif model is not None:
                yield model

    def reset_rows(
        self, env_ids: torch.Tensor, other_ids: torch.Tensor, seed: int | None
    ) -> tuple[Obs, Info]:
        """What the backend's reset does, for some rows; it has none of its own for those."""
        env = self.env
        if seed is not None:
            env.seed(seed)
        env._reset_idx(env_ids)
        env.scene.write_data_to_sim()
        env.sim.forward()
        self.render_again()
        return self.observe_rows(env_ids, other_ids), env.extras

    def observe_rows(self, env_ids: torch.Tensor, other_ids: torch.Tensor) -> Obs:
        """The task's observations; what else it keeps is its own business."""
        del env_ids  # all rows are observed
        with preserved_rows(self.observers(), other_ids, num_envs=self.env.num_envs):
            # As in the backend's reset, a first observation is without noise.
            return owned_obs(self.env._get_observations())

    def forward_actions(self, actions: torch.Tensor) -> torch.Tensor:
        """A discrete action is a column, ``[N, 1]``, to Isaac Lab."""
        actions = super().forward_actions(actions)
        return actions[:, None] if actions.ndim == 1 else actions


def _leaves(
    space: gymnasium.Space[Any], name: str = ""
) -> Iterator[tuple[str, gymnasium.Space[Any]]]:
    """Spaces inside dictionaries and tuples, by the names that their observations get."""
    if isinstance(space, gymnasium.spaces.Dict):
        parts: Any = space.spaces.items()
    elif isinstance(space, gymnasium.spaces.Tuple):
        parts = enumerate(space.spaces)
    else:
        yield name, space
        return
    for key, part in parts:
        yield from _leaves(part, f"{name}/{key}" if name else str(key))
