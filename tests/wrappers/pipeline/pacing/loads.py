"""Loads for pacers: those that `Adaptive` was tuned on, and those that it was not."""

from __future__ import annotations

import math
import random

from tests.wrappers.pipeline.pacing.loop_simulation import Load, TimeOf


def constant(seconds: float, *, jitter_s: float = 2e-4) -> TimeOf:
    """A duration with a little noise."""
    return lambda index, rng: max(rng.gauss(seconds, jitter_s), 1e-5)


def spiky(seconds: float, spike_s: float, *, share: float) -> TimeOf:
    """A duration, and now and then a long one."""
    usual = constant(seconds)
    return lambda index, rng: spike_s if rng.random() < share else usual(index, rng)


def lognormal(median_s: float, sigma: float) -> TimeOf:
    """Often near the median, with a heavy tail."""
    return lambda index, rng: rng.lognormvariate(math.log(median_s), sigma)


def in_turns(first_s: float, second_s: float, *, each: int) -> TimeOf:
    """Two durations, each for so many in a row."""
    usual = (constant(first_s), constant(second_s))
    return lambda index, rng: usual[index // each % 2](index, rng)


def wave(low_s: float, high_s: float, *, length: int) -> TimeOf:
    """Up and down once in ``length``."""
    middle, half = (low_s + high_s) / 2, (high_s - low_s) / 2
    return lambda index, rng: constant(middle + half * math.sin(2 * math.pi * index / length))(
        index, rng
    )


def jittery(seconds: float, jitter_s: float) -> TimeOf:
    """Uniformly around a duration."""
    return lambda index, rng: rng.uniform(seconds - jitter_s, seconds + jitter_s)


def bursts(usual_s: float, burst_s: float, *, every: int, length: int) -> TimeOf:
    """Some long ones in a row, in irregular distances."""

    def duration(index: int, rng: random.Random) -> float:
        phase = random.Random(index // every).randrange(every - length)
        is_burst = phase <= index % every < phase + length
        return constant(burst_s if is_burst else usual_s)(index, rng)

    return duration


def stalled(seconds: float, *, share: float, stall_s: float) -> TimeOf:
    """A duration, and now and then the machine is busy elsewhere, exponentially distributed."""
    return lambda index, rng: (
        seconds + (rng.expovariate(1 / stall_s) if rng.random() < share else 0.0)
    )


TUNED = {
    "constant 10 ms": Load(cost=constant(0.010)),
    "constant 4 ms": Load(cost=constant(0.004)),
    "10 ms, 5% of 30 ms": Load(cost=spiky(0.010, 0.030, share=0.05)),
    "10 ms, 2% of 17 ms": Load(cost=spiky(0.010, 0.017, share=0.02)),
    "busy 10 ms": Load(cost=constant(0.010), hindered=True),
    "constant 25 ms": Load(cost=constant(0.025)),
    "heavy tail, median 8 ms": Load(cost=lognormal(0.008, 0.35)),
    "4 and 14 ms, 200 each": Load(cost=in_turns(0.004, 0.014, each=200)),
    "10 ms, period 16 to 26 ms": Load(cost=constant(0.010), period=wave(0.016, 0.026, length=1000)),
    "10 ms, noisy machine": Load(cost=constant(0.010, jitter_s=1e-3), wake_s=1e-3),
    "10 ms, stalling machine": Load(
        cost=stalled(0.010, share=0.05, stall_s=0.006),
        work=stalled(0.008, share=0.05, stall_s=0.006),
        wake_s=3e-4,
    ),
}

HELD_OUT = {
    "6 ms, bursts of 18 ms": Load(cost=bursts(0.006, 0.018, every=100, length=8)),
    "heavy tail, median 12 ms": Load(cost=lognormal(0.012, 0.25)),
    "busy 6 ms": Load(cost=jittery(0.006, 0.002), work=constant(0.010), hindered=True),
    "10 ms, uneven steps": Load(cost=constant(0.010), period=in_turns(0.015, 0.025, each=1)),
    "5 ms at 90 Hz": Load(cost=constant(0.005), period=constant(1 / 90), work=constant(0.004)),
    "20 ms at 30 Hz": Load(cost=jittery(0.020, 0.004), period=constant(1 / 30)),
    "8 ms, 1 of 70 is 19 ms": Load(cost=lambda index, rng: 0.019 if index % 70 == 0 else 0.008),
    "constant 45 ms": Load(cost=constant(0.045)),
    "10 ms, steps as fast as can be": Load(
        cost=constant(0.010), work=constant(0.012), free_running=True
    ),
}
