"""Assets' lazily computed quantities, which even looking at them changes."""

from __future__ import annotations

import weakref
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any

from holdstep.envs.adapters.isaaclab.plain import as_tensor

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch

_CAMERA_FLAGS = ("_is_outdated", "_timestamp_last_update", "_frame")


@contextmanager
def unread(env: Any) -> Iterator[None]:
    """Run a block that reads assets and sensors, then let them look as if it had not.

    Isaac Lab computes derived quantities (body-frame velocities, projected gravity) when they are
    first read after a physics step, and notes the time. Writing a new state in a reset does not
    always invalidate them: what is read for the first time *after* an in-step reset is fresh, what
    was read before it is stale for the rows that were reset. A read that the backend alone would
    not have done here would therefore change the observation that it returns, so the times (and,
    where a quantity is a new tensor each time, the tensor) are put back.

    Cameras' update flags are put back too: a camera that was read before a reset would not be read
    again after it, and its rows are rendered anew by then. So is the note that kinematics were
    computed for cameras after this physics step, or cameras would show rows that are reset
    afterwards where they were before. Other sensors stay updated, since they
    integrate (contact times, accelerations) and must see each moment once; rows that are reset
    clear their share themselves.

    Args:
        env: the simulator's env object.
    """
    noted = [note for data in data_objects(env) for note in _notes(data)]
    flags = [(flag, flag.clone()) for flag in _camera_flags(env)]
    render_context: Any = getattr(getattr(env, "sim", None), "render_context", None)
    transforms_step = getattr(render_context, "_last_transforms_step", None)
    try:
        yield
    finally:
        if hasattr(render_context, "_last_transforms_step"):
            render_context._last_transforms_step = transforms_step
        for attributes, name, value in noted:
            attributes[name] = value
        for flag, copy in flags:
            flag.copy_(copy)


def _notes(data: Any) -> Iterator[tuple[dict[str, Any], str, Any]]:
    """The clocks of a data object and of the buffers in it: where they are, name and value."""
    attributes = vars(data)
    for name, value in attributes.items():
        if name.endswith("timestamp") and isinstance(value, int | float):
            yield attributes, name, value  # when forward kinematics were last evaluated
        elif type(value).__name__.startswith("TimestampedBuffer"):
            buffer = vars(value)
            yield from ((buffer, field, buffer.get(field)) for field in ("timestamp", "data"))


def data_objects(env: Any) -> Iterator[Any]:
    """The data of all assets: those of the scene, and those that a direct env keeps itself."""
    for entity in _entities(env):
        # Not entity.data: on a sensor that property is a read.
        data = vars(entity).get("_data")
        if _has_attributes(data):
            yield data


def _camera_flags(env: Any) -> Iterator[torch.Tensor]:
    for entity in _entities(env):
        if any(base.__name__ == "Camera" for base in type(entity).__mro__):
            flags = (as_tensor(vars(entity).get(name)) for name in _CAMERA_FLAGS)
            yield from (flag for flag in flags if flag is not None)


def _entities(env: Any) -> Iterator[Any]:
    """Whatever could be an asset or a sensor, each once."""
    groups = [group for group in vars(env.scene).values() if isinstance(group, dict)]
    candidates = [*vars(env).values(), *(entity for group in groups for entity in group.values())]
    unique = {id(value): value for value in candidates if _has_attributes(value)}
    yield from unique.values()


def _has_attributes(value: Any) -> bool:
    kind = type(value)  # not isinstance(): asking a dead weak reference for anything raises
    is_other = kind in weakref.ProxyTypes or issubclass(kind, type | ModuleType)
    return not is_other and hasattr(value, "__dict__")
