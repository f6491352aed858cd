"""One call from an env and a policy to a validated folder that runs without either."""

from __future__ import annotations

import contextlib
import dataclasses
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from holdstep.envs.adapters.preserve import noted_generators
from holdstep.errors import ConfigError, WiringError
from holdstep.wrappers.export.backends import make_backend
from holdstep.wrappers.export.backends.base import Backend, Graph, Signature
from holdstep.wrappers.export.contract_file import read_contract, write_contract
from holdstep.wrappers.export.model_runner import load
from holdstep.wrappers.export.out_folder import check_out_folder, out_folder
from holdstep.wrappers.export.pipeline import Pipeline, build_pipeline
from holdstep.wrappers.export.report import ExportReport
from holdstep.wrappers.export.validation.blame import baked_term
from holdstep.wrappers.export.validation.ladder import Ladder
from holdstep.wrappers.export.validation.parity import ParityCheck
from holdstep.wrappers.export.validation.replay import Replayer
from holdstep.wrappers.export.validation.wiring import check_wiring

if TYPE_CHECKING:
    from holdstep.envs.contract import TorchVectorEnv
    from holdstep.wrappers.export.contract import Contract, ModelFile

EXACT_METHODS = frozenset({"jit-trace", "exported-program"})
"""Methods whose files run the very kernels that the env runs."""
TOLERANCE = 1e-5
"""Largest scaled difference that is allowed of the other methods by default."""


def export_policy(
    env: TorchVectorEnv,
    policy: Any,
    out_dir: str | Path,
    *,
    backend: Literal["leapp", "torch"] = "leapp",
    method: str | None = None,
    obs_keys: str | Sequence[str] | None = None,
    randomized: Literal["nominal", "row"] = "nominal",
    row: int = 0,
    delays: Literal["keep", "off"] = "keep",
    allow_host_reads: bool = False,
    validate: bool = True,
    num_steps: int = 50,
    tolerance: float | None = None,
    seed: int = 0,
    overwrite: bool = False,
    on_rung: Callable[[str], None] = lambda name: None,
) -> ExportReport:
    """Export a policy together with the env's observation terms and action terms.

    The folder appears when all is written and checked, or not at all. The validation resets and
    steps the env below its wrappers, and resets it with them at the end, so that its episodes begin
    anew; otherwise the env, its managers, torch and the global random number generators are
    afterwards as they were before, also after an error.

    Args:
        env: a manager-based env of mjlab or Isaac Lab, or one that marks what it reads and writes
            (:mod:`~holdstep.wrappers.export.markers`); wrapped or not, with at least two rows.
        policy: a ``torch.nn.Module``, an :class:`~holdstep.policies.RslRlPolicy`, or a callable,
            from observations by group, ``[N, ...]`` each, to actions ``[N, A]``.
        out_dir: the folder to be made.
        backend: ``"leapp"``, or torch's own exporters.
        method: ``"onnx-dynamo"`` (the default), ``"onnx-torchscript"``, ``"jit-script"``,
            ``"jit-trace"`` or ``"exported-program"``.
        obs_keys: the observation groups that the policy gets: with one name that group's tensor
            itself, with several a dictionary. None lets it take what it wants from all.
        randomized: which value is baked in of a constant that is randomised per env.
        row: the env whose values are taken where no nominal one is known.
        delays: whether observation terms that lag by a fixed number of steps still do.
        allow_host_reads: warn of values that leave tensors for Python (``if``, ``.item()``) instead
            of refusing them. The model then does what was done in the traced step, and the
            validation finds out whether that is ever wrong.
        validate: climb the whole ladder; otherwise only as far as a file.
        num_steps: env steps of the parity check.
        tolerance: the largest difference that is allowed, relative to values that are larger than
            1; by default 0 for jit-trace and exported-program, and :data:`TOLERANCE` otherwise.
        seed: of the resets and random inputs of the validation.
        overwrite: replace an earlier export in ``out_dir``.
        on_rung: called with the name of each rung of the validation as it begins.

    Raises:
        ExportError: a subclass of it, for the rung that failed, naming the term that is to blame;
            its ``report`` has the rungs so far.
        ConfigError: an argument can't be used.
        MissingExtraError: the backend's packages are not installed.
    """
    out_dir = Path(out_dir)
    check_out_folder(out_dir, overwrite=overwrite)
    if num_steps < 1:
        raise ConfigError(f"num_steps must be at least 1, got {num_steps}.")
    chosen = make_backend(backend, method)
    if tolerance is None:
        tolerance = 0.0 if chosen.method in EXACT_METHODS else TOLERANCE
    report = ExportReport(out_dir, chosen.name, chosen.method)
    ladder = Ladder(report, on_rung=on_rung)
    with contextlib.ExitStack() as stack:
        # An env that is reset with a seed seeds what a trainer explores with.
        stack.callback(noted_generators(env.device))
        if validate:
            stack.callback(env.reset)  # wrappers have not seen what happened to the env
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        folder = stack.enter_context(out_folder(out_dir, overwrite=overwrite))
        if validate:
            _begin(env, seed)
        with ladder.rung("discover") as rung:
            pipeline = stack.enter_context(
                build_pipeline(
                    env,
                    policy,
                    obs_keys=obs_keys,
                    randomized=randomized,
                    row=row,
                    delays=delays,
                    allow_host_reads=allow_host_reads,
                )
            )
            report.contract = pipeline.contract
            report.warnings += pipeline.warnings
            rung.detail = _summary(pipeline.contract)
        climb = _Climb(pipeline, chosen, folder, report, ladder, tolerance, seed)
        climb.run(num_steps, validate=validate)
    report.files = tuple(sorted(path for path in out_dir.rglob("*") if path.is_file()))
    return report


def _begin(env: TorchVectorEnv, seed: int) -> None:
    """A reset, and a few steps of noise.

    So that nothing is traced in the one state where much is zero; and the purity check, which
    begins with a reset of its own, does not come through the very states in which it began.
    """
    env.reset(seed=seed)  # wrappers end their episodes, and let go of rows that they hold
    env = env.unwrapped  # no step is theirs
    generator = torch.Generator().manual_seed(seed + 1)
    shape = env.action_space.shape
    assert shape is not None
    for _ in range(2):
        env.step(torch.randn(shape, generator=generator).to(env.device))


class _Climb:
    """The rungs above the discovery."""

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
        self.models: tuple[ModelFile, ...] = ()
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
                self.models += (model,)
            sizes = [(self._folder / model.file).stat().st_size for model in self.models]
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
                for model in self.models
            ]
            self.models = tuple(replay.model for replay in replays)
            rung.value = max(replay.max_diff for replay in replays)
            baked = {model.batch for model in self.models if model.batch is not None}
            rows = f"rows: {max(baked)}" if baked else "any number of rows"
            rung.detail = f"The files equal the pipeline; they run for {rows}."

    def _parity(self, num_steps: int, traced: tuple[torch.Tensor, ...]) -> None:
        with self._ladder.rung("parity") as rung:
            env = self._pipeline.env
            limit = self._limit
            if limit == 0 and any(model.batch not in (None, env.num_envs) for model in self.models):
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
        return dataclasses.replace(self._pipeline.contract, models=self.models, checks=checks)

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


def _summary(contract: Contract) -> str:
    parts = [
        f"{len(contract.inputs)} inputs",
        f"{len(contract.memories)} memories",
        f"{len(contract.outputs)} outputs",
        f"{len(contract.constants)} constants",
    ]
    apply = ", and an apply graph" if contract.has_apply_graph else ""
    return f"{', '.join(parts)}{apply}."
