"""Isaac Lab's own exports (LEAPP files with ``isaaclab_connection``), read as contracts.

Isaac Lab 3.0's exporter writes ``<task>.yaml`` next to its model, and says by connection what each
tensor is at the simulator. What it does not say is given by who reads it: the clock.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from holdstep.documents.aliases import load_with_aliases
from holdstep.documents.nodes import MAX_BYTES, UnreadableError
from holdstep.documents.problems import FieldsError, shown
from holdstep.errors import ContractError
from holdstep.wrappers.export.contract import CONTRACT_VERSION, Contract, ModelFile
from holdstep.wrappers.export.isaaclab_fields import as_text, shape_of
from holdstep.wrappers.export.isaaclab_tensors import TensorReader

_BY_POSITION = {".onnx": False, ".pt": True, ".pt2": True}
"""Whether a file's tensors are told apart by their position; by its suffix."""


def read_isaaclab_export(
    path: str | Path, *, physics_dt: float, decimation: int, task: str | None = None
) -> Contract:
    """The contract of a policy that Isaac Lab 3.0 exported.

    Memories start at zeros: the values that such an export starts with are those of the moment at
    which it was made. Gains are outputs to look at, and not written: the model only repeats those
    of the training, and hosts have actuators of their own, which may not be the physics engine's.

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
            return load_with_aliases(opened.read(MAX_BYTES + 1))
    except OSError as error:
        raise ContractError(f"{path} can't be read", [str(error.strerror or error)]) from error
    except UnreadableError as error:
        line = f"line {error.located.line}: " if error.located.line else ""
        raise ContractError(f"{path} can't be read", [f"{line}{error}"]) from error
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
        read = {name: entry for name, entry in taken.items() if name not in memory_inputs}
        written = {name: entry for name, entry in returned.items() if name not in feedback}
        num_rows = self._num_rows(read)
        tensors = TensorReader(num_rows)
        inputs = [tensors.input(name, entry) for name, entry in read.items()]
        outputs = [tensors.output(name, entry) for name, entry in written.items()]
        memories = [tensors.memory(name, taken[name]) for name in feedback.values()]
        file = self._file(model, folder)
        self.problems += tensors.problems
        if self.problems or file is None:
            return None
        names_in, names_out = (*read, *feedback.values()), (*written, *feedback)
        by_position = _BY_POSITION[Path(file).suffix]
        row_dims = tensors.memory_row_dims
        parameters = self._mapping(model, "parameters")
        try:
            model_file = ModelFile(
                file=file,
                backend=f"leapp-{as_text(parameters.get('backend'))}",
                graph="policy",
                inputs=names_in,
                outputs=names_out,
                batch=num_rows,
                sha256=as_text(parameters.get("sha256sum")),
                input_order=tuple(taken) if by_position and names_in != tuple(taken) else (),
                output_order=tuple(returned)
                if by_position and names_out != tuple(returned)
                else (),
                memory_row_dims=tuple(row_dims) if any(row_dims) else (),
            )
            return Contract(
                version=CONTRACT_VERSION,
                task=task or str(node),
                simulator="isaaclab",
                created_with=self._versions(),
                step_dt=physics_dt * decimation,
                physics_dt=physics_dt,
                decimation=decimation,
                traced_num_envs=num_rows,
                inputs=tuple(filter(None, inputs)),
                memories=tuple(filter(None, memories)),
                outputs=tuple(filter(None, outputs)),
                models=(model_file,),
                checks=tensors.checks(),
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
        for source, targets in flows.items() if isinstance(flows, Mapping) else ():
            for target in targets if isinstance(targets, list) else ():
                if isinstance(source, str) and isinstance(target, str):
                    pairs[target.removeprefix(f"{node}/")] = source.removeprefix(f"{node}/")
                else:
                    self.problems.append("feedback_flow: must join texts, the names of tensors.")
        for name in [name for name in taken if name in pairs]:
            if pairs[name] in returned:
                if "isaaclab_connection" in returned[pairs[name]]:
                    self.problems.append(
                        f"feedback_flow: {pairs[name]} is written to the host, and a memory can't "
                        "be as well."
                    )
                yield pairs[name], name
        for name, output in pairs.items():
            if name not in taken or output not in returned:
                self.problems.append(f"feedback_flow: {output} -> {name} joins nothing.")

    def _file(self, model: Any, folder: Path) -> str | None:
        file = self._mapping(model, "parameters").get("model_path")
        if not isinstance(file, str) or Path(file).suffix not in _BY_POSITION:
            self.problems.append(
                f"model_path: must end in {', '.join(_BY_POSITION)} to be run here, got "
                f"{shown(file)}."
            )
            return None
        if not (folder / file).is_file():
            self.problems.append(f"model_path: {file!r} does not lie next to {self._name}.")
        return file

    def _num_rows(self, read: Mapping[str, Mapping[str, Any]]) -> int:
        sizes = {shape_of(description.get("shape"))[:1] for description in read.values()}
        if len(sizes) == 1 and (size := sizes.pop()):
            return size[0]
        self.problems.append("inputs: must all have the same leading dimension, the rows.")
        return 1

    def _versions(self) -> dict[str, str]:
        system = self._content.get("system information")
        if not isinstance(system, Mapping):
            return {}
        return {
            package: version
            for package, key in (("leapp", "leapp version"), ("torch", "torch version"))
            if (version := as_text(system.get(key))) is not None
        }
