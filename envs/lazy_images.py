"""The images among an env's last observations, which are drawn only when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

import torch

from holdstep.envs.lazy_obs import LazyObs, Tick
from holdstep.envs.observations import merge_rows

if TYPE_CHECKING:
    from holdstep.envs.contract import Obs


class LazyImages:
    """What the rows of an env look like now, drawn on request.

    An image is a function of its row's state. A row that did not move (it is held, or only others
    were reset) has its last image for that reason, without any copy of it. The exception are rows
    whose observation was *given* to them with a snapshot or by a fork: their image is a copy that
    is kept until they move, since the simulator might draw it differently at another place.

    Args:
        names: of all observations, in their order.
        examples: by name of each image, an empty tensor ``[N, ...]`` of its shape and dtype.
        draw: draws the image of a name, and perhaps others, of all rows as they are now.
    """

    def __init__(self, names: Iterable[str], examples: Obs, draw: Callable[[str], Obs]) -> None:
        self.names = tuple(names)
        self.examples = examples
        self._draw = draw
        self._given: Obs = {}
        self._given_mask: torch.Tensor | None = None  # None: of no row
        self._tick: Tick | None = None

    def expire(self) -> None:
        """The env is about to move on: what was not drawn by now never will be."""
        if self._tick is not None:
            self._tick.expire()
            self._tick = None

    def moved(self, unmoved_mask: torch.Tensor | None) -> None:
        """Rows have moved; those of ``unmoved_mask``, bool ``[N]``, have not."""
        self.expire()
        if self._given_mask is not None:
            # Into a mask of its own: the caller's is the row control's memory.
            self._given_mask = None if unmoved_mask is None else self._given_mask & unmoved_mask

    def shown(self, ready: Obs) -> LazyObs:
        """Observations of the current tick, with ``ready`` for all that are no images."""
        if self._tick is None:
            self._tick = Tick(self.current)
        return LazyObs(self.names, ready, self._tick)

    def current(self, name: str) -> Obs:
        """The image of a name, and perhaps others, of all rows, as tensors of the caller's."""
        images = self._draw(name)
        if self._given_mask is None:
            return images
        return merge_rows(self._given_mask, {n: self._given[n] for n in images}, images)

    def all_current(self) -> Obs:
        """Every image of all rows, as tensors of the caller's."""
        images: Obs = {}
        for name in self.examples:
            if name not in images:
                images |= self.current(name)
        return images

    def give(self, env_ids: torch.Tensor, images: Mapping[str, torch.Tensor]) -> None:
        """Rows ``env_ids``, int64 ``[k]``, look as they are told, ``[k, ...]``, until they move."""
        with torch.inference_mode(False), torch.no_grad():
            if not self._given:
                for name, example in self.examples.items():
                    self._given[name] = torch.empty_like(example, device=env_ids.device)
            if self._given_mask is None:
                num_envs = len(next(iter(self.examples.values())))
                self._given_mask = torch.zeros(num_envs, dtype=torch.bool, device=env_ids.device)
            for name, given in self._given.items():
                given[env_ids] = images[name]
            self._given_mask[env_ids] = True
