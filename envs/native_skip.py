"""Row control of backends that can simply leave a row out of a step."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, TypeVar

from holdstep.envs.state.row_control import RowControl
from holdstep.errors import CapabilityError

if TYPE_CHECKING:
    import torch

    from holdstep.envs.capabilities import FreezeLevel, RngScope
    from holdstep.envs.contract import Obs, StepResult, TorchVectorEnv
    from holdstep.envs.state.snapshot import Snapshot

_LEVELS = ("skip", "exact")

NativeSkipT = TypeVar("NativeSkipT", bound="NativeSkip")


class NativeSkip(RowControl):
    """Holds rows by not stepping them, which is exact too: nothing is hooked, nothing put back.

    Attributes:
        env: the adapter.
        closed: whether :meth:`close` was called.

    Args:
        env: an adapter whose ``step_masked`` takes any mask at any time, and whose rows have a
            random stream each.
        level: ``"skip"`` or ``"exact"``; both are the same here.
        rng: what was asked for. Rows draw from streams of their own in either case.

    Raises:
        CapabilityError: another level.
    """

    def __init__(self, env: TorchVectorEnv, *, level: FreezeLevel, rng: RngScope) -> None:
        if level not in _LEVELS:
            raise CapabilityError(
                f"{type(env).__name__} holds rows by not stepping them, which is exact: there is "
                f'no level {level!r} of it. Ask for level="skip" or level="exact".'
            )
        self.level = level
        self.rng = rng
        self.env = env
        self.closed = False

    def hold(self, env_ids: torch.Tensor) -> None:
        """Nothing to do: a row that is not stepped stays as it is."""

    def release(self, env_ids: torch.Tensor) -> None:
        """Nothing to do."""

    def step(self, actions: torch.Tensor, active_mask: torch.Tensor) -> StepResult:
        """Step the rows of ``active_mask``."""
        return self.env.step_masked(actions, active_mask)

    def snapshot(self, env_ids: torch.Tensor) -> Snapshot:
        """Refused, unless a subclass knows where a row's state is."""
        raise self._no_snapshots()

    def restore(self, snapshot: Snapshot, env_ids: torch.Tensor) -> Obs:
        """Refused likewise."""
        raise self._no_snapshots()

    def fork(self, src_ids: torch.Tensor, dst_ids: torch.Tensor) -> Obs:
        """Refused likewise."""
        raise self._no_snapshots()

    def close(self) -> None:
        """Nothing to undo; the env may be given to another control."""
        self.closed = True

    def _no_snapshots(self) -> CapabilityError:
        return CapabilityError(
            f"{type(self.env).__name__} can't copy the state of a row: it does not know what a "
            "row consists of (capabilities.snapshot is False)."
        )


class NativeSkipOwner:
    """Sees to it that an env has one :class:`NativeSkip` at a time.

    One that was thrown away without being closed counts no longer: it has left nothing behind.
    """

    def __init__(self) -> None:
        self._taken: weakref.ref[NativeSkip] | None = None

    def hand_out(self, control: NativeSkipT) -> NativeSkipT:
        """Remember a control, and return it.

        Raises:
            CapabilityError: there is another one that has not been closed.
        """
        taken = self._taken() if self._taken is not None else None
        if taken is not None and not taken.closed:
            raise CapabilityError(
                f"This {type(control.env).__name__} has a SuspendOnWait around it already, and two "
                "would not know of each other's rows. Use that one, or build a second env."
            )
        self._taken = weakref.ref(control)
        return control
