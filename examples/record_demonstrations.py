"""Make a dataset of demonstrations with scripts and slow planners; stop and start it as you like.

    python examples/record_demonstrations.py                  # 8 demonstrations by 4 arms
    python examples/record_demonstrations.py --num-demonstrations 20   # 12 more
    torchrun --nproc-per-node 4 examples/record_demonstrations.py --out runs/four

The scripts are those of scripted_pick.py: plan, reach, plan, grasp, plan, lift. Here their hands
are shaky, so that some of them miss, and only picks that succeed are kept. While one arm's planner
thinks, that arm stands still, and the others are simulated and recorded. What is recorded is safe
as soon as its episode has ended: kill this process whenever you like, and start it again.
"""

from __future__ import annotations

import functools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from rich.console import Console
from scripted_pick import ABOVE, CLOSED, GRASP, LIFTED, OPEN, Arm, Planner

from holdstep.cli.quiet import quiet_simulators
from holdstep.envs import make
from holdstep.wrappers import EnvHandle, SuspendOnWait
from holdstep.wrappers.record import Dataset, Generated, generate


@dataclass
class Arguments:
    """How many demonstrations, of what, and where to."""

    num_demonstrations: int = 8
    """Picks that succeed, in the dataset, those of earlier runs included."""

    num_envs: int = 4
    """Arms that are simulated at once."""

    out: Path = Path("runs/demonstrations")
    """Folder of the dataset."""

    shakiness: float = 0.008
    """Standard deviation of the error with which a hand is placed [m]."""

    think_s: float = 0.2
    """The time that one plan takes for the first arm [s]; for each next arm, 50% more."""

    seed: int = 0
    """Of the cubes and of the hands."""


@dataclass(frozen=True)
class Attempt:
    """What came of one attempt.

    Attributes:
        lifted: whether the cube hangs in the air at the end.
        missed_by: how far the hand was placed from the cube [m].
    """

    lifted: bool
    missed_by: float


async def pick(
    handle: EnvHandle, *, sim: Any, planner: Planner, pool: ThreadPoolExecutor, shakiness: float
) -> Attempt:
    """The script: one attempt of one arm."""
    arm = Arm(handle, sim, planner, pool)
    await arm.move(arm.qpos()[:6], OPEN, num_steps=10)  # meanwhile the cube falls to the ground
    (x, y, _), yaw = arm.cube(), arm.cube_yaw()
    # Where the cube lies decides how the hand shakes, so that attempts can be repeated.
    error = shakiness * np.random.default_rng(abs(hash((x, y)))).normal(size=2)
    x, y = x + error[0], y + error[1]

    above = await arm.plan(x, y, ABOVE, yaw)
    await arm.move(above, OPEN, num_steps=40)
    around = await arm.plan(x, y, GRASP, yaw)
    await arm.move(around, OPEN, num_steps=25)
    await arm.move(around, CLOSED, num_steps=15)
    up = await arm.plan(x, y, LIFTED, yaw)
    await arm.move(up, CLOSED, num_steps=40)

    lifted = float(arm.cube()[2]) > 0.1 and not handle.done
    return Attempt(lifted, float(np.linalg.norm(error)))


def main(arguments: Arguments) -> Generated[Attempt]:
    """Record the demonstrations, print what came of them, and return it."""
    torch.set_num_threads(1)
    console = Console()
    with console.status("building the env"), quiet_simulators():
        env = make(
            "mjlab:Mjlab-Lift-Cube-Yam",
            num_envs=arguments.num_envs,
            device="cpu",
            seed=arguments.seed,
        )
        # Each row draws from a stream of its own: what an arm does depends on its seed alone, and
        # not on when the other arms' planners were ready.
        suspending = SuspendOnWait(env, level="skip", rng="per_env")
    planner = Planner(env.backend_env.sim.mj_model, think_s=arguments.think_s)
    with ThreadPoolExecutor(arguments.num_envs) as pool, quiet_simulators():
        script = functools.partial(
            pick, sim=env.backend_env, planner=planner, pool=pool, shakiness=arguments.shakiness
        )
        try:
            generated = generate(
                suspending,
                script,
                arguments.out,
                arguments.num_demonstrations,
                succeeded=lambda attempt: attempt.lifted,
                seed=arguments.seed,
                progress=True,
                keys=["obs", "actions", "processed_actions", "rewards", "states"],
                attributes={"shakiness": arguments.shakiness},
            )
        finally:
            suspending.close()

    attempts = generated.return_values
    console.print(
        f"{generated.num_added} of {len(attempts)} attempts succeeded; "
        f"{generated.num_demonstrations} demonstrations are in {arguments.out}"
    )
    with Dataset(arguments.out) as dataset:
        console.print(f"{len(dataset)} episodes, {dataset.total_steps} steps:", *dataset.shapes())
    return generated


if __name__ == "__main__":
    main(tyro.cli(Arguments))
