"""Rendered frames into a video file."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from holdstep.errors import ConfigError
from holdstep.extras import require


class VideoWriter:
    """An H.264 MP4 file, written frame by frame; a context manager.

    Args:
        path: the file, ending in ``.mp4``.
        fps: frames per second.

    Raises:
        ConfigError: the path doesn't end in ``.mp4``.
        MissingExtraError: imageio or its ffmpeg is not installed.
    """

    def __init__(self, path: str | Path, *, fps: float) -> None:
        self.path = Path(path)
        if self.path.suffix != ".mp4":
            raise ConfigError(f"A video's path must end in .mp4, got {str(path)!r}.")
        require("imageio_ffmpeg", extra="video", purpose="Writing a video")
        imageio = require("imageio.v2", extra="video", purpose="Writing a video")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # macro_block_size=2: the codec wants even sizes; the default pads to 16 and warns.
        self._writer = imageio.get_writer(
            self.path, fps=fps, codec="libx264", macro_block_size=2, ffmpeg_log_level="error"
        )

    def add(self, frame: Any) -> None:
        """Append what an env's ``render()`` returned.

        Args:
            frame: uint8 ``[H, W, 3]``, or a tuple of such, of which the first is taken.
        """
        if isinstance(frame, tuple | list):
            frame = frame[0]
        self._writer.append_data(np.asarray(frame, dtype=np.uint8))

    def close(self) -> None:
        """Finish the file."""
        self._writer.close()

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
