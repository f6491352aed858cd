"""The rungs above the discovery: a pipeline becomes files, and the files are checked."""

from __future__ import annotations

import contextlib
import dataclasses
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from holdstep.errors import WiringError
from holdstep.wrappers.export.backends.base import Graph, Signature
from holdstep.wrappers.export.contract_file import read_contract, write_contract
from holdstep.wrappers.export.model_runner import load
from holdstep.wrappers.export.validation.blame import baked_term
from holdstep.wrappers.export.validation.parity import ParityCheck
from holdstep.wrappers.export.validation.replay import Replayer
from holdstep.wrappers.export.validation.wiring import check_wiring

if TYPE_CHECKING:
    import torch

    from holdstep.wrappers.export.backends.base import Backend
    from holdstep.wrappers.export.contract import Contract, ModelFile
    from holdstep.wrappers.export.pipeline import Pipeline
    from holdstep.wrappers.export.report import ExportReport
    from holdstep.wrappers.export.validation.ladder import Ladder

TOLERANCE = 1e-5
"""Largest scaled difference that is allowed by default of methods that are not exact."""


class Climb:
    """Takes a pipeline up the ladder, from the purity check to the wiring.

    Args:
        pipeline: of an env and a policy.
        backend: writes the files.
        folder: where they and the contract are written.
        report: of the export; gets what is found.
        ladder: times the rungs, and writes them down.
        limit: largest scaled difference that is allowed.
        seed: of resets and random inputs.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        backend: Backend,
        folder: Path,
        report: ExportReport,
        ladder: Ladder,
        limit: float,
        seed: int,
    ) -> None:
        self._models: tuple[ModelFile, ...] = ()
        self._pipeline = pipeline
        self._backend = backend
        self._folder = folder
        self._report = report
        self._ladder = ladder
        self._limit = limit
        self._seed = seed
        self._modules: dict[Graph, torch.nn.Module] = {"policy": pipeline.module}
        if pipeline.apply_module is not None:
            self._modules["apply"] = pipeline.apply_module

    def run(self, num_steps: int, *, validate: bool) -> None:
        """Climb, and write the contract."""
        if validate:
            self._purity()
        else:
            self._ladder.skip("purity", "validate=False")
        traced = self._trace()
        self._replay(traced)
        self._write()
        if validate:
            self._parity(num_steps, traced["policy"])
            self._write()
            self._wiring()
        else:
            self._ladder.skip("parity", "validate=False")
            self._ladder.skip("wiring", "validate=False")
        self._write()

    def _purity(self) -> None:
        with self._ladder.rung("purity") as rung:
            self._report.purity = self._pipeline.purity(seed=self._seed)
            self._report.purity.raise_for_failure()
            rung.detail = f"{self._report.purity.num_terms} terms read only what they declare."

    def _trace(self) -> dict[Graph, tuple[torch.Tensor, ...]]:
        traced: dict[Graph, tuple[torch.Tensor, ...]] = {}
        with self._ladder.rung("trace") as rung, _noted(self._report):
            for graph, module in self._modules.items():
                traced[graph] = self._example_inputs(graph)
                signature = Signature.of(self._pipeline.contract, graph)
                model = self._backend.export(module, traced[graph], signature, self._folder)
                self._models += (model,)
            sizes = [(self._folder / model.file).stat().st_size for model in self._models]
            rung.detail = f"{sum(sizes) / 1e3:.0f} kB by {self._backend.method}."
        return traced

    def _example_inputs(self, graph: Graph) -> tuple[torch.Tensor, ...]:
        if graph == "apply":
            inputs = self._pipeline.example_apply_inputs()
        else:
            inputs = self._pipeline.example_inputs()
        return tuple(tensor[: self._backend.max_rows] for tensor in inputs)

    def _replay(self, traced: dict[Graph, tuple[torch.Tensor, ...]]) -> None:
        replayer = Replayer(
            self._folder,
            self._pipeline.contract,
            self._pipeline.env.device,
            limit=self._limit,
            blame=partial(baked_term, self._pipeline),
            seed=self._seed,
        )
        with self._ladder.rung("replay") as rung:
            rung.limit = self._limit
            replays = [
                replayer.replay(model, self._modules[model.graph], traced[model.graph])
                for model in self._models
            ]
            self._models = tuple(replay.model for replay in replays)
            rung.value = max(replay.max_diff for replay in replays)
            baked = {model.batch for model in self._models if model.batch is not None}
            rows = f"rows: {max(baked)}" if baked else "any number of rows"
            rung.detail = f"The files equal the pipeline; they run for {rows}."

    def _parity(self, num_steps: int, traced: tuple[torch.Tensor, ...]) -> None:
        with self._ladder.rung("parity") as rung:
            env = self._pipeline.env
            limit = self._limit
            if limit == 0 and any(
                model.batch not in (None, env.num_envs) for model in self._models
            ):
                limit = TOLERANCE  # one by one, rows are added up in another order
            rung.limit = limit
            runner = load(self._folder, None, env.num_envs, env.device, allow_jit=True)
            check = ParityCheck(self._pipeline, runner, traced_inputs=traced, limit=limit)
            parity = check.run(num_steps, seed=self._seed + 1)
            self._report.parity = parity
            rung.value = parity.max_scaled_diff
            rung.detail = (
                f"{parity.num_steps} steps of {parity.num_rows} rows, {parity.num_resets} resets; "
                f"largest difference {parity.max_abs_diff:.3g}, of {parity.worst}."
            )

    def _wiring(self) -> None:
        with self._ladder.rung("wiring") as rung:
            contract = read_contract(self._folder)
            if contract != self._contract():
                raise WiringError(
                    "contract.yaml does not say what was written into it. Please report this."
                )
            check_wiring(self._pipeline, contract)
            rung.detail = (
                f"{len(contract.inputs)} inputs and {len(contract.writes)} targets are at the env."
            )

    def _contract(self) -> Contract:
        checks = tuple(rung.as_check() for rung in self._report.rungs)
        return dataclasses.replace(self._pipeline.contract, models=self._models, checks=checks)

    def _write(self) -> None:
        self._report.contract = self._contract()
        write_contract(self._report.contract, self._folder)


@contextlib.contextmanager
def _noted(report: ExportReport) -> Iterator[None]:
    """Warnings of the exporters become part of the report, in a ``with`` block."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield
        finally:
            for warning in caught:
                text = " ".join(str(warning.message).split())
                note = f"{text} ({Path(warning.filename).name}:{warning.lineno})"
                if note not in report.warnings:
                    report.warnings.append(note)
