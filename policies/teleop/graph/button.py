"""A button or trigger as a node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from holdstep.errors import ConfigError, nearest_names
from holdstep.policies.teleop.session.config import load_teleop

if TYPE_CHECKING:
    from isaacteleop.retargeting_engine.interface import GraphExecutable, OutputSelector


def button(
    name: str,
    source: OutputSelector,
    *,
    entry: str,
    threshold: float = 0.5,
    release_threshold: float | None = None,
    activate_frames: int = 2,
    deactivate_frames: int = 2,
    initial_state: bool = False,
) -> GraphExecutable:
    """Whether one entry of a device is pressed, by ``create_bool_selector``; the output ``value``.

    Args:
        name: of the node.
        source: of a device, such as a controller.
        entry: such as ``"controller_primary_click"``.
        threshold: from which on it counts as pressed.
        release_threshold: below which it counts as released; ``threshold`` by default.
        activate_frames: for which it has to be pressed to count.
        deactivate_frames: for which it has to be released to count.
        initial_state: before that.

    Raises:
        ConfigError: the device has no such entry, or it is no number.
        ValueError: thresholds or counts that can't be.
    """
    group = source.module.output_types()[source.output_name]
    entries = {kind.name: index for index, kind in enumerate(group.types)}
    if entry not in entries:
        raise ConfigError(
            f"entry {entry!r} is not in {source.output_name}."
            + (nearest_names(entry, entries) or f" It has: {', '.join(entries)}.")
        )
    index = entries[entry]
    if getattr(group.types[index], "shape", ()):
        raise ConfigError(f"entry {entry!r} is an array, not a button or trigger.")

    def pressed(values: Any) -> bool | float:
        value: bool | float = values[index]
        return value

    made: GraphExecutable = load_teleop().create_bool_selector(
        source,
        name=name,
        selector_fn=pressed,
        threshold=threshold,
        release_threshold=release_threshold,
        activate_frames=activate_frames,
        deactivate_frames=deactivate_frames,
        initial_state=initial_state,
    )
    return made
