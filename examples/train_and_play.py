"""Train a simulated cart-pole with rsl_rl through holdstep, play the result, write a report.

    python examples/train_and_play.py            # about two minutes on two CPU cores
    python examples/train_and_play.py --help

What is simulated is real physics (MuJoCo-Warp, by mjlab) in 64 rows at once. rsl_rl's PPO, with the
configuration that mjlab registers for the task, sees a vector env like any other. In the end one
row is suspended for a while, as if it waited for something, and drawn beside one that goes on; and
the policy is run as a slow one that decides on eight steps at once, under two schedulers. What was
trained is exported with everything around it, compared with the env, and deployed without the env's
managers.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import tyro
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from holdstep.cli.quiet import quiet_simulators
from holdstep.cli.train import train_with_progress
from holdstep.envs import DeploymentEnv, MjlabHost, RslRlVecEnv, check_vector_env, make
from holdstep.policies import (
    AnyTrigger,
    ChunkRequest,
    ChunkResult,
    ChunkRunner,
    ChunkSpec,
    Cohort,
    RslRlPolicy,
    play_first_episodes,
)
from holdstep.policies.rsl_rl import TrainingSettings
from holdstep.policies.rsl_rl.plots import plot_reward_curve, plot_suspended_row
from holdstep.timeline import draw_png, read_timeline
from holdstep.wrappers import SuspendOnWait
from holdstep.wrappers.export import export_policy

if TYPE_CHECKING:
    from holdstep.envs import TorchVectorEnv
    from holdstep.policies.rsl_rl.run_dir import RunDir


@dataclass
class Arguments:
    """What to train, and for how long."""

    env_id: str = "mjlab:Mjlab-Cartpole-Balance"
    """Any id that `holdstep envs` lists."""

    num_envs: int = 64
    """Rows that are simulated at once."""

    iterations: int = 140
    """Iterations of collecting 32 steps in each row and learning from them."""

    seed: int = 42
    """Seed of simulation, networks and sampling."""

    out: Path = Path("runs/demo")
    """Where the run's folder is made."""


def main(arguments: Arguments) -> Path:
    """Train, play, report; returns the report's path."""
    # Networks and batches are small: one thread is as fast as two, and does not stall when other
    # processes keep the cores busy. On a CPU, the physics runs on one core anyway.
    torch.set_num_threads(1)
    console = Console()
    started = time.perf_counter()

    # 1. Train. `train` makes the env by its id, puts the rsl_rl view around it and runs PPO.
    settings = TrainingSettings(
        env_id=arguments.env_id,
        num_envs=arguments.num_envs,
        device="cpu",
        seed=arguments.seed,
        iterations=arguments.iterations,
        log_root=arguments.out,
    )
    result = train_with_progress(settings, console=console)
    assert result.run_dir is not None
    assert result.checkpoint is not None

    # 2. Play the checkpoint, in new rows, without exploration: one episode in each row.
    with console.status("building the env to play in"), quiet_simulators():
        env = make(arguments.env_id, num_envs=arguments.num_envs, device="cpu", seed=1)
        view = RslRlVecEnv(env)
        policy = RslRlPolicy.load(result.checkpoint, view, env_id=arguments.env_id)
    try:
        with quiet_simulators(), Progress(console=console, transient=True) as progress:
            bar = progress.add_task("playing", total=env.max_episode_length)
            played = play_first_episodes(
                env,
                policy,
                max_steps=env.max_episode_length or 1000,
                seed=1,
                on_step=lambda step, _: progress.update(bar, completed=step),
            )
            # 3. The env that was trained on keeps the contract that wrappers rely on.
            check_vector_env(env, num_steps=20)
            # 4. One row stands still for a while, as if it waited for something.
            suspended_row, stood_still = play_with_a_suspended_row(env, policy, result.run_dir)
            # 5. The same policy as a slow one, which is asked for chunks of actions.
            chunks_per_s, timeline = play_in_chunks(env, policy, result.run_dir)
            # 6. The policy with everything around it, as one model; run without the managers.
            deployed = {}
            if arguments.env_id == Arguments.env_id:
                deployed = export_and_deploy(env, policy, result.run_dir)
    finally:
        env.close()

    # 7. Report.
    trained_steps = sum(i.num_steps for i in result.iterations)
    trained_s = sum(i.collect_s + i.learn_s for i in result.iterations)
    report = {
        "env_id": arguments.env_id,
        "num_envs": arguments.num_envs,
        "iterations": len(result.iterations),
        "env_steps": trained_steps,
        "env_steps_per_s": round(trained_steps / trained_s),
        "training_return": result.iterations[-1].mean_return,
        "played_episodes": int(played.ended_mask.sum()),
        "mean_return": round(played.returns.mean().item(), 2),
        "lowest_return": round(played.returns.min().item(), 2),
        "seconds": round(time.perf_counter() - started, 1),
        "checkpoint": str(result.checkpoint),
        "reward_curve": str(plot_reward_curve(result.run_dir)),
        "suspended_row": str(suspended_row),
        "stood_still": stood_still,
        "chunked_env_steps_per_s": chunks_per_s,
        "timeline": str(timeline),
        **deployed,
    }
    file = result.run_dir.path / "report.json"
    file.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")

    table = Table("what", "value", title=f"holdstep demo: {arguments.env_id}")
    for name, value in report.items():
        table.add_row(name.replace("_", " "), str(value), end_section=name == "seconds")
    table.columns[1].overflow = "fold"
    console.print(table)
    console.print(f"report: {file}", markup=False)
    return file


