"""Plan with the simulator itself: branch one row into many, look ahead, go back, act.

    python examples/planning_with_fork.py            # about 20 s on one CPU core
    python examples/planning_with_fork.py --help

Row 0 is the cart-pole that counts; it starts hanging down and has to be swung up. The other rows
are its imagination. To plan, row 0 is suspended and copied over the others with `fork`, which then
try different forces. The best one is what row 0 does next, while the others are suspended. Because
a fork has the whole state of its source, what was predicted is what happens, bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import tyro
from rich.console import Console
from rich.progress import track

from holdstep.cli.quiet import quiet_simulators
from holdstep.envs import make
from holdstep.wrappers import SuspendOnWait

HOLD = 4
"""Steps for which a force is held, and after which is planned anew (0.2 s)."""


@dataclass
class Arguments:
    """How far and how widely to look."""

    num_futures: int = 48
    """Rows in which futures are tried."""

    horizon: int = 6
    """How many forces a future has, of 0.2 s each."""

    num_plans: int = 30
    """How often to plan. After each plan, its first force is applied."""

    seed: int = 0
    """Of the starting state and the forces that are tried."""


@dataclass(frozen=True)
class Outcome:
    """What came of it.

    Attributes:
        mean_reward: of the row that counts, per second; 1 is upright and at rest all the time.
        upright: cosine of the pole's angle at the end.
        predicted: rewards of the chosen futures' first forces, float32 ``[steps]``.
        obtained: rewards that the row then got, float32 ``[steps]``.
        stood_still: whether the row's state was the same after each look ahead as before, bit for
            bit.
    """

    mean_reward: float
    upright: float
    predicted: torch.Tensor
    obtained: torch.Tensor
    stood_still: bool


class Planner:
    """Random shooting around the plan before, in the rows that don't count.

    Args:
        env: row 0 counts; all others are suspended between two plans.
        horizon: forces in a plan.
        seed: of the forces that are tried.
    """

    def __init__(self, env: SuspendOnWait, *, horizon: int, seed: int) -> None:
        self.env = env
        self.futures = torch.arange(1, env.num_envs)
        self.stood_still = True
        self._generator = torch.Generator().manual_seed(seed)
        self._plan = torch.zeros(horizon)

    def plan(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The force to apply next, and the rewards that it will bring, float32 ``[HOLD]``."""
        env = self.env
        env.resume(self.futures)
        env.suspend(0)
        env.fork(0, self.futures)
        before = env.snapshot(0)
        forces = self._candidates()
        actions = torch.zeros(env.num_envs, 1)
        rewards = []
        for force in forces.unbind(1):
            actions[1:, 0] = force
            for _ in range(HOLD):
                _, reward, *_ = env.step(actions)
                rewards.append(reward[1:])
        after = env.snapshot(0)
        self.stood_still &= all(
            torch.equal(value, after.rows[name]) for name, value in before.rows.items()
        )
        env.suspend(self.futures)
        env.resume(0)

        returns = torch.stack(rewards, dim=1)
        best = int(returns.sum(dim=1).argmax())
        self._plan = forces[best]
        return forces[best, 0], returns[best, :HOLD]

    def _candidates(self) -> torch.Tensor:
        """Forces to try, float32 ``[futures, horizon]``."""
        ahead = torch.cat((self._plan[1:], torch.zeros(1)))  # what is left of the plan before
        noise = torch.randn(len(self.futures), len(ahead), generator=self._generator)
        noise[0] = 0.0  # one future goes on as planned
        noise[1::2] *= 0.3  # half of them change the plan a little, the others a lot
        return (ahead + noise).clamp(-1.0, 1.0)


def main(arguments: Arguments) -> Outcome:
    """Swing the pole up, print how that went, and return it."""
    torch.set_num_threads(1)
    console = Console()
    with console.status("building the env"), quiet_simulators():
        backend = make(
            "mjlab:Mjlab-Cartpole-Swingup",
            num_envs=arguments.num_futures + 1,
            device="cpu",
            seed=arguments.seed,
        )
        env = SuspendOnWait(backend, level="skip")
        obs, _ = env.reset()
    try:
        planner = Planner(env, horizon=arguments.horizon, seed=arguments.seed)
        env.suspend(planner.futures)
        predicted, obtained = [], []
        with quiet_simulators():
            for _ in track(range(arguments.num_plans), "planning", console=console, transient=True):
                force, rewards = planner.plan()
                predicted.append(rewards)
                for _ in range(HOLD):
                    obs, reward, *_ = env.step(force.repeat(env.num_envs, 1))
                    obtained.append(reward[0])
    finally:
        env.close()
    outcome = Outcome(
        mean_reward=float(torch.stack(obtained).mean()) / (env.step_dt or 1.0),
        upright=float(obs["actor"][0, 1]),
        predicted=torch.cat(predicted),
        obtained=torch.stack(obtained),
        stood_still=planner.stood_still,
    )
    exact = torch.equal(outcome.predicted, outcome.obtained)
    console.print(
        f"mean reward {outcome.mean_reward:.2f} of 1; the cosine of the pole's angle at the end is "
        f"{outcome.upright:+.2f}; what was predicted {'is' if exact else 'IS NOT'} what happened, "
        "bit for bit"
    )
    return outcome


if __name__ == "__main__":
    main(tyro.cli(Arguments))
