"""The wrapper that records every step of every row."""

from __future__ import annotations

import os
import warnings
import weakref
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from holdstep.envs.env_ids import canonical_env_ids
from holdstep.errors import (
    ClosedEnvError,
    ConfigError,
    HoldstepError,
    RecordingError,
    ResetNeededError,
)
from holdstep.policies.evaluation.success import EvalStep, success_source
from holdstep.wrappers.base import VectorWrapper
from holdstep.wrappers.order import Stage
from holdstep.wrappers.record.about import about
from holdstep.wrappers.record.first_values import FirstValues
from holdstep.wrappers.record.formats.hdf5 import LAYOUT_ATTRIBUTES
from holdstep.wrappers.record.keys import (
    layout_of,
    needs_driver,
    needs_info,
    needs_obs,
    needs_states,
)
from holdstep.wrappers.record.options import RecordOptions, check_json, checked_path
from holdstep.wrappers.record.recording import Recording
from holdstep.wrappers.record.sources import Frame
from holdstep.wrappers.record.stats import RecordingStats

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdstep.envs.contract import Info, Obs, StepResult, TorchVectorEnv
    from holdstep.envs.env_ids import EnvIds
    from holdstep.wrappers.record.block_queue import OnFull
    from holdstep.wrappers.record.families import SuccessFilter
    from holdstep.wrappers.record.formats.hdf5 import Compression
    from holdstep.wrappers.record.options import WriterKind
    from holdstep.wrappers.record.quota import Partial, SuccessWhen
    from holdstep.wrappers.record.store import Durability


_NOTHING: Mapping[str, torch.Tensor] = MappingProxyType({})


