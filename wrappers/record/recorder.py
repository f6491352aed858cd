"""The wrapper that records every step of every row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from holdstep.errors import RecordingError
from holdstep.policies.evaluation.success import EvalStep, success_source
from holdstep.wrappers.order import Stage
from holdstep.wrappers.placed_rows import PlacedRows
from holdstep.wrappers.record.at_exit import close_at_exit
from holdstep.wrappers.record.final_values import FinalValues
from holdstep.wrappers.record.first_values import FirstValues
from holdstep.wrappers.record.keys import layout_of, needs_driver
from holdstep.wrappers.record.options import RecordOptions, checked_path
from holdstep.wrappers.record.recording import Recording
from holdstep.wrappers.record.remarks import EpisodeRemarks
from holdstep.wrappers.record.resumption import check_resumable
from holdstep.wrappers.record.sources import Frame
from holdstep.wrappers.record.stats import RecordingStats

if TYPE_CHECKING:
    import os
    import weakref
    from collections.abc import Callable

    from holdstep.envs.contract import Info, Obs, StepResult, TorchVectorEnv
    from holdstep.envs.env_ids import EnvIds
    from holdstep.wrappers.record.block_queue import OnFull
    from holdstep.wrappers.record.families import SuccessFilter
    from holdstep.wrappers.record.formats.hdf5 import Compression
    from holdstep.wrappers.record.options import WriterKind
    from holdstep.wrappers.record.quota import Partial, SuccessWhen
    from holdstep.wrappers.record.store import Durability


class RecordEpisodes(EpisodeRemarks):
    """Records the episodes of all rows while the env runs at its own speed.

    A step copies what is recorded into memory that it shares with a writer, in another process,
    and keeps nothing else of it: the caller may write over every tensor afterwards. The writer
    appends to a journal on disk; an episode that has ended there is *acknowledged*, and no crash of
    either process can take it away any more. From there episodes are moved into HDF5 files of the
    layout that Isaac Lab and robomimic read. Memory does not grow with the length of an episode.

    Only steps in which a row advances are recorded (``info["active"]``). An episode that the caller
    cuts by a reset, or by closing, is marked as such. What was recorded before at the same path is
    kept, and added to. A row not reset through this wrapper is recorded from its next episode on.

    Names of what can be recorded (``keys``): ``"obs"`` or ``"obs/<group>"``, ``"actions"``,
    ``"processed_actions"``, ``"rewards"``, ``"terminated"``, ``"truncated"``, ``"states"`` (of the
    scene after each step, and ``initial_state`` before the first), ``"info/<entry>"`` (with the
    mask ``info/_<entry>``; it must be in the first step's info), ``"teleop"`` (see
    :meth:`accompany`), and patterns such as ``"obs/camera*"``. Images that are drawn on request are
    drawn if they are named here, and only then.

    Errors of the writer, as a full disk, are raised by the next call, before it steps or resets.
    The call after that tries again, and nothing is lost then; a killed writer is just replaced.

    Autoreset: the env's. Order: around :class:`~holdstep.wrappers.SuspendOnWait`, inside of
    whatever drives the env. Rows that ``SuspendOnWait.restore`` or ``fork`` puts into other states
    begin new episodes there. Waits for no GPU in a step. For one thread.

    Args:
        env: the env to wrap.
        path: a folder, or a file ``*.hdf5``; made if it does not exist.
        keys: names, folders or patterns of what is recorded; by default observations, actions,
            rewards and flags.
        durability: when an episode is acknowledged: ``"disk"``, when it would survive a loss of
            power; ``"os"``, when it would survive the death of every process; ``"memory"``, when it
            has ended.
        on_full: what a step does when the writer is behind by ``max_queue_bytes``: ``"block"``
            waits for it, ``"spill"`` writes to a file on disk that the writer reads later,
            ``"drop"`` loses whole episodes, and counts them. A reset waits in any case.
        writer: ``"process"``, or ``"thread"`` where no process can be started.
        compression: of the HDF5 files: ``"none"``, ``"lz4"``, ``"zstd"`` or ``"gzip"``.
        success: where it is written whether an episode succeeded, as for
            :func:`holdstep.evaluate`; by default an info entry or termination term ``success``.
        success_when: whether what was said in an episode's last step counts (``"end"``), or whether
            it was ever said (``"once"``).
        success_filter: which episodes are kept: ``"all"``, ``"succeeded"``, ``"failed"`` (which
            includes those of which nothing is known), or both in different files: ``"split"``.
        partial: whether episodes that are cut short are kept (``"keep"``) or not (``"drop"``).
        max_episodes: so many are in the dataset at the end, those from earlier runs counted in;
            then :attr:`finished` is True and nothing more is recorded.
        max_bytes: no episode begins after so much was written [byte].
        max_queue_bytes: memory for steps that are not written yet [byte]; taken at the start.
        max_age_s: the longest time for which a step stays with a loop that goes on stepping [s].
        writer_timeout_s: the longest time for which a writer that is waited for may show no sign of
            life [s].
        attributes: of the dataset, plain values; task and versions are added.

    Raises:
        ConfigError: an argument can't be used, or the path holds a recording of something else.
        RecordingError: the path can't be written.
        WrapperOrderError: something inside belongs outside.

    >>> import tempfile, torch
    >>> from holdstep.envs import make
    >>> env = make("holdstep:CartPole", num_envs=2, device="cpu", seed=0)
    >>> env = RecordEpisodes(env, tempfile.mkdtemp() + "/demos", max_episodes=3)
    >>> obs, info = env.reset()
    >>> while not env.finished:
    ...     obs, reward, terminated, truncated, info = env.step(torch.ones(2, 1))
    >>> env.close()
    >>> env.stats().durable
    3
    """

    stage: ClassVar[Stage | None] = Stage.RECORD
    needs_final_obs: ClassVar[bool] = True

    def __init__(
        self,
        env: TorchVectorEnv,
        path: str | os.PathLike[str],
        *,
        keys: Sequence[str] | None = None,
        durability: Durability = "disk",
        on_full: OnFull = "block",
        writer: WriterKind = "process",
        compression: Compression = "none",
        success: str | Callable[[EvalStep], torch.Tensor] | None = None,
        success_when: SuccessWhen = "end",
        success_filter: SuccessFilter = "all",
        partial: Partial = "keep",
        max_episodes: int | None = None,
        max_bytes: int | None = None,
        max_queue_bytes: int = 256 << 20,
        max_age_s: float = 1.0,
        writer_timeout_s: float = 120.0,
        attributes: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(env)
        self._options = RecordOptions(
            keys=keys,
            durability=durability,
            on_full=on_full,
            writer=writer,
            compression=compression,
            success_when=success_when,
            success_filter=success_filter,
            partial=partial,
            max_episodes=max_episodes,
            max_bytes=max_bytes,
            max_queue_bytes=max_queue_bytes,
            max_age_s=max_age_s,
            writer_timeout_s=writer_timeout_s,
            attributes=attributes or {},
        )
        self.path = checked_path(path)
        check_resumable(self.path, env, self._options)
        self._success = success_source(env, success)
        self._adapter = env.unwrapped
        self._placed = PlacedRows(env)
        self._first = FirstValues(self._options.keys, env)
        self._needs_driver = needs_driver(self._options.keys)
        self._final_values = FinalValues(env, self._options.keys)
        self._last_stats = RecordingStats()
        self._finalizer: weakref.finalize[Any, Any] | None = None

    @property
    def finished(self) -> bool:
        """Whether all that was asked for is recorded; a little behind, and costs nothing to ask."""
        return (self._recording or self._last_stats).finished

    def stats(self) -> RecordingStats:
        """How the recording is doing."""
        return self._last_stats if self._recording is None else self._recording.stats()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Obs, Info]:
        """Reset all rows, or those of ``options["env_ids"]``; cuts their episodes.

        Raises:
            RecordingError: the recording has failed; nothing was reset. Or it can't be started.
        """
        env_ids = (options or {}).get("env_ids")
        if env_ids is None:
            self._placed.take()  # of episodes that are over
        self._cut_placed()
        if self._recording is not None:
            self._recording.before_reset()
        obs, info = self.env.reset(seed=seed, options=options)
        self._observed_first(obs, self._rows(env_ids), seed)
        return obs, info

    def step(self, actions: torch.Tensor) -> StepResult:
        """Step the env inside, and record it.

        Raises:
            RecordingError: the recording has failed; nothing was stepped.
        """
        self._before_step()
        result = self.env.step(actions)
        self._record(actions, result)
        return result

    def step_masked(self, actions: torch.Tensor, active_mask: torch.Tensor) -> StepResult:
        """Step some rows of the env inside, and record them."""
        self._before_step()
        result = self.env.step_masked(actions, active_mask)
        self._record(actions, result)
        return result

    def set_scene_state(
        self, state: Mapping[str, torch.Tensor], env_ids: torch.Tensor | Sequence[int] | None = None
    ) -> Obs:
        """Put rows into states that :meth:`scene_state` told; cuts their episodes.

        Raises:
            RecordingError: the recording has failed; no row was moved.
        """
        if self._recording is not None:
            self._recording.before_reset()
        obs = self.env.set_scene_state(state, env_ids)
        self._observed_first(obs, self._rows(env_ids), None)
        return obs

    def cut(self, env_ids: EnvIds, obs: Obs) -> None:
        """Rows were put into other states: their episodes end here, and new ones begin.

        They end as ``"reset"``. For what is done to the simulator itself: resets,
        :meth:`set_scene_state`, ``restore`` and ``fork`` are noticed.

        Args:
            env_ids: the rows.
            obs: observations of all rows as they are now.
        """
        rows = self._rows(env_ids)
        if placed := self._placed.take():
            rows = self._rows(sorted({*rows.tolist(), *placed}))
        if self._recording is not None:
            self._recording.before_reset()
        self._observed_first(obs, rows, None)

    def flush(self) -> None:
        """Wait until every episode that has ended is acknowledged.

        Raises:
            RecordingError: the recording has failed.
        """
        self._check_open()
        if self._recording is not None:
            self._recording.flush()

    def close_extras(self, **kwargs: Any) -> None:
        """Finish the dataset: cut what is under way, and move all episodes into their files.

        Raises:
            RecordingError: the writer fails; what was not acknowledged is lost.
        """
        recording, self._recording = self._recording, None
        self._final_values.restore()
        if recording is None or self._finalizer is None:
            return
        self._finalizer.detach()
        try:
            recording.close()
        finally:
            self._last_stats = recording.stats()

    def _observed_first(self, obs: Obs, rows: torch.Tensor, seed: int | None) -> None:
        if self._closed:
            return
        if self._recording is None:
            self._first.keep(obs, rows, seed)
            if not self._first.waits:
                self._start(obs, None, {})
            return
        self._recording.reset(Frame(self._adapter, obs), rows, seed)

    def _cut_placed(self) -> None:
        if placed := self._placed.take():
            now, _ = self.env.reset(options={"env_ids": []})
            self.cut(placed, now)

    def _before_step(self) -> None:
        self._cut_placed()
        if self._needs_driver and self._driver is None and not self._closed:
            raise RecordingError(
                "keys name teleop values, and nothing told them for this step. Step the env "
                "through PipelinedActions, or tell them yourself: accompany({...})."
            )
        if self._recording is not None:
            self._recording.before_step()

    def _record(self, actions: torch.Tensor, result: StepResult) -> None:
        driver, self._driver = self._driver, None
        if self._recording is None:
            if self._closed:
                return
            obs, *_, info = result
            self._start(obs, info, driver or {}).before_step()
        assert self._recording is not None
        self._recording.step(actions, result, driver)

    def _start(self, obs: Obs, info: Info | None, driver: Mapping[str, torch.Tensor]) -> Recording:
        """Start recording, now that it is known what there is to be recorded."""
        layout = layout_of(self._options.keys, self.env, obs, info, driver)
        recording = Recording(self.path, layout, self._adapter, self._options, self._success)
        self._recording = recording
        self._finalizer = close_at_exit(self, recording)
        for frame, rows, seed in self._first.take():
            recording.before_reset()
            recording.reset(frame, rows, seed)
        return recording
