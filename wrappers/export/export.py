"""One call from an env and a policy to a validated folder that runs without either."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from holdstep.envs.adapters.preserve import noted_generators
from holdstep.errors import ConfigError
from holdstep.wrappers.export.backends import make_backend
from holdstep.wrappers.export.climb import TOLERANCE, Climb
from holdstep.wrappers.export.out_folder import check_out_folder, out_folder
from holdstep.wrappers.export.pipeline import build_pipeline
from holdstep.wrappers.export.report import ExportReport
from holdstep.wrappers.export.validation.ladder import Ladder

if TYPE_CHECKING:
    from holdstep.envs.contract import TorchVectorEnv
    from holdstep.wrappers.export.contract import Contract

EXACT_METHODS = frozenset({"jit-trace", "exported-program"})
"""Methods whose files run the very kernels that the env runs."""


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
        climb = Climb(pipeline, chosen, folder, report, ladder, tolerance, seed)
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


def _summary(contract: Contract) -> str:
    parts = [
        f"{len(contract.inputs)} inputs",
        f"{len(contract.memories)} memories",
        f"{len(contract.outputs)} outputs",
        f"{len(contract.constants)} constants",
    ]
    apply = ", and an apply graph" if contract.has_apply_graph else ""
    return f"{', '.join(parts)}{apply}."
