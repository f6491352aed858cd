"""Row state in PhysX, the physics of Isaac Sim, which can be set but not seen as a whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from holdstep.envs.adapters.isaaclab.physics import Physics
from holdstep.envs.adapters.isaaclab.plain import as_tensor
from holdstep.envs.state.slot import Slot, attribute


@dataclass(frozen=True)
class _Quantity:
    """One part of an asset's physics state, with the setter that reaches the engine.

    Attributes:
        name: of the slot.
        read: the quantity of all rows, ``[N, ...]``.
        write: sets it for rows; gets values ``[k, ...]`` and int64 ids ``[k]``.
        moves: a step can change it.
        is_pose: its first three numbers in each entry are a position in the world [m].
    """

    name: str
    read: Callable[[], torch.Tensor]
    write: Callable[[torch.Tensor, torch.Tensor], None]
    moves: bool = True
    is_pose: bool = False


class PhysxPhysics(Physics):
    """PhysX: rows are put back through the setters of the assets.

    The engine's caches (contacts, impulses of the last step, sleeping, link accelerations) are out
    of reach of any setter, hence the level. The registry sees copies of poses, velocities and joint
    states, which are taken from the engine before rows are copied and given to it when rows were
    put back. Rows that are restored elsewhere are moved by the difference of the two rows' origins.

    Args:
        core: the env object that owns the scene.
        indexed: setters are named and called as in Isaac Lab 3.
    """

    level = "approximate"

    def __init__(self, core: Any, *, indexed: bool) -> None:
        super().__init__(core)
        self._indexed = indexed
        self._quantities = list(self._all_quantities())
        self._copies: dict[str, torch.Tensor] = {}
        self._origins: torch.Tensor | None = None

    def slots(self) -> Iterator[Slot]:
        """The copies."""
        self.settle()
        for quantity in self._quantities:
            yield Slot(f"physics.{quantity.name}", self._copy_of(quantity.name))
        yield Slot("physics.env_origins", attribute(self, "_origins"), is_parameter=True)

    def settle(self, env_ids: torch.Tensor | None = None) -> None:
        """Take poses, velocities and joint states from the engine."""
        with torch.inference_mode(False), torch.no_grad():
            for quantity in self._quantities:
                now = quantity.read()
                copy = self._copies.get(quantity.name)
                if copy is None or copy.shape != now.shape:
                    self._copies[quantity.name] = now.clone()
                else:
                    copy.copy_(now)
            self._origins = self.core.scene.env_origins.clone()

    def push(self, env_ids: torch.Tensor) -> None:
        """Set the rows in the engine to their copies.

        Before the rest is put back, since setters also zero accelerations, for example.
        """
        for quantity in self._quantities:
            if quantity.moves:
                quantity.write(self._copies[quantity.name][env_ids], env_ids)

    def restored(self, env_ids: torch.Tensor) -> bool:
        """Set rows that came from a snapshot, where this env has its rows."""
        super().restored(env_ids)
        assert self._origins is not None
        origins = self.core.scene.env_origins
        shift = origins[env_ids] - self._origins[env_ids]
        self._origins[env_ids] = origins[env_ids]
        is_moved = bool(shift.any())
        for quantity in self._quantities:
            copy = self._copies[quantity.name]
            if quantity.is_pose and is_moved:
                position = copy[env_ids][..., :3]
                moved = position + shift.view(-1, *[1] * (position.ndim - 2), 3)
                copy[env_ids] = torch.cat((moved, copy[env_ids][..., 3:]), dim=-1)
            quantity.write(copy[env_ids], env_ids)
        return is_moved

    def _copy_of(self, name: str) -> Callable[[], torch.Tensor | None]:
        return lambda: self._copies.get(name)

    def _all_quantities(self) -> Iterator[_Quantity]:
        for name, asset in self.named_assets():
            kinds = {base.__name__ for base in type(asset).__mro__}
            if hasattr(asset, "write_nodal_state_to_sim"):
                yield self._quantity(name, asset, "nodal_state_w", "nodal_state", "nodal_state")
            elif any("Collection" in kind for kind in kinds):
                yield from self._of_collection(name, asset)
            else:
                moves = not getattr(asset, "is_fixed_base", False)
                yield self._quantity(
                    name, asset, "root_pose_w", "root_pose", "root_pose", moves=moves, is_pose=True
                )
                yield self._quantity(
                    name, asset, "root_vel_w", "root_velocity", "root_velocity", moves=moves
                )
            if hasattr(asset.data, "joint_pos"):
                yield self._quantity(name, asset, "joint_pos", "joint_position", "position")
                yield self._quantity(name, asset, "joint_vel", "joint_velocity", "velocity")

    def _of_collection(self, name: str, asset: Any) -> Iterator[_Quantity]:
        part = "body_link" if self._indexed else "object"
        reads = (
            ("body_link_pose_w", "body_com_vel_w")
            if self._indexed
            else (
                "object_pose_w",
                "object_vel_w",
            )
        )
        writes = (
            ("body_link_pose", "body_com_velocity")
            if self._indexed
            else (
                "object_pose",
                "object_velocity",
            )
        )
        words = ("body_poses", "body_velocities") if part == "body_link" else ("", "")
        yield self._quantity(name, asset, reads[0], writes[0], words[0], is_pose=True)
        yield self._quantity(name, asset, reads[1], writes[1], words[1])

    def _quantity(
        self, name: str, asset: Any, read: str, setter: str, keyword: str, **options: bool
    ) -> _Quantity:
        def value() -> torch.Tensor:
            tensor = as_tensor(getattr(asset.data, read))
            assert tensor is not None
            return tensor

        if self._indexed:
            indexed_setter = getattr(asset, f"write_{setter}_to_sim_index")

            def write(rows: torch.Tensor, env_ids: torch.Tensor) -> None:
                indexed_setter(**{keyword: rows, "env_ids": env_ids.int()})
        else:
            plain_setter = getattr(asset, f"write_{setter}_to_sim")

            def write(rows: torch.Tensor, env_ids: torch.Tensor) -> None:
                plain_setter(rows, env_ids=env_ids)

        return _Quantity(f"{name}.{read}", value, write, **options)
