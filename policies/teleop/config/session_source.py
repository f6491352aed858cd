"""A session of isaacteleop as its configuration wants it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from holdstep.documents.problems import FieldsError, Place, Problem
from holdstep.errors import ConfigError, MissingExtraError
from holdstep.policies.teleop.config.source_config import IsaacTeleopConfig
from holdstep.policies.teleop.graph.config import GraphConfig
from holdstep.policies.teleop.graph.wiring import wiring_problems

if TYPE_CHECKING:
    from holdstep.policies.teleop.session import IsaacTeleopSource


def session_source(source: IsaacTeleopConfig, pipeline: Callable[[], Any]) -> IsaacTeleopSource:
    """The source; its session is not open yet.

    Args:
        source: as a file has it.
        pipeline: what builds the pipeline, as for ``session_config``.

    Raises:
        ConfigError: the pipeline does not fit.
        MissingExtraError: the extra ``teleop`` is not installed.
    """
    from holdstep.policies.teleop.session import IsaacTeleopSource, session_config

    config = partial(
        session_config,
        pipeline,
        mode=source.session,
        mcap=source.mcap,
        app_name=source.app_name,
        plugins=[dataclasses.asdict(plugin) for plugin in source.plugins],
        verbose=source.verbose,
    )
    return IsaacTeleopSource(config, output=source.output, action_dim=source.action_dim)


def check_graph(graph: Any) -> Iterator[Problem]:
    """What is wrong with a graph, which is built for a try.

    No device is opened. Without isaacteleop, which is no mistake of the file's, all that can be
    said is which nodes feed which.
    """
    if not isinstance(graph, GraphConfig):
        return
    try:
        graph()
    except MissingExtraError:
        yield from wiring_problems(graph)
    except FieldsError as error:
        yield from error.found


def check_session(source: Any) -> Iterator[Problem]:
    """What isaacteleop has against a session on a graph that can be built; it is not opened."""
    if not isinstance(source, IsaacTeleopConfig) or isinstance(source.pipeline, str):
        return
    try:
        session_source(source, source.pipeline)
    except (MissingExtraError, FieldsError):
        return
    except ConfigError as error:
        yield Problem(_place_in(source, str(error)), str(error))


def _place_in(source: IsaacTeleopConfig, message: str) -> Place:
    """The entry that a message of the session's is about."""
    if "has no output" in message:
        return ("output",)
    if "entries" in message and source.action_dim is not None:
        return ("action_dim",)
    return ("pipeline", "control") if "teleop_control_pipeline" in message else ()
