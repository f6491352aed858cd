"""``contract.yaml``: a contract as a file that people read, and that programs read safely."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import yaml

from holdstep.documents.nodes import (
    MAX_BYTES,
    LocatedProblem,
    UnreadableError,
    compose,
    scalar_value,
)
from holdstep.documents.problems import Problem
from holdstep.documents.reader import DocumentReader
from holdstep.errors import ContractError
from holdstep.wrappers.export.contract import CONTRACT_VERSION, Contract, ModelFile
from holdstep.wrappers.export.contract_writer import contract_text

CONTRACT_FILE = "contract.yaml"


def write_contract(contract: Contract, folder: str | Path) -> Path:
    """Write a contract as ``contract.yaml`` into a folder, which is made if it is not there.

    A reader never sees half a file: it is written beside and then renamed.

    Returns:
        The file's path.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / CONTRACT_FILE
    beside = folder / f".{CONTRACT_FILE}.{os.getpid()}"
    try:
        beside.write_text(contract_text(contract), encoding="utf-8")
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    return path


def read_contract(path: str | Path) -> Contract:
    """Read a contract.

    Nothing in the file can run code. What is wrong with it is reported all at once, each problem
    with its line.

    Args:
        path: a ``contract.yaml``, or the folder that it lies in.

    Raises:
        ContractError: it is not there, too large, no YAML, of a newer version, or does not hold
            together.
    """
    file = contract_path(path)
    try:
        with file.open("rb") as opened:
            content = opened.read(MAX_BYTES + 1)
    except OSError as error:
        raise ContractError(
            f"{file} can't be read", [f"{file}: {error.strerror or error}. Export writes it."]
        ) from error
    return parse_contract(content, name=str(file))


def parse_contract(content: bytes, *, name: str = CONTRACT_FILE) -> Contract:
    """Read a contract from a file's content; like :func:`read_contract`.

    Args:
        content: UTF-8.
        name: of the file, for messages.
    """
    try:
        node = compose(content)
    except UnreadableError as error:
        raise _error(name, [error.located]) from error
    version_problem = _version_problem(node)
    if version_problem is not None:
        raise _error(name, [version_problem])
    reader = DocumentReader()
    contract: Contract = reader.build(Contract, node)
    if reader.problems:
        raise _error(name, reader.problems)
    return contract


def contract_path(path: str | Path) -> Path:
    """The contract's file, from its own path or its folder's."""
    path = Path(path)
    return path / CONTRACT_FILE if path.is_dir() else path


def model_path(folder: str | Path, model: ModelFile) -> Path:
    """Where a model file lies.

    Args:
        folder: the contract's.
        model: one of its models.

    Raises:
        ContractError: it is missing, no plain file, or a link that leads out of the folder.
    """
    root = Path(folder).resolve()
    path = (root / model.file).resolve()
    if not path.is_relative_to(root):
        raise ContractError(
            f"{folder} can't be used",
            [f"{model.file!r} leads out of the folder, to {path}. Copy the file into the folder."],
        )
    if not path.is_file():
        raise ContractError(
            f"{folder} can't be used",
            [f"the model {model.file!r} is not there. Copy the whole folder, or export again."],
        )
    return path


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def check_model_files(contract: Contract, folder: str | Path) -> list[str]:
    """What is wrong with a contract's model files, one sentence each.

    Args:
        contract: whose models are looked for.
        folder: where it lies.
    """
    problems: list[str] = []
    for model in contract.models:
        try:
            path = model_path(folder, model)
        except ContractError as error:
            problems.extend(error.problems)
            continue
        if model.sha256 is not None and file_digest(path) != model.sha256:
            problems.append(
                f"{model.file!r} is not the file that was exported: its SHA-256 differs. "
                "Export again."
            )
    return problems


def _version_problem(node: yaml.Node) -> LocatedProblem | None:
    """Why no problem after the version is worth reporting; None if they are."""
    if not isinstance(node, yaml.MappingNode):
        return None
    for key, value in node.value:
        if isinstance(key, yaml.ScalarNode) and key.value == "version":
            version = scalar_value(value) if isinstance(value, yaml.ScalarNode) else None
            if type(version) is int and version > CONTRACT_VERSION:
                return LocatedProblem(
                    value.start_mark.line + 1,
                    Problem(
                        ("version",),
                        f"the contract has version {version}, and this holdstep reads versions up "
                        f"to {CONTRACT_VERSION}. Upgrade holdstep (pip install --upgrade "
                        "holdstep), or export again with this one.",
                    ),
                )
    return None


def _error(name: str, located: Sequence[LocatedProblem]) -> ContractError:
    in_order = sorted(located, key=lambda one: one.line)
    return ContractError(
        f"{name} is no contract that can be used",
        [f"{name}:{one.line}: {one.problem}" if one.line else str(one.problem) for one in in_order],
    )
