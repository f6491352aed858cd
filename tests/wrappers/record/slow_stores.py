"""Stores that misbehave, for writers in other processes: named by module and class."""

import errno
import os
import time
from pathlib import Path

from holdstep.errors import RecordingError
from holdstep.wrappers.record.store import EpisodeStore


class SlowStore(EpisodeStore):
    """Takes its time for each block, as a saturated disk does."""

    def commit(self, **kwargs):
        time.sleep(0.02)
        super().commit(**kwargs)


class GatedStore(EpisodeStore):
    """Commits nothing while there is a file named ``gate`` beside the dataset."""

    def __init__(self, path, **kwargs):
        super().__init__(path, **kwargs)
        self.gate = Path(path).parent / "gate"

    def commit(self, **kwargs):
        while self.gate.exists():
            time.sleep(0.001)
        super().commit(**kwargs)


class FullDiskStore(EpisodeStore):
    """Has no room while there is a file named ``full`` beside the dataset."""

    def __init__(self, path, **kwargs):
        self.marker = Path(path).parent / "full"
        super().__init__(path, **kwargs)

    def commit(self, **kwargs):
        if self.marker.exists():
            raise RecordingError(f"Could not commit: {os.strerror(errno.ENOSPC)}")
        super().commit(**kwargs)


class SuicidalStore(EpisodeStore):
    """Kills its process at a moment that a file beside the dataset names, once for each line.

    A line is ``<call> <number>``: before the so many-th call of it by this writer.
    """

    def __init__(self, path, **kwargs):
        self.plan = Path(path).parent / "plan"
        self.counts = {}
        super().__init__(path, **kwargs)

    def count(self, call):
        self.counts[call] = self.counts.get(call, 0) + 1
        lines = self.plan.read_text().splitlines() if self.plan.exists() else []
        if lines and lines[0] == f"{call} {self.counts[call]}":
            self.plan.write_text("\n".join(lines[1:]))
            os.kill(os.getpid(), 9)

    def begin(self, *args, **kwargs):
        self.count("begin")
        return super().begin(*args, **kwargs)

    def append(self, *args, **kwargs):
        self.count("append")
        super().append(*args, **kwargs)

    def end(self, *args, **kwargs):
        self.count("end")
        super().end(*args, **kwargs)

    def commit(self, **kwargs):
        self.count("commit")
        super().commit(**kwargs)
        self.count("committed")

    def compact(self, **kwargs):
        self.count("compact")
        return super().compact(**kwargs)

    def close(self, **kwargs):
        self.count("close")
        super().close(**kwargs)
        self.count("closed")


class BrieflyFullDiskStore(FullDiskStore):
    """Has no room once; there is some by the time somebody tries again."""

    def commit(self, **kwargs):
        try:
            super().commit(**kwargs)
        except RecordingError:
            self.marker.unlink()
            raise


class SlowlyOpenedStore(EpisodeStore):
    """Takes its time to open, as one with a long journal does; and for ever beside a ``gate``."""

    def __init__(self, path, *, files, **kwargs):
        super().__init__(path, files=files, **kwargs)
        for _ in range(15):
            time.sleep(0.02)
            files.alive()
        while (Path(path).parent / "gate").exists():
            time.sleep(0.001)