def play_with_a_suspended_row(
    env: TorchVectorEnv, policy: RslRlPolicy, run_dir: RunDir
) -> tuple[Path, bool]:
    """Suspend row 0 for steps 4 to 43 of 80, and draw it beside row 1, which goes on.

    Returns:
        The plot's path, and whether row 0 observed the same all the while, bit for bit.
    """
    suspending = SuspendOnWait(env)
    obs, _ = suspending.reset(seed=2)
    policy.reset(None)
    seen, active = [], []
    for step in range(80):
        if step == 4:
            suspending.suspend(0)
        if step == 44:
            suspending.resume(0)
        obs, _, terminated, truncated, info = suspending.step(policy(obs))
        policy.reset(terminated | truncated)
        seen.append(next(iter(obs.values())))
        active.append(info["active"])
    row = torch.stack(seen)[:, 0]
    stood_still = torch.equal(row[4:44], row[3].expand_as(row[4:44]))
    file = plot_suspended_row(run_dir, torch.stack(seen), torch.stack(active), row=0, other=1)
    return file, stood_still


class SlowPolicy:
    """The trained policy, if an inference took 100 ms and decided on eight steps."""

    def __init__(self, policy: RslRlPolicy, action_dim: int) -> None:
        self.spec = ChunkSpec(chunk_length=8, action_dim=action_dim)
        self._policy = policy

    def infer(self, request: ChunkRequest) -> ChunkResult:
        """One action per row, held for eight steps."""
        time.sleep(0.1)
        return ChunkResult(actions=self._policy(request.obs)[:, None].expand(-1, 8, -1))

    def reset(self, env_ids: torch.Tensor, episode_ids: torch.Tensor) -> None:
        """Nothing is remembered."""


def play_in_chunks(
    env: TorchVectorEnv, policy: RslRlPolicy, run_dir: RunDir
) -> tuple[dict[str, int], Path]:
    """Run the policy in chunks, while episodes end at different times, and draw what rows did.

    Returns:
        Env-steps per second by scheduler, and the path of the plot of the second one.
    """
    policy.reset(None)
    slow = SlowPolicy(policy, env.action_space.shape[1])
    per_s = {}
    trace = run_dir.path / "timeline.jsonl"
    suspending = SuspendOnWait(env)
    for scheduler in (AnyTrigger(), Cohort()):  # what loops usually do, and what they could
        with ChunkRunner(suspending, slow, scheduler, timeline=trace) as runner:
            runner.reset(seed=3)
            limit = env.max_episode_length or 1000
            env.episode_length_buf = limit - 1 - 3 * torch.arange(env.num_envs) % limit
            for _ in range(64):
                runner.step()
            per_s[type(scheduler).__name__] = round(runner.stats().env_steps_per_s)
    return per_s, draw_png(read_timeline(trace), trace.with_suffix(".png"))


def export_and_deploy(env: TorchVectorEnv, policy: RslRlPolicy, run_dir: RunDir) -> dict[str, Any]:
    """Export the trained policy, and let it balance a pole for 200 steps without the env.

    Returns:
        For the report: the export's folder, how far it was from the env in 50 steps with resets,
        and the largest angle of the pole in the last 100 deployed steps [rad].
    """
    out = run_dir.path / "export"
    report = export_policy(env, policy, out, backend="torch", method="onnx-torchscript")
    task = (env.unwrapped.task_id or "").removeprefix("mjlab:")
    angles = []
    host = MjlabHost(task)
    with DeploymentEnv(host, out) as robot:
        robot.reset()
        for step in range(200):
            robot.step()
            if step >= 100:
                angles.append(host.env.scene["cartpole"].data.joint_pos[0, 1].abs().item())
    assert report.parity is not None
    return {
        "exported": str(report.out_dir),
        "export_parity": report.parity.max_abs_diff,
        "deployed_largest_angle": round(max(angles), 3),
    }


if __name__ == "__main__":
    main(tyro.cli(Arguments))
