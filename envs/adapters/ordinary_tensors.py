"""Simulators run outside inference mode, whatever mode the caller's loop runs in."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def ordinary_tensors() -> Iterator[None]:
    """Tensors made inside can be written to later, in any mode.

    rsl_rl steps envs under ``torch.inference_mode``. Buffers that a simulator makes there can't be
    changed in place outside of it, so that the env would be of no use after training.
    """
    with torch.inference_mode(False), torch.no_grad():
        yield
