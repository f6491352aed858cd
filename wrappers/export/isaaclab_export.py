"""Isaac Lab's own exports (LEAPP files with ``isaaclab_connection``), read as contracts.

Isaac Lab 3.0's exporter writes ``<task>.yaml`` next to its model, and says by connection what each
tensor is at the simulator. What it does not say is given by who reads it: the clock.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from holdstep.errors import ContractError
from holdstep.wrappers.export.connections import connection_problem, tensor_name
from holdstep.wrappers.export.contract import (
    CONTRACT_VERSION,
    Check,
    Contract,
    Memory,
    ModelFile,
    QuaternionOrder,
    TensorSpec,
)
from holdstep.wrappers.export.problems import FieldsError
from holdstep.wrappers.export.yaml_nodes import MAX_BYTES

_SUFFIXES = {".onnx": "by name", ".pt": "by position", ".pt2": "by position"}


def read_isaaclab_export(
    path: str | Path, *, physics_dt: float, decimation: int, task: str | None = None
) -> Contract:
    """The contract of a policy that Isaac Lab 3.0 exported.

    Memories start at zeros: the values that such an export starts with are those of the moment at
    which it was made.

    Args:
        path: the export's ``.yaml``; its model must lie in the same folder.
        physics_dt: [s] one physics step of the task.
        decimation: physics steps in a control step.
        task: its id; None takes the name that the export has.

    Raises:
        ContractError: it is no such export, or one with parts that can't be run here; everything
            that is wrong is listed.
    """
    path = Path(path)
    reader = _Reader(path.name, _load(path))
    contract = reader.contract(path.parent, physics_dt, decimation, task)
    if contract is None or reader.problems:
        raise ContractError(f"{path} is no export of Isaac Lab's that can be run", reader.problems)
    return contract


def _load(path: Path) -> Any:
    try:
        with path.open("rb") as opened:
            content = opened.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise ContractError(f"{path} can't be read", [f"it has more than {MAX_BYTES} bytes."])
        # Aliases are allowed here: its writer makes them. Nothing below follows them deeper than
        # the fixed depth of the format.
        return yaml.safe_load(content)
    except OSError as error:
        raise ContractError(f"{path} can't be read", [str(error.strerror or error)]) from error
    except (yaml.YAMLError, ValueError, RecursionError, OverflowError) as error:
        raise ContractError(f"{path} can't be read", [f"not YAML: {error}"]) from error


class _Reader:
    """Collects the parts of a contract, and all that is wrong with them."""

    def __init__(self, name: str, content: Any) -> None:
        self._name = name
        self._content = content
        self.problems: list[str] = []

    def contract(
        self, folder: Path, physics_dt: float, decimation: int, task: str | None
    ) -> Contract | None:
        models = self._mapping(self._content, "models")
        pipeline = self._mapping(self._content, "pipeline")
        if len(models) != 1:
            self.problems.append(
                f"models: there must be exactly one, got {len(models)}: "
                f"{', '.join(map(str, models))}."
            )
            return None
        ((node, model),) = models.items()
        taken = self._descriptions(model, "inputs", node)
        returned = self._descriptions(model, "outputs", node)
        feedback = dict(self._feedback(pipeline, node, taken, returned))
        memory_inputs = set(feedback.values())
        inputs = {
            name: self._spec(name, description, "inputs")
            for name, description in taken.items()
            if name not in memory_inputs
        }
        outputs = {
            name: self._spec(name, description, "outputs")
            for name, description in returned.items()
            if name not in feedback
        }
        memories = {
            name: Memory(spec, kind=_memory_kind(name))
            for name in feedback.values()
            if (spec := self._spec(name, taken[name], "memory")) is not None
        }
        specs = [*inputs.values(), *outputs.values()]
        file = self._file(model, folder)
        if self.problems or file is None or None in specs:
            return None
        names_in, names_out = (*inputs, *memories), (*outputs, *feedback)
        by_position = _SUFFIXES.get(Path(file).suffix) == "by position"
        if by_position and (names_in != tuple(taken) or names_out != tuple(returned)):
            self.problems.append(
                f"{file}: takes its memories between its inputs, by position. Export it to ONNX."
            )
            return None
        digest = self._mapping(model, "parameters").get("sha256sum")
        try:
            return Contract(
                version=CONTRACT_VERSION,
                task=task or str(node),
                simulator="isaaclab",
                created_with=self._versions(),
                step_dt=physics_dt * decimation,
                physics_dt=physics_dt,
                decimation=decimation,
                traced_num_envs=self._batch(taken),
                inputs=tuple(spec for spec in inputs.values() if spec is not None),
                memories=tuple(memories.values()),
                outputs=tuple(spec for spec in outputs.values() if spec is not None),
                models=(
                    ModelFile(
                        file,
                        f"leapp-{self._mapping(model, 'parameters').get('backend')}",
                        "policy",
                        names_in,
                        names_out,
                        self._batch(taken),
                        digest if isinstance(digest, str) else None,
                    ),
                ),
                checks=_checks(memories),
            )
        except FieldsError as error:
            self.problems += error.problems
            return None

    def _mapping(self, content: Any, key: str) -> Mapping[str, Any]:
        found = content.get(key) if isinstance(content, Mapping) else None
        if isinstance(found, Mapping):
            return found
        self.problems.append(f"{key}: must be a mapping, got {type(found).__name__}.")
        return {}

    def _descriptions(self, model: Any, key: str, node: str) -> dict[str, Mapping[str, Any]]:
        found = model.get(key) if isinstance(model, Mapping) else None
        if not isinstance(found, list):
            self.problems.append(f"{node}.{key}: must be a list.")
            return {}
        named: dict[str, Mapping[str, Any]] = {}
        for index, entry in enumerate(found):
            name = entry.get("name") if isinstance(entry, Mapping) else None
            if not isinstance(name, str) or name in named:
                self.problems.append(f"{node}.{key}[{index}]: must have a name of its own.")
            else:
                named[name] = entry
        return named

    def _feedback(
        self, pipeline: Any, node: str, taken: Mapping[str, Any], returned: Mapping[str, Any]
    ) -> Iterator[tuple[str, str]]:
        """Outputs that come back as inputs, in the order of the inputs."""
        flows = pipeline.get("feedback_flow") if isinstance(pipeline, Mapping) else None
        pairs = {}
        for source, targets in (flows or {}).items() if isinstance(flows, Mapping | None) else ():
            output = str(source).removeprefix(f"{node}/")
            for target in targets if isinstance(targets, list) else ():
                pairs[str(target).removeprefix(f"{node}/")] = output
        for name in [name for name in taken if name in pairs]:
            if pairs[name] in returned:
                yield pairs[name], name
        for name, output in pairs.items():
            if name not in taken or output not in returned:
                self.problems.append(f"feedback_flow: {output} -> {name} joins nothing.")

    def _spec(self, name: str, description: Mapping[str, Any], where: str) -> TensorSpec | None:
        place = f"{where}.{name}"
        connection = description.get("isaaclab_connection")
        if where == "memory":
            connection = f"memory:{name}"
        elif not isinstance(connection, str):
            if where == "outputs":
                connection = f"obs:{name}"  # a debugging output
            else:
                self.problems.append(
                    f"{place}: has no isaaclab_connection, so that nothing says where to read it."
                )
                return None
        if message := connection_problem(connection):
            self.problems.append(f"{place}: {message}")
            return None
        shape = _numbers(description.get("shape"))
        if not shape:
            self.problems.append(f"{place}: has no shape.")
            return None
        axes = _axes(description.get("element_names"))
        names = axes[0] if axes and len(shape) > 1 and len(axes[0]) == shape[1] else None
        kind = description.get("kind")
        try:
            return TensorSpec(
                name=tensor_name(connection),
                connection=connection,
                dtype=description.get("dtype"),  # type: ignore[arg-type]  # checked by TensorSpec
                shape=shape[1:],
                kind=str(kind) if kind is not None else None,
                quaternion_order=_quaternion_order(connection, axes, shape[1:]),
                element_names=names,
            )
        except FieldsError as error:
            self.problems += [f"{place}: {problem}" for problem in error.problems]
            return None

    def _file(self, model: Any, folder: Path) -> str | None:
        file = self._mapping(model, "parameters").get("model_path")
        if not isinstance(file, str) or Path(file).suffix not in _SUFFIXES:
            self.problems.append(
                f"model_path: must end in {', '.join(_SUFFIXES)} to be run here, got {file!r}."
            )
            return None
        if not (folder / file).is_file():
            self.problems.append(f"model_path: {file!r} does not lie next to {self._name}.")
        return file

    def _batch(self, taken: Mapping[str, Mapping[str, Any]]) -> int:
        sizes = {_numbers(description.get("shape"))[:1] for description in taken.values()}
        if len(sizes) == 1 and (size := sizes.pop()):
            return size[0]
        self.problems.append("inputs: must all have the same leading dimension, the rows.")
        return 1

    def _versions(self) -> dict[str, str]:
        system = self._content.get("system information")
        if not isinstance(system, Mapping):
            return {}
        return {
            package: str(system[key])
            for package, key in (("leapp", "leapp version"), ("torch", "torch version"))
            if key in system
        }


def _numbers(shape: Any) -> tuple[int, ...]:
    if isinstance(shape, str):
        try:
            shape = json.loads(shape)
        except (ValueError, RecursionError):
            return ()
    if isinstance(shape, list) and all(type(size) is int for size in shape):
        return tuple(shape)
    return ()


def _axes(names: Any) -> list[tuple[str, ...]]:
    """Names by axis after the rows; a flat list names the first."""
    if not isinstance(names, list) or not names:
        return []
    axes = names if isinstance(names[0], list) else [names]
    return [tuple(map(str, axis)) for axis in axes if isinstance(axis, list)]


def _quaternion_order(
    connection: str, axes: list[tuple[str, ...]], shape: tuple[int, ...]
) -> QuaternionOrder | None:
    """From the names of the last axis, or else from the property's; 3.0's are ``xyzw``."""
    for axis in axes:
        if {"qw", "qx", "qy", "qz"} <= set(axis):
            return "wxyz" if axis.index("qw") < axis.index("qx") else "xyzw"
    named_so = any(word in connection for word in ("quat", "pose", "root_state", "link_state"))
    wide = bool(shape) and (shape[-1] == 4 or shape[-1] >= 7)
    return "xyzw" if named_so and wide and connection.startswith(("state:", "sensor:")) else None


def _memory_kind(name: str) -> Any:
    return "last_action" if "last_action" in name else "history"


def _checks(memories: Mapping[str, Memory]) -> tuple[Check, ...]:
    histories = [name for name, memory in memories.items() if memory.kind == "history"]
    if not histories:
        return ()
    return (
        Check(
            "memories",
            "skipped",
            detail=f"{', '.join(histories)} begin with zeros: the export has only the values of "
            "the moment at which it was made, and no rule to fill them after a reset.",
        ),
    )
