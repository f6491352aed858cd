"""A writer in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

from holdstep.wrappers.record.checkpoint import Checkpoints
from holdstep.wrappers.record.control import ControlPage
from holdstep.wrappers.record.messages import PipeInbox
from holdstep.wrappers.record.ring import BlockRing
from holdstep.wrappers.record.writer import Shared, WriterLoop
from holdstep.wrappers.record.writer_config import WriterConfig

if TYPE_CHECKING:
    from holdstep.wrappers.record.messages import Message

_START = "from holdstep.wrappers.record.writer_process import main; main()"
_NICENESS = 5


class WriterProcess:
    """Writes in another process, which does not share the interpreter with the env loop.

    A fresh interpreter is started, neither a fork, which would inherit locks and a CUDA context
    that can't be used, nor :mod:`multiprocessing`'s spawn, which would run a user's script again.
    It imports neither torch nor a simulator. Messages go through a pipe to its standard input; when
    that ends, because this process did, it finishes what it was sent and ends too. Interrupts and
    requests to terminate, which a terminal or a scheduler sends to all processes of a job, are
    left to the env loop.

    Args:
        config: what to write, and where.
        shared: what is shared with the loop.

    Attributes:
        ended: whether the writer is not running any more; set by a thread that waits for that, so
            that no step has to ask the system.
        cause: always None; :attr:`ControlPage.error` says what the writer could say.
        pid: of the process.
    """

    cause: BaseException | None = None

    def __init__(self, config: WriterConfig, shared: Shared) -> None:
        self.ended = False
        self._unsent = bytearray()
        fds = ",".join(str(fd) for fd in shared.fds)
        self._process = subprocess.Popen(
            # -P: what lies in the working directory is not imported unless it is here, too.
            [sys.executable, "-P", "-c", _START, str(os.getpid()), fds],
            stdin=subprocess.PIPE,
            bufsize=0,
            pass_fds=shared.fds,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(p or os.getcwd() for p in sys.path)},
        )
        self.pid = self._process.pid
        assert self._process.stdin is not None
        self._pipe = self._process.stdin
        os.set_blocking(self._pipe.fileno(), False)
        text = config.to_json().encode()
        self._write(len(text).to_bytes(4, "little") + text)
        threading.Thread(target=self._wait_for_end, name="holdstep writer", daemon=True).start()

    def send(self, message: Message) -> None:
        """Send a message; what does not fit into the pipe is sent by a later call of anything."""
        self._write(message.encode())

    def pump(self) -> None:
        """Send what could not be sent before."""
        self._write(b"")

    def describe_end(self) -> str:
        """How it ended."""
        code = self._process.returncode
        if code is None or code >= 0:
            return f"ended with exit code {code}"
        return f"was killed by {signal.Signals(-code).name}"

    def abandon(self) -> None:
        """Have the writer end without being told to close: it finishes what it was sent."""
        self._pipe.close()

    def _write(self, content: bytes) -> None:
        self._unsent += content
        while self._unsent and not self._pipe.closed:
            try:
                written = os.write(self._pipe.fileno(), self._unsent)
            except BlockingIOError:  # the pipe is full: the writer has enough to do
                return
            except OSError:  # it is dead, which is noticed elsewhere
                self._unsent.clear()
                return
            del self._unsent[:written]

    def _wait_for_end(self) -> None:
        self._process.wait()
        self.ended = True


def main() -> None:
    """What the process does."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    os.nice(_NICENESS)  # the env loop goes first
    parent_pid = int(sys.argv[1])
    ring_fd, control_fd, even_fd, odd_fd, *spill_fd = map(int, sys.argv[2].split(","))
    config = WriterConfig.from_json(_read_config().decode())
    shared = Shared(
        ring=BlockRing(config.shape, config.num_blocks, ring_fd),
        control=ControlPage(control_fd),
        checkpoints=Checkpoints((even_fd, odd_fd)),
        spill_fd=spill_fd[0] if spill_fd else -1,
    )
    try:
        WriterLoop(config, shared, PipeInbox(sys.stdin.fileno(), parent_pid)).run()
    except Exception:  # told to the env loop, which raises it where the user sees it
        sys.exit(1)


def _read_config() -> bytes:
    """Read without a buffer: what comes after it is the inbox's."""
    length = int.from_bytes(_read_exactly(4), "little")
    return _read_exactly(length)


def _read_exactly(num_bytes: int) -> bytes:
    content = b""
    while len(content) < num_bytes:
        more = os.read(sys.stdin.fileno(), num_bytes - len(content))
        if not more:
            sys.exit(1)  # the env loop is gone already
        content += more
    return content
