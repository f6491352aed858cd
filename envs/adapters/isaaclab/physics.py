"""What holding rows needs to know about the physics engine under Isaac Lab."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from holdstep.envs.adapters.isaaclab.plain import as_tensor

if TYPE_CHECKING:
    import torch

    from holdstep.envs.capabilities import FreezeLevel
    from holdstep.envs.state.slot import Slot

_ASSETS = ("_articulations", "_rigid_objects", "_rigid_object_collections", "_deformable_objects")
_FORCE = re.compile(r".*_(force|torque)_").match
_COMPOSERS = ("_instantaneous_wrench_composer", "_permanent_wrench_composer")


class Physics:
    """The physics engine's share of a row's state.

    Args:
        core: the env object that owns the scene.

    Attributes:
        level: how rows can be held.
        why_none: the end of a sentence that says why they can't be, or None.
    """

    level: FreezeLevel = "none"
    why_none: str | None = None

    def __init__(self, core: Any) -> None:
        self.core = core
        self.num_envs = int(core.num_envs)
        self._pushing: dict[int, Any] = {}

    def slots(self) -> Iterator[Slot]:
        """Where rows lie in it."""
        raise NotImplementedError

    def settle(self, env_ids: torch.Tensor) -> None:
        """Bring up to date what copies of rows, int64 ``[k]``, are made of.

        Other rows must not notice.
        """

    @contextlib.contextmanager
    def untouched(self) -> Iterator[None]:
        """Rows that were settled inside are afterwards as they were before."""
        yield

    def note_wrenches(self, *, is_first: bool) -> None:
        """Rows have just been copied for being held; note which assets have external forces.

        The forces lie in rows, but one flag says for all rows together whether to apply any.

        Args:
            is_first: no others are held.
        """
        if is_first:
            self._pushing = {}
        self._pushing.update((id(composer), composer) for composer in self._composers(active=True))

    def apply_wrenches(self) -> None:
        """Held rows have been put back, with the external forces of their next step."""
        for composer in self._pushing.values():
            _activate(composer)

    def push(self, env_ids: torch.Tensor) -> None:
        """Rows, int64 ``[k]``, are about to be put back after a step: the engine's share of it."""

    def restored(self, env_ids: torch.Tensor) -> bool:
        """A snapshot's rows have been written over rows ``env_ids``, int64 ``[k]``.

        Returns:
            Whether they have been moved to another place: what the snapshot has of quantities that
            are derived from poses is not true of them.
        """
        for composer in self._composers(active=False):
            tensors = [as_tensor(value) for name, value in vars(composer).items() if _FORCE(name)]
            if any(tensor is not None and bool(tensor.any()) for tensor in tensors):
                _activate(composer)
        return False

    def _composers(self, *, active: bool) -> Iterator[Any]:
        for asset in self.assets():
            for name in _COMPOSERS:
                composer = vars(asset).get(name)
                if composer is not None and composer._active == active:
                    yield composer

    def assets(self) -> Iterator[Any]:
        """The scene's articulations and objects."""
        for name in _ASSETS:
            yield from (getattr(self.core.scene, name, None) or {}).values()

    def named_assets(self) -> Iterator[tuple[str, Any]]:
        """The same with their names."""
        for name in _ASSETS:
            yield from (getattr(self.core.scene, name, None) or {}).items()


def _activate(composer: Any) -> None:
    composer._active = True
    if hasattr(composer, "_dirty"):  # 3.x adds several kinds of forces up
        composer._dirty = True


def physics_of(core: Any) -> Physics:
    """The physics that an env runs on.

    Args:
        core: the env object that owns the scene.
    """
    manager = getattr(core.sim, "physics_manager", None)  # 2.3 has none but PhysX
    # A class, or the text that names one until somebody calls it.
    bases = getattr(manager, "__mro__", ())
    name = " ".join(f"{base.__module__}:{base.__name__}" for base in bases) or str(manager)
    if "isaaclab_newton." in name:
        from holdstep.envs.adapters.isaaclab.state_newton import NewtonPhysics

        return NewtonPhysics(core)
    if manager is None or "isaaclab_physx." in name:
        from holdstep.envs.adapters.isaaclab.state_physx import PhysxPhysics

        return PhysxPhysics(core, indexed=manager is not None)
    physics = Physics(core)
    physics.why_none = f"holdstep does not know the physics engine that the task runs on, {name}."
    return physics
