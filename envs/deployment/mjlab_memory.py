"""Where mjlab keeps what policies read, so that it need not be gathered in every step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


def memory_read(owner: Any, attribute: str) -> Callable[[], torch.Tensor] | None:
    """What reads a quantity where the simulation keeps it, at a fraction of the getter's cost.

    mjlab's arrays stay where they are for as long as a simulation lives (its CUDA graphs rely on
    that), so that a view made once shows what is in them at any time.

    Args:
        owner: an ``EntityData``, or a sensor.
        attribute: of it, such as ``"joint_pos"``.

    Returns:
        None where the getter must be asked.
    """
    if attribute == "data":
        kept = getattr(owner, "_data_view", None)
        return None if kept is None else lambda: kept
    # Buffers made in a caller's inference mode could not be written outside it.
    with torch.inference_mode(False):
        make = _MADE.get(attribute) if hasattr(owner, "indexing") else None
        return None if make is None else make(owner)


def _columns(array: Any, ids: torch.Tensor) -> torch.Tensor | None:
    """A view of columns that lie side by side; None if they do not."""
    if not ids.numel():
        return None
    first, count = int(ids[0]), ids.numel()
    if ids.tolist() != list(range(first, first + count)):
        return None
    view: torch.Tensor = array[:, first : first + count]
    return view


def _joints(array: str, addresses: str) -> Callable[[Any], Callable[[], torch.Tensor] | None]:
    def make(owner: Any) -> Callable[[], torch.Tensor] | None:
        view = _columns(getattr(owner.data, array), getattr(owner.indexing, addresses))
        return None if view is None else lambda: view

    return make


def _biased_joints(owner: Any) -> Callable[[], torch.Tensor] | None:
    read = _MADE["joint_pos"](owner)
    return None if read is None else lambda: torch.add(read(), owner.encoder_bias)


def _root(array: str) -> Callable[[Any], Callable[[], torch.Tensor]]:
    def make(owner: Any) -> Callable[[], torch.Tensor]:
        view = getattr(owner.data, array)[:, int(owner.indexing.root_body_id)]
        return lambda: view

    return make


def _projected_gravity(owner: Any) -> Callable[[], torch.Tensor]:
    """One product, where the getter rotates by the quaternion in a dozen operations."""
    rotation = _root("xmat")(owner)()
    product = torch.empty_like(owner.gravity_vec_w).unsqueeze(1)
    result = product.squeeze(1)

    def read() -> torch.Tensor:
        torch.bmm(owner.gravity_vec_w.unsqueeze(1), rotation, out=product)
        return result

    return read


_MADE: dict[str, Callable[[Any], Callable[[], torch.Tensor] | None]] = {
    "joint_pos": _joints("qpos", "joint_q_adr"),
    "joint_pos_biased": _biased_joints,
    "joint_vel": _joints("qvel", "joint_v_adr"),
    "joint_acc": _joints("qacc", "joint_v_adr"),
    "root_link_pos_w": _root("xpos"),
    "root_link_quat_w": _root("xquat"),
    "projected_gravity_b": _projected_gravity,
}
