"""Which joints of an Isaac Lab articulation turn and which slide."""

from __future__ import annotations

from typing import Any

_PHYSX_KINDS = {0: False, 1: True}  # rotation and translation; a sphere's axes are neither
_NEWTON_KINDS = {0: True, 1: False}  # prismatic and revolute; others have several axes


def joints_slide(articulation: Any) -> tuple[bool, ...] | None:
    """Whether each joint slides, in the order of ``articulation.joint_names``.

    Args:
        articulation: Isaac Lab's, of 2.3 or 3.0, on PhysX or on Newton.

    Returns:
        None where the physics engine does not tell, or has other kinds of joints too.
    """
    # 3.0 still has 2.3's name, and warns that it will go.
    name = "root_view" if hasattr(type(articulation), "root_view") else "root_physx_view"
    view: Any = getattr(articulation, name, None)
    metatype = getattr(view, "shared_metatype", None)
    if metatype is not None:
        kinds = [_PHYSX_KINDS.get(int(kind)) for kind in metatype.dof_types]
    elif hasattr(view, "joint_labels"):
        types = view.model.joint_type.numpy()
        places = {label: place for place, label in enumerate(view.model.joint_label)}
        kinds = [_NEWTON_KINDS.get(int(types[places[label]])) for label in view.joint_labels]
    else:
        return None
    known = tuple(kind for kind in kinds if kind is not None)
    return known if len(known) == len(kinds) == len(articulation.joint_names) else None
