"""Columns of Arrow tables, as the readers of LeRobot's datasets expect them."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from holdstep.wrappers.record.columns import Array


def number_column(values: Array) -> Any:
    """Numbers of T steps as a column.

    Args:
        values: ``[T, ...]``.

    Returns:
        Numbers for ``[T]``, lists of fixed length for ``[T, n]``, lists of lists for more axes.
    """
    import pyarrow

    column = pyarrow.array(np.ascontiguousarray(values).reshape(-1))
    if values.ndim == 2:
        return pyarrow.FixedSizeListArray.from_arrays(column, values.shape[1])
    for length in values.shape[:0:-1]:
        offsets = np.arange(0, len(column) + 1, length, dtype=np.int32)
        column = pyarrow.ListArray.from_arrays(offsets, column)
    return column


def image_column(coded: Iterable[bytes]) -> Any:
    """Files of images as a column."""
    import pyarrow

    files = list(coded)
    names = [f"frame-{index:06d}.png" for index in range(len(files))]
    return pyarrow.StructArray.from_arrays(
        [pyarrow.array(files, pyarrow.binary()), pyarrow.array(names, pyarrow.string())],
        names=["bytes", "path"],
    )


def png(frame: Array) -> bytes:
    """An image, uint8 ``[H, W, 3]``, as a PNG file."""
    from PIL import Image

    coded = io.BytesIO()
    Image.fromarray(frame).save(coded, format="PNG", compress_level=1)
    return coded.getvalue()


def task_table(tasks: Mapping[str, int]) -> Any:
    """Tasks and their numbers. The texts are pandas' index, by which LeRobot looks them up."""
    import pyarrow

    index = "__index_level_0__"
    table = pyarrow.table({"task_index": list(tasks.values()), index: list(tasks)})
    about = {
        "index_columns": [index],
        "column_indexes": [],
        "columns": [
            _pandas_column("task_index", "task_index", "int64", "int64"),
            _pandas_column(None, index, "unicode", "object"),
        ],
        "pandas_version": "2.0.0",
    }
    return table.replace_schema_metadata({"pandas": json.dumps(about)})


def _pandas_column(
    name: str | None, field: str, pandas_type: str, numpy_type: str
) -> dict[str, Any]:
    return {
        "name": name,
        "field_name": field,
        "pandas_type": pandas_type,
        "numpy_type": numpy_type,
        "metadata": None,
    }
