"""What the cameras of Isaac Lab give."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdstep.wrappers.export.semantics.entry import WXYZ, XYZ, XYZW, Semantics, state

if TYPE_CHECKING:
    from holdstep.wrappers.export.tensors import QuaternionOrder

_IMAGES = {
    "rgb": ("image_rgb", "1"),
    "rgba": ("image_rgba", "1"),
    "rgb_hdr": ("image_rgb", "1"),
    "albedo": ("image_albedo", "1"),
    "depth": ("image_depth", "m"),
    "distance_to_camera": ("image_distance", "m"),
    "distance_to_image_plane": ("image_depth", "m"),
    "normals": ("image_normals", "1"),
    "motion_vectors": ("image_motion", "pixel"),
    "semantic_segmentation": ("image_segmentation", "1"),
    "instance_segmentation_fast": ("image_segmentation", "1"),
    "instance_id_segmentation_fast": ("image_segmentation", "1"),
}


def camera_entries(order: QuaternionOrder) -> dict[str, Semantics]:
    """Properties of a camera's data, and entries of its ``output``.

    Args:
        order: of quaternions.
    """
    orientation = state(
        "sensor_orientation",
        "1",
        frame="world",
        quaternion_order=order,
        elements=WXYZ if order == "wxyz" else XYZW,
    )
    return {
        **{f"output.{name}": state(kind, unit) for name, (kind, unit) in _IMAGES.items()},
        **{f"quat_w_{convention}": orientation for convention in ("world", "ros", "opengl")},
        "pos_w": state("sensor_position", "m", frame="world", elements=XYZ),
        # A row's own where the lens is randomised, so that it is no constant.
        "intrinsic_matrices": state("camera_matrix", "pixel"),
    }
