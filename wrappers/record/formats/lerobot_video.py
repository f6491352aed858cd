"""Frames of many episodes behind one another in MP4 files, as LeRobot's datasets have them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdstep.errors import DatasetError
from holdstep.extras import require
from holdstep.wrappers.record.formats.lerobot_places import FILES_PER_CHUNK, place_of

if TYPE_CHECKING:
    from holdstep.wrappers.record.columns import Array
    from holdstep.wrappers.record.formats.lerobot_features import Feature

_OPTIONS = ["-crf", "18", "-g", "2", "-bf", "0", "-preset", "veryfast"]
"""A key frame every two frames, since training reads single ones; no frame depends on a later one,
so that times begin at zero."""

VIDEO_FILE_MB = 200
_RAW_VIDEO_MB = 50 * VIDEO_FILE_MB  # before compression: how large the file is shows only later


class VideoFile:
    """An H.264 file that grows frame by frame.

    Args:
        path: of the file; folders on the way are made.
        fps: frames per second.
        height: of a frame [pixel].
        width: of a frame [pixel].

    Attributes:
        num_frames: written so far.
        raw_bytes: what they were before they were compressed [byte].

    Raises:
        DatasetError: a side is odd, which this codec's colours don't allow.
        MissingExtraError: imageio-ffmpeg is not installed.
    """

    def __init__(self, path: Path, *, fps: int, height: int, width: int) -> None:
        if height % 2 or width % 2:
            raise DatasetError(
                f"Images of {height} x {width} pixels can't become a video: both sides must be "
                "even. Images, which are what is written by default, can be of any size."
            )
        ffmpeg = require("imageio_ffmpeg", extra="video", purpose="Writing videos")
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.num_frames = self.raw_bytes = 0
        self._frames: Any = ffmpeg.write_frames(
            str(path),
            (width, height),
            fps=fps,
            codec="libx264",
            pix_fmt_in="rgb24",
            pix_fmt_out="yuv420p",
            macro_block_size=2,
            ffmpeg_log_level="error",
            output_params=_OPTIONS,
        )
        self._frames.send(None)

    def add(self, frames: Array) -> None:
        """Append frames, uint8 ``[T, H, W, 3]``."""
        for frame in frames:
            self._frames.send(frame.tobytes())
        self.num_frames += len(frames)
        self.raw_bytes += frames.nbytes

    def close(self) -> None:
        """Finish the file."""
        self._frames.close()


class FeatureVideos:
    """The video files of one feature.

    Args:
        folder: of the dataset.
        feature: the images.
        fps: frames per second.
    """

    def __init__(self, folder: Path, feature: Feature, fps: int) -> None:
        self._folder = folder / "videos" / feature.name
        self._height, self._width, _ = feature.shape
        self._fps = fps
        self._number = -1
        self._file: VideoFile | None = None

    def add(self, frames: Array) -> dict[str, Any]:
        """Append an episode, and tell where it is."""
        if self._file is None or self._file.raw_bytes > _RAW_VIDEO_MB << 20:
            self.close()
            self._number += 1
            self._file = VideoFile(
                self._folder / f"{place_of(self._number)}.mp4",
                fps=self._fps,
                height=self._height,
                width=self._width,
            )
        begin = self._file.num_frames
        self._file.add(frames)
        key = f"videos/{self._folder.name}"
        return {
            f"{key}/chunk_index": self._number // FILES_PER_CHUNK,
            f"{key}/file_index": self._number % FILES_PER_CHUNK,
            f"{key}/from_timestamp": begin / self._fps,
            f"{key}/to_timestamp": self._file.num_frames / self._fps,
        }

    def close(self) -> None:
        """Finish the file that is open."""
        if self._file is not None:
            self._file.close()
            self._file = None
