"""The HDF5 layout of Isaac Lab's recorder, which robomimic reads too: written and read."""

from __future__ import annotations

from holdstep.wrappers.record.formats.hdf5_entry import EpisodeEntry
from holdstep.wrappers.record.formats.hdf5_filters import Compression, check_compression
from holdstep.wrappers.record.formats.hdf5_read import (
    array_paths,
    array_shape,
    episode_names,
    list_episodes,
    open_file,
    open_shard,
    read_array,
    read_entry,
    read_env_args,
    read_episode,
    read_total,
)
from holdstep.wrappers.record.formats.hdf5_write import (
    LAYOUT_ATTRIBUTES,
    ShardWriter,
    episode_bytes,
    write_shard,
)

__all__ = [
    "LAYOUT_ATTRIBUTES",
    "Compression",
    "EpisodeEntry",
    "ShardWriter",
    "array_paths",
    "array_shape",
    "check_compression",
    "episode_bytes",
    "episode_names",
    "list_episodes",
    "open_file",
    "open_shard",
    "read_array",
    "read_entry",
    "read_env_args",
    "read_episode",
    "read_total",
    "write_shard",
]
