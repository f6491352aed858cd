"""Any slow function as a source of actions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from holdstep.errors import ConfigError
from holdstep.wrappers.pipeline.source import ActionSource, SourceRequest, SourceResult


class FunctionSource(ActionSource):
    """Makes a source of a function, such as a planner, or a policy on a server.

    Args:
        fn: called with the observations of the source's rows (a dict of tensors ``[k, ...]``), or
            without arguments if ``uses_obs`` is False; returns actions ``[k, A]`` or ``[A]``, or a
            :class:`~holdstep.wrappers.pipeline.SourceResult`.
        uses_obs: whether it is given observations.
        obs_keys: the groups that it reads; None for all. Only they are copied.
        lossless: whether every frame counts, so that each step waits for its own.

    Raises:
        ConfigError: ``fn`` can't be called, or keys without ``uses_obs``.
    """

    def __init__(
        self,
        fn: Callable[..., Any],
        *,
        uses_obs: bool = True,
        obs_keys: Sequence[str] | None = None,
        lossless: bool = False,
    ) -> None:
        if not callable(fn):
            raise ConfigError(f"fn must be callable, got {fn!r}.")
        if obs_keys is not None and not uses_obs:
            raise ConfigError("obs_keys are of no use with uses_obs=False.")
        self.uses_obs = uses_obs
        self.obs_keys = None if obs_keys is None else tuple(obs_keys)
        self.lossless = lossless
        self._fn = fn

    def __repr__(self) -> str:
        return f"FunctionSource({getattr(self._fn, '__qualname__', self._fn)})"

    def compute(self, request: SourceRequest) -> SourceResult:
        """Call the function."""
        answer = self._fn(dict(request.obs or {})) if self.uses_obs else self._fn()
        return answer if isinstance(answer, SourceResult) else SourceResult(actions=answer)
