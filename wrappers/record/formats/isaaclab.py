"""Episodes into one file for Isaac Lab's own tools."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from holdstep.wrappers.record.formats.conversion import Conversion
from holdstep.wrappers.record.tools.merge import merge

if TYPE_CHECKING:
    import os

    from holdstep.wrappers.record.dataset import Dataset


def export_isaaclab(
    dataset: Dataset,
    out: str | os.PathLike[str],
    *,
    compression: str = "none",
    on_episode: Callable[[], None] = lambda: None,
) -> Conversion:
    """Write all episodes into one HDF5 file, which Isaac Lab's ``HDF5DatasetFileHandler`` opens.

    Each file that was recorded is one already; Isaac Lab's tools want all episodes in one.

    Args:
        dataset: what to convert.
        out: the new file.
        compression: ``"none"``, ``"lz4"``, ``"zstd"`` or ``"gzip"``; Isaac Lab reads lz4 and zstd
            where hdf5plugin was imported.
        on_episode: called after each episode.

    Raises:
        DatasetError: there are no episodes, or ``out`` exists.
        MissingExtraError: the compression needs hdf5plugin.
    """
    path = merge([dataset], out, compression=compression, on_episode=on_episode)
    return Conversion(path, len(dataset))
