"""Runs a page from top to bottom, as a reader would: one session, in one folder."""

from __future__ import annotations

import contextlib
import doctest
import io
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from tests.docs.console import run_console

if TYPE_CHECKING:
    from tests.docs.pages import Block

OPTIONFLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def run_blocks(blocks: Iterable[Block], namespace: dict[str, Any]) -> int:
    """Run what runs here, compare what it prints with the ``text`` right below; count the blocks.

    Raises:
        AssertionError: a command failed, or something else was printed.
    """
    num_run, printed = 0, None
    for block in blocks:
        if block.kind == "text" and block.follows and printed is not None:
            assert_printed(block, printed)
        printed = None
        if block.runs_here:
            with contextlib.redirect_stdout(io.StringIO()) as output:
                run_block(block, namespace)
            printed = output.getvalue()
            num_run += 1
    return num_run


def run_block(block: Block, namespace: dict[str, Any]) -> None:
    """Run one block, whoever is to run it."""
    if block.kind == "python":
        # Blank lines in front make tracebacks name the page's own line.
        exec(compile("\n" * block.line + block.text, block.page, "exec"), namespace)
    elif block.kind == "pycon":
        run_pycon(block, namespace)
    else:
        run_console(block)


def run_pycon(block: Block, namespace: dict[str, Any]) -> None:
    parser = doctest.DocTestParser()
    test = parser.get_doctest(block.text, namespace, block.page, block.page, block.line)
    report = io.StringIO()
    runner = doctest.DocTestRunner(verbose=False, optionflags=OPTIONFLAGS)
    runner.run(test, out=report.write, clear_globs=False)
    namespace.update(test.globs)  # the parser works on a copy
    assert runner.failures == 0, report.getvalue()


def assert_printed(block: Block, printed: str) -> None:
    """Compare as doctests do; ``...`` stands for anything.

    Libraries may say something first, as rsl_rl does about the git repositories that it finds.
    """
    checker = doctest.OutputChecker()
    wanted = doctest.Example("", f"...{block.text}")
    assert checker.check_output(wanted.want, printed, OPTIONFLAGS), checker.output_difference(
        wanted, printed, OPTIONFLAGS
    )
