"""An episode's records in the journal, as the episode that is written to a dataset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from holdstep.wrappers.record.episode import Ended, Episode
from holdstep.wrappers.record.records import Bytes, Words, split_json, split_planes

if TYPE_CHECKING:
    from holdstep.wrappers.record.columns import Array, RowLayout
    from holdstep.wrappers.record.index import JournalEpisode
    from holdstep.wrappers.record.segment_reader import SegmentReader

STATES = "states/"
INITIAL_STATE = "initial_state/"


def assemble(
    uid: int, found: JournalEpisode, reader: SegmentReader, layout: RowLayout, *, name: str = ""
) -> Episode:
    """Read an episode out of the journal.

    Memory: twice the episode's.

    Args:
        uid: its number.
        found: where its records lie; it has ended.
        reader: of the journal.
        layout: of its rows.
        name: that it gets.

    Raises:
        RecordingError: a record is damaged, or can't be read.
    """
    assert found.begin is not None, f"episode {uid} has not begun"
    assert found.end is not None, f"episode {uid} has not ended"
    begun, first_row = _read(found.begin, uid, reader, layout)
    ending, final_row = _read(found.end, uid, reader, layout)
    assert first_row is not None
    num_steps = found.num_steps
    # Row t + 1 holds step t and what was observed after it; row 0 what was before the first.
    words = np.empty((num_steps + 1, layout.num_words), np.int32)
    bytes_ = np.empty((num_steps + 1, layout.num_bytes), np.uint8)
    words[0], bytes_[0] = first_row
    for first, count, address in found.steps():
        rows = slice(first + 1, first + 1 + count)
        reader.read_steps(address, uid, first, [words[rows], bytes_[rows]])
    ended: Ended = ending["ended"]
    if final_row is not None:
        words[-1, layout.observation_words] = final_row[0][layout.observation_words]
        bytes_[-1, layout.observation_bytes] = final_row[1][layout.observation_bytes]
    # In the step in which an episode ends by itself, the row is reset and shows its next episode's
    # first observation. Where it was cut by the caller, it still shows its own.
    final_is_known = final_row is not None or ended in ("reset", "closed")
    return Episode(
        name,
        num_steps,
        _arrays(words, bytes_, layout, final_is_known=final_is_known),
        ended,
        ending["success"],
        {"env_id": found.row, **begun, **ending["attributes"], "uid": uid},
    )


def _read(
    address: tuple[int, int], uid: int, reader: SegmentReader, layout: RowLayout
) -> tuple[dict[str, Any], tuple[Words, Bytes] | None]:
    _, payload = reader.read(address, uid)
    content, rest = split_json(payload)
    return content, split_planes(rest, layout.num_words, layout.num_bytes)


def _arrays(
    words: Words, bytes_: Bytes, layout: RowLayout, *, final_is_known: bool
) -> Mapping[str, Array]:
    arrays = layout.unpack(words[1:], bytes_[1:], kind="step")
    observed = layout.unpack(words, bytes_, kind="observation")
    for name, values in observed.items():
        if name.startswith(STATES):
            # As in Isaac Lab: the state before the first step, and the one after each.
            arrays[name] = values[1:] if final_is_known else values[1:-1]
            arrays[INITIAL_STATE + name.removeprefix(STATES)] = values[:1]
        else:
            arrays[name] = values[:-1]
            if final_is_known:
                arrays[f"final_{name}"] = values[-1:]
    return arrays
