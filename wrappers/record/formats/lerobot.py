"""Episodes into a LeRobot dataset, version 3.

Written with pyarrow alone: lerobot itself, which needs a torch of its own, is not imported.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from holdstep.errors import DatasetError
from holdstep.extras import require
from holdstep.wrappers.record.formats.conversion import Conversion
from holdstep.wrappers.record.formats.lerobot_features import Feature, make_features
from holdstep.wrappers.record.formats.lerobot_places import FILES_PER_CHUNK, PLACE, place_of
from holdstep.wrappers.record.formats.lerobot_stats import TotalStats, array_stats, image_stats
from holdstep.wrappers.record.formats.lerobot_tables import (
    image_column,
    number_column,
    png,
    task_table,
)
from holdstep.wrappers.record.formats.lerobot_video import VIDEO_FILE_MB, FeatureVideos
from holdstep.wrappers.record.formats.whole import new_folder

if TYPE_CHECKING:
    from holdstep.wrappers.record.columns import Array
    from holdstep.wrappers.record.dataset import Dataset
    from holdstep.wrappers.record.episode import Episode

_VERSION = "v3.0"
_DATA_FILE_MB = 100
_EPISODES_PER_FLUSH = 500
_COUNTERS = ("timestamp", "frame_index", "episode_index", "index", "task_index")


def export_lerobot(
    dataset: Dataset,
    out: str | os.PathLike[str],
    *,
    fps: int | None = None,
    keys: Mapping[str, str] | None = None,
    task: str | None = None,
    video: bool = False,
    on_episode: Callable[[], None] = lambda: None,
) -> Conversion:
    """Write episodes as a LeRobot dataset, which ``LeRobotDataset(repo_id, root=out)`` loads.

    Frame t has the observation before step t, the action, and what the step gave. The final
    observation has no place in that format. Images are kept losslessly, as PNG, unless they are to
    be videos.

    Args:
        dataset: what to convert; all episodes must have the same arrays.
        out: a new folder; it appears when everything is written.
        fps: steps per second; by default what the recording says about the simulation.
        keys: names of features by paths of arrays, such as ``{"obs/policy":
            "observation.state"}``; by default actions, observations, rewards, and whether an
            episode ended and succeeded, by the names that LeRobot's own datasets use.
        task: in words; by default each episode's attribute ``instruction`` or ``task``, or else the
            name of the env.
        video: write images as H.264 video, which is lossy and many times smaller.
        on_episode: called after each episode.

    Raises:
        DatasetError: there are no episodes or not all alike, ``out`` exists, or the steps per
            second are not known.
        MissingExtraError: pyarrow, Pillow or imageio-ffmpeg is not installed.
    """
    if not len(dataset):
        raise DatasetError(f"{dataset.path} has no episodes to convert.")
    fps = steps_per_second(dataset.env_args) if fps is None else fps
    success = all(entry.success is not None for entry in dataset.entries())
    features = make_features(dataset.shapes(), keys, video=video, success=success)
    default_task = task or str(dataset.env_args.get("env_name") or "unknown task")
    with new_folder(out) as folder, _Writer(folder, features, fps) as writer:
        for episode in dataset:
            words = episode.attributes.get("instruction", episode.attributes.get("task"))
            writer.add(episode, task or str(words or default_task))
            on_episode()
        writer.finish()
    return Conversion(Path(out), len(dataset))


def steps_per_second(env_args: Mapping[str, Any]) -> int:
    """Steps per second of a recording, from what it says about the simulation.

    Raises:
        DatasetError: it does not say, or they are no whole number.
    """
    step_dt = _step_dt(env_args.get("sim_args"))
    if step_dt is None:
        raise DatasetError(
            "The recording does not say how long a step is (sim_args with step_dt, or with dt and "
            "decimation); give fps, the steps per second."
        )
    fps = 1.0 / step_dt
    if not math.isclose(fps, round(fps), rel_tol=1e-3) or round(fps) < 1:
        raise DatasetError(
            f"The recording has {fps:.6g} steps per second, and LeRobot wants a whole number; give "
            "fps."
        )
    return round(fps)


def _step_dt(sim_args: object) -> float | None:
    """Length of an env step [s]: holdstep says it, Isaac Lab says what it is made of."""
    if not isinstance(sim_args, Mapping):
        return None
    step_dt = sim_args.get("step_dt")
    dt, decimation = sim_args.get("dt"), sim_args.get("decimation")
    if step_dt is None and isinstance(dt, int | float) and isinstance(decimation, int | float):
        step_dt = dt * decimation
    return step_dt if isinstance(step_dt, int | float) and step_dt > 0 else None


class _Writer:
    """Writes one episode after the other; a context manager."""

    def __init__(self, folder: Path, features: tuple[Feature, ...], fps: int) -> None:
        purpose = "Writing a LeRobot dataset"
        self._arrow = require("pyarrow", extra="convert", purpose=purpose)
        self._parquet = require("pyarrow.parquet", extra="convert", purpose=purpose)
        if any(feature.kind == "image" for feature in features):
            require("PIL.Image", extra="convert", purpose=purpose)
        self._folder = folder
        self._features = features
        self._fps = fps
        self._tasks: dict[str, int] = {}
        self._totals = TotalStats()
        self._num_episodes = 0
        self._num_frames = 0
        self._data_file = 0
        self._data: Any = None
        self._episodes: Any = None
        self._rows: list[dict[str, Any]] = []
        self._videos = {
            feature.name: FeatureVideos(folder, feature, fps)
            for feature in features
            if feature.kind == "video"
        }
        self._pool = ThreadPoolExecutor(os.cpu_count())

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)
        for opened in (self._data, self._episodes, *self._videos.values()):
            if opened is not None:
                opened.close()

    def add(self, episode: Episode, task: str) -> None:
        """Write an episode: its rows, its videos, and a row about it."""
        length = episode.num_steps
        task_index = self._tasks.setdefault(task, len(self._tasks))
        columns = self._counters(length, task_index)
        stats = {name: array_stats(values) for name, values in columns.items()}
        places: dict[str, Any] = {}
        for feature in self._features:
            values = feature.values(episode)
            if feature.kind == "array":
                stats[feature.name] = array_stats(values)
            else:
                stats[feature.name] = image_stats(values)
            if feature.kind == "video":
                places |= self._videos[feature.name].add(values)
            else:
                columns[feature.name] = values
        self._write_rows(columns)
        self._totals.add(stats)
        row = {
            "episode_index": self._num_episodes,
            "tasks": [task],
            "length": length,
            "data/chunk_index": self._data_file // FILES_PER_CHUNK,
            "data/file_index": self._data_file % FILES_PER_CHUNK,
            "dataset_from_index": self._num_frames,
            "dataset_to_index": self._num_frames + length,
            **places,
            **{f"stats/{f}/{n}": v.tolist() for f, s in stats.items() for n, v in s.items()},
            "meta/episodes/chunk_index": 0,
            "meta/episodes/file_index": 0,
        }
        self._rows.append(row)
        self._num_episodes += 1
        self._num_frames += length
        if len(self._rows) >= _EPISODES_PER_FLUSH:
            self._flush_episodes()

    def finish(self) -> None:
        """Write what is about the whole dataset."""
        self._flush_episodes()
        for opened in (self._data, self._episodes, *self._videos.values()):
            opened.close()
        self._parquet.write_table(task_table(self._tasks), self._folder / "meta" / "tasks.parquet")
        self._write_json("stats", self._totals.to_json())
        info: dict[str, Any] = {
            "codebase_version": _VERSION,
            "robot_type": None,
            "total_episodes": self._num_episodes,
            "total_frames": self._num_frames,
            "total_tasks": len(self._tasks),
            "chunks_size": FILES_PER_CHUNK,
            "data_files_size_in_mb": _DATA_FILE_MB,
            "video_files_size_in_mb": VIDEO_FILE_MB,
            "fps": self._fps,
            "splits": {"train": f"0:{self._num_episodes}"},
            "data_path": f"data/{PLACE}.parquet",
            "video_path": f"videos/{{video_key}}/{PLACE}.mp4" if self._videos else None,
            "features": {f.name: f.info(self._fps) for f in self._features},
        }
        for name in _COUNTERS:
            dtype = "float32" if name == "timestamp" else "int64"
            info["features"][name] = {"dtype": dtype, "shape": [1], "names": None}
        self._write_json("info", info)

    def _counters(self, length: int, task_index: int) -> dict[str, Array]:
        frames = np.arange(length)
        return {
            "timestamp": (frames / self._fps).astype(np.float32),
            "frame_index": frames,
            "episode_index": np.full(length, self._num_episodes),
            "index": self._num_frames + frames,
            "task_index": np.full(length, task_index),
        }

    def _write_rows(self, columns: Mapping[str, Array]) -> None:
        images = {feature.name for feature in self._features if feature.kind == "image"}
        table = self._arrow.table(
            {
                name: image_column(self._pool.map(png, values))
                if name in images
                else number_column(values)
                for name, values in columns.items()
            }
        )
        if self._data is not None and self._data_path().stat().st_size > _DATA_FILE_MB << 20:
            self._data.close()
            self._data = None
            self._data_file += 1
        if self._data is None:
            self._data_path().parent.mkdir(parents=True, exist_ok=True)
            self._data = self._parquet.ParquetWriter(self._data_path(), table.schema)
        self._data.write_table(table)

    def _data_path(self) -> Path:
        return self._folder / "data" / f"{place_of(self._data_file)}.parquet"

    def _flush_episodes(self) -> None:
        if not self._rows:
            return
        table = self._arrow.Table.from_pylist(self._rows)
        if self._episodes is None:
            path = self._folder / "meta" / "episodes" / f"{place_of(0)}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            self._episodes = self._parquet.ParquetWriter(path, table.schema)
        self._episodes.write_table(table)
        self._rows.clear()

    def _write_json(self, name: str, content: Any) -> None:
        text = json.dumps(content, indent=4, ensure_ascii=False)
        (self._folder / "meta" / f"{name}.json").write_text(text, encoding="utf-8")
