"""Sets of rows as short JSON."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from holdstep.errors import TimelineError


def encode_rows(ids: npt.NDArray[np.int64], num_envs: int) -> str:
    """A set of rows as JSON text: ``[3,17]`` for few, ``"f0c4"``, a bit for each row, for many.

    Args:
        ids: the rows, ascending int64 ``[k]``.
        num_envs: number of rows that there are.

    >>> encode_rows(np.array([17]), 1000)
    '[17]'
    >>> encode_rows(np.arange(9), 12)
    '"ff80"'
    """
    if 16 * ids.size <= num_envs:  # an id takes up to 5 characters, the bits of 16 rows 4
        return f"[{','.join(map(str, ids.tolist()))}]"
    mask = np.zeros(num_envs, dtype=bool)
    mask[ids] = True
    return f'"{np.packbits(mask).tobytes().hex()}"'


def decode_rows(code: Any, num_envs: int) -> npt.NDArray[np.int64]:
    """The ids of a set of rows, ascending.

    Args:
        code: parsed JSON that :func:`encode_rows` wrote.
        num_envs: number of rows.

    Raises:
        TimelineError: it is no set of these rows.

    >>> decode_rows("ff80", 12).tolist()
    [0, 1, 2, 3, 4, 5, 6, 7, 8]
    """
    if isinstance(code, str):
        try:
            raw = np.frombuffer(bytes.fromhex(code), dtype=np.uint8)
        except ValueError as error:
            raise TimelineError(f"{code[:20]!r} is no bitmap in hexadecimal digits") from error
        if raw.size != (num_envs + 7) // 8:
            raise TimelineError(f"a bitmap has {raw.size} bytes for {num_envs} rows")
        bits = np.unpackbits(raw)
        if bits[num_envs:].any():
            raise TimelineError(f"a bitmap names rows beyond the {num_envs} that there are")
        return bits.nonzero()[0]
    if not isinstance(code, list) or not all(type(row) is int for row in code):
        raise TimelineError(f"{str(code)[:20]!r} is no list of rows")
    if not all(0 <= row < num_envs for row in code):
        raise TimelineError(f"{str(code)[:20]} names rows beyond the {num_envs} that there are")
    return np.array(sorted(set(code)), dtype=np.int64)
