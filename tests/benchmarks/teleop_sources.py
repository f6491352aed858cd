"""One load, as a source of holdstep's pipeline and as a pipeline of isaacteleop's session."""

from __future__ import annotations

import os
import random
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from holdstep.wrappers.pipeline.source import ActionSource, SourceRequest, SourceResult
from tests.wrappers.pipeline.pacing.loads import HELD_OUT, TUNED

if TYPE_CHECKING:
    from tests.wrappers.pipeline.pacing.loop_simulation import Load

ACTION_DIM = 2
LOADS = {**TUNED, **HELD_OUT}


def spend(seconds: float, *, busy: bool) -> None:
    """Take so much time: asleep, or running Python, which then is so much processor time."""
    if not busy:
        time.sleep(seconds)
        return
    until_s = time.thread_time() + seconds
    while time.thread_time() < until_s:
        pass


class Stamper:
    """What both sides compute: an action that says when its inputs were polled.

    Args:
        load: name of the load.
        seed: of what is random in it.
        epoch_s: the time that stamps count from, so that float32 holds them to a microsecond.
    """

    def __init__(self, load: str, seed: int, epoch_s: float) -> None:
        self._load: Load = LOADS[load]
        self._rng = random.Random(seed)
        self._epoch_s = epoch_s
        self._index = 0

    def __call__(self) -> np.ndarray:
        """Poll, compute, and return an action ``[A]``."""
        polled_s = time.monotonic() - self._epoch_s
        self._index += 1
        spend(self._load.cost(self._index, self._rng), busy=self._load.hindered)
        return np.full(ACTION_DIM, polled_s, dtype=np.float32)


class StampingSource(ActionSource):
    """The load as a source."""

    def __init__(self, load: str, seed: int, epoch_s: float) -> None:
        self._stamp = Stamper(load, seed, epoch_s)

    def compute(self, request: SourceRequest) -> SourceResult:
        """Poll and compute."""
        return SourceResult(actions=self._stamp())


class TeleopStamps:
    """The load as the retargeting pipeline of a real ``TeleopSession``, without a device.

    Args:
        stamper: the load.
        pacing: an isaacteleop pacing config.
        mcap: file with one empty channel, which stands for the headset.
    """

    def __init__(self, stamper: Stamper, pacing: Any, mcap: Path) -> None:
        from isaacteleop.deviceio import McapReplayConfig
        from isaacteleop.teleop_session_manager import (
            RetargetingExecutionConfig,
            SessionMode,
            TeleopSession,
            TeleopSessionConfig,
        )

        self._session = TeleopSession(
            TeleopSessionConfig(
                app_name="pacing",
                pipeline=_retargeter(stamper),
                mode=SessionMode.REPLAY,
                mcap_config=McapReplayConfig(str(mcap)),
                retargeting_execution=RetargetingExecutionConfig(mode="pipelined", pacing=pacing),
                verbose=False,
            )
        )

    def __enter__(self) -> TeleopStamps:
        with _silent():
            self._session.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._session.__exit__(*exception)

    def action(self) -> torch.Tensor:
        """Submit a frame and take the newest action ``[A]``."""
        return torch.from_dlpack(self._session.step()["action"][0])


@contextmanager
def _silent() -> Iterator[None]:
    """Native code prints what it opens, into the midst of the JSON lines."""
    sys.stdout.flush()
    stdout = os.dup(1)
    try:
        with open(os.devnull, "w", encoding="utf-8") as nothing:
            os.dup2(nothing.fileno(), 1)
        yield
    finally:
        os.dup2(stdout, 1)
        os.close(stdout)


def _retargeter(stamper: Stamper) -> Any:
    from isaacteleop.retargeting_engine.interface import BaseRetargeter, TensorGroupType
    from isaacteleop.retargeting_engine.tensor_types import NDArrayType

    class StampingRetargeter(BaseRetargeter):
        def input_spec(self) -> dict[str, Any]:
            return {}

        def output_spec(self) -> dict[str, Any]:
            return {"action": TensorGroupType("action", [NDArrayType("action", (ACTION_DIM,))])}

        def _compute_fn(self, inputs: Any, outputs: Any, context: Any) -> None:
            outputs["action"][0] = stamper()

    return StampingRetargeter("stamps")


def write_empty_mcap(path: Path) -> None:
    """A valid MCAP file with one channel and no message."""
    from mcap.writer import Writer

    with path.open("wb") as file:
        writer = Writer(file)
        writer.start()
        schema = writer.register_schema(name="none", encoding="", data=b"")
        writer.register_channel(topic="none", message_encoding="", schema_id=schema)
        writer.finish()
