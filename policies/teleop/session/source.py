"""A session of isaacteleop as a source of actions."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any

from holdstep.errors import BackendUnavailableError, ConfigError, DatasetError
from holdstep.policies.teleop.session.config import in_sync_mode, load_teleop
from holdstep.policies.teleop.session.control import ControlEvents, ControlGraph
from holdstep.policies.teleop.session.external_inputs import ExternalInputs
from holdstep.policies.teleop.session.frame_context import FrameContext
from holdstep.policies.teleop.session.info import SessionInfo
from holdstep.policies.teleop.session.output_actions import OutputActions, check_outputs
from holdstep.policies.teleop.session.recording import read_recording
from holdstep.wrappers.pipeline.events import ExecutionState
from holdstep.wrappers.pipeline.source import SourceRequest, SourceResult


class IsaacTeleopSource(SessionInfo):
    """Drives rows with a ``TeleopSession`` of isaacteleop: live, or a replay of a recording.

    The session runs in step with whoever calls :meth:`compute`, whatever its own configuration
    says; running it beside the simulation, and when, is up to ``PipelinedActions``. In each frame:

    - Host resets and pauses reach the retargeters' ``ComputeContext``, and the operator's buttons
      are read all the same. isaacteleop's own ``execution_events`` skip the control pipeline, so
      that a button pressed in that step is lost.
    - The operator's resets and changes of state are reported as edges, without those that only
      repeat the host's.
    - While the session is paused or stopped, or tracking is lost, there are no actions.
    - Graph time is the env's simulated time, and the time at which the frame was submitted.

    A replay plays one recorded frame per computed one, so that it is :attr:`lossless`: each frame
    is waited for, and the same actions are applied whatever the timing. Its last frame says so. A
    recording that lacks a source's channels, is cut off or compressed is refused at the start.

    A failed session can't go on. :meth:`start` opens a new one, on a pipeline that is built anew if
    ``config`` is a callable, and else is told to reset; a replay begins again. A live operator who
    had paused or stopped has to order the new one to run, even if its buttons begin with "running".

    Args:
        config: a ``TeleopSessionConfig`` (see :func:`session_config` for one from plain pieces), or
            a callable without arguments that makes one. Each source needs a pipeline of its own,
            since retargeters remember things.
        output: the pipeline's output that is the action, or several of them, one after another.
        action_dim: the width that actions have to have; what the pipeline says by default.
        extra_outputs: outputs of the pipeline besides, which are wanted of each frame: they are in
            its context (see :class:`~holdstep.policies.teleop.FrameContext`).

    Attributes:
        lossless: whether every frame has to be computed, as for a replay.
        num_frames: frames of the recording; None if the session is live or reads no device.

    Raises:
        ConfigError: the pipeline has no such output, or one of another width, or two of its leaves
            have one name.
        MissingExtraError: the extra ``teleop`` is not installed.
    """

    uses_obs: bool = False

    def __init__(
        self,
        config: Any,
        *,
        output: str | Sequence[str] = "action",
        action_dim: int | None = None,
        extra_outputs: str | Sequence[str] = (),
    ) -> None:
        self._teleop = load_teleop()
        core = load_teleop("retargeting_engine.interface.retargeter_core_types")
        self._graph_time: Callable[..., Any] = core.GraphTime
        events = load_teleop("retargeting_engine.interface.execution_events")
        self._events_class, self._state_class = events.ExecutionEvents, events.ExecutionState
        self._make_config = config if callable(config) else lambda: config
        self._output, self._extra_outputs = (
            (names,) if isinstance(names, str) else tuple(names)
            for names in (output, extra_outputs)
        )
        self._wanted_action_dim = action_dim
        self._env_ids: tuple[int, ...] = ()
        self._entered = False
        self._used = False
        self._reused = False
        self._operator_ran = True
        self.num_frames: int | None = None
        self._prepare()

    @property
    def action_dim(self) -> int | None:
        """Width of an action, A; None if the pipeline doesn't say."""
        return self._actions.action_dim

    def start(self, env_ids: tuple[int, ...]) -> None:
        """Open the session.

        Raises:
            ConfigError: another open session has the same pipeline.
            BackendUnavailableError: there is no OpenXR runtime for a live session, or no headset.
            DatasetError: the recording can't be replayed.
        """
        self.stop()
        if self._used:
            self._prepare()
        self._env_ids = tuple(env_ids)
        if self.lossless:
            self.num_frames = self._recorded_frames()
        _claim(self.config.pipeline)
        try:
            self.session.__enter__()
        except BaseException as error:
            _in_use.discard(self.config.pipeline)
            if isinstance(error, RuntimeError | ValueError | OSError):
                raise self._start_error(error) from error
            raise
        self._entered = self._used = True

    def compute(self, request: SourceRequest) -> SourceResult:
        """Step the session.

        Raises:
            ConfigError: an external input is missing or does not fit, and the session was not
                stepped; or it is not open.
            Exception: whatever the session or a retargeter raises.
        """
        if not self._entered:
            raise ConfigError("The session is not open: call start(env_ids) first.")
        if self._ended:
            return SourceResult(actions=None, state=self._events.state, end_of_replay=True)
        inputs = self._inputs(request.external_inputs)
        self._events.begin_frame(request.host_events, reset=self._reused)
        outputs = self.session.step(
            external_inputs=inputs,
            graph_time=self._graph_time(
                sim_time_ns=round(request.sim_time_s * 1e9),
                real_time_ns=round(request.real_time_s * 1e9),
            ),
            execution_events=None if self._has_control else self._host_events(),
        )
        self._reused = False
        events = self._events.end_frame(self._env_ids)
        state = self._events.state
        running = state is ExecutionState.RUNNING
        return SourceResult(
            actions=self._actions(outputs) if running else None,
            events=events,
            state=state,
            end_of_replay=self._ended,
            context=FrameContext.of(
                self.session.last_context, {name: outputs[name] for name in self._extra_outputs}
            ),
        )

    def stop(self) -> None:
        """Close the session; may be called twice."""
        if not self._entered:
            return
        self._entered = False
        self._operator_ran = self._events.operator_runs
        try:
            self.session.__exit__(None, None, None)
        finally:
            _in_use.discard(self.config.pipeline)

    @property
    def _ended(self) -> bool:
        return self.num_frames is not None and self.session.frame_count >= self.num_frames

    def _prepare(self) -> None:
        """Make a session that is not open yet."""
        config = self._make_config()
        if not isinstance(config, self._teleop.TeleopSessionConfig):
            raise ConfigError(
                "config must be a TeleopSessionConfig, or a callable that makes one, got "
                f"{type(config).__name__}; session_config(...) makes one from plain pieces."
            )
        self._reused = getattr(self, "config", None) is config
        self.config = config
        self.lossless = config.mode is self._teleop.SessionMode.REPLAY
        self.num_frames = None
        output_types = config.pipeline.output_types()
        self._actions = OutputActions(
            output_types, self._output, action_dim=self._wanted_action_dim
        )
        check_outputs(self._extra_outputs, output_types, option="extra_outputs")
        control = config.teleop_control_pipeline
        self._has_control = control is not None
        # Without buttons nobody could go on; and a recording says itself what was pressed.
        says_so = self._has_control and not self.lossless
        self._events = ControlEvents(resumes=self._operator_ran or not says_so)
        if control is not None:
            control = ControlGraph(control, self._events)
        try:
            self.session = self._teleop.TeleopSession(in_sync_mode(config, control))
        except ValueError as error:
            raise ConfigError(f"The pipeline can't be used: {error}") from error
        self._inputs = ExternalInputs(
            self.session.get_external_input_specs(), set(self._source_names())
        )

    def _source_names(self) -> list[str]:
        """Of the leaves that devices feed, or a recording of them."""
        nodes = load_teleop("retargeting_engine.deviceio_source_nodes")
        graphs = [self.config.pipeline, self.config.teleop_control_pipeline, *self.config.sinks]
        leaves = [leaf for graph in graphs if graph is not None for leaf in graph.get_leaf_nodes()]
        return [leaf.name for leaf in leaves if isinstance(leaf, nodes.IDeviceIOSource)]

    def _recorded_frames(self) -> int | None:
        config = self.config.mcap_config
        names = [name for _, name in config.get_tracker_names()]
        return read_recording(config.filename).num_frames([*self._source_names(), *names])

    def _host_events(self) -> Any:
        """For a pipeline without a control pipeline, of which nothing can be skipped."""
        state = self._state_class(self._events.state.name.lower())
        return self._events_class(reset=self._events.reset, execution_state=state)

    def _start_error(self, error: Exception) -> Exception:
        if self.lossless:
            return DatasetError(f"{self.config.mcap_config.filename} can't be replayed: {error}")
        return BackendUnavailableError(
            f"A live session can't be opened: {error}. It needs a running OpenXR runtime, such as "
            "NVIDIA CloudXR's (python -m isaacteleop.cloudxr), in whose environment this runs, and "
            "a connected headset. Without one, replay a recording (mode='replay'), or drive with "
            "the keyboard."
        )


# Retargeters remember things: two sessions on one pipeline would mix two operators up.
_in_use: weakref.WeakSet[Any] = weakref.WeakSet()
_in_use_lock = threading.Lock()


def _claim(pipeline: Any) -> None:
    with _in_use_lock:
        if pipeline in _in_use:
            raise ConfigError(
                "Another open session has the same pipeline, and what its retargeters remember. "
                "Build one for each: give each source a callable that makes its configuration."
            )
        _in_use.add(pipeline)
