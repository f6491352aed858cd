"""The end of all workers, within a time."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdstep.wrappers.pipeline.source_pipeline import SourcePipeline

_GRACE_S = 1.0


def stop_sources(pipelines: Sequence[SourcePipeline], timeout_s: float) -> None:
    """Stop all sources at once; what does not stop in time is left behind, with a warning.

    In the last part of the time (a quarter of it, one second at most), sources that still compute
    are interrupted: those in processes are terminated, and others that have an ``interrupt()`` are
    asked to give up. A thread that still hangs then ends with the process at the latest; its source
    is not stopped.

    Args:
        pipelines: of the sources.
        timeout_s: for all of them [s].
    """
    # Of a clock of its own: threads end in real time, whatever the pipeline's clock is.
    end_s = time.monotonic() + timeout_s
    grace_s = min(_GRACE_S, timeout_s / 4)
    for pipeline in pipelines:
        pipeline.worker.begin_stop()
    hung = _not_joined(pipelines, end_s - grace_s)
    # In threads: one that hangs, too, is to keep neither the others nor the host.
    interrupts = [
        threading.Thread(target=_interrupt, args=(pipeline,), daemon=True) for pipeline in hung
    ]
    for thread in interrupts:
        thread.start()
    left = _not_joined(hung, end_s)
    for thread in interrupts:
        thread.join(max(end_s - time.monotonic(), 0.0))
    for pipeline in left:
        warnings.warn(
            f"Source {pipeline.name} of rows {list(pipeline.env_ids)} did not stop within "
            f"{timeout_s:g} s: its compute() (or stop()) hangs. It was left behind, in a thread "
            "that ends with this process. Give it an interrupt(), or run it with "
            'worker="process", where it can be ended.',
            RuntimeWarning,
            stacklevel=2,
        )
    for pipeline in pipelines:
        if pipeline.worker.stop_error is not None:
            error = pipeline.worker.stop_error
            warnings.warn(
                f"Source {pipeline.name} could not be stopped cleanly "
                f"({type(error).__name__}: {error}).",
                RuntimeWarning,
                stacklevel=2,
            )


def _interrupt(pipeline: SourcePipeline) -> None:
    try:
        pipeline.worker.interrupt()
    except Exception as error:  # of the source's
        pipeline.worker.stop_error = error


def _not_joined(pipelines: Sequence[SourcePipeline], end_s: float) -> list[SourcePipeline]:
    return [
        pipeline for pipeline in pipelines if not pipeline.worker.join(end_s - time.monotonic())
    ]
