"""New files and folders that appear whole or not at all, and never in the place of others."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from holdstep.errors import DatasetError


@contextlib.contextmanager
def new_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A folder to fill, which gets its name when the block ends; after an error nothing is left.

    Args:
        path: its name; folders on the way are made.

    Raises:
        DatasetError: something of that name exists.
    """
    path = Path(path)
    refuse_existing(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = _part(path)
    part.mkdir()
    try:
        yield part
        refuse_existing(path)
        part.rename(path)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


@contextlib.contextmanager
def new_file(path: str | os.PathLike[str], *, replace: bool = False) -> Iterator[Path]:
    """A path to write a file to, which gets its name when the block ends, as :func:`new_folder`.

    Args:
        path: its name; folders on the way are made.
        replace: put it in the place of what has that name. Whoever looks sees the old file or the
            new one, whole.

    Raises:
        DatasetError: something of that name exists, and is not to be replaced.
    """
    path = Path(path)
    if not replace:
        refuse_existing(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = _part(path)
    try:
        yield part
        if not replace:
            refuse_existing(path)
        _sync(part)
        part.rename(path)
        _sync(path.parent)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def refuse_existing(path: Path) -> None:
    """Raise, if there is anything at a path.

    Raises:
        DatasetError: there is.
    """
    if path.exists() or path.is_symlink():
        raise DatasetError(
            f"{path} exists, and nothing is ever written over it. Choose another path, or remove "
            "it first."
        )


def _part(path: Path) -> Path:
    """In the same folder, so that renaming it moves no data."""
    return path.with_name(f".{path.name}.part-{os.getpid()}")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
