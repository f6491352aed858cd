"""What keeping a history of observations costs, in four ways.

    python tests/benchmarks/history_ring.py
    python tests/benchmarks/history_ring.py --device cuda:0

One measurement is an append and a read in order, as a policy does it in each step. The four take
turns; medians. Prints one JSON line.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
import tyro

from holdstep.envs.device import canonical_device
from holdstep.envs.history_ring import HistoryRing
from tests.benchmarks.measure import machine


@dataclasses.dataclass
class Arguments:
    """What to measure."""

    device: str = "cpu"
    """Where the history is."""

    history_length: int = 10
    """Frames."""

    num_envs: int = 4096
    """Rows."""

    width: int = 99
    """Numbers in a frame of one row."""

    rounds: int = 300
    """Measurements of each; the median counts."""


def contestants(
    num_envs: int, history_length: int, width: int, device: torch.device
) -> dict[str, Callable[[torch.Tensor], torch.Tensor]]:
    """An append and a read in order, by name."""
    from mjlab.utils.buffers import CircularBuffer

    ring = HistoryRing(num_envs, history_length, (width,), device=device)
    theirs = CircularBuffer(max_len=history_length, batch_size=num_envs, device=str(device))
    rolled = torch.zeros(num_envs, history_length, width, device=device)
    joined = torch.zeros(num_envs, history_length, width, device=device)

    def with_ring(values: torch.Tensor) -> torch.Tensor:
        ring.append(values)
        return ring.frames

    def with_mjlab(values: torch.Tensor) -> torch.Tensor:
        theirs.append(values)
        return theirs.buffer

    def with_roll(values: torch.Tensor) -> torch.Tensor:
        nonlocal rolled
        rolled = torch.roll(rolled, -1, dims=1)
        rolled[:, -1] = values
        return rolled

    def with_cat(values: torch.Tensor) -> torch.Tensor:
        nonlocal joined
        joined = torch.cat([joined[:, 1:], values[:, None]], dim=1)
        return joined

    return {"ring": with_ring, "roll": with_roll, "cat": with_cat, "mjlab": with_mjlab}


def main(arguments: Arguments) -> list[dict[str, Any]]:
    """Measure, and print a line."""
    torch.set_num_threads(1)
    device = canonical_device(arguments.device)
    ways = contestants(arguments.num_envs, arguments.history_length, arguments.width, device)
    values = torch.randn(arguments.num_envs, arguments.width, device=device)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(arguments.rounds + 20):
        for name, way in ways.items():
            begin_s = time.perf_counter()
            way(values)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if turn >= 20:
                seconds[name].append(time.perf_counter() - begin_s)
    medians = {name: statistics.median(taken) for name, taken in seconds.items()}
    line = {
        "benchmark": "history ring",
        "history": f"{arguments.history_length} x {arguments.num_envs} x {arguments.width}",
        "ring_us": round(medians["ring"] * 1e6, 1),
        **{f"{name}_over_ring": round(medians[name] / medians["ring"], 1) for name in medians},
        **machine(device),
    }
    del line["ring_over_ring"]
    print(json.dumps(line), flush=True)
    return [line]


if __name__ == "__main__":
    main(tyro.cli(Arguments))
