"""A run's file read, with everything that is wrong with it and where."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from holdstep.documents.nodes import MAX_BYTES, LocatedProblem, UnreadableError, compose
from holdstep.documents.reader import DocumentReader
from holdstep.errors import RunConfigError
from holdstep.policies.teleop.config.run_config import RunConfig
from holdstep.policies.teleop.config.session_source import check_graph, check_session
from holdstep.policies.teleop.config.source_config import check_device


def read_run(path: str | Path) -> RunConfig:
    """Read the configuration of a run.

    All problems are reported at once, each with its line and column. No device is opened, and no
    code runs that the file brings; but sources are made for a try, and with them the nodes of a
    graph, so that classes that it names as ``module:Class`` are imported.

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
    for place, section in reader.built.items():
        for check in (check_device, check_graph, check_session):
            for problem in check(section):
                reader.add(problem.inside(*place))
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
