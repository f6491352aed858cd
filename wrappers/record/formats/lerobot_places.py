"""Where the files of a LeRobot dataset lie."""

from __future__ import annotations

FILES_PER_CHUNK = 1000
PLACE = "chunk-{chunk_index:03d}/file-{file_index:03d}"


def place_of(number: int) -> str:
    """The place of a file of this number, below the folder of its kind and without an ending."""
    return PLACE.format(chunk_index=number // FILES_PER_CHUNK, file_index=number % FILES_PER_CHUNK)
