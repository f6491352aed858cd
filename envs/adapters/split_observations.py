"""An observation manager whose image terms are computed when they are asked for."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import torch

from holdstep.envs.state.hooks import InstanceHooks


class SplitObservations:
    """Leaves some terms out of what an observation manager computes, and computes them later.

    mjlab's and Isaac Lab's managers share their inner layout: terms and their configurations in two
    lists by group, which ``compute_group`` goes through. While this is installed, that method of
    the manager finds a stand-in in the place of each term that is to wait, so that everything else
    happens as always and in the same order.

    Args:
        manager: an observation manager.
        waiting: names of the terms that are to wait, by group. A group whose terms are
            concatenated waits as a whole or not at all.
        pass_by: called in the place of a term, with the names of its group and of itself.
    """

    def __init__(
        self,
        manager: Any,
        waiting: Mapping[str, frozenset[str]],
        pass_by: Callable[[str, str], None],
    ) -> None:
        self._manager = manager
        self._waiting = dict(waiting)
        self._pass_by = pass_by
        self._hooks = InstanceHooks()
        self._compute_group: Callable[..., Any] = manager.compute_group
        self._is_whole = False

    def install(self) -> None:
        """Let terms wait."""
        self._hooks.shadow(self._manager, "compute_group", self._without_waiting)

    def remove(self) -> None:
        """Give the manager its method back."""
        self._hooks.remove()

    @contextlib.contextmanager
    def whole(self) -> Iterator[None]:
        """Inside, no term waits."""
        before, self._is_whole = self._is_whole, True
        try:
            yield
        finally:
            self._is_whole = before

    def compute(self, group: str) -> Any:
        """The terms of a group that wait, as the manager computes them: a tensor or a dict."""
        waiting = self._waiting[group]
        terms = self._terms(group)
        kept = {name: cfg for name, cfg in terms.items() if name in waiting}
        with self._replaced(group, kept):
            return self._compute_group(group, update_history=False)

    def _without_waiting(self, compute_group: Callable[..., Any]) -> Callable[..., Any]:
        self._compute_group = compute_group

        def compute_the_others(group_name: str, *args: Any, **kwargs: Any) -> Any:
            waiting = self._waiting.get(group_name)
            if waiting is None or self._is_whole or not self._hooks:
                return compute_group(group_name, *args, **kwargs)
            terms = self._terms(group_name)
            if len(waiting) == len(terms):
                for name in terms:
                    self._pass_by(group_name, name)
                return {}
            stand_ins = {
                name: self._stand_in(group_name, name) if name in waiting else cfg
                for name, cfg in terms.items()
            }
            with self._replaced(group_name, stand_ins):
                obs = compute_group(group_name, *args, **kwargs)
            return {name: value for name, value in obs.items() if name not in waiting}

        return compute_the_others

    def _terms(self, group: str) -> dict[str, Any]:
        manager = self._manager
        names, cfgs = manager._group_obs_term_names[group], manager._group_obs_term_cfgs[group]
        return dict(zip(names, cfgs, strict=True))

    @contextlib.contextmanager
    def _replaced(self, group: str, terms: Mapping[str, Any]) -> Iterator[None]:
        manager = self._manager
        by_group = (manager._group_obs_term_names, manager._group_obs_term_cfgs)
        before = [lists[group] for lists in by_group]
        for lists, values in zip(by_group, (list(terms), list(terms.values())), strict=True):
            lists[group] = values
        try:
            yield
        finally:
            for lists, values in zip(by_group, before, strict=True):
                lists[group] = values

    def _stand_in(self, group: str, term: str) -> Any:
        def nothing(env: Any) -> torch.Tensor:
            self._pass_by(group, term)
            return torch.empty(env.num_envs, 0, device=env.device)

        return SimpleNamespace(
            func=nothing,
            params={},
            noise=None,
            modifiers=None,
            clip=None,
            scale=None,
            history_length=0,
            delay_max_lag=0,
        )
