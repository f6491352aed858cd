"""What a conversion to another library's format did."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Conversion:
    """What was written.

    Attributes:
        path: the new file or folder.
        num_episodes: in it.
        notes: sentences about what the other format could not take as it was.
    """

    path: Path
    num_episodes: int
    notes: tuple[str, ...] = ()
