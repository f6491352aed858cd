"""The command ``holdstep``: one module per subcommand, each a dataclass with a ``run`` method."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Sequence
from typing import Annotated, Protocol

import tyro

from holdstep._version import __version__
from holdstep.cli.check import Check
from holdstep.cli.contract import Contract
from holdstep.cli.dataset import DatasetTools
from holdstep.cli.deploy import Deploy
from holdstep.cli.doctor import Doctor
from holdstep.cli.envs import Envs
from holdstep.cli.evaluate import Evaluate
from holdstep.cli.export import Export
from holdstep.cli.play import Play
from holdstep.cli.record import Record
from holdstep.cli.serve import Serve
from holdstep.cli.teleop import Teleop
from holdstep.cli.timeline import Timeline
from holdstep.cli.train import Train
from holdstep.errors import HoldstepError

DEBUG_VARIABLE = "HOLDSTEP_DEBUG"
"""Set to any value, an error comes with its traceback."""


class Command(Protocol):
    """A subcommand: its fields are its arguments."""

    def run(self) -> int:
        """Do it, and return the exit status."""
        ...


_Commands = (
    Annotated[Envs, tyro.conf.subcommand("envs")]
    | Annotated[Check, tyro.conf.subcommand("check")]
    | Annotated[Train, tyro.conf.subcommand("train")]
    | Annotated[Play, tyro.conf.subcommand("play")]
    | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
    | Annotated[Serve, tyro.conf.subcommand("serve")]
    | Annotated[Record, tyro.conf.subcommand("record")]
    | Annotated[Teleop, tyro.conf.subcommand("teleop")]
    | Annotated[DatasetTools, tyro.conf.subcommand("dataset")]
    | Annotated[Export, tyro.conf.subcommand("export")]
    | Annotated[Deploy, tyro.conf.subcommand("deploy")]
    | Annotated[Contract, tyro.conf.subcommand("contract")]
    | Annotated[Timeline, tyro.conf.subcommand("timeline")]
    | Annotated[Doctor, tyro.conf.subcommand("doctor")]
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: the arguments after the program's name; None takes the process's.

    Returns:
        Exit status: 0, 1 for a check that found something, 2 for an error, 141 when the reader of
        the output went away (as the shell reports it of other programs).
    """
    if argv is None:
        argv = sys.argv[1:]
    if list(argv) == ["--version"]:
        print(f"holdstep {__version__}")
        return 0
    command: Command = tyro.cli(
        _Commands,
        args=list(argv),
        prog="holdstep",
        description="Wrap, train, play and check vectorised robot simulator envs.",
        config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff),
    )
    try:
        status = command.run()
        sys.stdout.flush()  # here, where a reader that went away can still be dealt with
        return status
    except (HoldstepError, OSError) as error:
        if isinstance(error, BrokenPipeError) and _reader_is_gone():
            return 141
        if os.environ.get(DEBUG_VARIABLE):
            raise
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _reader_is_gone() -> bool:
    """Whether standard output is the broken pipe, and not one between a simulator's processes."""
    try:
        output = sys.stdout.fileno()
    except (OSError, ValueError):  # replaced by something in memory
        return False
    poll = select.poll()
    poll.register(output, 0)  # errors are reported whatever is asked for
    if not any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0)):
        return False
    # What is still buffered would fail once more when the interpreter flushes at exit.
    os.dup2(os.open(os.devnull, os.O_WRONLY), output)
    return True
