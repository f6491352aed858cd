"""mjlab's recorder terms, working beside the simulation instead of in its steps.

In an env's configuration::

    cfg.recorders["csv"] = asynchronous(cfg.recorders["csv"])
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from operator import attrgetter
from types import SimpleNamespace
from typing import Any

import torch

from holdstep.errors import ConfigError
from holdstep.extras import require
from holdstep.wrappers.record.host_copy import HostCopy
from holdstep.wrappers.record.worker import Worker

SEEN = (
    "obs_buf",
    "reward_buf",
    "reset_buf",
    "reset_terminated",
    "reset_time_outs",
    "episode_length_buf",
    "action_manager.action",
    "action_manager.prev_action",
)
"""What an asynchronous term sees of the env, besides its constants. mjlab's documentation names
these as what there is at each hook."""

_CONSTANTS = ("cfg", "num_envs", "step_dt", "physics_dt", "max_episode_length")
_HOOKS = ("record_pre_reset", "record_post_reset", "record_post_step")


def asynchronous(cfg: Any, *, also: Sequence[str] = (), max_queued_bytes: int = 1 << 28) -> Any:
    """The configuration of a recorder term whose hooks run in a thread of its own.

    The term is made as ever, with the env. From then on, its ``self._env`` is a copy in host memory
    of what a hook may look at, as it was when mjlab called it: :data:`SEEN`, ``num_envs``,
    ``device`` (the CPU), ``step_dt``, ``physics_dt``, ``max_episode_length``, ``cfg``,
    ``common_step_counter``, and what ``also`` names. Anything else is missing, since it would be
    read when the env has moved on. The hooks come in mjlab's order; ``close`` waits for them. An
    error in one of them is raised by the next step.

    Args:
        cfg: mjlab's ``RecorderTermCfg`` of any term; it is not changed.
        also: further tensors of the env by dotted path, such as ``"scene.env_origins"`` or
            ``"sim.data.qpos"``.
        max_queued_bytes: the most that copies may hold for hooks that have not run; beyond that,
            the simulation waits [byte].

    Raises:
        ConfigError: ``cfg`` is no recorder term's.
    """
    manager = require(
        "mjlab.managers.recorder_manager", extra="mjlab", purpose="A recorder term of mjlab"
    )
    term_class = getattr(cfg, "func", None)
    if not (isinstance(term_class, type) and issubclass(term_class, manager.RecorderTerm)):
        raise ConfigError(
            "asynchronous() takes the RecorderTermCfg of a recorder term, whose func is a subclass "
            f"of mjlab's RecorderTerm; got {cfg!r}."
        )
    params = {"term": cfg, "also": tuple(also), "max_queued_bytes": max_queued_bytes}
    return manager.RecorderTermCfg(func=_term_class(manager.RecorderTerm), params=params)


@functools.cache  # so that two configurations of one term are equal
def _term_class(base: type[Any]) -> type[Any]:
    def make_hook(name: str) -> Callable[..., None]:
        def hook(self: Any, env_ids: torch.Tensor | None = None) -> None:
            self.runner.call(name, env_ids)

        return hook

    def init(self: Any, cfg: Any, env: Any) -> None:
        base.__init__(self, cfg, env)
        self.runner = _Runner(base, env, **cfg.params)

    def close(self: Any) -> None:
        self.runner.close()

    methods = {"__init__": init, "close": close} | {name: make_hook(name) for name in _HOOKS}
    return type("AsynchronousTerm", (base,), methods | {"__doc__": "See asynchronous()."})


class _Runner:
    """Calls the hooks of a term, in its own thread, with copies of the env.

    Args:
        base: mjlab's ``RecorderTerm``.
        env: mjlab's env.
        term: the term's configuration.
        also: further tensors to copy, by dotted path.
        max_queued_bytes: bound of the copies.
    """

    def __init__(
        self, base: type[Any], env: Any, *, term: Any, also: Sequence[str], max_queued_bytes: int
    ) -> None:
        self._env = env
        entities = require(
            "mjlab.managers.scene_entity_config", extra="mjlab", purpose="A recorder term of mjlab"
        )
        for value in term.params.values():  # mjlab has done so for the outer term's
            if isinstance(value, entities.SceneEntityCfg):
                value.resolve(env.scene)
        self._term = term.func(cfg=term, env=env)
        kind = type(self._term)
        self._used = {name for name in _HOOKS if getattr(kind, name) is not getattr(base, name)}
        self._paths = (*SEEN, *also)
        self._constants = {name: getattr(env, name) for name in _CONSTANTS}
        self._worker = Worker(f"recorder term {kind.__name__}", max_bytes=max_queued_bytes)
        self._closed = False

    def call(self, hook: str, env_ids: torch.Tensor | None) -> None:
        """Have a hook called with the env as it is now."""
        if hook not in self._used:
            return
        found = {path: _found(self._env, path) for path in self._paths}
        found = {path: value for path, value in found.items() if value is not None}
        if env_ids is not None:
            found["env_ids"] = env_ids
        copy = HostCopy(found)
        counter = self._env.common_step_counter

        def run() -> None:
            values = copy.tensors()
            arguments = [values.pop("env_ids")] if env_ids is not None else []
            self._term._env = self._view(values, counter)
            getattr(self._term, hook)(*arguments)

        self._worker.submit(run, num_bytes=copy.num_bytes)

    def close(self) -> None:
        """Finish all hooks, then close the term; may be called again."""
        if self._closed:
            return
        self._closed = True
        try:
            self._worker.close()
        finally:
            self._term.close()

    def _view(self, values: dict[str, Any], common_step_counter: int) -> Any:
        view = _View(**self._constants, device="cpu", common_step_counter=common_step_counter)
        view.unwrapped = view
        for path, value in values.items():
            owner: Any = view
            *folders, name = path.split(".")
            for folder in folders:
                if folder not in vars(owner):
                    setattr(owner, folder, _View())
                owner = getattr(owner, folder)
            setattr(owner, name, value)
        return view


class _View(SimpleNamespace):
    """The env, or a part of it, as it was."""

    def __getattr__(self, name: str) -> Any:
        known = ", ".join(sorted(key for key in vars(self) if key != "unwrapped"))
        raise AttributeError(
            f"An asynchronous recorder term has no {name!r} of the env: it is not copied. There "
            f"are: {known}. Name it in asynchronous(..., also=[...]), by its path from the env."
        )


def _found(env: Any, path: str) -> Any:
    """A tensor of the env, or tensors; None where it is not made yet."""
    try:
        value = attrgetter(path)(env)
    except AttributeError:
        return None
    if isinstance(value, dict) and not value:
        return None
    # mjlab's simulation data are stand-ins for tensors.
    return value if isinstance(value, torch.Tensor | dict) else torch.as_tensor(value[:])
