"""Exports a policy with Isaac Lab 3.0's own exporter, and records what its env wrote.

    python -m tests.isaaclab.own_export OUT METHOD

A program, since that exporter switches TorchScript off and patches the env for good. Its steps are
those of Isaac Lab's script, for a network with random weights instead of a checkpoint.
"""

from __future__ import annotations

import contextlib
import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

NUM_STEPS = 6
STATE = ("root_link_pose_w", "root_link_vel_w", "joint_pos", "joint_vel")


def task_cfg() -> Any:
    """Go2 without noise and randomisation; its command stays, and it remembers three frames."""
    from holdstep.envs.adapters.isaaclab import tasks
    from tests.isaaclab.hard_tasks import GO2, quiet_go2

    cfg = tasks.with_presets(tasks.load_env_cfg(GO2), None)
    quiet_go2(cfg)
    for name, term in list(vars(cfg.events).items()):
        if getattr(term, "mode", None) == "startup":
            setattr(cfg.events, name, None)
    return cfg


def main(out: Path, method: str) -> None:
    """Export and record."""
    torch.jit._state.disable()
    from tests.isaaclab import standins

    standins.write_standins(out / "assets")
    standins.redirect_nucleus(out / "assets")  # before anything else of Isaac Lab's is imported
    import leapp
    from isaaclab.utils.leapp import patch_env_for_export

    from holdstep.envs import make
    from tests.isaaclab.hard_tasks import GO2

    env = make(f"isaaclab:{GO2}", num_envs=1, device="cpu", seed=0, cfg=task_cfg())
    core = env.backend_env
    torch.manual_seed(0)
    width = env.single_observation_space["policy"].shape[0]
    layers = torch.nn.Linear(width, 32), torch.nn.ELU(), torch.nn.Linear(32, 12)
    policy = torch.nn.Sequential(*layers)
    core.reset(seed=1)
    core.reset(seed=2)
    core.step(torch.zeros(1, 12))  # derived quantities are those of before a reset until then
    # A contract's histories begin with zeros; those of the env with the first frame, many times.
    for group in core.observation_manager._group_obs_term_history_buffer.values():
        for history in group.values():
            history._buffer.zero_()
    # The exporter looks inside a Gymnasium wrapper, as Isaac Lab's script has one around the env.
    patch_env_for_export(env._env, export_method=method, required_obs_groups={"policy"})
    leapp.start(GO2, save_path=str(out), max_cached_io=NUM_STEPS)
    obs = core.observation_manager.compute(update_history=True)
    robot = core.scene["robot"]
    recorded: dict[str, list[torch.Tensor]] = {}
    for _ in range(NUM_STEPS):
        now = {name: getattr(robot.data, name).torch for name in STATE}
        now["command"] = core.command_manager.get_command("base_velocity")
        for name, value in now.items():
            recorded.setdefault(name, []).append(value.detach().clone())
        with torch.inference_mode():
            obs, *_ = core.step(policy(obs["policy"]))
        target = robot.data.joint_pos_target.torch.detach().clone()
        recorded.setdefault("target", []).append(target)
    leapp.stop()
    leapp.compile_graph(visualize=False, validate=False)
    arrays = {name: torch.stack(values).numpy() for name, values in recorded.items()}
    np.savez(out / "recorded.npz", origins=core.scene.env_origins.numpy(), **arrays)


if __name__ == "__main__":
    with contextlib.redirect_stdout(io.StringIO()):
        main(Path(sys.argv[1]), sys.argv[2])
