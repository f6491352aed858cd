"""Checkpoints of rsl_rl, read without running what they contain."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch

from holdstep.errors import CheckpointError


def load_checkpoint(path: str | Path, *, device: str | torch.device = "cpu") -> dict[str, Any]:
    """Read a checkpoint that rsl_rl's runner saved, refusing anything but plain data.

    A checkpoint is a pickle, and unpickling one can run any code. rsl_rl itself loads with
    ``weights_only=False``; here only tensors, numbers, strings and containers get through.

    Args:
        path: a ``model_*.pt`` file.
        device: where its tensors are put.

    Returns:
        The dictionary that was saved: state dicts by name, ``iter`` and ``infos``.

    Raises:
        CheckpointError: the file is missing, is no checkpoint, or holds an object that would have
            to be imported and called to be loaded; the message says which.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"There is no checkpoint at {path}.{_beside(path)}")
    try:
        loaded = torch.load(path, map_location=device, weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} was refused: it holds more than weights, and loading it could run code. "
            f"{_reason(error)} If you wrote the file yourself, save plain tensors, numbers and "
            "strings only (rsl_rl's `infos`, too)."
        ) from error
    except (RuntimeError, EOFError) as error:
        raise CheckpointError(f"{path} is no torch checkpoint, or is damaged: {error}") from error
    if not isinstance(loaded, dict):
        raise CheckpointError(
            f"{path} holds a {type(loaded).__name__}, not the dictionary that rsl_rl saves."
        )
    return loaded


def latest_checkpoint(run_dir: str | Path) -> Path:
    """The checkpoint of the highest iteration in a run's folder.

    Args:
        run_dir: a run's folder, or an experiment's, of which the newest run with a checkpoint is
            taken (runs are named after their time).

    Raises:
        CheckpointError: there is none.
    """
    run_dir = Path(run_dir)
    folders = [run_dir, *sorted((path for path in run_dir.glob("*/")), reverse=True)]
    for folder in folders:
        checkpoints = sorted(folder.glob("model_*.pt"), key=_iteration)
        if checkpoints:
            return checkpoints[-1]
    raise CheckpointError(f"There is no model_*.pt in {run_dir}, nor in a folder in it.")


def _iteration(path: Path) -> int:
    digits = path.stem.removeprefix("model_")
    return int(digits) if digits.isdigit() else -1


def _beside(path: Path) -> str:
    there = [other.name for other in sorted(path.parent.glob("*.pt"), key=_iteration)][-5:]
    return f" Beside it lie: {', '.join(there)}." if there else ""


def _reason(error: pickle.UnpicklingError) -> str:
    """Torch's sentence about what it refused, without its advice to load the file unsafely."""
    lines = [line.strip() for line in str(error).splitlines()]
    named = [line for line in lines if "GLOBAL" in line or "Unsupported" in line]
    return named[0] if named else "torch.load(weights_only=True) could not read it."
