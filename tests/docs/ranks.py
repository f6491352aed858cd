"""``torchrun`` for commands of holdstep, whose ranks are forked: each import takes seconds.

    python -m tests.docs.ranks --nproc-per-node 2 -m holdstep train ...

Options are read by torchrun's own parser, and its own agent starts the ranks.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence

import torch
from torch.distributed.launcher.api import elastic_launch
from torch.distributed.run import config_from_args, parse_args

from holdstep.cli import main


def launch(arguments: Sequence[str]) -> int:
    """Run a command of holdstep in several ranks.

    Returns:
        The first exit status that is not 0, or else 0.
    """
    given = parse_args(list(arguments))
    assert given.training_script == "holdstep", given.training_script
    # A free port instead of the usual one.
    given.rdzv_backend, given.rdzv_endpoint = "c10d", "localhost:0"
    config, _, _ = config_from_args(given)
    config = dataclasses.replace(config, start_method="fork", monitor_interval=0.02)
    statuses = elastic_launch(config, main)(given.training_script_args)
    return next((status for status in statuses.values() if status != 0), 0)


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(launch(sys.argv[1:]))
