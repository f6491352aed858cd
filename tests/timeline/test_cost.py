"""A trace costs a step little, whatever machine runs this: compared side by side."""

import json
import time

import numpy as np
import pytest

from holdstep.timeline import TimelineWriter

pytestmark = pytest.mark.timing

NUM_TICKS = 400


def masks_of(num_envs):
    """A cohort: every 16 ticks all rows start, and now and then one drops out."""
    rng = np.random.default_rng(0)
    masks, active = [], np.ones(num_envs, dtype=bool)
    for tick in range(NUM_TICKS):
        active = np.ones(num_envs, dtype=bool) if tick % 16 == 0 else active.copy()
        active[rng.random(num_envs) < 1 / 150] = False
        masks.append(active)
    return masks


def best_of(repeats, run):
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times) / NUM_TICKS


@pytest.mark.parametrize(("num_envs", "most"), [(64, 1.0), (4096, 0.2)])
def test_a_tick_costs_less_than_its_masks_as_json(num_envs, most, tmp_path):
    masks = masks_of(num_envs)
    staleness = [np.full(num_envs, tick % 16) for tick in range(16)]

    def write():
        with TimelineWriter(tmp_path / "run.jsonl", num_envs=num_envs, clock=lambda: 0.0) as writer:
            for tick, mask in enumerate(masks):
                writer.tick(
                    mask, begin_s=tick, end_s=tick, staleness_ticks=staleness[tick % 16]
                )  # fmt: skip

    def write_plainly():
        with (tmp_path / "plain.jsonl").open("w") as file:
            for tick, mask in enumerate(masks):
                line = {
                    "tick": [tick, tick],
                    "active": mask.tolist(),
                    "stale": staleness[tick % 16].tolist(),
                }
                file.write(json.dumps(line) + "\n")

    ratio = best_of(5, write) / best_of(5, write_plainly)
    assert ratio < most
    size = (tmp_path / "run.jsonl").stat().st_size / (tmp_path / "plain.jsonl").stat().st_size
    assert size < 0.12
