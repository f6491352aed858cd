"""Where one piece of row state lives, and how its rows lie in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from holdstep.envs.state.per_env_random import PerEnvRandom


@dataclass(frozen=True)
class Layout:
    """How the rows of a batch lie in a tensor.

    The tensor's shape is ``[*outer, N * repeat, *inner]``: row ``i`` owns the entries
    ``[..., i * repeat : (i + 1) * repeat, ...]`` of dimension ``dim``.

    Attributes:
        dim: the dimension along which rows lie. 0 for most; 1 for a ring buffer ``[L, N, ...]``;
            1 for the state of an LSTM over all joints, ``[layers, N * J, H]``.
        repeat: entries of that dimension per row (``J`` there).
        ring: dimension 0 is a ring whose write position all rows share, so that the entries of a
            row that is put back later must be rotated to where they are expected by then.
    """

    dim: int = 0
    repeat: int = 1
    ring: bool = False


ROWS = Layout()
"""``[N, ...]``."""

RING = Layout(dim=1, ring=True)
"""``[L, N, ...]`` with one write position for all rows (mjlab's and Isaac Lab 2's buffers)."""


@dataclass(frozen=True)
class Slot:
    """One tensor that holds state of every row.

    The tensor is looked up anew each time, since many are replaced rather than written to.

    Attributes:
        name: readable and unique in an env, like ``"command_manager.twist.time_left"``. Snapshots
            refer to it.
        get: the tensor as it is now; None as long as it does not exist (buffers are often made at
            their first use).
        layout: how rows lie in it.
        position: the write position of a ring, which moves by one per append; for rings only.
        is_parameter: a property of the row that only a reset or the user changes (a randomised mass
            or gain), not its motion. It belongs into snapshots, and a step cannot change it.
        is_guess: it was taken for row state for its leading dimension alone.
        is_derived: computed from the rest, and there only while it is up to date. Whether it exists
            does not tell one task from another.
    """

    name: str
    get: Callable[[], torch.Tensor | None]
    layout: Layout = ROWS
    position: Callable[[], int] | None = None
    is_parameter: bool = False
    is_guess: bool = False
    is_derived: bool = False

    def __post_init__(self) -> None:
        if self.layout.ring != (self.position is not None):
            raise ValueError(f"{self.name}: a ring needs a position, other layouts take none.")


def random_slots(random: PerEnvRandom) -> list[Slot]:
    """A row's place in its random stream, and which stream that is."""
    return [
        Slot("random.counter", lambda: random.counter),
        Slot("random.key", lambda: random.key, is_parameter=True),
        Slot("random.gamma", lambda: random.gamma, is_parameter=True),
    ]


def attribute(owner: Any, name: str) -> Callable[[], torch.Tensor | None]:
    """A getter of ``owner.name``, None when the attribute is missing or holds no tensor."""

    def get() -> torch.Tensor | None:
        value = getattr(owner, name, None)
        return value if isinstance(value, torch.Tensor) else None

    return get


def item(container: Any, key: Any) -> Callable[[], torch.Tensor | None]:
    """A getter of ``container[key]`` of a list or dictionary."""

    def get() -> torch.Tensor | None:
        try:
            value = container[key]
        except (KeyError, IndexError):
            return None
        return value if isinstance(value, torch.Tensor) else None

    return get


def gather_rows(slot: Slot, tensor: torch.Tensor, env_ids: torch.Tensor) -> torch.Tensor:
    """Rows of a slot's tensor as a tensor ``[k, ...]`` of their own; a ring's oldest entry first.

    Args:
        slot: says how rows lie in ``tensor``.
        tensor: what ``slot.get()`` returned.
        env_ids: int64 ``[k]``.

    Returns:
        ``[k, *outer, repeat, *inner]`` without the dimension of size one that ``repeat=1`` gives.
    """
    if slot.position is not None:
        tensor = tensor.roll(-(slot.position() + 1), 0)
    rows = _rows_first(tensor, slot.layout)
    return rows[env_ids].clone() if rows.ndim else rows


def scatter_rows(
    slot: Slot, tensor: torch.Tensor, env_ids: torch.Tensor, rows: torch.Tensor
) -> None:
    """Write ``rows``, as :func:`gather_rows` returned them, into rows ``env_ids`` of a tensor."""
    view = _rows_first(tensor, slot.layout)
    if slot.position is not None:
        rows = rows.roll(slot.position() + 1, 1)
    view[env_ids] = rows


def _rows_first(tensor: torch.Tensor, layout: Layout) -> torch.Tensor:
    """A view of a tensor with the rows in dimension 0."""
    if layout.repeat != 1:
        shape = list(tensor.shape)
        shape[layout.dim : layout.dim + 1] = [-1, layout.repeat]
        tensor = tensor.view(shape)
    return tensor.movedim(layout.dim, 0)
