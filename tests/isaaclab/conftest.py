"""Isaac Lab 3 without Isaac Sim: real tasks on Newton physics, with stand-ins for their assets.

Run with an interpreter that has it: ``python -m pytest tests/isaaclab``. Elsewhere each test is
skipped, with the reason.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
from pathlib import Path
from typing import Any

import pytest
import torch

from holdstep.envs import make
from holdstep.envs.adapters.isaaclab.install import find_installation, isaac_sim_is_installed
from holdstep.errors import HoldstepError
from tests.isaaclab.hard_tasks import ANT, CARTPOLE, GO2, actions_for, fixed, quiet_go2

NUM_ENVS = 4


def pytest_collection_modifyitems(items):
    reason = _why_not()
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.isaaclab)
            if reason is not None:
                item.add_marker(pytest.mark.skip(reason=reason))


def _why_not() -> str | None:
    try:
        installation = find_installation()
    except HoldstepError:
        return "Isaac Lab is not installed"
    if installation.generation < 3:
        return f"{installation} is installed; these tests are for 3.x"
    if isaac_sim_is_installed():
        return "Isaac Sim is installed; these tests are for Isaac Lab without it"
    if importlib.util.find_spec("pxr") is None:
        return "usd-core, with which stand-ins for the tasks' assets are written, is not installed"
    return None


@pytest.fixture(scope="session", autouse=True)
def assets(tmp_path_factory):
    """The folder with asset files: the tasks' own lie on a server."""
    if _why_not() is not None:
        return None
    from tests.isaaclab import standins

    root = tmp_path_factory.mktemp("assets")
    standins.write_standins(root)
    standins.redirect_nucleus(root)
    return root


@contextlib.contextmanager
def silenced():
    """Isaac Lab prints its managers' tables, which would bury pytest's own output."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield


@pytest.fixture
def make_env(assets):
    """Makes envs that are closed at the end of the test; only one may be open at a time."""
    with contextlib.ExitStack() as stack:

        def make_one(task: str, *, num_envs: int = NUM_ENVS, seed: int = 0, **overrides: Any):
            with silenced():
                env = make(
                    f"isaaclab:{task}", num_envs=num_envs, device="cpu", seed=seed, **overrides
                )
            stack.callback(env.close)
            return env

        yield make_one


@pytest.fixture
def make_controlled(make_env):
    """Makes an env that was reset twice, and its row control."""

    def make_one(task: str, *, num_envs: int = 4, edit: Any = None, **overrides: Any):
        from holdstep.envs.adapters.isaaclab import tasks

        cfg = tasks.with_presets(tasks.load_env_cfg(task), None)
        if edit is not None:
            edit(cfg)
        env = make_env(task, num_envs=num_envs, cfg=cfg, **overrides)
        with silenced():
            env.reset(seed=3)
            env.reset(seed=3)  # the first reset of an env differs from later ones
        return env, env.row_control(level="exact", rng="global")

    return make_one


@pytest.fixture
def make_deterministic(make_controlled):
    """Makes an env whose rows' futures depend on their actions alone, from staggered clocks."""

    def make_one(name: str):
        task, edit = {"go2": (GO2, quiet_go2), "ant": (ANT, fixed), "cartpole": (CARTPOLE, fixed)}[
            name
        ]
        env, control = make_controlled(task, edit=edit)
        for action in actions_for(env, 3):
            env.step(action)
        if name != "go2":
            rows = torch.arange(env.num_envs)
            env.episode_length_buf = env.max_episode_length - 12 - 7 * rows
        return env, control

    return make_one


def actions_of(env, generator):
    """Actions in [-1, 1], without the global generator that Isaac Lab draws from."""
    return 2 * torch.rand(env.action_space.shape, generator=generator) - 1


def trajectory(env, num_steps, *, episode_steps, seed=11):
    """Reset twice, stagger the rows' clocks, and return every step's result.

    Twice, because the first reset of an Isaac Lab 3 env differs from later ones: joint velocities
    are clamped to limits that are zero until the actuators have run once.
    """
    with silenced():
        env.reset(seed=seed)
        env.reset(seed=seed)
    if episode_steps is not None:
        clocks = env.max_episode_length - episode_steps - 3 * torch.arange(env.num_envs)
        env.episode_length_buf = clocks.clamp(min=0)
    generator = torch.Generator().manual_seed(seed)
    results = []
    for _ in range(num_steps):
        actions = actions_of(env, generator)
        results.append((actions, *env.step(actions)))
    return results
