"""The last frames of every row, read in order without a copy."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from holdstep.envs.env_ids import EnvIds, canonical_env_ids
from holdstep.errors import ConfigError, ResetNeededError


class HistoryRing:
    """Keeps the last ``history_length`` frames of each row.

    Each frame is written twice, ``history_length`` apart, into memory twice as long as the history:
    somewhere in it the frames always lie behind one another, oldest first. So an append costs two
    small writes however long the history is, and reading it in order costs nothing, where a ring
    that is written once must be gathered, and one that is shifted must be copied.

    A row that was reset has its first frame in all places from its next append on, as in mjlab and
    Isaac Lab, so that no policy ever sees frames of an earlier episode, or zeros that were never
    observed.

    No call but :meth:`reset` with ids on another device waits for a GPU.

    Args:
        num_envs: rows.
        history_length: frames that are kept, at least 1.
        shape: of a frame of one row.
        dtype: of a frame.
        device: where it is kept.

    Raises:
        ConfigError: an argument can't be used.

    >>> ring = HistoryRing(2, 3, (1,))
    >>> for value in (1.0, 2.0):
    ...     ring.append(torch.tensor([[value], [10 * value]]))
    >>> ring.frames[..., 0].tolist()
    [[1.0, 1.0, 2.0], [10.0, 10.0, 20.0]]
    >>> ring.reset([1])
    >>> ring.append(torch.tensor([[3.0], [99.0]]))
    >>> ring.frames[..., 0].tolist()
    [[1.0, 2.0, 3.0], [99.0, 99.0, 99.0]]
    """

    def __init__(
        self,
        num_envs: int,
        history_length: int,
        shape: Sequence[int] = (),
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        for name, value in (("num_envs", num_envs), ("history_length", history_length)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigError(f"{name} must be an integer of at least 1, got {value!r}.")
        self.num_envs = num_envs
        self.history_length = history_length
        self.shape = torch.Size(shape)
        self.device = torch.device(device)
        with torch.inference_mode(False):  # edited in any mode later
            self._ring = torch.zeros(
                (num_envs, 2 * history_length, *self.shape), dtype=dtype, device=self.device
            )
            self._fresh_mask = torch.ones(num_envs, dtype=torch.bool, device=self.device)
        self._begin = 0  # of the frames in order; the next frame goes there too
        self._any_fresh = True
        self._is_empty = True

    def append(self, values: torch.Tensor) -> None:
        """Add a frame of every row; the oldest one is forgotten.

        Args:
            values: ``[num_envs, *shape]``; copied.

        Raises:
            ConfigError: another shape.
        """
        if values.shape != (self.num_envs, *self.shape):
            raise ConfigError(
                f"A frame of all rows has shape {[self.num_envs, *self.shape]}, got "
                f"{list(values.shape)}."
            )
        ring, begin = self._ring, self._begin
        ring[:, begin] = values
        ring[:, begin + self.history_length] = values
        self._begin = (begin + 1) % self.history_length
        self._is_empty = False
        if self._any_fresh:
            mask = self._fresh_mask.reshape(-1, 1, *[1] * len(self.shape))
            torch.where(mask, values.to(ring.dtype)[:, None], ring, out=ring)
            self._fresh_mask.zero_()
            self._any_fresh = False

    @property
    def frames(self) -> torch.Tensor:
        """The history, oldest first, ``[num_envs, history_length, *shape]``.

        A view, valid until the next append. Rows reset since the last append are zero.

        Raises:
            ResetNeededError: nothing was appended yet.
        """
        if self._is_empty:
            raise ResetNeededError("The history is empty: append() a frame first.")
        return self._ring[:, self._begin : self._begin + self.history_length]

    def flat(self) -> torch.Tensor:
        """The history of each row as one vector, oldest first, ``[num_envs, history_length * D]``.

        A view as :attr:`frames`, for frames that are vectors or numbers.
        """
        return self.frames.flatten(1)

    def lagged(self, lags: torch.Tensor) -> torch.Tensor:
        """The frame that each row had some appends ago, ``[num_envs, *shape]``; for delays.

        Args:
            lags: int64 ``[num_envs]``, from 0, the newest, to ``history_length - 1``.
        """
        index = (self.history_length - 1 - lags).reshape(-1, 1, *[1] * len(self.shape))
        return self.frames.gather(1, index.expand(-1, 1, *self.shape)).squeeze(1)

    def reset(self, env_ids: EnvIds | None = None) -> None:
        """Forget the history of rows; their next frame takes all places.

        Args:
            env_ids: one id, ids, or a bool mask ``[num_envs]``; all rows by default.
        """
        if env_ids is None:
            self._fresh_mask.fill_(True)
            self._ring.zero_()
        else:
            ids = canonical_env_ids(env_ids, num_envs=self.num_envs, device=self.device)
            self._fresh_mask[ids] = True
            self._ring[ids] = 0
        self._any_fresh = True


def shifted(
    frames: torch.Tensor, values: torch.Tensor, is_first: torch.Tensor | None = None
) -> torch.Tensor:
    """The history after one more frame: what :class:`HistoryRing` does, as a pure function.

    For exported graphs, in which the history is an input and an output. It copies the history, so
    a loop that steps many envs should use the ring.

    Args:
        frames: oldest first, ``[N, H, *shape]``.
        values: the new frame, ``[N, *shape]``.
        is_first: bool ``[N]``, rows for which it is the first one; it then takes all places.

    Returns:
        New memory, ``[N, H, *shape]``.

    >>> shifted(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([4.0])).tolist()
    [[2.0, 3.0, 4.0]]
    """
    following = torch.cat([frames[:, 1:], values[:, None]], dim=1)
    if is_first is None:
        return following
    mask = is_first.reshape(-1, *[1] * (frames.ndim - 1))
    return torch.where(mask, values[:, None], following)
