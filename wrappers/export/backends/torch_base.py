"""What torch's own exporters have in common."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from holdstep.wrappers.export.backends.base import (
    SUFFIXES,
    Method,
    Signature,
    fresh_copies,
    model_file,
    without_deprecations,
)

if TYPE_CHECKING:
    from holdstep.wrappers.export.contract import ModelFile


@dataclass(frozen=True)
class Job:
    """A graph to be written.

    Attributes:
        module: positional tensors in, a tuple of tensors out.
        inputs: to trace it with; a tracer may do with them what it wants.
        signature: what the module takes and returns.
        file: to be written.
    """

    module: torch.nn.Module
    inputs: tuple[torch.Tensor, ...]
    signature: Signature
    file: Path


class TorchBackend(abc.ABC):
    """One of torch's exporters: one file for each graph."""

    name: str = "torch"
    max_rows: int | None = None
    method: Method

    def export(
        self,
        module: torch.nn.Module,
        example_inputs: Sequence[torch.Tensor],
        signature: Signature,
        folder: Path,
    ) -> ModelFile:
        """Write the file; see :meth:`Backend.export`."""
        file = folder / f"{signature.graph}{SUFFIXES[self.method]}"
        with torch.no_grad(), without_deprecations():
            batch = self._write(Job(module, fresh_copies(example_inputs), signature, file))
        return model_file(self, signature, folder, file, batch=batch)

    @abc.abstractmethod
    def _write(self, job: Job) -> int | None:
        """Write the file.

        Returns:
            The number of rows that the file is for; None where that is open, or the file does not
            say.

        Raises:
            TraceError: the method can't do it.
            MissingExtraError: a package is not installed.
        """
