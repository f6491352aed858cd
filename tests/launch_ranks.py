"""Runs a function in several processes, as ``torchrun --standalone`` runs a program.

    python -m tests.launch_ranks tests.some.module:function 2 [ARGUMENT ...] [--max-restarts 20]

The agent is torchrun's own. Its processes are forked from one that has imported everything, and not
started anew, since twenty restarts of that take a minute. Prints what each one returned, as JSON.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import uuid
from pathlib import Path

import torch
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

REPOSITORY = Path(__file__).parents[1]


def run_ranks(function, num_ranks, *arguments, max_restarts=0, timeout_s=300):
    """What each rank returned from a function ``"module:name"`` called with these arguments."""
    options = [*map(str, arguments), "--max-restarts", str(max_restarts)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.launch_ranks", function, str(num_ranks), *options],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        cwd=REPOSITORY,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-8000:]
    return json.loads(done.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("function")
    parser.add_argument("num_ranks", type=int)
    parser.add_argument("arguments", nargs="*")
    parser.add_argument("--max-restarts", type=int, default=0)
    given = parser.parse_args()
    module, _, name = given.function.partition(":")
    torch.set_num_threads(1)
    function = getattr(importlib.import_module(module), name)
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=given.num_ranks,
        run_id=str(uuid.uuid4()),
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=given.max_restarts,
        monitor_interval=0.02,
        start_method="fork",
    )
    answers = elastic_launch(config, function)(*given.arguments)
    print(json.dumps([answers[rank] for rank in range(given.num_ranks)]))


if __name__ == "__main__":
    main()
