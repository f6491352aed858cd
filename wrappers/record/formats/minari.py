"""Episodes into a Minari dataset."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces

from holdstep.errors import DatasetError, nearest_names
from holdstep.extras import require
from holdstep.wrappers.record.formats.conversion import Conversion
from holdstep.wrappers.record.formats.whole import new_folder

if TYPE_CHECKING:
    import os

    from holdstep.wrappers.record.columns import Array
    from holdstep.wrappers.record.dataset import Dataset
    from holdstep.wrappers.record.episode import Episode

_DATASET_ID = re.compile(r"(?:[-\w]+/)*[-\w]+-v\d+")
_OWN_METADATA = {"id", "seed", "options", "total_steps"}


def export_minari(
    dataset: Dataset,
    out: str | os.PathLike[str],
    *,
    dataset_id: str | None = None,
    keys: Mapping[str, str] | None = None,
    on_episode: Callable[[], None] = lambda: None,
) -> Conversion:
    """Write episodes as a Minari dataset, which ``minari.load_dataset(dataset_id)`` loads.

    Minari looks below the folder that ``MINARI_DATASETS_PATH`` names. Its episodes have one
    observation more than actions. One whose final observation is not known therefore loses its last
    step. Images are kept losslessly. Attributes of episodes become Minari's episode metadata; info
    entries and states are left out.

    Args:
        dataset: what to convert.
        out: the folder of datasets, as ``MINARI_DATASETS_PATH``; may exist.
        dataset_id: such as ``"cartpole/recorded-v0"``; by default from the env's name.
        keys: names of observations by paths of arrays, such as ``{"obs/policy": "state"}``, where
            only some are meant. A single observation is Minari's observation itself, several are
            a dictionary.
        on_episode: called after each episode.

    Raises:
        DatasetError: there are no episodes, or none of them can be converted; there is a dataset of
            this id; or an array is missing.
        MissingExtraError: minari is not installed.
    """
    purpose = "Writing a Minari dataset"
    storage_class = require(
        "minari.dataset.minari_storage", extra="minari", purpose=purpose
    ).MinariStorage
    buffers = require("minari.data_collector.episode_buffer", extra="minari", purpose=purpose)
    version = require("minari", extra="minari", purpose=purpose).__version__
    if not len(dataset):
        raise DatasetError(f"{dataset.path} has no episodes to convert.")
    dataset_id = dataset_id or _usual_id(dataset.env_args)
    if not _DATASET_ID.fullmatch(dataset_id):
        raise DatasetError(
            f"{dataset_id!r} is no id of a Minari dataset; those are like cartpole/recorded-v0."
        )
    writer = _Converter(dataset, keys, buffers.EpisodeBuffer)
    target = Path(out) / dataset_id
    with new_folder(target) as folder:
        storage = storage_class.new(
            _made(folder.absolute() / "data"),  # minari joins relative paths twice
            observation_space=writer.observation_space,
            action_space=writer.action_space,
            data_format="hdf5",
            jpeg_encoding=False,
        )
        storage.update_metadata({"dataset_id": dataset_id, "minari_version": version})
        storage.update_episodes(writer.buffers(on_episode))
        if not writer.metadata:
            raise DatasetError(
                "None of the episodes can be converted: each has a single step, and its final "
                "observation is not known."
            )
        storage.update_episode_metadata(writer.metadata, range(len(writer.metadata)))
    _describe_namespaces(Path(out), dataset_id)
    return Conversion(target, len(writer.metadata), tuple(writer.notes()))


class _Converter:
    """Turns episodes into Minari's, one at a time."""

    def __init__(self, dataset: Dataset, keys: Mapping[str, str] | None, buffer_class: Any) -> None:
        shapes = dataset.shapes()
        observed = [path for path in shapes if path.startswith("obs/")]
        names = {path: path.removeprefix("obs/") for path in observed} if keys is None else keys
        for path in [*names, "actions", "rewards"]:
            if path not in shapes or (path in names and path not in observed):
                raise DatasetError(
                    f"The episodes have no {'observation' if path in names else 'array'} {path!r}; "
                    f"they have {sorted(shapes)}.{nearest_names(path, shapes)}"
                )
        if not names:
            raise DatasetError("The episodes have no observations, without which Minari has none.")
        self.metadata: list[dict[str, Any]] = []
        self.action_space = _box(*shapes["actions"])
        self._dataset = dataset
        self._names = names
        self._buffer_class = buffer_class
        self._num_cut = self._num_left_out = 0
        boxes = {name: _box(*shapes[path]) for path, name in names.items()}
        self.observation_space = _spaces_of(self._nested(boxes))

    def buffers(self, on_episode: Callable[[], None]) -> Iterator[Any]:
        """Minari's buffers of the episodes that can be converted."""
        for episode in self._dataset:
            buffer = self._buffer(episode)
            if buffer is not None:
                self.metadata.append(_metadata(episode))
                yield buffer
            on_episode()

    def notes(self) -> Iterator[str]:
        """What could not be converted as it was."""
        if self._num_cut:
            yield (
                f"{self._num_cut} episodes have no final observation; their last steps were left "
                "out."
            )
        if self._num_left_out:
            yield f"{self._num_left_out} episodes had no other step, and were left out."

    def _buffer(self, episode: Episode) -> Any:
        arrays = episode.arrays
        has_final = all(_final(path) in arrays for path in self._names)
        steps = episode.num_steps if has_final else episode.num_steps - 1
        if steps < 1:
            self._num_left_out += 1
            return None
        self._num_cut += not has_final
        observations = {}
        for path, name in self._names.items():
            parts = [arrays[path], arrays[_final(path)]] if has_final else [arrays[path]]
            observations[name] = np.concatenate(parts)
        terminations, truncations = _flags(episode)
        if not has_final:
            terminations, truncations = terminations[:steps], truncations[:steps]
            truncations[-1] = True
        seed = episode.attributes.get("seed")
        return self._buffer_class(
            seed=seed if isinstance(seed, int) else None,
            observations=self._nested(observations),
            actions=arrays["actions"][:steps],
            rewards=arrays["rewards"][:steps],
            terminations=terminations,
            truncations=truncations,
        )

    def _nested(self, by_name: Mapping[str, Any]) -> Any:
        """A single value itself; else dictionaries, in one another where names have slashes."""
        if len(by_name) == 1:
            return next(iter(by_name.values()))
        nested: dict[str, Any] = {}
        for name, value in by_name.items():
            *folders, leaf = name.split("/")
            place = nested
            for folder in folders:
                place = place.setdefault(folder, {})
            place[leaf] = value
        return nested