class RecordEpisodes(VectorWrapper):
    """Records the episodes of all rows while the env runs at its own speed.

    A step copies what is recorded into memory that it shares with a writer, in another process,
    and keeps nothing else of it: the caller may write over every tensor afterwards. The writer
    appends to a journal on disk; an episode that has ended there is *acknowledged*, and no crash of
    either process can take it away any more. From there episodes are moved into HDF5 files of the
    layout that Isaac Lab and robomimic read. Memory does not grow with the length of an episode.

    Only steps in which a row advances are recorded (``info["active"]``). An episode that the caller
    cuts by a reset, or by closing, is marked as such. What was recorded before at the same path is
    kept, and added to. A row that was not reset through this wrapper is recorded from its next
    episode on.

    Names of what can be recorded (``keys``): ``"obs"`` or ``"obs/<group>"``, ``"actions"``,
    ``"processed_actions"`` (what the action terms made of them), ``"rewards"``, ``"terminated"``,
    ``"truncated"``, ``"states"`` or ``"states/<path>"`` (of the scene after each step, and
    ``initial_state`` before the first), ``"info/<entry>"`` (with the mask ``info/_<entry>`` of the
    rows in which it is set; the entry must be in the first step's info), ``"teleop"`` or
    ``"teleop/<entry>"`` (what ``PipelinedActions`` says of each step's actions, see
    :meth:`accompany`). Patterns such as ``"obs/camera*"`` are fine. Images that are drawn on
    request are drawn if they are named here, and only then.

    Errors of the writer, such as a full disk, are raised by the next call, before the env is
    stepped or reset. The call after that tries again, and nothing is lost if it succeeds; a writer
    that was killed is replaced without a word.

    Autoreset: the env's. Order: around :class:`~holdstep.wrappers.SuspendOnWait`, inside of
    whatever drives the env. If rows are put into other states behind this wrapper's back
    (``restore``, ``fork``), tell it: :meth:`cut`. Waits for no GPU in a step.
    Used from one thread.

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
            :func:`holdstep.evaluate`; by default ``info["success"]`` or a termination term of that
            name, if there is one.
        success_when: whether what was said in an episode's last step counts (``"end"``), or whether
            it was ever said (``"once"``).
        success_filter: which episodes are kept: ``"all"``, ``"succeeded"``, ``"failed"`` (which
            includes those of which nothing is known), or both in different files: ``"split"``.
        partial: whether episodes that are cut short are kept (``"keep"``) or not (``"drop"``).
        max_episodes: exactly so many episodes are in the dataset at the end, those from earlier
            runs counted in; then :attr:`finished` is True and nothing more is recorded.
        max_bytes: no episode begins after so much was written [byte].
        max_queue_bytes: memory for steps that are not written yet [byte]; taken at the start.
        max_age_s: the longest time for which a step stays with the env loop while it is stepped
            [s].
        writer_timeout_s: the longest time for which a writer that is waited for may show no sign of
            life [s].
        attributes: of the dataset, plain values; task and versions are added.

    Raises:
        ConfigError: an argument can't be used.
        RecordingError: the path can't be written.
        WrapperOrderError: something inside belongs outside.

    >>> import tempfile
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
        self._success = success_source(env, success)
        self._adapter = env.unwrapped
        self._first = FirstValues(self._options.keys, env)
        self._needs_info = needs_info(self._options.keys)
        self._needs_driver = needs_driver(self._options.keys)
        self._driver: Mapping[str, torch.Tensor] | None = None
        self._enables_final_obs = False
        # A view that was made of the env before this may have switched them off.
        if env.capabilities.final_obs and not self._adapter.final_obs_enabled:
            self._enables_final_obs = needs_obs(self._options.keys, env.single_observation_space)
            self._adapter.final_obs_enabled = self._enables_final_obs
        self._enables_final_state = False
        if needs_states(self._options.keys) and not self._adapter.final_state_enabled:
            self._adapter.final_state_enabled = self._enables_final_state = True
        self._recording: Recording | None = None
        self._last_stats = RecordingStats()
        self._finalizer: weakref.finalize[Any, Any] | None = None

    @property
    def finished(self) -> bool:
        """Whether all that was asked for is recorded (``max_episodes``, ``max_bytes``).

        Follows the writer, which is a little behind; it costs nothing to ask.
        """
        if self._recording is None:
            return self._last_stats.finished
        return self._recording.finished

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
        if self._recording is not None:
            self._recording.before_reset()
        obs, info = self.env.reset(seed=seed, options=options)
        self._observed_first(obs, self._rows((options or {}).get("env_ids")), seed)
        return obs, info

    def accompany(self, values: Mapping[str, torch.Tensor]) -> None:
        """Say what is to be recorded with the next step, of whatever drives the env.

        ``PipelinedActions`` does so, with ``frame_id``, ``age_frames``, ``input_age_s``, ``miss``
        and ``execution_state``; a driver of your own says what it likes. It is recorded below
        ``"teleop"``, if that is among the keys; then each step has to be told its values.

        Args:
            values: of each row, ``[N, ...]``, of the same names, shapes and types in all steps.
                They are read in the next step, and must not be changed before.
        """
        self._driver = values

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

        They end as ``"reset"``. For what ``SuspendOnWait.restore`` and ``fork`` do; :meth:`reset`
        and :meth:`set_scene_state` need no such call.

        Args:
            env_ids: the rows.
            obs: observations of all rows as they are now.
        """
        rows = self._rows(env_ids)
        if self._recording is not None:
            self._recording.before_reset()
        self._observed_first(obs, rows, None)

    def mark(self, env_ids: EnvIds, success: bool = True) -> None:
        """Say whether episodes succeed; this counts, whatever the env says.

        Meant are the episodes that the rows' last steps belong to, also if they ended in them;
        after a reset, a flush, or the next step, the ones that are under way. The same is true of
        :meth:`annotate` and :meth:`discard`.

        Args:
            env_ids: one id, ids, or a bool mask ``[N]``.
            success: whether they do.
        """
        self._say("mark", env_ids, success=bool(success))

    def annotate(self, env_ids: EnvIds, **attributes: Any) -> None:
        """Add attributes to episodes, such as an instruction; see :meth:`mark` for which.

        Args:
            env_ids: one id, ids, or a bool mask ``[N]``.
            **attributes: plain values; later ones win.

        Raises:
            ConfigError: a value can't be written down as JSON, or the name is one of holdstep's.
        """
        check_json("annotate", attributes)
        taken = _RESERVED & attributes.keys()
        if taken:
            raise ConfigError(f"Attributes {sorted(taken)} are the recorder's own; rename them.")
        self._say("annotate", env_ids, **attributes)

    def discard(self, env_ids: EnvIds) -> None:
        """Keep nothing of episodes, nor of what is still to come of them; see :meth:`mark`.

        Args:
            env_ids: one id, ids, or a bool mask ``[N]``.
        """
        self._say("discard", env_ids)

    def discard_last(self, env_ids: EnvIds) -> None:
        """Take back the last episode that each row has finished, acknowledged or not.

        Args:
            env_ids: one id, ids, or a bool mask ``[N]``.
        """
        self._say("discard_last", env_ids)

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
        if self._enables_final_obs:
            self._adapter.final_obs_enabled = False
        if self._enables_final_state:
            self._adapter.final_state_enabled = False
        if recording is None:
            return
        if self._finalizer is not None:
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
            if not self._needs_info:
                self._start(obs, None)
            return
        self._recording.reset(Frame(self._adapter, obs), rows, seed)

    def _before_step(self) -> None:
        if self._needs_driver and self._driver is None and not self._closed:
            raise RecordingError(
                "keys name teleop values, and nothing told them for this step. Step the env "
                "through PipelinedActions, or tell them yourself: accompany({...})."
            )
        if self._recording is not None:
            self._recording.before_step()

    def _record(self, actions: Any, result: StepResult) -> None:
        obs, reward, terminated, truncated, info = result
        driver, self._driver = self._driver or {}, None
        if self._recording is None:
            if self._closed:
                return
            self._start(obs, info, driver).before_step()
        recording = self._recording
        assert recording is not None
        if isinstance(actions, np.ndarray):
            actions = torch.from_numpy(actions)
        step = {
            "actions": actions,
            "rewards": reward,
            "terminated": terminated,
            "truncated": truncated,
        }
        reading = self._success.read(EvalStep(obs, reward, terminated, truncated, info))
        success = None if reading is None else (reading.value != 0, reading.reported_mask)
        frame = Frame(self._adapter, obs, step, info, driver=driver)
        recording.step(frame, info["active"], success)

    def _start(
        self, obs: Obs, info: Info | None, driver: Mapping[str, torch.Tensor] = _NOTHING
    ) -> Recording:
        """Start recording, now that it is known what there is to be recorded."""
        layout = layout_of(self._options.keys, self.env, obs, info, driver)
        attributes = about(self._adapter, self._options.attributes, self.num_envs)
        recording = Recording(self.path, layout, self._adapter, self._options, attributes)
        self._recording = recording
        # For scripts that end without closing their env, also by an error or an interrupt.
        self._finalizer = weakref.finalize(self, _close_at_exit, recording, os.getpid())
        for frame, rows, seed in self._first.take():
            recording.before_reset()
            recording.reset(frame, rows, seed)
        return recording

    def _say(self, do: str, env_ids: EnvIds, **values: Any) -> None:
        self._check_open()
        rows = self._rows(env_ids).tolist()
        if self._recording is None:
            raise ResetNeededError(f"There is no episode to {do.replace('_', ' ')}: reset first.")
        if rows:
            self._recording.say(do, rows, **values)

    def _rows(self, env_ids: EnvIds | None) -> torch.Tensor:
        """Ids of rows, int64 ``[k]``; for all rows, a mask, bool ``[N]``."""
        if env_ids is None:
            return torch.ones(self.num_envs, dtype=torch.bool, device=self.device)
        return canonical_env_ids(env_ids, num_envs=self.num_envs, device=self.device)

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedEnvError("The env is closed. Make a new one.")


_RESERVED = LAYOUT_ATTRIBUTES | {"env_id", "episode_id", "seed", "uid"}


def _close_at_exit(recording: Recording, pid: int) -> None:
    if os.getpid() != pid:  # a fork of the process whose recording it is
        return
    try:
        recording.close()
    except HoldstepError as error:  # there is nobody left who could catch it
        warnings.warn(str(error), RuntimeWarning, stacklevel=2)
