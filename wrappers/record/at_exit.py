"""Closes recordings that nobody closed, when the interpreter ends or their env is gone."""

from __future__ import annotations

import os
import warnings
import weakref
from typing import TYPE_CHECKING, Any

from holdstep.errors import HoldstepError

if TYPE_CHECKING:
    from holdstep.wrappers.record.recording import Recording


def close_at_exit(owner: object, recording: Recording) -> weakref.finalize[Any, Any]:
    """Close a recording when its owner ends without having done so, also by an error.

    Returns:
        What is to be detached when it was closed.
    """
    return weakref.finalize(owner, _close, recording, os.getpid())


def _close(recording: Recording, pid: int) -> None:
    if os.getpid() != pid:  # a fork of the process whose recording it is
        return
    try:
        recording.close()
    except HoldstepError as error:  # there is nobody left who could catch it
        warnings.warn(str(error), RuntimeWarning, stacklevel=2)