def _flags(episode: Episode) -> tuple[Array, Array]:
    """Whether it terminated, and was truncated, after each step; cut ones count as truncated."""
    flags = []
    for name, is_so in (
        ("terminated", episode.ended == "terminated"),
        ("truncated", episode.ended != "terminated"),
    ):
        values = np.zeros(episode.num_steps, bool)
        if name in episode.arrays:
            values = episode.arrays[name].astype(bool)
        values[-1] |= is_so
        flags.append(values)
    return flags[0], flags[1]


def _metadata(episode: Episode) -> dict[str, Any]:
    """What else is known about an episode, as far as Minari takes it: texts and numbers."""
    known: dict[str, Any] = {"ended": episode.ended}
    if episode.success is not None:
        known["success"] = episode.success
    known |= {
        name: value
        for name, value in episode.attributes.items()
        if name not in _OWN_METADATA and isinstance(value, bool | int | float | str)
    }
    return known


def _final(path: str) -> str:
    return f"final_obs/{path.removeprefix('obs/')}"


def _box(shape: tuple[int, ...], dtype: str) -> spaces.Box:
    """All values of a type: the recording does not know narrower bounds."""
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return spaces.Box(-np.inf, np.inf, shape, kind.type)
    if kind.kind == "b":
        return spaces.Box(0, 1, shape, kind.type)
    limits = np.iinfo(kind)
    return spaces.Box(limits.min, limits.max, shape, kind.type)


def _spaces_of(nested: Any) -> spaces.Space[Any]:
    if isinstance(nested, dict):
        return spaces.Dict({name: _spaces_of(value) for name, value in nested.items()})
    space: spaces.Space[Any] = nested
    return space


def _usual_id(env_args: Mapping[str, Any]) -> str:
    """An id from the env's name.

    >>> _usual_id({"env_name": "mjlab:Mjlab-Cartpole-Balance"})
    'mjlab/Mjlab-Cartpole-Balance/recorded-v0'
    """
    name = str(env_args.get("env_name") or "recorded").replace(":", "/")
    parts = (re.sub(r"[^-\w]+", "-", part).strip("-") for part in name.split("/"))
    return "/".join([*filter(None, parts), "recorded-v0"])


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _describe_namespaces(root: Path, dataset_id: str) -> None:
    """Mark the folders above the dataset as what Minari calls namespaces."""
    for namespace in Path(dataset_id).parents[:-1]:
        described = root / namespace / "namespace_metadata.json"
        if not described.exists():
            described.write_text(json.dumps({}))
