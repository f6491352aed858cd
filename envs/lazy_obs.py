"""Observations whose images are drawn when somebody looks at them."""

from __future__ import annotations

from collections.abc import Callable, ItemsView, Iterable, Iterator, ValuesView
from typing import Any

import torch

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


class _NotDrawn:
    """What stands in the dictionary for an image that nobody has looked at."""

    def __repr__(self) -> str:
        return "<not drawn>"


_NOT_DRAWN: Any = _NotDrawn()


class LazyObs(dict[str, torch.Tensor]):
    """Observations by group, of which images are drawn when they are first looked at.

    A dictionary like any other, except that an image exists once it was asked for by its name, or
    with all others: ``dict(obs)``, ``obs.items()``, ``obs.values()``, ``obs | ...``, ``**obs``,
    copies and pickles hold every image. Names, ``len`` and ``in`` draw nothing, nor does ``repr``.
    What was drawn belongs to the caller. What was not can be drawn until the env's next step,
    reset, restore or fork; later, :class:`~holdstep.errors.StaleImageError` says so.

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
        super().__init__({name: ready.get(name, _NOT_DRAWN) for name in names})
        self._tick = tick

    @property
    def pending(self) -> tuple[str, ...]:
        """Names of the images that nobody has looked at."""
        return tuple(name for name, value in super().items() if value is _NOT_DRAWN)

    def __getitem__(self, name: str) -> torch.Tensor:
        value = super().__getitem__(name)
        if value is _NOT_DRAWN:
            for drawn, image in self._tick.images(name).items():
                if super().get(drawn) is _NOT_DRAWN:
                    self[drawn] = image
            value = super().__getitem__(name)
        return value

    # Without an __iter__ of its own, dict(obs), **obs and obs | other would copy the memory of a
    # dictionary without calling anything.
    def __iter__(self) -> Iterator[str]:
        return super().__iter__()

    def get(self, name: str, default: Any = None) -> Any:
        """The observation of this name, or ``default``."""
        if name not in self:
            return default
        return self[name]

    def pop(self, name: str, *default: Any) -> Any:
        """Take an observation out."""
        if name in self:
            self[name]
        return super().pop(name, *default)

    def popitem(self) -> tuple[str, torch.Tensor]:
        """Take the last observation out."""
        self._draw_all()
        return super().popitem()

    def setdefault(self, name: str, default: Any = None) -> Any:
        """The observation of this name; ``default`` is put there where there is none."""
        if name not in self:
            self[name] = default
        return self[name]

    def items(self) -> ItemsView[str, torch.Tensor]:  # type: ignore[override]
        """Names and observations, images included."""
        self._draw_all()
        return super().items()

    def values(self) -> ValuesView[torch.Tensor]:  # type: ignore[override]
        """Observations, images included."""
        self._draw_all()
        return super().values()

    def copy(self) -> dict[str, torch.Tensor]:
        """An ordinary dictionary of the same tensors, images included."""
        return dict(self)

    def __eq__(self, other: object) -> bool:
        return dict(self) == other

    __hash__ = None

    def __reduce_ex__(self, protocol: object) -> Any:
        return dict, (dict(self),)

    def _draw_all(self) -> None:
        for name in self.pending:
            self[name]
