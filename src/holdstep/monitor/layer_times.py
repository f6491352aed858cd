"""How long the step of each layer of a stack takes by itself."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from holdstep.errors import ConfigError
from holdstep.monitor.layers import env_layers_of

if TYPE_CHECKING:
    from holdstep.envs.contract import TorchVectorEnv

_METHODS = ("step", "step_masked")


@dataclass
class LayerTime:
    """Time spent in a layer's step, what is inside of it included.

    Attributes:
        num_steps: calls that have returned, by themselves or with an error.
        total_s: their durations [s].
    """

    num_steps: int = 0
    total_s: float = 0.0
    _depth: int = 0

    def timed(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """``call``, with its time counted; not twice where a step calls another one of its own."""

        def timed_call(*args: Any, **kwargs: Any) -> Any:
            if self._depth:
                return call(*args, **kwargs)
            self._depth = 1
            begin_s = time.perf_counter()
            try:
                return call(*args, **kwargs)
            finally:
                self.total_s += time.perf_counter() - begin_s
                self.num_steps += 1
                self._depth = 0

        timed_call.layer_time = self  # type: ignore[attr-defined]
        return timed_call


@contextlib.contextmanager
def time_layers(stack: object) -> Iterator[None]:
    """Measure what each layer of a stack adds to a step; :func:`~holdstep.stats` then tells it.

    Times are the host's: what a GPU does later is not in them. Costs about half a microsecond per
    layer and step, and nothing before or afterwards.

    Args:
        stack: an env, or what holds one.

    Raises:
        ConfigError: there is no env in it, or it is measured already.
    """
    with contextlib.ExitStack() as undo:
        for layer in env_layers_of(stack):
            if layer_time_of(layer) is not None:
                raise ConfigError("The layers of this stack are timed already: leave that first.")
            layer_time = LayerTime()
            for name in _METHODS:
                undo.callback(_replaced(layer, name, layer_time.timed(getattr(layer, name))))
        yield


def layer_time_of(layer: object) -> LayerTime | None:
    """What is being measured of a layer, if anything is."""
    return getattr(vars(layer).get("step"), "layer_time", None)


def _replaced(layer: TorchVectorEnv, name: str, call: Callable[..., Any]) -> Callable[[], None]:
    """Put ``call`` in the place of a method of one object; returns what undoes it."""
    missing = object()
    before = vars(layer).get(name, missing)
    setattr(layer, name, call)

    def undo() -> None:
        if before is missing:
            delattr(layer, name)
        else:
            setattr(layer, name, before)

    return undo
