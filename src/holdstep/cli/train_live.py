"""The table that ``holdstep train --live`` shows."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdstep.envs import TorchVectorEnv
    from holdstep.policies.rsl_rl import TrainingResult, TrainingSettings


def train_with_table(
    settings: TrainingSettings,
    *,
    wrap: Callable[[TorchVectorEnv], TorchVectorEnv] | None = None,
) -> TrainingResult:
    """Train with a table of what each layer of the stack does and costs; below it, how it goes.

    The table stands on standard error. With ``quiet=False``, what the simulator and rsl_rl print
    runs by above it.

    Args:
        settings: what to train.
        wrap: puts wrappers around the env that was made, and returns the stack to train on.
    """
    from holdstep.cli.live import start_table, watched
    from holdstep.cli.quiet import quiet_simulators
    from holdstep.cli.train import status_of
    from holdstep.policies.rsl_rl import Iteration, train

    stack: TorchVectorEnv
    num_iterations = num_done = 0

    # The table redirects standard output too: it begins before that is caught, and ends after it.
    with contextlib.ExitStack() as at_end:
        table = start_table(f"building {settings.env_id} (compiles kernels the first time)")
        at_end.callback(table.close)

        def keep_stack(env: TorchVectorEnv) -> TorchVectorEnv:
            nonlocal stack
            stack = env if wrap is None else wrap(env)
            return stack

        def on_start(iterations: int) -> None:
            nonlocal num_iterations
            num_iterations = iterations
            table.caption = f"iteration 0 of {iterations}"
            # Not before: of a run that can't begin there would be an empty table above its error.
            at_end.enter_context(watched(stack, table))

        def on_iteration(iteration: Iteration) -> None:
            nonlocal num_done
            num_done += 1
            table.caption = f"iteration {num_done} of {num_iterations}, {status_of(iteration)}"

        with quiet_simulators(verbose=not settings.quiet):
            return train(settings, wrap=keep_stack, on_start=on_start, on_iteration=on_iteration)
