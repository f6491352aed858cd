"""A disk that stops, tears, fails and forgets, on demand."""

from __future__ import annotations

import os
from pathlib import Path

from holdstep.wrappers.record.files import Files

CRASH_MODES = ("process", "power", "entries", "holes")
"""What is there after a crash: everything that was written (the process died); only what was synced
(power was lost); the same, but all names are there, as file systems that journal metadata leave
it; or sizes too, with zeros for pages that were not written."""


class Crash(BaseException):
    """Nothing that comes after this happens."""


class ForgetfulFiles(Files):
    """Syncs nothing, for tests in which no machine stops: that takes milliseconds each time."""

    def sync(self, descriptor):
        pass

    def sync_file(self, path):
        pass

    def sync_folder(self, path):
        pass


class FaultyFiles(ForgetfulFiles):
    """Counts operations; knows what would survive if the machine stopped now; stops, or fails.

    Args:
        root: the folder below which everything happens; exists, and is durable.
        before: called before each operation with its name; a crash there is what it can look at.
        stop_at: number of the operation that is not done, nor any after it.
        fail_at: number of the first operation that fails.
        error: number of the error that it fails with.
        num_failures: how many operations fail, from that one on.
    """

    def __init__(
        self, root, *, before=None, stop_at=None, fail_at=None, error=None, num_failures=1
    ):
        super().__init__()
        self.root = Path(root)
        self.operations = []
        self.is_dead = False
        self.torn = None  # inode and content of the write that is about to be done
        self._before = before
        self.stop_at = stop_at
        self._fails = range(-1) if fail_at is None else range(fail_at, fail_at + num_failures)
        self._error = error
        self._contents = {}  # durable content, by inode
        self._entries = {}  # durable inodes by name, by folder
        self._pins = []  # keep inodes from being used again
        for folder, _, _ in os.walk(self.root):
            self._note_folder(Path(folder))
        for path in self.root.rglob("*"):
            if path.is_file():
                self._contents[path.stat().st_ino] = path.read_bytes()

    def _do(self, name):
        if self.is_dead:
            raise Crash
        number = len(self.operations)
        self.operations.append(name)
        if number == self.stop_at:
            self.is_dead = True
            raise Crash
        if self._before is not None:
            self._before(name)
        if number in self._fails:
            raise OSError(self._error, os.strerror(self._error), name)

    def make_folder(self, path):
        if not path.is_dir():
            self._do(f"make_folder {path.name}")
            super().make_folder(path)

    def create(self, path):
        self._do(f"create {path.name}")
        descriptor = super().create(path)
        self._contents[os.fstat(descriptor).st_ino] = b""
        return descriptor

    def write(self, descriptor, buffers):
        content = b"".join(buffers)
        self.torn = (os.fstat(descriptor).st_ino, content)
        try:
            self._do(f"write {len(content)}")
        finally:
            self.torn = None
        super().write(descriptor, buffers)

    def sync(self, descriptor):
        self._do("sync")
        self._note_content(descriptor)

    def sync_file(self, path):
        self._do(f"sync_file {path.name}")
        descriptor = os.open(path, os.O_RDONLY)
        self._note_content(descriptor)
        os.close(descriptor)

    def sync_folder(self, path):
        self._do(f"sync_folder {path.name}")
        self._note_folder(path)

    def rename(self, source, target):
        self._do(f"rename {source.name} {target.name}")
        self._pin(target)
        super().rename(source, target)

    def unlink(self, path):
        if path.exists():
            self._do(f"unlink {path.name}")
        self._pin(path)
        super().unlink(path)

    def remove_folder(self, path):
        self._do(f"remove_folder {path.name}")
        super().remove_folder(path)

    def copy(self, source, target):
        self._do(f"copy {source.name} {target.name}")
        super().copy(source, target)

    def reserve(self, path, num_bytes):
        self._do(f"reserve {path.name}")
        super().reserve(path, num_bytes)

    def truncate(self, path, num_bytes):
        self._do(f"truncate {path.name}")
        super().truncate(path, num_bytes)

    def close_pins(self):
        while self._pins:
            os.close(self._pins.pop())

    def _pin(self, path):
        if path.exists():
            self._pins.append(os.open(path, os.O_RDONLY))

    def _note_content(self, descriptor):
        size = os.fstat(descriptor).st_size
        self._contents[os.fstat(descriptor).st_ino] = os.pread(descriptor, size, 0)

    def _note_folder(self, folder):
        self._entries[folder] = {entry.name: entry.inode() for entry in os.scandir(folder)}

    def survivors(self, mode, *, torn_bytes=0):
        """What is there when the machine is started again, if it stops now.

        Returns:
            Content by path below the root; None for folders.
        """
        tree = dict(self._tree(self.root, "", mode))
        if torn_bytes and self.torn is not None:
            inode, content = self.torn
            for path in [path for path, known in tree.items() if known is not None]:
                if (self.root / path).exists() and (self.root / path).stat().st_ino == inode:
                    tree[path] += content[:torn_bytes]
        return tree

    def _tree(self, folder, prefix, mode):
        entries = self._entries.get(folder, {})
        if mode != "power":
            entries = {entry.name: entry.inode() for entry in os.scandir(folder)}
        for name, inode in entries.items():
            path = folder / name
            if inode in self._contents or path.is_file():
                yield prefix + name, self._content(inode, path, mode)
            elif path.is_dir() or path in self._entries:
                yield prefix + name, None
                yield from self._tree(path, f"{prefix}{name}/", mode)

    def _content(self, inode, path, mode):
        durable = self._contents.get(inode, b"")
        if mode == "power":
            return durable
        real = path.read_bytes()
        if mode == "process":
            return real
        if mode == "entries" or len(real) <= len(durable):
            return durable
        lost = (len(real) - len(durable) + 1) // 2
        return durable + bytes(lost) + real[len(durable) + lost :]


def put(tree, target):
    """Make files and folders of what :meth:`FaultyFiles.survivors` returned."""
    target.mkdir()
    for path, content in tree.items():
        if content is None:
            (target / path).mkdir()
        else:
            (target / path).write_bytes(content)
