"""Saved states of single rows, in memory and in files."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from holdstep.errors import SnapshotError

FORMAT_VERSION = 1
"""Of the files; counted up when an older holdstep could no longer read them."""

NOT_MADE_YET = "not made yet"
"""In a fingerprint: a buffer that its owner makes at its first use. It fits anything."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Snapshot:
    """The states of some rows of an env, which share no memory with it.

    Attributes:
        rows: tensors ``[k, ...]`` by slot name, all that the rows' futures depend on.
        obs: the rows' last observations, tensors ``[k, ...]`` by group.
        fingerprint: what the task's rows look like, by slot name; it must equal that of the env
            into which the snapshot is put back.
    """

    rows: Mapping[str, torch.Tensor]
    obs: Mapping[str, torch.Tensor]
    fingerprint: Mapping[str, str]

    def __len__(self) -> int:
        """The number of rows."""
        return len(next(iter(self.rows.values())))

    def __repr__(self) -> str:
        """How much of what it holds, without the tensors."""
        num_bytes = sum(rows.nbytes for rows in (*self.rows.values(), *self.obs.values()))
        return f"Snapshot({len(self)} rows, {len(self.rows)} slots, {num_bytes / 1e3:.1f} kB)"

    def __getitem__(self, index: int | slice | list[int] | torch.Tensor) -> Snapshot:
        """Some of the rows, as a snapshot of their own.

        Args:
            index: a position, a slice, positions, or a bool mask ``[k]``.
        """
        if isinstance(index, int):
            index = [index]
        return dataclasses.replace(
            self,
            rows={name: rows[index].clone() for name, rows in self.rows.items()},
            obs={name: rows[index].clone() for name, rows in self.obs.items()},
        )

    def to(self, device: torch.device | str) -> Snapshot:
        """The same on another device; tensors that are there already are shared."""
        return dataclasses.replace(
            self,
            rows={name: rows.to(device) for name, rows in self.rows.items()},
            obs={name: rows.to(device) for name, rows in self.obs.items()},
        )

    def save(self, path: str | Path) -> Path:
        """Write to a file, which appears under its name only when it is complete.

        Args:
            path: ends in ``.pt`` by custom; folders on the way are made.
        """
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {
            "holdstep_snapshot": FORMAT_VERSION,
            "rows": {name: rows.cpu() for name, rows in self.rows.items()},
            "obs": {name: rows.cpu() for name, rows in self.obs.items()},
            "fingerprint": dict(self.fingerprint),
        }
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                torch.save(content, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        return path

    @staticmethod
    def load(path: str | Path) -> Snapshot:
        """Read a file that :meth:`save` wrote; nothing in it is executed. Tensors are on the CPU.

        Raises:
            SnapshotError: there is no such file, it holds something else or is damaged, or a newer
                holdstep wrote it.
        """
        content = _read(Path(path))
        version = content["holdstep_snapshot"]
        if version != FORMAT_VERSION:
            raise SnapshotError(
                f"{path} has snapshot format {version!r}, this holdstep reads {FORMAT_VERSION}. "
                "Read it with the holdstep that wrote it, or upgrade holdstep."
            )
        _check_content(path, content)
        return Snapshot(
            rows=content["rows"], obs=content["obs"], fingerprint=content["fingerprint"]
        )


def _read(path: Path) -> dict[str, Any]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise SnapshotError(f"There is no file {path}.") from error
    except Exception as error:  # torch raises many types for damaged files
        raise SnapshotError(f"{path} can't be read as a snapshot: {error}") from error
    if not isinstance(content, dict) or "holdstep_snapshot" not in content:
        raise SnapshotError(f"{path} is no snapshot: Snapshot.save() writes those.")
    return content


def _check_content(path: str | Path, content: Mapping[str, Any]) -> None:
    for part, kind in (("rows", torch.Tensor), ("obs", torch.Tensor), ("fingerprint", str)):
        values = content.get(part)
        if not isinstance(values, dict) or not all(isinstance(v, kind) for v in values.values()):
            raise SnapshotError(f"{path} is damaged: its {part} are not what a snapshot has.")


def check_fits(snapshot: Snapshot, fingerprint: Mapping[str, str], num_rows: int) -> None:
    """Refuse a snapshot that does not fit an env.

    Args:
        snapshot: to be put back.
        fingerprint: of the env's rows.
        num_rows: into how many rows it is to be put.

    Raises:
        SnapshotError: with the differences.
    """
    differences = list(_differences(snapshot.fingerprint, fingerprint))
    if differences:
        shown = "\n".join(f"  - {line}" for line in differences[:12])
        more = f"\n  ... {len(differences) - 12} more" if len(differences) > 12 else ""
        raise SnapshotError(
            "The snapshot was taken from another task than this one, or from one that was "
            f"configured differently:\n{shown}{more}"
        )
    damaged = [
        name
        for name, rows in (*snapshot.rows.items(), *snapshot.obs.items())
        if len(rows) != len(snapshot)
        or snapshot.fingerprint.get(name, describe(rows)) != describe(rows)
    ]
    missing = [
        name
        for name, description in snapshot.fingerprint.items()
        if description != NOT_MADE_YET
        and not name.startswith(("task", "observation "))
        and name not in snapshot.rows
    ]
    if damaged or missing:
        raise SnapshotError(
            f"The snapshot is damaged: rows of {(damaged + missing)[:8]} are missing or have "
            "another shape than its fingerprint says."
        )
    if len(snapshot) != num_rows:
        raise SnapshotError(
            f"The snapshot has {len(snapshot)} rows, {num_rows} env_ids were given. Take some of "
            "them with snapshot[[0, 2]], or name as many env_ids."
        )


def describe(rows: torch.Tensor) -> str:
    """A row's dtype and shape, for a fingerprint.

    >>> describe(torch.zeros(8, 3))
    'float32[3]'
    """
    return f"{str(rows.dtype).removeprefix('torch.')}{list(rows.shape[1:])}"


def _differences(theirs: Mapping[str, str], ours: Mapping[str, str]) -> list[str]:
    lines = []
    for name in sorted(theirs.keys() | ours.keys()):
        if name not in ours:
            lines.append(f"{name}: {theirs[name]} in the snapshot, not here")
        elif name not in theirs:
            lines.append(f"{name}: not in the snapshot, {ours[name]} here")
        elif theirs[name] != ours[name] and NOT_MADE_YET not in (theirs[name], ours[name]):
            lines.append(f"{name}: {theirs[name]} in the snapshot, {ours[name]} here")
    return lines
