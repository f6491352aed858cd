"""A recording under way, as the env loop sees it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from holdstep.policies.evaluation.success import EvalStep
from holdstep.wrappers.record.about import about
from holdstep.wrappers.record.block_queue import BlockQueue
from holdstep.wrappers.record.filler import BlockFiller
from holdstep.wrappers.record.gap import Gap
from holdstep.wrappers.record.packing import Packer
from holdstep.wrappers.record.ring import EntryKind, ring_for
from holdstep.wrappers.record.sources import Frame
from holdstep.wrappers.record.staging import staging_for
from holdstep.wrappers.record.stats import RecordingStats
from holdstep.wrappers.record.writer_config import writer_config
from holdstep.wrappers.record.writer_process import WriterProcess
from holdstep.wrappers.record.writer_thread import WriterThread

if TYPE_CHECKING:
    from holdstep.envs.contract import StepResult, TorchVectorEnv
    from holdstep.policies.evaluation.success import SuccessSource
    from holdstep.wrappers.record.columns import RowLayout
    from holdstep.wrappers.record.options import RecordOptions
    from holdstep.wrappers.record.writer_link import StartWriter

_WRITERS: dict[str, StartWriter] = {"process": WriterProcess, "thread": WriterThread}


class Recording:
    """Packs what happens into blocks, and keeps account of what can't be packed.

    Each step is announced by :meth:`before_step`, where everything happens that may wait or fail,
    so that an error finds the env as it was, and told by :meth:`step`, which does neither.

    Args:
        path: of the dataset.
        layout: of a row.
        env: the adapter.
        options: how to record.
        success: what knows whether episodes succeed.
        clock: time [s].

    Raises:
        RecordingError: the dataset can't be opened.
    """

    def __init__(
        self,
        path: Path,
        layout: RowLayout,
        env: TorchVectorEnv,
        options: RecordOptions,
        success: SuccessSource,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        shape, num_blocks = ring_for(
            layout, num_envs=env.num_envs, max_queue_bytes=options.max_queue_bytes
        )
        self._clock = clock
        self._success = success
        self._row_bytes = layout.row_bytes
        self._packer = Packer(layout, env)
        self._env = env
        self._gap = Gap(env.num_envs, env.device)
        self._queue = BlockQueue(
            writer_config(path, layout, shape, num_blocks, options, about(env, options.attributes)),
            _WRITERS[options.writer],
            on_full=options.on_full,
            timeout_s=options.writer_timeout_s,
            clock=clock,
        )
        self._check, self._is_finished = self._queue.check, self._queue.is_finished
        try:
            staging = staging_for(self._queue.ring, env.device)
        except BaseException:
            self._queue.begin_close()
            self._queue.close()
            raise
        self._filler = BlockFiller(self._queue, staging, max_age_s=options.max_age_s, clock=clock)
        names = [column.name for column in layout]
        self._has_obs = any(name.startswith("obs/") for name in names)
        self._has_states = any(name.startswith("states/") for name in names)
        self._final_mask = "_final_obs" if self._has_obs else "_final_state"
        self._looks = env.device.type == "cpu"  # whether masks can be looked at without a wait
        self._takes = True  # what comes next
        self._is_stepping = False  # between before_step() and step()
        self._is_torn = False

    @property
    def finished(self) -> bool:
        """Whether nothing more will be recorded."""
        return self._is_finished()

    def before_step(self) -> None:
        """Make room for a step.

        Raises:
            RecordingError: the writer has failed.
        """
        self._check()
        self._is_stepping = True
        self._takes = not self._is_finished()
        if self._takes:
            self._has_room = self._filler.reserve(3 if self._gap.is_open else 2)
        elif self._filler.has_events and self._filler.reserve(1):
            self._filler.send()  # it may be finished no more after that

    def before_reset(self) -> None:
        """Make room for first observations; waits for it whatever the policy.

        What is reset while the env is stepped, as by a condition that a row waits for, leaves the
        step its own room.

        Raises:
            RecordingError: the writer has failed.
        """
        self._check()
        self._takes = not self._is_finished()
        if self._takes:
            self._has_room = self._filler.reserve(4 if self._is_stepping else 2, waits=True)

    def step(
        self, actions: torch.Tensor, result: StepResult, driver: Mapping[str, torch.Tensor] | None
    ) -> None:
        """Record a step; the tensors may be written to afterwards.

        Args:
            actions: that it took.
            result: what it gave.
            driver: what came with it from whatever drives the env, if anything.
        """
        self._is_stepping = False
        if not self._takes:
            return
        obs, reward, terminated, truncated, info = result
        if not self._has_room:
            self._gap.add(info["active"], terminated | truncated)
            return
        if self._is_torn or self._gap.is_open:
            self._mend()
        self._is_torn = True  # until all of it is there
        final_mask = info.get(self._final_mask)
        if final_mask is None:
            num_observed = 0
            self._filler.begin(_STEP)
        else:
            num_observed = self._begin_with_final(final_mask, info)
        step = {
            "actions": torch.from_numpy(actions) if isinstance(actions, np.ndarray) else actions,
            "rewards": reward,
            "terminated": terminated,
            "truncated": truncated,
        }
        reading = self._success.read(EvalStep(obs, reward, terminated, truncated, info))
        success = None if reading is None else (reading.value != 0, reading.reported_mask)
        frame = Frame(self._env, obs, step, info, driver=driver or {})
        self._packer.step(self._filler.slot, frame, success)
        self._filler.commit(_STEP, num_observed)
        self._is_torn = False

    def reset(self, frame: Frame, rows: torch.Tensor, seed: int | None) -> None:
        """Record first observations of rows whose episodes are cut here.

        Args:
            frame: with the observations.
            rows: their ids, int64 ``[k]``, or all of them as a mask, bool ``[N]``.
            seed: that they were reset with.
        """
        num_rows = rows.shape[0]
        if not self._takes or not num_rows:
            return
        self._mend()
        self._is_torn = True
        self._filler.begin(EntryKind.FIRST, num_rows)
        self._packer.observed(self._filler.observed(num_rows), frame, rows)
        if seed is not None:  # not before: it would be told of the next reset, if this one failed
            self._filler.say("seed", seed=int(seed))
        self._filler.commit(EntryKind.FIRST, num_rows)
        self._is_torn = False

    def say(self, do: str, rows: list[int], **values: Any) -> None:
        """Tell the writer something of rows' episodes."""
        self._filler.say(do, rows, **values)

    def flush(self) -> None:
        """Wait until everything so far is committed.

        Raises:
            RecordingError: the writer fails.
        """
        self._check()
        self._send_all()
        self._queue.flush()
        if self._is_stepping and self._takes:  # its room was sent
            self._has_room = self._filler.reserve(2, waits=True)

    def close(self) -> None:
        """Finish the dataset. Called once.

        Raises:
            RecordingError: the writer fails; what was not acknowledged is lost.
        """
        self._queue.begin_close()
        try:
            self._send_all()
        finally:
            try:
                self._filler.close()
            finally:
                self._queue.close()

    def stats(self) -> RecordingStats:
        """How it is doing."""
        counters, queued = self._queue.counters, self._queue.queued
        num_bytes, oldest_s = self._filler.queued()
        oldest_s = oldest_s if queued.oldest_s is None else queued.oldest_s
        return RecordingStats(
            acknowledged=counters.acknowledged,
            durable=counters.durable,
            num_episodes=counters.num_recorded,
            num_steps=counters.num_steps,
            num_bytes=counters.num_steps * self._row_bytes,
            dropped=counters.dropped,
            discarded=counters.discarded,
            cut=counters.cut,
            queued_bytes=queued.num_bytes + num_bytes,
            spilled_bytes=queued.spilled_bytes,
            lag_s=0.0 if oldest_s is None else self._clock() - oldest_s,
            blocked_s=self._queue.blocked_s,
            num_writer_restarts=self._queue.num_restarts,
            finished=bool(counters.finished),
        )

    def _send_all(self) -> None:
        """Give the writer everything; waits for the GPU, and for a block if one is needed."""
        if self._gap.is_open or self._is_torn or self._filler.has_events:
            self._filler.reserve(1, waits=True)
            self._mend()
        self._filler.send()
        self._filler.deliver(waits=True)

    def _mend(self) -> None:
        """Tell of steps that are missing before what comes next."""
        if self._is_torn:
            self._filler.say("hole")
            self._is_torn = False
        if self._gap.is_open:
            self._filler.begin(EntryKind.GAP)
            self._packer.gap(self._filler.slot, self._gap.stepped, self._gap.num_ended)
            self._filler.commit(EntryKind.GAP)
            self._gap.clear()

    def _begin_with_final(self, mask: torch.Tensor, info: Mapping[str, Any]) -> int:
        """Begin a step with the last observations of rows that end in it; returns how many.

        None, if something of them is not known. On a GPU they are all, unless the simulator has
        told the host which rows have ended: nobody waits here to find out.
        """
        obs, states = info.get("final_obs"), info.get("final_state")
        is_known = (obs is not None or not self._has_obs) and (
            states is not None or not self._has_states
        )
        frame = Frame(self._env, obs or {}, states=states)
        if self._looks:
            env_ids = self._packer.picker.ids(mask) if is_known else []
            self._filler.begin(_STEP, len(env_ids))
            if env_ids:
                self._packer.picked(self._filler.observed_view, frame, env_ids)
            return len(env_ids)
        ended = self._env.ended_env_ids(mask)
        rows = mask if ended is None else ended
        num_rows = rows.shape[0] if is_known else 0  # len() of a tensor is slow
        self._filler.begin(_STEP, num_rows)
        if num_rows:
            self._packer.observed(self._filler.observed(num_rows), frame, rows)
        return num_rows


_STEP = EntryKind.STEP  # a member is found through its class by a slow search
