"""What simulators print while they build and compile, kept off the terminal."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator


@contextlib.contextmanager
def quiet_simulators(verbose: bool = False) -> Iterator[None]:
    """Keep a block's standard output to itself; when the block fails, print what it held.

    Rich consoles made outside the block write on as before: they hold the stream of their creation.

    Args:
        verbose: let everything through.
    """
    if verbose:
        yield
        return
    captured = io.StringIO()
    try:
        with contextlib.redirect_stdout(captured):
            yield
    except BaseException:
        print(captured.getvalue()[-4000:], end="")
        raise
