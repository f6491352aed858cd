"""How many processors torch uses in threads that holdstep starts."""

from __future__ import annotations

import torch


def obey_num_threads() -> None:
    """Have this thread compute on as many processors as ``torch.set_num_threads`` says.

    To be called by a new thread, before it computes anything. torch passes the number on to the
    libraries below it, per thread, when an operation asks for it. Matrix products don't ask: those
    of a new thread would use all processors, and slow down the env's steps beside them.
    """
    torch.get_num_threads()  # which asks
