"""What users are told of a source that has failed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdstep.errors import SourceError
from holdstep.wrappers.waits import shortened

if TYPE_CHECKING:
    from holdstep.wrappers.pipeline.frame import Failure
    from holdstep.wrappers.pipeline.source_pipeline import SourcePipeline


def source_error(pipeline: SourcePipeline, failure: Failure) -> SourceError:
    """An error that names the source, its rows and the frame; to be raised from the cause."""
    error, frame_id = failure.error, failure.frame_id
    when = "before it gave a frame" if frame_id is None else f"in frame {frame_id}"
    restarts = pipeline.num_restarts
    again = f" It had been restarted {restarts} times." if restarts else ""
    return SourceError(
        f"Source {pipeline.name} of rows {shortened(pipeline.env_ids)} failed {when} "
        f"({type(error).__name__}: {error}).{again} No row was stepped. Start it anew with "
        "restart_sources(), or close the env.",
        source=pipeline.name,
        env_ids=pipeline.env_ids,
        frame_id=frame_id,
    )
