"""Episodes into a file with everything that robomimic's training reads."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from holdstep.errors import DatasetError
from holdstep.wrappers.record.formats.conversion import Conversion
from holdstep.wrappers.record.formats.hdf5 import write_shard
from holdstep.wrappers.record.formats.whole import new_file

if TYPE_CHECKING:
    import os

    from holdstep.wrappers.record.columns import Array
    from holdstep.wrappers.record.dataset import Dataset
    from holdstep.wrappers.record.episode import Episode


def export_robomimic(
    dataset: Dataset,
    out: str | os.PathLike[str],
    *,
    compression: str = "none",
    on_episode: Callable[[], None] = lambda: None,
) -> Conversion:
    """Write episodes for robomimic's ``SequenceDataset``.

    What was recorded loads there as it is, for imitation. This adds what its other algorithms want:
    ``next_obs`` and ``dones`` (an episode's last step, where it terminated), observations without
    folders (``obs/policy/joints`` becomes ``obs/policy_joints``), and the filter keys
    ``successful`` and ``failed``.

    Args:
        dataset: what to convert.
        out: the new file.
        compression: ``"none"``, ``"lz4"``, ``"zstd"`` or ``"gzip"``; robomimic reads lz4 and zstd
            where hdf5plugin was imported.
        on_episode: called after each episode.

    Raises:
        DatasetError: there are no episodes, ``out`` exists, or names would collide.
        MissingExtraError: the compression needs hdf5plugin.
    """
    if not len(dataset):
        raise DatasetError(f"{dataset.path} has no episodes to convert.")
    entries = list(dataset.entries())
    masks = {
        name: [f"demo_{i}" for i, entry in enumerate(entries) if entry.success is success]
        for name, success in (("successful", True), ("failed", False))
    }
    without_final: list[str] = []

    def episodes() -> Iterator[Episode]:
        for number, episode in enumerate(dataset):
            arrays, has_final = _arrays_for_training(episode)
            if not has_final:
                without_final.append(episode.name)
            yield dataclasses.replace(episode, name=f"demo_{number}", arrays=arrays)
            on_episode()

    with new_file(out) as part:
        write_shard(
            part,
            episodes(),
            env_args={"env_kwargs": {}} | dataset.env_args,
            compression=compression,
            masks={name: members for name, members in masks.items() if members},
        )
    notes = (
        (
            f"{len(without_final)} of {len(entries)} episodes have no final observation; the last "
            "entry of their next_obs repeats their last observation.",
        )
        if without_final
        else ()
    )
    return Conversion(Path(out), len(entries), notes)


def _arrays_for_training(episode: Episode) -> tuple[dict[str, Array], bool]:
    """Old arrays and new ones, and whether the final observation is known."""
    arrays: dict[str, Array] = {}
    has_final = True
    for path in episode.arrays:
        values = episode.arrays[path]
        if not path.startswith(("obs/", "final_obs/")):
            arrays[path] = values
        if not path.startswith("obs/"):
            continue
        name = path.removeprefix("obs/")
        flat = name.replace("/", "_")
        if f"obs/{flat}" in arrays:
            raise DatasetError(
                f"{episode.name} has two observations that would be named {flat!r} without their "
                "folders."
            )
        final = episode.arrays.get(f"final_obs/{name}")
        has_final &= final is not None
        arrays[f"obs/{flat}"] = values
        arrays[f"next_obs/{flat}"] = np.concatenate(
            [values[1:], values[-1:] if final is None else final]
        )
    dones = np.zeros(episode.num_steps, np.int64)
    dones[-1:] = episode.ended == "terminated"
    arrays.setdefault("dones", dones)
    return arrays, has_final
