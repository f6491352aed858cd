"""What a stack of wrappers is doing, and what each of them costs: while it runs."""

from __future__ import annotations

from holdstep.monitor.layer_times import time_layers
from holdstep.monitor.live_table import LiveTable
from holdstep.monitor.stack_stats import LayerStats, StackStats, stats
from holdstep.monitor.tensorboard import TensorBoardStats
from holdstep.monitor.timeline_stats import TimelineStats
from holdstep.monitor.watching import Sink, watch

__all__ = [
    "LayerStats",
    "LiveTable",
    "Sink",
    "StackStats",
    "TensorBoardStats",
    "TimelineStats",
    "stats",
    "time_layers",
    "watch",
]
