"""Whether a recording that exists can be gone on with, as far as that is known before a step."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from holdstep.wrappers.record.about import about
from holdstep.wrappers.record.columns import RowLayout
from holdstep.wrappers.record.files import recording_errors
from holdstep.wrappers.record.folder import (
    RecordingFolder,
    check_same_schema,
    read_schema,
    schema_content,
)
from holdstep.wrappers.record.keys import expected_layout

if TYPE_CHECKING:
    from holdstep.envs.contract import TorchVectorEnv
    from holdstep.wrappers.record.options import RecordOptions


def check_resumable(path: Path, env: TorchVectorEnv, options: RecordOptions) -> None:
    """Refuse to add to a recording of something else, before anything is stepped for it.

    What only a reset or a step tells is looked at there.

    Args:
        path: of the dataset.
        env: the stack.
        options: how to record.

    Raises:
        ConfigError: the recording there is of something else.
        RecordingError: what it says about itself is damaged.
    """
    folder = RecordingFolder.of(path)
    if not folder.schema.exists():
        return
    with recording_errors(f"look into {folder.path}"):
        before = read_schema(folder.schema)
    layout = expected_layout(options.keys, env, RowLayout.from_json(before["columns"]))
    attributes = about(env.unwrapped, options.attributes)
    now = schema_content(layout, attributes, options.success_filter)
    check_same_schema(folder.path, before, now)
