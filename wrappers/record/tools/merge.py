"""Several datasets into one file."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdstep.errors import DatasetError
from holdstep.wrappers.record.dataset import Dataset
from holdstep.wrappers.record.formats.hdf5 import write_shard
from holdstep.wrappers.record.formats.whole import new_file, refuse_existing

if TYPE_CHECKING:
    import os

    from holdstep.wrappers.record.episode import Episode


def merge(
    sources: Sequence[Dataset],
    out: str | os.PathLike[str],
    *,
    append: bool = False,
    compression: str = "none",
    on_episode: Callable[[], None] = lambda: None,
) -> Path:
    """Put the episodes of several datasets into one HDF5 file, numbered from ``demo_0``.

    The sources stay as they are. The file appears when everything is in it.

    Args:
        sources: folders or files, in the order in which their episodes count; all of one env, with
            arrays of the same names, types and shapes.
        out: the new file.
        append: ``out`` exists, and its episodes come first; it is replaced at once, by a file that
            has them and the new ones.
        compression: ``"none"``, ``"lz4"``, ``"zstd"`` or ``"gzip"``.
        on_episode: called after each episode.

    Returns:
        The file.

    Raises:
        DatasetError: ``out`` exists and is not to be appended to, or the sources don't go together.
        MissingExtraError: the compression needs hdf5plugin.
    """
    out = Path(out)
    if out.suffix not in (".hdf5", ".h5"):
        raise DatasetError(f"Datasets are merged into a file that ends in .hdf5; got {out}.")
    if append:
        if not out.is_file():
            raise DatasetError(f"There is no file {out} to append to.")
        sources = [Dataset(out), *sources]
    else:
        refuse_existing(out)
    if not any(map(len, sources)):
        raise DatasetError("None of the datasets has any episodes.")
    check_alike(sources)
    with new_file(out, replace=append) as part:
        write_shard(
            part,
            _renumbered(sources, on_episode),
            env_args=sources[0].env_args,
            compression=compression,
        )
    return out


def check_alike(sources: Sequence[Dataset]) -> None:
    """Refuse datasets whose episodes could not be told apart, or read, as those of one.

    Raises:
        DatasetError: they are of different envs, orders of quaternions, or arrays.
    """
    first, *others = [source for source in sources if len(source)]
    for other in others:
        for key in ("env_name", "quaternion"):
            ours, theirs = first.env_args.get(key), other.env_args.get(key)
            if ours != theirs:
                raise DatasetError(
                    f"{other.path} has {key} {theirs!r}, and {first.path} {ours!r}; only datasets "
                    "of the same are merged."
                )
        found = list(_differences(_shapes(first), _shapes(other)))
        if found:
            lines = "\n".join(f"  - {line}" for line in found)
            raise DatasetError(
                f"The arrays of {other.path} are not those of {first.path}:\n{lines}"
            )


def _shapes(dataset: Dataset) -> dict[str, Any]:
    return {k: v for k, v in dataset.shapes().items() if not k.startswith("final_obs/")}


def _differences(ours: dict[str, Any], theirs: dict[str, Any]) -> Iterator[str]:
    for path in sorted(set(ours) | set(theirs)):
        if path not in theirs:
            yield f"{path} is missing"
        elif path not in ours:
            yield f"{path} is there, and should not be"
        elif ours[path] != theirs[path]:
            (shape, dtype), (wanted, wanted_dtype) = theirs[path], ours[path]
            yield f"{path} is {dtype} {shape}, not {wanted_dtype} {wanted}"


def _renumbered(sources: Sequence[Dataset], on_episode: Callable[[], None]) -> Iterator[Episode]:
    number = 0
    for source in sources:
        for episode in source:
            yield dataclasses.replace(episode, name=f"demo_{number}")
            number += 1
            on_episode()
