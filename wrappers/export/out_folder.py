"""A folder that appears with everything in it, or not at all."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from holdstep.errors import ConfigError


def check_out_folder(folder: Path, *, overwrite: bool) -> None:
    """Refuse early what could not be written in the end.

    Args:
        folder: to be made.
        overwrite: whether it may replace an earlier export.

    Raises:
        ConfigError: it exists and must not be replaced, or holds something that is no export.
    """
    if not folder.exists() and not folder.is_symlink():
        return
    if not folder.is_dir() or folder.is_symlink():
        raise ConfigError(f"{folder} is no folder. Give a path that does not exist yet.")
    if not any(folder.iterdir()):
        return
    if not (folder / "contract.yaml").is_file():
        raise ConfigError(
            f"{folder} holds other files, which an export never replaces. Give another path."
        )
    if not overwrite:
        raise ConfigError(
            f"{folder} holds an export already. Give another path, or overwrite=True (--overwrite "
            "on the command line)."
        )


@contextmanager
def out_folder(folder: Path, *, overwrite: bool) -> Iterator[Path]:
    """A new folder to write into, which becomes ``folder`` when the block ends without an error.

    Whoever looks at ``folder`` meanwhile sees the earlier export, whole, or none.

    Args:
        folder: to be made.
        overwrite: whether it may replace an earlier export.

    Raises:
        ConfigError: as :func:`check_out_folder`.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        new = beside / "new"
        new.mkdir()
        yield new
        # Again: somebody else may have written there while this took its time.
        check_out_folder(folder, overwrite=overwrite)
        earlier = beside / "earlier"
        if folder.exists():
            folder.rename(earlier)
        try:
            new.rename(folder)
        except OSError:
            if earlier.exists():
                earlier.rename(folder)
            raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)
