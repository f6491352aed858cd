"""Checkpoints of rsl_rl, read without running what they contain."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

from holdstep.errors import CheckpointError
from holdstep.policies.rsl_rl.run_dir import RunDir


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
    except Exception as error:  # torch's readers raise anything (KeyError, IndexError) on garbage
        refused = _refused(error)
        if refused is None:
            raise CheckpointError(
                f"{path} is no torch checkpoint, or is damaged: {_reason(error)}"
            ) from error
        raise CheckpointError(
            f"{path} was refused: it holds more than weights, and loading it could run code. "
            f"{refused} If you wrote the file yourself, save plain tensors, numbers and "
            "strings only (rsl_rl's `infos`, too)."
        ) from error
    if not isinstance(loaded, dict):
        raise CheckpointError(
            f"{path} holds a {type(loaded).__name__}, not the dictionary that rsl_rl saves."
        )
    return loaded


def find_checkpoint(path: str | Path, *, env_id: str) -> Path:
    """The checkpoint that a path means, looked at before anything is built for it.

    Args:
        path: a ``model_*.pt`` file, a run's folder (its latest checkpoint), or an experiment's (of
            its newest run on this task).
        env_id: the task that it is for.

    Raises:
        CheckpointError: there is none, it can't be read, or it was trained on another task.
    """
    path = Path(path)
    file = latest_checkpoint(path, env_id=env_id) if path.is_dir() else path
    trained_on = RunDir.of_checkpoint(file).read_env_id()
    if trained_on not in (None, env_id):
        raise CheckpointError(f"{file} was trained on {trained_on!r}, not on {env_id!r}.")
    load_checkpoint(file)
    return file


def latest_checkpoint(run_dir: str | Path, *, env_id: str | None = None) -> Path:
    """The checkpoint of the highest iteration in a run's folder.

    Args:
        run_dir: a run's folder, or an experiment's, of which the newest run with a checkpoint is
            taken (runs are named after their time).
        env_id: of an experiment's folder, leave out runs that were trained on another task: tasks
            of different backends may share a name, and so a folder.

    Raises:
        CheckpointError: there is none.
    """
    run_dir = Path(run_dir)
    folders = [run_dir, *sorted((path for path in run_dir.glob("*/")), reverse=True)]
    others: set[str] = set()
    for folder in folders:
        checkpoints = checkpoints_of(folder)
        if not checkpoints:
            continue
        if env_id is not None and folder is not run_dir:
            trained_on = RunDir(folder).read_env_id()
            if trained_on not in (None, env_id):
                others.add(str(trained_on))
                continue
        return checkpoints[-1]
    if others:
        raise CheckpointError(
            f"No run in {run_dir} was trained on {env_id!r}; those there were trained on "
            f"{', '.join(sorted(others))}."
        )
    raise CheckpointError(f"There is no model_*.pt in {run_dir}, nor in a folder in it.")


def checkpoints_of(folder: Path) -> list[Path]:
    """The checkpoints in a run's folder, the last one last."""
    return sorted(folder.glob("model_*.pt"), key=_iteration)


def _iteration(path: Path) -> int:
    digits = path.stem.removeprefix("model_")
    return int(digits) if digits.isdigit() else -1


def _beside(path: Path) -> str:
    there = [other.name for other in sorted(path.parent.glob("*.pt"), key=_iteration)][-5:]
    return f" Beside it lie: {', '.join(there)}." if there else ""


def _refused(error: Exception) -> str | None:
    """Torch's sentence about the object that it would have had to import; None if that's not it."""
    found = re.search(r"[^\n]*\bGLOBAL \w[^\n]*", str(error))
    return found[0].strip() if found else None


def _reason(error: Exception) -> str:
    """One line, without torch's advice to load the file unsafely."""
    text = str(error).partition("WeightsUnpickler error:")[2] or str(error)
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {line}" if line else type(error).__name__
