"""The observations that an adapter returned last, in memory of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from holdstep.envs.observations import merge_rows

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdstep.envs.contract import Obs
    from holdstep.envs.lazy_images import LazyImages


class LastObs:
    """Keeps copies of the last observations, for resets of some rows.

    Such a reset returns the other rows' observations as they last were. What was returned itself
    belongs to the caller, who may edit it (TorchRL does). The copies are written into the same
    memory at each step, in one launch on a GPU.

    Images that are drawn on request are not copied: :class:`~holdstep.envs.lazy_images.LazyImages`
    knows how the rows look. They are missing in what is given to :meth:`keep`, and there again in
    what it returns.
    """

    def __init__(self) -> None:
        self._obs: Obs | None = None
        self._images: LazyImages | None = None

    def __bool__(self) -> bool:
        """Whether there are any: False before the first reset, and after :meth:`clear`."""
        return self._obs is not None

    @property
    def buffers(self) -> Obs:
        """The kept tensors themselves by group, for those who put rows back; may be empty.

        Without images that are drawn on request.
        """
        return self._obs or {}

    @property
    def examples(self) -> Obs:
        """A tensor ``[N, ...]`` of the shape and dtype of each observation, for descriptions."""
        return self.buffers | ({} if self._images is None else self._images.examples)

    def keep(self, obs: Obs, unmoved_mask: torch.Tensor | None = None) -> Obs:
        """Copy observations, tensors ``[N, ...]`` by group, and return them themselves.

        Args:
            obs: of this step or reset.
            unmoved_mask: bool ``[N]``, the rows that did not move; None for none.
        """
        if self._obs is None:
            with torch.inference_mode(False):
                self._obs = {name: torch.empty_like(tensor) for name, tensor in obs.items()}
        if self._obs:  # there may be nothing but images
            torch._foreach_copy_(list(self._obs.values()), [obs[name] for name in self._obs])
        if self._images is None:
            return obs
        self._images.moved(unmoved_mask)
        return self._images.shown(obs)

    def copy(self) -> Obs:
        """Copies of what is kept, which belong to the caller."""
        assert self._obs is not None
        obs = {name: tensor.clone() for name, tensor in self._obs.items()}
        return obs if self._images is None else self._images.shown(obs)

    def merged(self, mask: torch.Tensor, new: Obs) -> Obs:
        """Rows of ``new`` where ``mask`` (bool ``[N]``) is set, kept ones elsewhere; kept too."""
        assert self._obs is not None
        return self.keep(merge_rows(mask, new, self._obs), ~mask)

    def last(self, name: str) -> torch.Tensor:
        """The last observation of a name, ``[N, ...]``; not to be written to."""
        if name in self.buffers or self._images is None:
            return self.buffers[name]
        return self._images.current(name)[name]

    def rows(self, env_ids: torch.Tensor) -> Obs:
        """The last observations of rows, int64 ``[k]``, in memory of their own; draws images."""
        images = {} if self._images is None else self._images.all_current()
        return {name: obs[env_ids] for name, obs in (self.buffers | images).items()}

    def write(self, env_ids: torch.Tensor, rows: Mapping[str, torch.Tensor]) -> None:
        """Rows ``env_ids``, int64 ``[k]``, have been given other observations, ``[k, ...]``."""
        for name, obs in self.buffers.items():
            obs[env_ids] = rows[name]
        if self._images is not None:
            self._images.expire()
            self._images.give(env_ids, rows)

    def expire(self) -> None:
        """The env is about to move on: images that nobody has looked at are gone."""
        if self._images is not None:
            self._images.expire()

    def draw_on_request(self, images: LazyImages) -> None:
        """From now on, images are drawn on request; those that are kept are given to the rows."""
        if self._obs is not None:
            ids = torch.arange(len(next(iter(self._obs.values()))), device=_device(self._obs))
            images.give(ids, {name: self._obs.pop(name) for name in images.examples})
        self._images = images

    def draw_always(self) -> None:
        """From now on, images are observations like any other; those of now are drawn and kept."""
        images, self._images = self._images, None
        if images is not None and self._obs is not None:
            with torch.inference_mode(False), torch.no_grad():
                kept = self._obs | {n: image.clone() for n, image in images.all_current().items()}
            self._obs = {name: kept[name] for name in images.names}
            images.expire()

    def clear(self) -> None:
        """Forget everything."""
        self.expire()
        self._obs = None


def _device(obs: Obs) -> torch.device:
    return next(iter(obs.values())).device
