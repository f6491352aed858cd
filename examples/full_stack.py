"""Everything in one stack: train, evaluate, record, export and deploy a task.

    python examples/full_stack.py                       # about two minutes on two CPU cores
    python examples/full_stack.py --env-id isaaclab:Isaac-Cartpole-v0 --device cuda:0

Rows are interrupted at random while the policy learns, as they are where some of them wait for a
planner or a person; `train` sees that the stack can suspend rows, and learns only from what they
did. The episodes that are evaluated are recorded as they happen. What was learnt is exported with
the observation and action terms around it, checked against the env, and run without the env's
managers.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import tyro
from rich.console import Console

import holdstep
from holdstep.cli.quiet import quiet_simulators
from holdstep.cli.train import train_with_progress
from holdstep.envs import DeploymentEnv, IsaacLabHost, MjlabHost, RslRlVecEnv, make
from holdstep.monitor import LiveTable, watch
from holdstep.policies import RslRlPolicy
from holdstep.policies.rsl_rl import TrainingSettings
from holdstep.wrappers import RecordEpisodes, SuspendOnWait, VectorWrapper
from holdstep.wrappers.export import export_policy
from holdstep.wrappers.record import Dataset

if TYPE_CHECKING:
    from holdstep.envs import TorchVectorEnv
    from holdstep.envs.deployment.host import Host


@dataclass
class Arguments:
    """What to run, and for how long."""

    env_id: str = "mjlab:Mjlab-Cartpole-Balance"
    """A manager-based task of mjlab or Isaac Lab."""

    num_envs: int = 64
    """Rows that are simulated at once."""

    iterations: int = 60
    """Iterations of training."""

    num_episodes: int = 32
    """Episodes that are evaluated and recorded."""

    episode_s: float | None = None
    """Time limit of an episode [s]; the task's own by default."""

    suspended_share: float = 0.2
    """How much of the time a row stands still while the policy learns."""

    device: str = "cpu"
    """Where it is simulated."""

    seed: int = 42
    """Seed of simulation, networks and sampling."""

    out: Path = Path("runs/full_stack")
    """Folder of everything that is made."""


class RandomWaits(VectorWrapper):
    """Now and then, a row waits for something that takes up to ten steps of the others."""

    def __init__(self, env: SuspendOnWait, share: float, seed: int) -> None:
        super().__init__(env)
        self._suspender = env
        # A row that begins to wait in a step with this probability waits 5.5 steps on average.
        self._probability = share / (5.5 * (1 - share))
        self._generator = torch.Generator().manual_seed(seed)
        self._left = torch.zeros(self.num_envs, dtype=torch.int64)

    def step(self, actions: torch.Tensor) -> Any:
        """Let some rows wait, others go on, and step."""
        self._left -= 1
        self._suspender.resume(self._left == 0)
        starts = torch.rand(self.num_envs, generator=self._generator) < self._probability
        starts &= self._left <= 0
        starts[0] = False  # somebody must be left to step
        self._suspender.suspend(starts)
        waits = torch.randint(1, 11, (self.num_envs,), generator=self._generator)
        self._left = torch.where(starts, waits, self._left.clamp(min=0))
        return self.env.step(actions)


def main(arguments: Arguments) -> Path:
    """Run everything; returns the report's path."""
    torch.set_num_threads(1)  # the batches are small
    console = Console()

    # 1. Train. The stack can suspend rows, so `train` takes MaskedPPO instead of rsl_rl's PPO.
    overrides = {} if arguments.episode_s is None else {"episode_length_s": arguments.episode_s}
    settings = TrainingSettings(
        env_id=arguments.env_id,
        num_envs=arguments.num_envs,
        device=arguments.device,
        seed=arguments.seed,
        iterations=arguments.iterations,
        log_root=arguments.out,
        env_overrides=overrides,
    )

    def interrupted(env: TorchVectorEnv) -> TorchVectorEnv:
        return RandomWaits(SuspendOnWait(env), arguments.suspended_share, arguments.seed)

    trained = train_with_progress(settings, console=console, wrap=interrupted)
    run_dir = trained.run_dir.path

    # 2. The stack to evaluate in: rows that have no episode left stand still, all others are
    #    recorded.
    with console.status("building the stack"), quiet_simulators():
        env = make(
            arguments.env_id,
            num_envs=arguments.num_envs,
            device=arguments.device,
            seed=1,
            **overrides,
        )
        view = RslRlVecEnv(env)
        policy = RslRlPolicy.load(trained.checkpoint, view, env_id=arguments.env_id)
        stack = RecordEpisodes(SuspendOnWait(env, rng="per_env"), run_dir / "episodes")
    try:
        # 3. Evaluate and record at once, and watch what the layers do.
        with watch(stack, [LiveTable(console)], every_s=1.0), quiet_simulators():
            result = holdstep.evaluate(stack, policy, num_episodes=arguments.num_episodes, seed=0)
        stack.flush()
        stats = holdstep.stats(stack).scalars()

        # 4. Export: observation terms, policy and action terms, compared with the env.
        with console.status("exporting"), quiet_simulators():
            export = export_policy(
                stack, policy, run_dir / "export", backend="torch", method="onnx-torchscript"
            )
    finally:
        stack.close()

    # 5. Deploy: the same model without managers, on a host of the same simulator.
    with (
        console.status("deploying"),
        quiet_simulators(),
        DeploymentEnv(host_of(arguments.env_id, arguments.device), export.out_dir) as robot,
    ):
        robot.reset()
        for _ in range(100):
            targets = robot.step()

    # 6. Report.
    assert export.parity is not None
    with Dataset(run_dir / "episodes") as dataset:
        recorded = len(dataset)
    report = {
        "checkpoint": str(trained.checkpoint),
        "training_return": trained.iterations[-1].mean_return,
        "mean_return": result.mean_return,
        "episodes": len(result.episodes),
        "recorded_episodes": recorded,
        "export_parity": export.parity.max_scaled_diff,
        "deployed_targets": {name: value.tolist() for name, value in targets.items()},
        "stats": stats,
    }
    file = run_dir / "report.json"
    file.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    console.print(f"mean return {result.mean_return:.2f} over {len(result.episodes)} episodes")
    console.print(f"recorded episodes: {recorded}, in {run_dir / 'episodes'}", markup=False)
    console.print(f"exported model: differs from the env by {report['export_parity']:.1e} at most")
    console.print(f"report: {file}", markup=False)
    return file


def host_of(env_id: str, device: str) -> Host:
    """Where the export of a task is run."""
    backend, _, task = env_id.partition(":")
    if backend == "isaaclab":
        return IsaacLabHost(task, device=device)
    return MjlabHost(task, device=device)


if __name__ == "__main__":
    main(tyro.cli(Arguments))
