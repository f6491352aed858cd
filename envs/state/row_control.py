"""What a backend offers to those who hold, copy and put back single rows of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from holdstep.errors import CapabilityError

if TYPE_CHECKING:
    import torch

    from holdstep.envs.capabilities import FreezeLevel, RngScope
    from holdstep.envs.contract import Obs, StepResult
    from holdstep.envs.state.snapshot import Snapshot


class RowControl(ABC):
    """Holds single rows of one env still while the others are stepped, and copies row states.

    :meth:`holdstep.envs.TorchVectorEnv.row_control` makes one; ``SuspendOnWait`` owns it, decides
    who is held, and closes it. All ids given to it are canonical (int64, on the env's device, in
    range, not repeated) and make sense (only rows that are not held are held): the wrapper checks.

    Attributes:
        level: how rows are held, see :class:`~holdstep.envs.Capabilities`.
        rng: whose random numbers a row draws.
    """

    level: FreezeLevel
    rng: RngScope

    @abstractmethod
    def hold(self, env_ids: torch.Tensor) -> None:
        """From now on these rows are held, in the state in which they are now.

        Called again for a row that is held already after its state was changed on purpose (a
        reset, a snapshot put back): the state that it has now is then the one that it keeps.

        Args:
            env_ids: int64 ``[k]``.
        """

    @abstractmethod
    def release(self, env_ids: torch.Tensor) -> None:
        """These rows, int64 ``[k]``, advance again from the next step on."""

    @abstractmethod
    def step(self, actions: torch.Tensor, active_mask: torch.Tensor) -> StepResult:
        """One step in which only the rows that are not held advance.

        Args:
            actions: as for ``TorchVectorEnv.step``; the held rows' are ignored, NaN too.
            active_mask: bool ``[N]``, exactly the rows that are not held.

        Returns:
            As ``TorchVectorEnv.step``, with ``info["active"]`` equal to ``active_mask``; a held
            row has its last observation, no reward and no flag.
        """

    @abstractmethod
    def snapshot(self, env_ids: torch.Tensor) -> Snapshot:
        """The states of rows, int64 ``[k]``, in memory of their own."""

    @abstractmethod
    def restore(self, snapshot: Snapshot, env_ids: torch.Tensor) -> Obs:
        """Put ``snapshot``'s rows back into rows ``env_ids``, int64 ``[k]``, in their order.

        Returns:
            Observations of all rows, which belong to the caller: those that the snapshot's rows
            had last for the rows put back, the others' last ones.

        Raises:
            SnapshotError: the snapshot is of another task, or does not have ``k`` rows. Nothing
                has been changed then.
        """

    @abstractmethod
    def fork(self, src_ids: torch.Tensor, dst_ids: torch.Tensor) -> Obs:
        """Copy row ``src_ids[i]`` over row ``dst_ids[i]``; returns observations as ``restore``.

        Args:
            src_ids: int64 ``[k]``; may repeat.
            dst_ids: int64 ``[k]``, disjoint from ``src_ids``.
        """

    def set_streams(
        self,
        env_ids: torch.Tensor,
        *,
        key: torch.Tensor,
        gamma: torch.Tensor,
        counter: torch.Tensor,
    ) -> None:
        """Give rows other random streams, see :class:`~holdstep.envs.state.rng.PerEnvRng`.

        Args:
            env_ids: int64 ``[k]``.
            key: int64 ``[k]``.
            gamma: int64 ``[k]``.
            counter: int64 ``[k]``.

        Raises:
            CapabilityError: the rows have no streams of their own that could be exchanged.
        """
        raise CapabilityError(
            f"{type(self).__name__} can't exchange the random streams of single rows."
        )

    def unknown_state(self) -> list[str]:
        """Per-env tensors of the backend's objects that look like row state and are not known."""
        return []

    @abstractmethod
    def close(self) -> None:
        """Release all rows and leave the backend as it was before; may be called again."""
