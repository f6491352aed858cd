"""What each layer of a stack says of itself, in one place."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from holdstep.monitor.layer_times import LayerTime, layer_time_of
from holdstep.monitor.layers import layers_of


@dataclass(frozen=True, kw_only=True)
class LayerStats:
    """One layer of a stack.

    Attributes:
        name: its class.
        values: what it counts, by name; units are in the names (``_s``, ``_bytes``, ``_share``).
        own_step_s: what it adds to a step, on average over the steps since it is timed [s]; None
            while it is not (see :func:`~holdstep.monitor.time_layers`).
    """

    name: str
    values: Mapping[str, float]
    own_step_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class StackStats:
    """All layers of a stack, the outermost first.

    Attributes:
        layers: a runner or view where there is one, the wrappers, the adapter.
    """

    layers: tuple[LayerStats, ...]

    def scalars(self) -> dict[str, float]:
        """Every number under ``"<layer>/<name>"``, as loggers take them.

        Where two layers have one name, the inner one gets a number: ``"RecordTimeline-2/..."``.
        """
        scalars: dict[str, float] = {}
        seen: dict[str, int] = {}
        for layer in self.layers:
            seen[layer.name] = count = seen.get(layer.name, 0) + 1
            name = layer.name if count == 1 else f"{layer.name}-{count}"
            values = dict(layer.values)
            if layer.own_step_s is not None:
                values["own_step_s"] = layer.own_step_s
            scalars |= {f"{name}/{key}": value for key, value in values.items()}
        return scalars


def stats(stack: object) -> StackStats:
    """What a stack has done so far: rows suspended, waits, lags, misses, costs.

    Reads counters on the host, and waits for nothing. What a layer tells is what its method
    ``stats()`` returns, a dataclass or mapping of numbers; a wrapper of your own may have one.

    Args:
        stack: an env, a view such as :class:`~holdstep.envs.RslRlVecEnv`, or a
            :class:`~holdstep.policies.ChunkRunner`.

    Raises:
        ConfigError: there is no holdstep env in it.

    >>> import torch
    >>> from holdstep.envs import make
    >>> from holdstep.wrappers import SuspendOnWait
    >>> env = SuspendOnWait(make("holdstep:CartPole", num_envs=4, device="cpu", seed=0))
    >>> obs, info = env.reset()
    >>> env.suspend([0])
    >>> result = env.step(torch.zeros(4, 1))
    >>> stats(env).scalars()["SuspendOnWait/suspended_share"]
    0.25
    """
    layers = layers_of(stack)
    times = [layer_time_of(layer) for layer in layers]
    return StackStats(
        layers=tuple(
            LayerStats(
                name=type(layer).__name__,
                values=_values_of(layer),
                own_step_s=_own_step_s(time, inner),
            )
            for layer, time, inner in zip(layers, times, [*times[1:], None], strict=True)
        )
    )


def _own_step_s(time: LayerTime | None, inner: LayerTime | None) -> float | None:
    """What is left of a layer's time without that of the layer inside."""
    if time is None or time.num_steps == 0:
        return None
    inside_s = 0.0 if inner is None else inner.total_s
    return (time.total_s - inside_s) / time.num_steps


def _values_of(layer: object) -> dict[str, float]:
    # Of the class: Gymnasium's wrappers hand what they don't have themselves to the env inside.
    tell: Any = getattr(type(layer), "stats", None)
    told: Any = {} if tell is None else tell(layer)
    values = dataclasses.asdict(told) if dataclasses.is_dataclass(type(told)) else told
    return {name: float(value) for name, value in values.items() if value is not None}
