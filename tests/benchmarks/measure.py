"""What benchmarks share: the machine, and timing of one layer of a stack within the same steps."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch


def machine(device: torch.device) -> dict[str, str]:
    """What was measured on: processor or GPU, and versions."""
    versions = {}
    for package in ("torch", "gymnasium", "mjlab", "mujoco-warp", "warp-lang", "rsl-rl-lib"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {
        "device": gpu
        or f"{_processor()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads",
        "python": platform.python_version(),
        **versions,
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.partition(":")[2].strip() for line in file if "model name" in line]
    except OSError:
        names = []
    return names[0] if names else platform.machine()


@dataclass
class InnerTime:
    """Time spent inside a layer, in the steps since it was last read."""

    device: torch.device
    seconds: float = 0.0

    def now_s(self) -> float:
        """The time, when all that the GPU was given to do is done."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


@contextmanager
def timed_inside(owner: Any, attribute: str) -> Iterator[InnerTime]:
    """Time the calls of ``owner.attribute.step`` from within the steps of the layers around it.

    Comparing two runs of a simulator can't resolve a per cent on a shared machine: the physics
    varies by more. Timing the inner call within the same step can: the difference is the layer's.

    A GPU is waited for before and after the inner call. Without that, its work would count where
    the host next waits for it, whoever gave it to it. What the layers would do while the GPU is
    still busy with the simulation counts in full, so that the difference is rather too large.
    """
    inner = getattr(owner, attribute)
    spent = InnerTime(owner.device)

    class Timed:
        def __getattr__(self, name: str) -> Any:
            return getattr(inner, name)

        def step(self, actions: torch.Tensor) -> Any:
            start_s = spent.now_s()
            try:
                return inner.step(actions)
            finally:
                spent.seconds += spent.now_s() - start_s

    setattr(owner, attribute, Timed())
    try:
        yield spent
    finally:
        setattr(owner, attribute, inner)


def overhead_s(
    step: Callable[[], Any], spent: InnerTime, *, blocks: int, steps: int
) -> tuple[float, float]:
    """Median over blocks of the time outside and inside the inner layer [s per step]."""
    outside, inside = [], []
    for _ in range(blocks):
        spent.seconds = 0.0
        start_s = spent.now_s()
        for _ in range(steps):
            step()
        total = spent.now_s() - start_s
        outside.append((total - spent.seconds) / steps)
        inside.append(spent.seconds / steps)
    return statistics.median(outside), statistics.median(inside)


@contextmanager
def syncs_refused(owner: Any, attribute: str) -> Iterator[None]:
    """Make every wait for the GPU an error, except inside ``owner.attribute.step``.

    mjlab's own step waits (it needs to know on the host which rows ended); the layers around it
    must not. torch's debug mode sees torch's own waits (``item``, ``nonzero``, copies).
    """
    inner = getattr(owner, attribute)

    class Allowed:
        def __getattr__(self, name: str) -> Any:
            return getattr(inner, name)

        def step(self, actions: torch.Tensor) -> Any:
            torch.cuda.set_sync_debug_mode("default")
            try:
                return inner.step(actions)
            finally:
                torch.cuda.set_sync_debug_mode("error")

    setattr(owner, attribute, Allowed())
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")
        setattr(owner, attribute, inner)
