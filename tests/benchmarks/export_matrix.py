"""Every task, kind of policy, backend and method: how far the exported file is from the env.

    python tests/benchmarks/export_matrix.py --backends torch leapp

The tests run a part of this (tests/wrappers/export/test_export_matrix.py). Prints one JSON line per
combination, and at the end one per backend and method, which docs/benchmarks/export_matrix.jsonl
keeps; takes about twenty minutes on two cores.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro

sys.path.insert(0, str(Path(__file__).parents[2]))

from holdstep.errors import ExportError
from holdstep.wrappers.export import export_policy
from tests.benchmarks.measure import machine
from tests.wrappers.export.matrix import POLICIES, TASKS, make_env, make_policy
from tests.wrappers.export.tiny import METHODS


@dataclass
class Arguments:
    """What to export."""

    tasks: tuple[str, ...] = TASKS
    """mjlab tasks."""

    policies: tuple[str, ...] = POLICIES
    """Kinds of actors, all with random weights."""

    backends: tuple[str, ...] = ("torch", "leapp")
    """What writes the files."""

    methods: tuple[str, ...] = METHODS
    """How."""

    steps: int = 50
    """Env steps that are compared, with resets in between."""


def lines_of(arguments: Arguments) -> Iterator[dict[str, Any]]:
    """One line for each combination."""
    for task in arguments.tasks:
        for kinds in (("history",), tuple(set(arguments.policies) - {"history"})):
            for kind in sorted(set(kinds) & set(arguments.policies)):
                for backend in arguments.backends:
                    yield from _of_policy(task, kind, backend, arguments)


def _of_policy(
    task: str, kind: str, backend: str, arguments: Arguments
) -> Iterator[dict[str, Any]]:
    # LEAPP's files are for one row.
    num_envs = 3 if backend == "torch" else 1
    folder = Path(tempfile.mkdtemp())
    with contextlib.redirect_stdout(io.StringIO()):
        env = make_env(task, kind, folder, num_envs=num_envs)
    policy = make_policy(env, kind)
    try:
        for method in arguments.methods:
            line = {"benchmark": "export case", "task": task, "policy": kind}
            line |= {"backend": backend, "method": method}
            try:
                with contextlib.redirect_stdout(io.StringIO()):
                    report = export_policy(
                        env,
                        policy,
                        folder / method,
                        backend=backend,  # type: ignore[arg-type]  # checked there
                        method=method,
                        num_steps=arguments.steps,
                    )
            except ExportError as error:
                yield line | {"max_diff": None, "error": str(error)[:200]}
                continue
            assert report.parity is not None
            yield line | {
                "max_diff": report.parity.max_scaled_diff,
                "limit": report.parity.limit,
                "rows": "any" if report.contract.models[0].batch is None else num_envs,  # type: ignore[union-attr]
                "trace_s": round(next(r.seconds for r in report.rungs if r.name == "trace"), 2),
            }
    finally:
        env.close()


def summaries(lines: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """One line for each backend and method: the worst of its combinations."""
    kinds = dict.fromkeys((line["backend"], line["method"]) for line in lines)
    for backend, method in kinds:
        same = [line for line in lines if (line["backend"], line["method"]) == (backend, method)]
        passed = [line for line in same if line["max_diff"] is not None]
        worst = max(passed, key=lambda line: line["max_diff"], default=same[0])
        yield {
            "benchmark": "export matrix",
            "backend": backend,
            "method": method,
            "tasks": ", ".join(dict.fromkeys(line["task"] for line in same)),
            "cases": len(same),
            "failed": len(same) - len(passed),
            "max_diff": None if worst["max_diff"] is None else float(f"{worst['max_diff']:.3g}"),
            "worst": f"{worst['task']}, {worst['policy']}",
            "limit": worst.get("limit"),
            "rows": " or ".join(sorted({str(line["rows"]) for line in passed})),
        } | {key: same[0][key] for key in machine(torch.device("cpu"))}


def main(arguments: Arguments) -> list[dict[str, Any]]:
    """Export and print."""
    torch.set_num_threads(1)
    lines = []
    for line in lines_of(arguments):
        lines.append(line | machine(torch.device("cpu")))
        print(json.dumps(lines[-1]), flush=True)
    summed_up = list(summaries(lines))
    for line in summed_up:
        print(json.dumps(line))
    return summed_up


if __name__ == "__main__":
    main(tyro.cli(Arguments))
