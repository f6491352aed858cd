"""Hooks by which a simulator says which rows its code is about when it draws random numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from holdstep.envs.state.hooks import InstanceHooks

if TYPE_CHECKING:
    from holdstep.envs.state.per_env_random import PerEnvRandom


class RandomScopes:
    """What the hooks of mjlab's and Isaac Lab's envs share; their managers are alike.

    - ``reset``: everything inside is for the rows that are reset. Noise on all rows' observations
      advances theirs only.
    - An event manager's ``apply``: events get the rows for which they are called. Which rows an
      interval event is due for is found inside ``apply`` by ``nonzero()``; that lookup is followed,
      at no cost to a GPU. While ``apply`` runs, the terms' functions are wrapped, so that one which
      is called for some of the rows only (``min_step_count_between_reset``) has these.
    - Commands' ``_resample`` and ``_resample_command``.

    Args:
        random: who makes the numbers; nothing happens while it is not active.
    """

    def __init__(self, random: PerEnvRandom) -> None:
        self._random = random
        self._hooks = InstanceHooks()

    def remove(self) -> None:
        """Take all hooks off; may be called again."""
        self._hooks.remove()

    def _hook_events(self, manager: Any) -> None:
        def make(apply: Callable[..., Any]) -> Callable[..., Any]:
            def apply_for_rows(mode: str, env_ids: Any = None, **options: Any) -> Any:
                with self._random.rows(env_ids), self._wrapped_terms(manager, mode):
                    return apply(mode, env_ids=env_ids, **options)

            return apply_for_rows

        self._hooks.shadow(manager, "apply", make)

    def _hook_commands(self, manager: Any) -> None:
        for term in getattr(manager, "_terms", {}).values():
            self._hooks.shadow(term, "_resample", self._of_rows)
            self._hooks.shadow(term, "_resample_command", self._of_rows)

    def _of_reset(self, reset: Callable[..., Any]) -> Callable[..., Any]:
        def reset_rows(seed: int | None = None, env_ids: Any = None, **options: Any) -> Any:
            if seed is not None:
                self._random.global_state_may_change()
            if env_ids is not None:
                options["env_ids"] = env_ids
            with self._random.rows(env_ids):
                return reset(seed=seed, **options)

        return reset_rows

    def _of_rows(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def for_rows(env_ids: Any = None) -> Any:
            with self._random.rows(env_ids):
                return method(env_ids)

        return for_rows

    def _of_all_rows(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """For all rows, of which the method may look up some."""

        def for_all_rows(*args: Any, **kwargs: Any) -> Any:
            with self._random.rows(None):
                return method(*args, **kwargs)

        return for_all_rows

    @contextmanager
    def _wrapped_terms(self, manager: Any, mode: str) -> Iterator[None]:
        """Wrap the terms' functions for a call of ``apply``.

        No longer: ``func`` may be an object with state, which others look for there.
        """
        if not self._random.is_active:
            yield
            return
        # A class is made an object by Isaac Lab's manager when it is first applied.
        cfgs = [
            cfg for cfg in manager._mode_term_cfgs.get(mode, ()) if not isinstance(cfg.func, type)
        ]
        funcs = [cfg.func for cfg in cfgs]
        wrapped = [_EventForRows(func, self._random) for func in funcs]
        for cfg, func in zip(cfgs, wrapped, strict=True):
            cfg.func = func
        try:
            yield
        finally:
            for cfg, func, own in zip(cfgs, wrapped, funcs, strict=True):
                if cfg.func is func:
                    cfg.func = own


class _EventForRows:
    """An event's function, called for the rows that it gets."""

    def __init__(self, func: Any, random: PerEnvRandom) -> None:
        self._func = func
        self._random = random

    def __getattr__(self, name: str) -> Any:
        return getattr(self._func, name)

    def __call__(self, env: Any, env_ids: Any, **params: Any) -> Any:
        with self._random.rows(env_ids):
            return self._func(env, env_ids, **params)
