"""``holdstep play``."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

if TYPE_CHECKING:
    from rich.console import Console

    from holdstep.envs.views.rsl_rl import RslRlVecEnv
    from holdstep.policies.episodes import FirstEpisodes
    from holdstep.policies.rsl_rl import RslRlPolicy


@dataclass
class Play:
    """Play a checkpoint: the first episode of every row, a video of it, or a window.

    A checkpoint can't run code here: one that holds more than weights is refused. Under torchrun,
    each rank plays its own rows and prints its own result.

    Example: holdstep play mjlab:Mjlab-Cartpole-Balance --checkpoint runs/.../model_119.pt
    """

    env_id: Annotated[str, tyro.conf.Positional]
    """Id of the env; `holdstep envs` lists them."""

    checkpoint: Path
    """A model_*.pt file, a run's folder (its latest checkpoint), or an experiment's (its latest
    run on this task)."""

    num_envs: int = 16
    """Rows; each plays one episode."""

    device: str | None = None
    """Device, such as cpu or cuda:0; by default this process's GPU, or the CPU without one."""

    seed: int = 0
    """Seed of the reset; under torchrun, other ranks than the first have seeds of their own."""

    max_steps: int | None = None
    """Stop after so many steps; by default the time limit of an episode, or 1000 without one."""

    video: Path | None = None
    """Write an MP4 of the first row to this path."""

    viewer: Literal["native", "viser"] | None = None
    """Open a window (native) or serve a page (viser) instead; mjlab tasks only."""

    set: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """A setting of the env, env.PATH=VALUE; may be given several times. For mjlab, env.play=true
    takes the task's play configuration (no noise, no pushes, often endless episodes)."""

    verbose: bool = False
    """Show what the simulator prints."""

    def run(self) -> int:
        """Play, and print the returns."""
        from rich.console import Console

        from holdstep.cli.quiet import quiet_simulators
        from holdstep.cli.settings import parse_settings
        from holdstep.distributed import Rank
        from holdstep.envs import make
        from holdstep.envs.views.rsl_rl import RslRlVecEnv
        from holdstep.errors import ConfigError
        from holdstep.policies.rsl_rl import RslRlPolicy
        from holdstep.policies.rsl_rl.checkpoint import find_checkpoint
        from holdstep.policies.rsl_rl.run_dir import RunDir
        from holdstep.policies.rsl_rl.trained_config import trained_config

        console = Console(emoji=False)
        env_settings, _ = parse_settings(self.set)
        # All that can be wrong is reported before a simulator is built, which takes long.
        if self.max_steps is not None and self.max_steps < 1:
            raise ConfigError(f"--max-steps must be at least 1, got {self.max_steps}.")
        if self.video is not None and self.video.suffix != ".mp4":
            raise ConfigError(f"A video's path must end in .mp4, got {str(self.video)!r}.")
        checkpoint = find_checkpoint(self.checkpoint, env_id=self.env_id)
        rank = Rank.of_environment()
        seed = rank.seed(self.seed)
        with ExitStack() as stack:
            with console.status(f"building {self.env_id}"), quiet_simulators(self.verbose):
                env = make(
                    self.env_id,
                    num_envs=self.num_envs,
                    device=rank.device(self.device),
                    seed=seed,
                    render_mode="rgb_array" if self.video else None,
                    **env_settings,
                )
                stack.callback(env.close)
                config = trained_config(
                    RunDir.of_checkpoint(checkpoint), env_id=self.env_id, env=env
                )
                view = RslRlVecEnv(env, clip_actions=config.get("clip_actions"))
                policy = RslRlPolicy.load(checkpoint, view, env_id=self.env_id)
            if self.viewer is not None:
                _open_viewer(view, policy, self.viewer)
                return 0
            with quiet_simulators(self.verbose):
                episodes = self._play(view, policy, console, seed=seed)
        _print_returns(episodes, console)
        if self.video is not None:
            console.print(f"video: {self.video}", markup=False)
        return 0

    def _play(
        self, view: RslRlVecEnv, policy: RslRlPolicy, console: Console, *, seed: int
    ) -> FirstEpisodes:
        from rich.progress import Progress

        from holdstep.policies.episodes import play_first_episodes
        from holdstep.video import VideoWriter

        env = view.env
        max_steps = self.max_steps or env.max_episode_length or 1000
        if self.max_steps is None and max_steps > 100_000:
            max_steps = 1000  # a play configuration's endless episode
        with ExitStack() as stack:
            video = None
            if self.video is not None:
                fps = 1 / env.step_dt if env.step_dt else 30
                video = stack.enter_context(VideoWriter(self.video, fps=fps))
            progress = stack.enter_context(Progress(console=console, transient=True))
            bar = progress.add_task("playing", total=max_steps)

            def on_step(step: int, num_ended: int) -> None:
                progress.update(bar, completed=step, description=f"playing, {num_ended} ended")
                if video is not None:
                    video.add(env.render())

            return play_first_episodes(env, policy, max_steps=max_steps, seed=seed, on_step=on_step)


def _open_viewer(view: RslRlVecEnv, policy: RslRlPolicy, kind: Literal["native", "viser"]) -> None:
    from holdstep.envs.adapters.mjlab import MjlabEnv
    from holdstep.errors import CapabilityError

    adapter = view.env.unwrapped
    if not isinstance(adapter, MjlabEnv):
        raise CapabilityError(
            f"Only mjlab has a window here; {type(adapter).__name__} has none. "
            "Write a video instead: --video out.mp4"
        )
    adapter.open_viewer(policy, kind=kind)


def _print_returns(episodes: FirstEpisodes, console: Console) -> None:
    from rich.table import Table

    ended = episodes.ended_mask
    table = Table(show_header=False)
    table.add_row("episodes ended", f"{int(ended.sum())} of {ended.numel()}")
    table.add_row("mean return", f"{episodes.returns.mean().item():.2f}")
    low, high = (bound.item() for bound in episodes.returns.aminmax())
    table.add_row("lowest, highest return", f"{low:.2f}, {high:.2f}")
    table.add_row("mean length", f"{episodes.lengths.float().mean().item():.1f} env steps")
    console.print(table)
