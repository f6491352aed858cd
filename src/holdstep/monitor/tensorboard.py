"""Statistics of a stack as TensorBoard's scalars."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from holdstep.extras import require

if TYPE_CHECKING:
    from holdstep.monitor.stack_stats import StackStats


class TensorBoardStats:
    """A sink of :func:`~holdstep.monitor.watch` that writes an event file.

    Give it the folder of a training run, and its curves stand beside the run's own, under
    ``holdstep/``.

    Args:
        log_dir: folder of the event file; made if it does not exist.

    Raises:
        MissingExtraError: tensorboard is not installed.
    """

    def __init__(self, log_dir: str | Path) -> None:
        require("tensorboard", extra="rsl-rl", purpose="TensorBoardStats")
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(log_dir), filename_suffix=".holdstep")

    def show(self, found: StackStats, num_steps: int) -> None:
        """Write every number."""
        for name, value in found.scalars().items():
            self._writer.add_scalar(f"holdstep/{name}", value, num_steps)

    def close(self) -> None:
        """Finish the file; may be called again."""
        self._writer.close()
