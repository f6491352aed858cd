"""Observations whose images are drawn when somebody looks at them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch

from holdstep.envs.lazy_dict import LazyDict
from holdstep.errors import StaleImageError


class Tick:
    """A moment at which images can be drawn; over as soon as the env moves on.

    Args:
        draw: makes the image of a name, and perhaps others that belong to it, as tensors of the
            caller's by name.
    """

    def __init__(self, draw: Callable[[str], dict[str, torch.Tensor]]) -> None:
        self._draw: Callable[[str], dict[str, torch.Tensor]] | None = draw

    def images(self, name: str) -> dict[str, torch.Tensor]:
        """The image of this name, and perhaps others.

        Raises:
            StaleImageError: the env has moved on.
        """
        if self._draw is None:
            raise StaleImageError(
                f"The image {name!r} of an earlier tick can't be drawn any more: nobody looked at "
                "it before the env's next step, reset, restore or fork. Look at what you need "
                f"before that (obs[{name!r}], or dict(obs) for all), or set env.lazy_rendering = "
                "False."
            )
        return self._draw(name)

    def expire(self) -> None:
        """The env moves on."""
        self._draw = None


class LazyObs(LazyDict[torch.Tensor]):
    """Observations by group, of which images are drawn when they are first looked at.

    A :class:`~holdstep.envs.lazy_dict.LazyDict`: a dictionary like any other, except that an image
    exists once it was asked for by its name, or with all others, as by ``dict(obs)``. What was
    drawn belongs to the caller. What was not can be drawn until the env's next step, reset, restore
    or fork; later, :class:`~holdstep.errors.StaleImageError` says so.

    Args:
        names: all names, in their order.
        ready: the observations that are there, by name; all others are images.
        tick: draws them.

    >>> tick = Tick(lambda name: {name: torch.ones(1)})
    >>> obs = LazyObs(["policy", "camera"], {"policy": torch.zeros(1)}, tick)
    >>> obs.pending, obs["camera"], obs.pending
    (('camera',), tensor([1.]), ())
    """

    def __init__(self, names: Iterable[str], ready: dict[str, torch.Tensor], tick: Tick) -> None:
        super().__init__(names, ready, tick.images)
