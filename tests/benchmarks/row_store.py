"""What putting rows back costs by itself, without a simulator.

    python tests/benchmarks/row_store.py --num-envs 64 512
    python tests/benchmarks/row_store.py --device cuda:0 --num-envs 4096 --row-bytes 8100 116000

Slots are of the kinds that simulators have: many small ones, some wide ones, rings that move in
each step, observations that are new tensors in each step. Each engine takes turns with the others
and with a plain copy of all rows of all slots, slot by slot, which is what ratios are against. On a
GPU also how long the host is busy. Prints one JSON line per measurement.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import statistics
import time
from collections.abc import Callable

import torch
import tyro

from holdstep.envs.device import canonical_device
from holdstep.envs.state.row_copy_warp import LaunchShape, WarpCopier
from holdstep.envs.state.row_store import RowStore, fused_copier
from holdstep.envs.state.slot import RING, ROWS, Layout, Slot
from tests.benchmarks.measure import machine


@dataclasses.dataclass
class Arguments:
    """What to measure."""

    device: str = "cpu"
    """Device."""

    num_envs: tuple[int, ...] = (64, 512)
    """Rows."""

    row_bytes: tuple[int, ...] = (4096,)
    """State of a row over all slots, approximately [bytes]."""

    num_slots: int = 60
    """Slots."""

    percents: tuple[int, ...] = (10, 50, 90)
    """Shares of the rows that are held [%]."""

    num_lanes: tuple[int, ...] = ()
    """Launch shapes to try besides the default: threads of a block..."""

    max_run: tuple[int, ...] = ()
    """... each with neighbouring rows that are copied as one."""

    repeats: int = 50
    """Measurements of each; the median counts."""


class Simulator:
    """Tensors that look like those of a task; every fifth slot is new in each step."""

    def __init__(self, arguments: Arguments, num_envs: int, row_bytes: int) -> None:
        self.device = canonical_device(arguments.device)
        self.num_envs = num_envs
        self.position = 0
        self.tensors: list[torch.Tensor] = []
        self.layouts: list[Layout] = []
        small = arguments.num_slots // 3
        rest = max(1, row_bytes - small * 8)
        widths = [1.0 + 15.0 * (i % 7 == 0) for i in range(arguments.num_slots - small)]
        for i in range(small):  # flags, counters, timers
            dtype = (torch.bool, torch.int64, torch.float32)[i % 3]
            self._add((num_envs,), dtype, ROWS)
        for i, width in enumerate(widths):
            floats = max(1, int(rest * width / sum(widths) / 4))
            if i % 5 == 1:
                self._add((4, num_envs, max(1, floats // 4)), torch.float32, RING)
            else:
                self._add((num_envs, floats), torch.float32, ROWS)

    def _add(self, shape: tuple[int, ...], dtype: torch.dtype, layout: Layout) -> None:
        self.tensors.append(torch.zeros(shape, dtype=dtype, device=self.device))
        self.layouts.append(layout)

    def slots(self) -> list[Slot]:
        """All of them."""
        return [
            Slot(
                str(i),
                functools.partial(self.tensors.__getitem__, i),
                layout,
                position=(lambda: self.position) if layout.ring else None,
            )
            for i, layout in enumerate(self.layouts)
        ]

    def step(self) -> None:
        """Move rings and replace tensors."""
        self.position = (self.position + 1) % 4
        for i in range(0, len(self.tensors), 5):
            self.tensors[i] = self.tensors[i].clone()

    @property
    def num_bytes(self) -> int:
        """Of all rows."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.tensors)


def engines(
    arguments: Arguments, device: torch.device
) -> dict[str, Callable[[torch.device], WarpCopier | None]]:
    """The engines to compare, by name."""
    found: dict[str, Callable[[torch.device], WarpCopier | None]] = {
        "fused": fused_copier,
        "torch": lambda _: None,
    }
    for num_lanes in arguments.num_lanes:
        for max_run in arguments.max_run:
            shape = LaunchShape(num_lanes=num_lanes, max_run=max_run)
            found[f"fused {num_lanes}x{max_run}"] = functools.partial(WarpCopier, shape=shape)
    return found


def timed_us(work: Callable[[], None], device: torch.device) -> tuple[float, float]:
    """How long work took, and how long the host was busy with it [us]."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    work()
    returned = time.perf_counter()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return (time.perf_counter() - start) * 1e6, (returned - start) * 1e6


def measure(arguments: Arguments, num_envs: int, row_bytes: int) -> None:
    """Print all measurements of one size."""
    simulator = Simulator(arguments, num_envs, row_bytes)
    device = simulator.device
    stores = {
        name: RowStore(simulator.slots(), num_envs=num_envs, device=device, make_copier=make_copier)
        for name, make_copier in engines(arguments, device).items()
    }
    copies = [tensor.clone() for tensor in simulator.tensors]

    def copy_everything() -> None:
        for tensor, copy in zip(simulator.tensors, copies, strict=True):
            tensor.copy_(copy)

    for percent in arguments.percents:
        ids = torch.randperm(num_envs)[: max(1, num_envs * percent // 100)].to(device)
        holding = {}
        for name, store in stores.items():
            store.hold(ids)
            store.put_back()
            store.release(ids)
            holding[name] = timed_us(functools.partial(store.hold, ids), device)[0]
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in stores}
        plain = []
        for _ in range(arguments.repeats):
            simulator.step()
            plain.append(timed_us(copy_everything, device)[0])
            for name, store in stores.items():
                simulator.step()
                times[name].append(timed_us(store.put_back, device))
        for name, store in stores.items():
            store.release(ids)
            total = statistics.median(total for total, _ in times[name])
            host = statistics.median(host for _, host in times[name])
            line = {
                "benchmark": "row_store",
                "engine": name,
                "num_envs": num_envs,
                "num_slots": len(simulator.tensors),
                "row_bytes": simulator.num_bytes // num_envs,
                "held_percent": percent,
                "put_back_us": round(total, 1),
                "host_us": round(host, 1),
                "ratio_to_copying_all_rows": round(total / statistics.median(plain), 3),
                "gigabytes_per_s": round(
                    len(ids) / num_envs * simulator.num_bytes / total / 1e3, 2
                ),
                "hold_us": round(holding[name], 1),
                **machine(device),
            }
            print(json.dumps(line), flush=True)


def main(arguments: Arguments) -> None:
    """Measure everything."""
    for num_envs in arguments.num_envs:
        for row_bytes in arguments.row_bytes:
            measure(arguments, num_envs, row_bytes)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(tyro.cli(Arguments))
