"""Rules that hold between the parts of a contract."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from holdstep.documents.problems import Place, Problem
from holdstep.wrappers.export.connections import INPUT_ROLES, OUTPUT_ROLES, Role

if TYPE_CHECKING:
    from holdstep.wrappers.export.contract import Contract, TensorSpec

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,299}")
_FILE_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,199}")


def name_problem(name: str) -> str | None:
    """Why a tensor can't have this name; None if it can.

    >>> name_problem("joint_pos"), bool(name_problem("node/in"))
    (None, True)
    """
    if _NAME.fullmatch(name):
        return None
    return f"must be letters, digits and underscores, not beginning with a digit, got {name!r}."


def file_problem(file: str) -> str | None:
    """Why a path can't be a file of the contract's folder; None if it can.

    What looks like a plain file name on one system leads out of the folder on another (drive
    letters, backslashes, home folders), so that only plain characters are allowed.

    >>> file_problem("policy.onnx"), bool(file_problem("../policy.onnx"))
    (None, True)
    """
    parts = file.split("/")
    if len(parts) <= 8 and all(_FILE_PART.fullmatch(part) for part in parts):
        return None
    return (
        "must be a path inside the contract's folder, of letters, digits and ._+- with / between "
        f"folders, got {file!r}."
    )


def contract_problems(contract: Contract) -> Iterator[Problem]:
    """The rules between the parts of a contract that do not hold."""
    yield from _clock_problems(contract)
    yield from _role_problems("inputs", contract.inputs, INPUT_ROLES)
    yield from _role_problems("outputs", contract.outputs, OUTPUT_ROLES)
    yield from _role_problems("apply_outputs", contract.apply_outputs, ("write",))
    yield from _apply_problems(contract)
    if not contract.outputs and not contract.apply_outputs:
        yield Problem(("outputs",), "a contract without outputs does nothing.")
    yield from _repeated_connections(contract)
    yield from _repeated_names(contract)
    yield from _repeated_files(contract)
    yield from _row_dim_problems(contract)


def _clock_problems(contract: Contract) -> Iterator[Problem]:
    right = True
    for name in ("step_dt", "physics_dt"):
        value = getattr(contract, name)
        if not (math.isfinite(value) and value > 0):
            right = False
            yield Problem((name,), f"must be a positive number of seconds, got {value}.")
    for name in ("decimation", "traced_num_envs"):
        if getattr(contract, name) < 1:
            right = False
            yield Problem((name,), f"must be at least 1, got {getattr(contract, name)}.")
    if right:
        product = contract.physics_dt * contract.decimation
        if not math.isclose(contract.step_dt, product, rel_tol=1e-5):
            yield Problem(
                ("step_dt",),
                f"must be physics_dt * decimation = {product:g}, got {contract.step_dt:g}.",
            )


def _role_problems(
    field: str, specs: Iterable[TensorSpec], allowed: tuple[Role, ...]
) -> Iterator[Problem]:
    for index, spec in enumerate(specs):
        role = spec.parsed_connection.role
        if role not in allowed:
            yield Problem(
                (field, index, "connection"),
                f"must begin with one of {', '.join(allowed)}, got {spec.connection!r}.",
            )


def _apply_problems(contract: Contract) -> Iterator[Problem]:
    if contract.apply_inputs and not contract.apply_outputs:
        yield Problem(("apply_outputs",), "is empty, but there are apply_inputs.")
    given = {spec.connection for spec in contract.outputs}
    given |= {memory.spec.connection for memory in contract.memories}
    for index, spec in enumerate(contract.apply_inputs):
        role = spec.parsed_connection.role
        if role not in INPUT_ROLES and spec.connection not in given:
            yield Problem(
                ("apply_inputs", index, "connection"),
                f"{spec.connection!r} is read from nowhere: it is no host's value, and the policy "
                "graph has no such output or memory.",
            )
    if contract.apply_outputs and not any(model.graph == "apply" for model in contract.models):
        if contract.models:
            yield Problem(("models",), "none of them is the apply graph.")
    elif not contract.apply_outputs:
        for index, model in enumerate(contract.models):
            if model.graph == "apply":
                yield Problem(("models", index, "graph"), "the contract has no apply_outputs.")


def _repeated_connections(contract: Contract) -> Iterator[Problem]:
    memories = [memory.spec for memory in contract.memories]
    outputs = (
        *_placed("outputs", contract.outputs),
        *_placed("apply_outputs", contract.apply_outputs),
    )
    for group in (
        _placed("inputs", contract.inputs),
        _placed("memories", memories, "spec"),
        outputs,
        _placed("apply_inputs", contract.apply_inputs),
    ):
        yield from _repeated(((place, spec.connection) for place, spec in group), "connection")


def _repeated_names(contract: Contract) -> Iterator[Problem]:
    memories = [memory.spec for memory in contract.memories]
    policy = [
        (place, spec.name)
        for place, spec in itertools.chain(
            _placed("inputs", contract.inputs),
            _placed("memories", memories, "spec"),
            _placed("outputs", contract.outputs),
        )
    ]
    policy += [
        (("memories", index, "spec"), memory.update_name)
        for index, memory in enumerate(contract.memories)
    ]
    apply = [
        (place, spec.name)
        for place, spec in itertools.chain(
            _placed("apply_inputs", contract.apply_inputs),
            _placed("apply_outputs", contract.apply_outputs),
        )
    ]
    yield from _repeated(policy, "name")
    yield from _repeated(apply, "name")


def _repeated_files(contract: Contract) -> Iterator[Problem]:
    seen: set[PurePosixPath] = set()
    for index, model in enumerate(contract.models):
        path = PurePosixPath(model.file.casefold())  # one file on some systems
        if path in seen:
            yield Problem(("models", index, "file"), f"{model.file!r} is there twice.")
        seen.add(path)


def _row_dim_problems(contract: Contract) -> Iterator[Problem]:
    """Dimensions of memories in model files that are not there."""
    most = [len(memory.spec.shape) for memory in contract.memories]
    for index, model in enumerate(contract.models):
        dims = model.memory_row_dims
        fits = len(dims) == len(most) and all(0 <= dims[k] <= most[k] for k in range(len(most)))
        if dims and not fits:
            yield Problem(
                ("models", index, "memory_row_dims"),
                f"must have a dimension for each of the {len(most)} memories, at most {most}, got "
                f"{list(dims)}.",
            )


def _placed(
    field: str, specs: Iterable[TensorSpec], *inner: str
) -> Iterator[tuple[Place, TensorSpec]]:
    for index, spec in enumerate(specs):
        yield (field, index, *inner), spec


def _repeated(values: Iterable[tuple[Place, str]], field: str) -> Iterator[Problem]:
    seen: set[str] = set()
    for place, value in values:
        if value in seen:
            yield Problem((*place, field), f"{value!r} is there twice.")
        seen.add(value)
