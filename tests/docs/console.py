"""Runs the commands of ``console`` blocks in this process, which has imported everything."""

from __future__ import annotations

import contextlib
import glob
import io
import itertools
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from unittest import mock

from holdstep.cli import main
from tests.docs.pages import ROOT, Block

WRITES = ("--out", "--png", "--html", "--chrome", "--plot", "--video")
"""Options that name a file or a folder which is there afterwards."""


def run_console(block: Block) -> None:
    """Run each line. Each prints something, and leaves the files that it names.

    Raises:
        AssertionError: one failed, printed nothing, or is no command that can be run here.
    """
    for line in block.text.replace("\\\n", " ").splitlines():
        where = f"{block}: {line}"
        words = shlex.split(line.removeprefix("$ "), comments=True)
        if not words:
            continue
        variables = {}
        while re.fullmatch(r"[A-Z_]+=.*", words[0]):
            name, _, variables[name] = words.pop(0).partition("=")
        into = words.index(">") if ">" in words else len(words)
        printed = io.StringIO()
        with mock.patch.dict(os.environ, variables), contextlib.redirect_stdout(printed):
            assert run_program(words[:into], printed) == 0, f"{where}\n{printed.getvalue()}"
        assert printed.getvalue().strip(), where
        if words[into:]:
            Path(words[into + 1]).write_text(printed.getvalue(), encoding="utf-8")
        else:
            print(printed.getvalue(), end="")
        for option, path in itertools.pairwise(words):
            assert option not in WRITES or Path(path).exists(), f"{where}: no {path}"


def run_program(words: Sequence[str], printed: io.StringIO) -> int:
    program, *arguments = words
    if program == "torchrun":
        return run_ranks(arguments)
    assert program == "holdstep", f"{program} can't be run here"
    # As a shell does with patterns.
    arguments = [path for word in arguments for path in (sorted(glob.glob(word)) or [word])]
    with interrupted_once_it_serves(printed) if "serve" in arguments else contextlib.nullcontext():
        return main(arguments)


@contextlib.contextmanager
def interrupted_once_it_serves(printed: io.StringIO) -> Iterator[None]:
    """Presses Ctrl-C when a server has said that it serves, and has taken a connection."""
    ended, served = threading.Event(), threading.Event()

    def interrupt() -> None:
        while not ended.wait(0.01):
            said = re.search(r"serving \S+ on (\S+):(\d+),", printed.getvalue())
            if said:
                socket.create_connection((said[1], int(said[2])), timeout=10).close()
                served.set()
                signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
                return

    thread = threading.Thread(target=interrupt, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    assert served.is_set(), "it did not serve"


def run_ranks(arguments: Sequence[str]) -> int:
    """Run a line of torchrun in a process whose ranks are forked from it; print what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.docs.ranks", *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    print(done.stdout, end="")
    assert done.returncode == 0, done.stderr[-8000:]
    return done.returncode
