"""Frames of many episodes behind one another in MP4 files, as LeRobot's datasets have them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdstep.errors import DatasetError
from holdstep.extras import require

if TYPE_CHECKING:
    from holdstep.wrappers.record.columns import Array

_OPTIONS = ["-crf", "18", "-g", "2", "-bf", "0", "-preset", "veryfast"]
"""A key frame every two frames, since training reads single ones; no frame depends on a later one,
so that times begin at zero."""


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
