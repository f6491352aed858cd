"""LEAPP: model files with its own description beside them, which its own runtime can run."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from holdstep.errors import ConfigError, HoldstepError, TraceError
from holdstep.extras import require
from holdstep.wrappers.export.backends.base import (
    SUFFIXES,
    Method,
    Signature,
    first_lines,
    fresh_copies,
    model_file,
    without_deprecations,
)
from holdstep.wrappers.export.backends.source_paths import forget_source_of_script

if TYPE_CHECKING:
    from holdstep.wrappers.export.contract import ModelFile, TensorSpec

LEAPP_FOLDER = "leapp"
"""Where its files lie in the export's folder: models, a YAML, the states' first values."""


class LeappBackend:
    """Writes what ``leapp.compile_graph`` does: a model, and a YAML for LEAPP's own runtime.

    LEAPP is one process-wide object with effects of its own. Here it gets copies of tensors, since
    it changes the class of those that it is given; it is always stopped, and what it leaves behind
    (TorchScript switched on, log handlers, the traced graph) is put back as it was. The number of
    rows is baked in: one, so that a model fits one robot, and several are computed one by one.
    LEAPP's validation is left out, since it replays traced inputs only; ours comes after.

    Args:
        method: one of its ``export_with``.

    Raises:
        MissingExtraError: leapp is not installed.
    """

    name: str = "leapp"
    method: Method
    max_rows: int | None = 1

    def __init__(self, method: Method) -> None:
        purpose = "The leapp backend"
        self._leapp = require("leapp", extra="export", purpose=purpose)
        self._manager = require(
            "leapp.export_manager", extra="export", purpose=purpose
        ).ExportManager
        self.method = method

    def export(
        self,
        module: torch.nn.Module,
        example_inputs: Sequence[torch.Tensor],
        signature: Signature,
        folder: Path,
    ) -> ModelFile:
        """Write the files; see :meth:`Backend.export`."""
        graph = signature.graph
        root = folder / LEAPP_FOLDER
        try:
            with without_deprecations(), self._session(graph, root), torch.no_grad():
                self._trace(module, fresh_copies(example_inputs), signature)
                self._leapp.stop()
                self._leapp.compile_graph(visualize=False, validate=False)
                self._check_inputs(signature)
        except HoldstepError:
            raise
        except Exception as error:  # of many classes, mostly Exception itself
            raise TraceError(
                f"LEAPP can't export the pipeline with {self.method}: {first_lines(error)} Take "
                "another method, or backend='torch'."
            ) from error
        (root / graph / "log.txt").unlink(missing_ok=True)
        file = root / graph / f"{graph}{SUFFIXES[self.method]}"
        if file.suffix == ".pt":
            forget_source_of_script(file)
        # TorchScript does not say whether the number is baked in; the replay finds out.
        batch = None if file.suffix == ".pt" else len(example_inputs[0])
        entry = model_file(self, signature, folder, file, batch=batch)
        return _with_onnx_names(entry, signature, file) if file.suffix == ".onnx" else entry

    def _check_inputs(self, signature: Signature) -> None:
        """LEAPP drops inputs on which nothing depends, of which ONNX files only can tell."""
        node = self._manager().get_nodes()[signature.graph]
        kept = {description.name.removesuffix("_in") for description in node.inputs}
        dropped = [name for name in signature.input_names if name not in kept]
        if dropped and not self.method.startswith("onnx"):
            raise TraceError(
                f"LEAPP's trace does not depend on {', '.join(dropped)}, though a term reads it. "
                "Either a term decided something by its value, which would be baked in, or the "
                "value is of no use; then take an ONNX method, or backend='torch'."
            )

    def _trace(
        self, module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], signature: Signature
    ) -> None:
        annotate, graph = self._leapp.annotate, signature.graph
        num_inputs, num_outputs = len(signature.inputs), len(signature.outputs)
        given = _as_tuple(
            annotate.input_tensors(graph, self._semantics(signature.inputs, inputs[:num_inputs]))
        )
        names = [memory.spec.name for memory in signature.memories]
        if names:
            states = dict(zip(names, inputs[num_inputs:], strict=True))
            given += _as_tuple(annotate.state_tensors(graph, states))
        # A tensor that is returned twice would be one output only.
        returned = tuple(tensor.clone() for tensor in module(*given))
        if names:
            updates = dict(zip(names, returned[num_outputs:], strict=True))
            annotate.update_state(graph, updates)
        annotate.output_tensors(
            graph,
            self._semantics(signature.outputs, returned[:num_outputs]),
            export_with=self.method,
        )

    def _semantics(self, specs: Sequence[TensorSpec], tensors: Sequence[torch.Tensor]) -> list[Any]:
        return [
            self._leapp.TensorSemantics(
                name=spec.name,
                ref=tensor,
                kind=spec.kind,
                element_names=None if spec.element_names is None else list(spec.element_names),
                # Under this name Isaac Lab's deployment looks for it.
                extra={"isaaclab_connection": spec.connection},
            )
            for spec, tensor in zip(specs, tensors, strict=True)
        ]

    @contextmanager
    def _session(self, graph: str, root: Path) -> Iterator[None]:
        manager = self._manager
        if manager.is_interpret_graph_enabled():
            raise ConfigError(
                "A LEAPP session of somebody else is running in this process; there can be only "
                "one. Call leapp.stop() first."
            )
        root.mkdir(parents=True, exist_ok=True)
        logger = logging.getLogger("leapp")
        handlers, propagate, level = list(logger.handlers), logger.propagate, logger.level
        jit_was_enabled = torch.jit._state._enabled.enabled
        notes = _Notes()
        try:
            self._leapp.start(graph, save_path=str(root))
            logger.handlers[-1].setLevel(logging.CRITICAL + 1)  # the console's
            logger.addHandler(notes)
            logger.propagate = False
            yield
        finally:
            if manager.is_interpret_graph_enabled():
                self._leapp.stop()
            torch.jit._state._enabled.enabled = jit_was_enabled
            for handler in set(logger.handlers) - set(handlers):
                logger.removeHandler(handler)
                handler.close()
            logger.handlers, logger.propagate = handlers, propagate
            logger.setLevel(level)
            manager().reset_nodes()  # it would keep the traced graph until the next session
            for text in notes.texts:
                warnings.warn(f"LEAPP: {text}", stacklevel=2)


class _Notes(logging.Handler):
    """What LEAPP warns of."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        # Its own levels, above the standard ones, are for where it put its files.
        if record.levelno in (logging.WARNING, logging.ERROR):
            self.texts.append(record.getMessage())


def _as_tuple(tensors: Any) -> tuple[torch.Tensor, ...]:
    return tensors if isinstance(tensors, tuple) else (tensors,)


def _with_onnx_names(entry: ModelFile, signature: Signature, file: Path) -> ModelFile:
    """The entry with the names that LEAPP gave to memories, which must differ in ONNX files."""
    import dataclasses

    onnx = require("onnx", extra="export", purpose="Writing ONNX files")
    graph = onnx.load(str(file), load_external_data=False).graph
    taken = {tensor.name for tensor in graph.input}
    inputs = [name if name in taken else _renamed(name, "_in", taken) for name in entry.inputs]
    outputs = tuple(tensor.name for tensor in graph.output)
    expected = [spec.name for spec in signature.outputs]
    if outputs[: len(expected)] != tuple(expected) or len(outputs) != len(entry.outputs):
        raise TraceError(f"LEAPP changed the outputs to {', '.join(outputs)}; take another method.")
    return dataclasses.replace(entry, inputs=tuple(inputs), outputs=outputs)


def _renamed(name: str, suffix: str, taken: set[str]) -> str:
    return f"{name}{suffix}" if f"{name}{suffix}" in taken else name
