"""Shared fixtures. Physics-backed envs are made once per module: building one takes seconds."""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import os
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
import torch

from holdstep.envs import TorchVectorEnv, make

# Whether a change is good must not depend on the luck of a draw, nor on how busy the machine is: by
# default, property tests try the same examples each time. HYPOTHESIS_PROFILE=fuzz looks for new
# ones.
hypothesis.settings.register_profile(
    "same-examples", derandomize=True, database=None, deadline=None
)
hypothesis.settings.register_profile("fuzz", print_blob=True, deadline=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same-examples"))

# TorchRL makes "spawn" the default when it is imported, as by the tests of its view: each process
# of an AsyncVectorEnv would then import torch for seconds. With context="forkserver", one does.
multiprocessing.set_forkserver_preload([__name__])

# The tensors here are small, and threads that wait for each other are slow on a busy machine.
torch.set_num_threads(1)


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """mjlab prints its managers' tables, which would bury pytest's own output."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield


def make_mjlab(task: str, **kwargs: Any) -> TorchVectorEnv:
    """Build an mjlab task on the CPU, quietly; skip visibly where mjlab isn't installed."""
    pytest.importorskip("mjlab", reason="the extra 'mjlab' is not installed")
    with silenced():
        return make(f"mjlab:{task}", device="cpu", **kwargs)
