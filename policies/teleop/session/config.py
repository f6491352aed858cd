"""The configuration of a session of isaacteleop, from plain pieces."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from holdstep.errors import ConfigError
from holdstep.extras import require

_PURPOSE = "A session of IsaacTeleop"


def load_teleop(module: str = "teleop_session_manager") -> Any:
    """A module of isaacteleop.

    Raises:
        MissingExtraError: the extra ``teleop`` is not installed.
    """
    return require(f"isaacteleop.{module}", extra="teleop", purpose=_PURPOSE)


def session_config(
    pipeline: Any,
    *,
    mode: Literal["live", "replay"] = "live",
    mcap: str | Path | Any = None,
    app_name: str = "holdstep",
    control_pipeline: Any = None,
    trackers: Sequence[Any] = (),
    plugins: Sequence[Any] = (),
    oxr_handles: Any = None,
    verbose: bool = False,
    **more: Any,
) -> Any:
    """A ``TeleopSessionConfig`` from plain pieces.

    Args:
        pipeline: the retargeting pipeline, or what builds it: a callable without arguments, which
            may also return a pair of the pipeline and its control pipeline (whose buttons often
            come from the same sources).
        mode: ``"live"``, with a headset, or ``"replay"``, of a recording.
        mcap: the recording to be replayed, or, live, to be written; a path, or isaacteleop's
            ``McapReplayConfig`` or ``McapRecordingConfig``.
        app_name: the name that OpenXR is told.
        control_pipeline: turns buttons into running, paused, stopped and reset.
        trackers: besides those that the pipeline's sources bring.
        plugins: ``PluginConfig`` or mappings of its fields.
        oxr_handles: of an OpenXR session that somebody else opened: ``OpenXRSessionHandles``, or
            the four numbers of the instance, session, space and ``xrGetInstanceProcAddr``.
        verbose: print what the session does.
        **more: other fields of ``TeleopSessionConfig``.

    Raises:
        ConfigError: a piece that can't be used.
        MissingExtraError: the extra ``teleop`` is not installed.
    """
    teleop = load_teleop()
    if mode not in ("live", "replay"):
        raise ConfigError(f"mode must be 'live' or 'replay', got {mode!r}.")
    if mode == "replay" and mcap is None:
        raise ConfigError("mode='replay' needs a recording: mcap='recording.mcap'.")
    pipeline, built_control = _built(pipeline)
    if control_pipeline is None:
        control_pipeline = built_control
    try:
        return teleop.TeleopSessionConfig(
            app_name=app_name,
            pipeline=pipeline,
            mode=teleop.SessionMode(mode),
            teleop_control_pipeline=control_pipeline,
            trackers=list(trackers),
            plugins=[_plugin(teleop, plugin) for plugin in plugins],
            verbose=verbose,
            oxr_handles=_handles(oxr_handles),
            mcap_config=_mcap_config(mode, mcap),
            **more,
        )
    except (TypeError, ValueError) as error:
        raise ConfigError(f"The session's configuration can't be used: {error}") from error


def in_sync_mode(config: Any, control: Any) -> Any:
    """The same configuration, run in step with whoever calls it.

    Args:
        config: a ``TeleopSessionConfig``. One that says ``"pipelined"`` is overruled: what runs
            beside the simulation, and when, is decided by ``PipelinedActions``.
        control: instead of its control pipeline.
    """
    teleop = load_teleop()
    return dataclasses.replace(
        config,
        teleop_control_pipeline=control,
        retargeting_execution=teleop.RetargetingExecutionConfig(mode="sync"),
    )


def is_graph(value: object) -> bool:
    """Whether something is a retargeting pipeline of isaacteleop."""
    core = load_teleop("retargeting_engine.interface.retargeter_core_types")
    return isinstance(value, core.GraphExecutable)


def _built(pipeline: Any) -> tuple[Any, Any]:
    # Retargeters can be called as well, to compute one frame.
    if not is_graph(pipeline) and callable(pipeline):
        pipeline = pipeline()
    pipeline, control = pipeline if isinstance(pipeline, tuple) else (pipeline, None)
    for graph in (pipeline, control):
        if graph is not None and not is_graph(graph):
            raise ConfigError(
                "pipeline must be a retargeting pipeline of isaacteleop, or a callable that "
                f"returns one (or a pair with a control pipeline), got {type(graph).__name__}."
            )
    return pipeline, control


def _plugin(teleop: Any, plugin: Any) -> Any:
    if not isinstance(plugin, Mapping):
        return plugin
    fields = dict(plugin)
    fields["search_paths"] = [Path(path) for path in fields.get("search_paths", ())]
    try:
        return teleop.PluginConfig(**fields)
    except TypeError as error:
        raise ConfigError(f"The plugin {dict(plugin)!r} can't be used: {error}") from error


def _handles(handles: Any) -> Any:
    if not isinstance(handles, Sequence):
        return handles
    if len(handles) != 4:
        raise ConfigError(
            "oxr_handles are four numbers (instance, session, space, xrGetInstanceProcAddr), got "
            f"{len(handles)}."
        )
    return load_teleop("oxr").OpenXRSessionHandles(*handles)


def _mcap_config(mode: str, mcap: Any) -> Any:
    if not isinstance(mcap, str | Path):
        return mcap
    session = load_teleop("deviceio_session")
    config = session.McapReplayConfig if mode == "replay" else session.McapRecordingConfig
    return config(str(mcap))
