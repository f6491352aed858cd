"""A run's file read, with everything that is wrong with it and where."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from holdstep.documents.nodes import MAX_BYTES, LocatedProblem, UnreadableError, compose
from holdstep.documents.reader import DocumentReader
from holdstep.errors import RunConfigError
from holdstep.policies.teleop.config.run_config import RunConfig
from holdstep.policies.teleop.config.source_config import check_device


def read_run(path: str | Path) -> RunConfig:
    """Read the configuration of a run.

    Nothing in the file runs code, and no device is opened. All problems are reported at once, each
    with its line and column.

    Args:
        path: of a YAML file, as ``holdstep teleop --example`` prints one.

    Raises:
        RunConfigError: it is not there, no YAML, or has something in it that can't be.
    """
    try:
        with Path(path).open("rb") as opened:
            content = opened.read(MAX_BYTES + 1)
    except OSError as error:
        raise RunConfigError(
            f"{path} can't be read",
            [f"{error.strerror or error}. holdstep teleop --example prints such a file."],
        ) from error
    return parse_run(content, name=str(path))


def parse_run(content: bytes, *, name: str = "run.yaml") -> RunConfig:
    """Read a run from a file's content; like :func:`read_run`.

    Args:
        content: UTF-8.
        name: of the file, for messages.
    """
    try:
        node = compose(content)
    except UnreadableError as error:
        raise _error(name, [error.located]) from error
    reader = DocumentReader()
    run: RunConfig = reader.build(RunConfig, node)
    if not reader.problems:
        for source_name, source in run.sources_by_name.items():
            problem = check_device(source)
            if problem is not None:
                outer = ("source",) if run.sources is None else ("sources", source_name)
                reader.add((*outer, *problem.place), problem.message)
    if reader.problems:
        raise _error(name, reader.problems)
    return run


def _error(name: str, located: Sequence[LocatedProblem]) -> RunConfigError:
    in_order = sorted(located, key=lambda one: (one.line, one.column))
    return RunConfigError(
        f"{name} is no run that can be made",
        [f"{name}{_where(one)}: {one.problem}" for one in in_order],
    )


def _where(located: LocatedProblem) -> str:
    return "".join(f":{number}" for number in (located.line, located.column) if number)
