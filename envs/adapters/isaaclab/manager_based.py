"""Isaac Lab's manager-based workflow."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch

from holdstep.envs.adapters.isaaclab.cameras import cameras_of
from holdstep.envs.adapters.isaaclab.lazy_data import unread
from holdstep.envs.adapters.isaaclab.plain import owned_obs
from holdstep.envs.adapters.isaaclab.workflow import Workflow
from holdstep.envs.adapters.preserve_rows import preserved_rows
from holdstep.envs.observations import space_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import gymnasium

    from holdstep.envs.adapters.cameras import Cameras
    from holdstep.envs.adapters.isaaclab.physics import Physics
    from holdstep.envs.contract import Info, Obs


class ManagerBasedWorkflow(Workflow):
    """``ManagerBasedRLEnv``: observations come from an observation manager."""

    def observation_space(self) -> gymnasium.spaces.Dict:
        """Shapes and dtypes of a first observation, computed without a trace.

        Isaac Lab describes every group as float32, images (uint8) too, and gives terms the bounds
        that they are clipped to *before* they are scaled.
        """
        with unread(self.env), self.untouched():
            # Without a history update, which would start the histories before the first episode.
            return space_of(owned_obs(self._computed(update_history=False)))

    def compute_obs(self) -> Mapping[str, Any]:
        """Each group as ``step`` computes it, without replacing the manager's cached result."""
        return self._computed(update_history=True)

    def _computed(self, *, update_history: bool) -> dict[str, Any]:
        manager = self.env.observation_manager
        return {
            group: manager.compute_group(group, update_history=update_history)
            for group in manager.active_terms
        }

    def observers(self) -> Iterator[object]:
        """The env, and the manager's history buffers, modifiers, noise models and class terms."""
        yield self.env
        yield from self._row_observers()

    def _row_observers(self) -> Iterator[object]:
        manager = self.env.observation_manager
        for by_term in manager._group_obs_term_history_buffer.values():
            yield from by_term.values()
        yield from manager._group_obs_class_instances
        for term_cfgs in manager._group_obs_class_term_cfgs.values():
            yield from (term_cfg.func for term_cfg in term_cfgs)

    def cameras(self, physics: Physics) -> Cameras | None:
        """Those that observation terms look at; computed without a trace."""
        with unread(self.env), self.untouched():
            return cameras_of(self.env, physics)

    def reset_rows(
        self, env_ids: torch.Tensor, other_ids: torch.Tensor, seed: int | None
    ) -> tuple[Obs, Info]:
        """The backend's own reset, which computes the observations of all rows with history."""
        env = self.env
        # Recorders take what the env last returned from here, so it keeps the other rows too.
        last = SimpleNamespace(obs=env.obs_buf)
        observers = [*self._row_observers(), last]
        with preserved_rows(observers, other_ids, num_envs=env.num_envs):
            last.obs, extras = env.reset(seed=seed, env_ids=env_ids)
        return owned_obs(last.obs), extras

    def observe_rows(self, env_ids: torch.Tensor, other_ids: torch.Tensor) -> Obs:
        """The manager's observations; histories, modifiers and noise begin as after a reset."""
        env = self.env
        last = SimpleNamespace(obs=env.obs_buf)
        observers = [*self._row_observers(), last]
        with preserved_rows(observers, other_ids, num_envs=env.num_envs):
            env.observation_manager.reset(env_ids)
            last.obs = env.observation_manager.compute(update_history=True)
        env.obs_buf = last.obs
        return owned_obs(last.obs)

    def processed_actions(self) -> torch.Tensor | None:
        """Those of all terms, in their order."""
        manager = self.env.action_manager
        terms = [manager.get_term(name).processed_actions for name in manager.active_terms]
        return torch.cat(terms, dim=-1) if terms else None
