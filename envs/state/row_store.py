"""Copies of the rows that are held, put back after every step."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from holdstep.envs.state.row_copy_torch import put_rows_back, save_rows, saved_rows
from holdstep.envs.state.row_memory import RowMemory, form_of
from holdstep.envs.state.saved_slot import LET_GO, CopiedBy, SavedSlot
from holdstep.errors import UnsupportedStateError

if TYPE_CHECKING:
    from holdstep.envs.state.row_copy_warp import WarpCopier
    from holdstep.envs.state.slot import Slot


def fused_copier(device: torch.device) -> WarpCopier | None:
    """The copy of all slots in one launch; None where Warp is not installed.

    Warp comes with mjlab and Isaac Lab.
    """
    if device.type not in ("cpu", "cuda"):
        return None
    try:
        from holdstep.envs.state.row_copy_warp import WarpCopier
    except ModuleNotFoundError as error:
        if error.name != "warp":
            raise
        return None
    return WarpCopier(device)


class RowStore:
    """Keeps what held rows looked like, and puts it back.

    Tensors are looked up each time, and may be replaced, moved in memory or laid out differently
    while rows are held, but not change shape or dtype. Two cases need a rule:

    - A tensor that does not exist when a row is held was no state of that row: what has become of
      it since is left alone. (Buffers are made at their first use. What says that they are empty,
      like a count of pushes, exists and is put back.) The same goes for a tensor that is gone when
      rows are put back, until it is there again.
    - In an expanded tensor with one entry that all rows share there is no state of a row: it is
      never written to.

    What all slots hold of all rows takes as much memory again, from when a slot is first held.

    Args:
        slots: what belongs to a row.
        num_envs: number of rows.
        device: where the slots' tensors live. Those that live elsewhere are copied there, one by
            one.
        make_copier: makes the fused copy, or returns None to have torch copy slot by slot.
    """

    def __init__(
        self,
        slots: Iterable[Slot],
        *,
        num_envs: int,
        device: torch.device,
        make_copier: Callable[[torch.device], WarpCopier | None] = fused_copier,
    ) -> None:
        self._entries = [SavedSlot(slot, slot.get) for slot in slots]
        self._rings = [entry for entry in self._entries if entry.slot.position is not None]
        self._by_torch: list[SavedSlot] = []  # those with copied_by TORCH
        self._num_envs = num_envs
        if device.type == "cuda" and device.index is None:
            device = torch.device("cuda", torch.cuda.current_device())
        self._device = device
        self._held_mask = np.zeros(num_envs, np.bool_)
        self._num_held = 0
        self._copier = make_copier(device)

    def hold(self, env_ids: torch.Tensor) -> None:
        """Copy rows, int64 ``[k]``, as they are now; they are put back from now on.

        Raises:
            UnsupportedStateError: a slot's tensor has the wrong shape, or another one than when
                rows were held that still are. No row has been copied.
        """
        rows = np.unique(env_ids.cpu().numpy())
        others = self._held_mask.copy()
        others[rows] = False
        self._look(others=others)
        for entry in self._entries:
            self._make_room(entry, rows, others)
        self._held_mask[rows] = True
        self._held_rows_changed()
        if self._copier is not None:
            self._copier.save(rows)
        if self._by_torch:
            self._save_by_torch(torch.from_numpy(rows))

    def release(self, env_ids: torch.Tensor) -> None:
        """Forget rows, int64 ``[k]``."""
        self._held_mask[env_ids.cpu().numpy()] = False
        self._held_rows_changed()
        if not self._num_held:
            for entry in self._entries:  # nobody's tensors are kept alive for nothing
                entry.seen, entry.live = LET_GO, None

    def put_back(self) -> None:
        """Write the held rows into the slots' tensors as they are now; waits for no GPU.

        Raises:
            UnsupportedStateError: a tensor has been replaced by one of another shape or dtype.
        """
        if not self._num_held:
            return
        self._look(others=self._held_mask)
        if self._copier is not None:
            self._copier.put_back()
        if self._by_torch:
            self._put_back_by_torch()

    # In inference mode, because tensors that were made in it can only be written to in it; others
    # can be written to in either.
    @torch.inference_mode()
    def _save_by_torch(self, rows: torch.Tensor) -> None:
        for entry in self._by_torch:
            assert entry.live is not None
            assert entry.saved is not None
            save_rows(entry.slot, entry.live, entry.saved, rows.to(entry.live.device))

    @torch.inference_mode()
    def _put_back_by_torch(self) -> None:
        for entry in self._by_torch:
            assert entry.live is not None
            assert entry.saved is not None
            if entry.env_ids is None:  # the fused copy had it until this step
                held = np.flatnonzero(self._held_mask)
                entry.env_ids = torch.from_numpy(held).to(entry.saved.device)
            if entry.packed is None:
                entry.packed = saved_rows(entry.slot, entry.saved, entry.env_ids)
            put_rows_back(entry.slot, entry.live, entry.packed, entry.env_ids)

    def _look(self, *, others: NDArray[np.bool_]) -> None:
        """Notice what has changed since the last time. ``others`` are rows that are saved."""
        for entry in self._entries:
            tensor = entry.get()
            if tensor is not entry.seen or (
                tensor is not None and tensor.data_ptr() != entry.pointer
            ):
                self._tensor_changed(entry, tensor, others)
        for entry in self._rings:
            if (
                entry.copied_by is CopiedBy.COPIER
                and (first := entry.oldest_entry) != entry.first_entry
            ):
                self._move(entry, first)

    def _tensor_changed(
        self, entry: SavedSlot, tensor: torch.Tensor | None, others: NDArray[np.bool_]
    ) -> None:
        if (
            tensor is not None
            and entry.copied_by is CopiedBy.COPIER
            and form_of(tensor) == entry.form
        ):  # the usual case, fast
            entry.seen = entry.live = tensor
            entry.pointer = tensor.data_ptr()
            self._move(entry, entry.oldest_entry)
            return
        live = tensor if tensor is not None and self._has_rows(entry.slot, tensor) else None
        if live is not None and (form := form_of(live)) != entry.form:
            saved = entry.saved
            if saved is not None and (live.shape, live.dtype) != (saved.shape, saved.dtype):
                if (others if entry.mask is None else others & entry.mask).any():
                    raise UnsupportedStateError(
                        f"{entry.slot.name} was {saved.dtype}{list(saved.shape)} when rows were "
                        f"suspended, and is {live.dtype}{list(live.shape)} now: they can't be put "
                        "back. Resume all rows before something changes its size."
                    )
                if entry.strands is not None and self._copier is not None:
                    self._copier.leave_out(entry.strands)
                entry.saved = entry.strands = entry.mask = entry.env_ids = entry.packed = None
            entry.form = form
            entry.memory = RowMemory.of(live, entry.slot.layout)
        entry.seen, entry.live = tensor, live
        entry.pointer = 0 if tensor is None else tensor.data_ptr()
        self._route(entry)

    def _has_rows(self, slot: Slot, tensor: torch.Tensor) -> bool:
        dim, expected = slot.layout.dim, self._num_envs * slot.layout.repeat
        if tensor.ndim <= dim or tensor.shape[dim] != expected:
            raise UnsupportedStateError(
                f"{slot.name} must have size {expected} (rows times entries per row) in dimension "
                f"{dim}, got shape {list(tensor.shape)}."
            )
        return tensor.numel() > 0 and (tensor.stride(dim) != 0 or self._num_envs == 1)

    def _make_room(
        self, entry: SavedSlot, rows: NDArray[np.int64], others: NDArray[np.bool_]
    ) -> None:
        """Where ``rows`` are to be saved; note those whose state does not exist."""
        if entry.live is None:
            if entry.saved is not None:
                entry.mask = others.copy() if entry.mask is None else entry.mask & others
            return
        if entry.saved is None:
            with torch.inference_mode(False):
                entry.saved = torch.empty(
                    entry.live.shape, dtype=entry.live.dtype, device=entry.live.device
                )
            entry.mask = np.zeros_like(others)
        if entry.mask is not None:
            entry.mask[rows] = True

    def _held_rows_changed(self) -> None:
        held = np.flatnonzero(self._held_mask)
        self._num_held = held.size
        on_devices: dict[torch.device, torch.Tensor] = {}
        for entry in self._entries:
            if entry.saved is None:
                continue
            entry.packed = None
            if entry.copied_by is CopiedBy.COPIER and entry.mask is None:
                entry.env_ids = None  # the fused copy has its own
                continue
            if entry.mask is not None:
                entry.mask &= self._held_mask
                if (entry.mask == self._held_mask).all():
                    entry.mask = None
            if entry.copied_by is not self._who_copies(entry):
                self._route(entry)
            device = entry.saved.device
            if entry.mask is not None:
                entry.env_ids = torch.from_numpy(np.flatnonzero(entry.mask)).to(device)
            else:
                if device not in on_devices:
                    on_devices[device] = torch.from_numpy(held).to(device)
                entry.env_ids = on_devices[device]
        if self._copier is not None:
            self._copier.set_rows(held)

    def _who_copies(self, entry: SavedSlot) -> CopiedBy:
        live = entry.live
        if live is None or entry.saved is None:
            return CopiedBy.NOBODY
        if self._copier is None or entry.mask is not None:
            return CopiedBy.TORCH
        if entry.memory is None or live.device != self._device:
            return CopiedBy.TORCH
        return CopiedBy.COPIER

    def _route(self, entry: SavedSlot) -> None:
        """Have a slot copied by whoever can, from where it is now."""
        before, entry.copied_by = entry.copied_by, self._who_copies(entry)
        entry.first_entry = entry.oldest_entry
        copier = self._copier
        if copier is not None:
            if entry.copied_by is CopiedBy.COPIER:
                assert entry.saved is not None
                assert entry.memory is not None
                if entry.strands is None:
                    entry.strands = copier.add_strands(entry.saved, entry.slot.layout)
                copier.point(entry.strands, entry.pointer, entry.memory, entry.first_entry)
            elif entry.strands is not None:
                copier.leave_out(entry.strands)
        if before is not entry.copied_by and CopiedBy.TORCH in (before, entry.copied_by):
            self._by_torch = [e for e in self._entries if e.copied_by is CopiedBy.TORCH]

    def _move(self, entry: SavedSlot, first_entry: int) -> None:
        """Tell the fused copy where a slot's tensor is now."""
        assert self._copier is not None
        assert entry.strands is not None
        assert entry.memory is not None
        entry.first_entry = first_entry
        self._copier.move(entry.strands, entry.pointer, entry.memory, first_entry)
