"""Values of an array in an HDF5 file, once it is known that they are there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import h5py
import numpy as np
from h5py import h5s

from holdstep.wrappers.record.formats.hdf5_safety import check_dataset, explained, find_dataset

if TYPE_CHECKING:
    from holdstep.wrappers.record.columns import Array


def read_values(
    demo: h5py.Group, path: str, where: str, start: int = 0, stop: int | None = None
) -> Array:
    """A part of an array, or all of it, in memory of its own.

    Args:
        demo: an episode's group.
        path: of the array, below the group.
        where: for messages.
        start: the first row.
        stop: behind the last row; None for all.

    Raises:
        DatasetError: there is no such array, it is damaged, or it claims to hold what is not there.
    """
    with explained(where):
        dataset = find_dataset(demo.id, path, where)
        check_dataset(dataset, where)
        shape, dtype = dataset.shape, dataset.dtype.newbyteorder("=")
        whole = start == 0 and stop is None
        begin, end, _ = slice(start, stop).indices(shape[0])
        array = np.empty((max(end - begin, 0), *shape[1:]), dtype)
        if not array.size:
            return array
        if whole:
            dataset.read(h5s.ALL, h5s.ALL, array)
        else:
            space = dataset.get_space()
            space.select_hyperslab((begin, *[0] * (array.ndim - 1)), array.shape)
            dataset.read(h5s.create_simple(array.shape), space, array)
        return array
