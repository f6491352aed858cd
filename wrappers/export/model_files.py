"""Model files, read without leaving the contract's folder."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from holdstep.errors import ModelFileError
from holdstep.wrappers.export.contract_file import model_path

if TYPE_CHECKING:
    from holdstep.wrappers.export.contract import ModelFile

MAX_BYTES = 1 << 31
"""The most that a model file may have."""


def read_model_file(folder: str | Path, model: ModelFile) -> bytes:
    """The bytes of a contract's model, read once: what is checked is what is loaded.

    Args:
        folder: where ``contract.yaml`` lies.
        model: which file.

    Raises:
        ContractError: it is missing, no plain file, or a link that leads out of the folder.
        ModelFileError: it is too long, or not the one that was exported.
    """
    path = model_path(folder, model)
    with path.open("rb") as opened:
        data = opened.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ModelFileError(f"The model {model.file!r} has more than {MAX_BYTES} bytes.")
    if model.sha256 is not None and hashlib.sha256(data).hexdigest() != model.sha256:
        raise ModelFileError(
            f"The model {model.file!r} is not the file that was exported: its SHA-256 differs from "
            "the contract's. Copy the folder again, or export again."
        )
    return data
