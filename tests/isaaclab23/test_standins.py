"""The stand-ins run Isaac Lab 2.3.2's own code, and the toy tasks have what adapters must face."""

from __future__ import annotations

import importlib
import inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium
import h5py
import pytest
import torch

from tests.isaaclab23 import kit_standins
from tests.isaaclab23.rollouts import BOTH, MANAGER_BASED_ID, actions, ignore_jit_warning, rollout

if TYPE_CHECKING:
    from types import SimpleNamespace

    from tests.isaaclab23.conftest import MakeEnv

pytestmark = ignore_jit_warning


@BOTH
def test_the_env_code_is_the_wheels(make_env: MakeEnv, env_id: str) -> None:
    env = make_env(env_id)
    source = kit_standins.wheel_source()
    base = type(env) if env_id == MANAGER_BASED_ID else type(env).__mro__[1]
    assert base.__name__ in {"ManagerBasedRLEnv", "DirectRLEnv"}
    functions = [getattr(base, name) for name in ("__init__", "step", "reset", "close")]
    for function in (*functions, type(env.scene).reset, type(env.scene).get_state):
        assert Path(inspect.getfile(function)).is_relative_to(source)


def test_every_manager_is_the_wheels(make_env: MakeEnv) -> None:
    env = make_env(MANAGER_BASED_ID)
    managers = {name: m for name, m in vars(env).items() if name.endswith("_manager")}
    assert len(managers) == 8
    for manager in managers.values():
        assert type(manager).__module__.startswith("isaaclab.managers.")


@BOTH
def test_rows_end_by_both_causes_at_different_steps(make_env: MakeEnv, env_id: str) -> None:
    env = make_env(env_id, num_envs=16)
    env.reset(seed=1)
    _, rewards, terminated, truncated = (
        torch.stack(x) for x in zip(*rollout(env, 400), strict=True)
    )
    assert rewards.isfinite().all()
    assert rewards.dtype == torch.float32
    assert terminated.dtype == truncated.dtype == torch.bool
    for done in (terminated, truncated):
        assert done.any(dim=1).sum() > 10  # on more than 10 different steps
        assert done.any(dim=0).sum() > 8  # in more than 8 different rows
        assert not done.all(dim=1).any()  # never in lockstep


@BOTH
def test_same_seed_same_trajectory(make_env: MakeEnv, env_id: str) -> None:
    runs = []
    for seed in (5, 5, 6):
        # A new env each time: DirectRLEnv.reset(seed) leaves the timers of interval events as
        # they are, so that a second run in the same env differs.
        env = make_env(env_id, seed=seed)
        env.reset(seed=seed)
        runs.append(rollout(env, 60))
        env.close()
    same = [all(map(torch.equal, a, b)) for a, b in zip(runs[0], runs[1], strict=True)]
    assert all(same)
    assert not torch.equal(runs[0][0][0], runs[2][0][0])


def test_noise_is_in_policy_and_not_in_critic(make_env: MakeEnv, standins: SimpleNamespace) -> None:
    env = make_env(MANAGER_BASED_ID)
    env.reset(seed=0)
    obs, *_ = env.step(actions(8, 0))
    difference = (obs["policy"][:, :2] - obs["critic"][:, :2]).abs()
    assert 0 < difference.max() <= standins.tasks.NOISE + 1e-6
    assert torch.equal(obs["critic"][:, :2], env.scene["robot"].data.joint_pos)


def test_history_holds_the_last_steps_and_restarts_with_an_episode(
    make_env: MakeEnv, standins: SimpleNamespace
) -> None:
    env = make_env(MANAGER_BASED_ID)
    obs, _ = env.reset(seed=0)
    expected = obs["critic"][:, 2:].repeat(1, standins.tasks.HISTORY_LENGTH)
    num_restarts = 0
    for index in range(120):
        assert torch.equal(obs["policy"][:, 2:8], expected)
        obs, _, terminated, truncated, _ = env.step(actions(8, index))
        velocity = obs["critic"][:, 2:]
        done = (terminated | truncated).unsqueeze(-1)
        shifted = torch.cat((expected[:, 2:], velocity), dim=-1)
        expected = torch.where(done, velocity.repeat(1, 3), shifted)
        num_restarts += int(done.sum())
    assert num_restarts > 8


def test_pushes_come_at_different_times_for_different_rows(
    make_env: MakeEnv, standins: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    pushed: list[list[int]] = []
    env = make_env(MANAGER_BASED_ID)
    term = env.event_manager.get_term_cfg("push")
    original = term.func

    def push(env: Any, env_ids: torch.Tensor, **params: Any) -> None:
        assert env_ids.dtype == torch.int64
        pushed.append(env_ids.tolist())
        original(env, env_ids, **params)

    monkeypatch.setattr(term, "func", push)
    env.reset(seed=0)
    rollout(env, 200)
    assert {row for rows in pushed for row in rows} == set(range(8))
    assert min(map(len, pushed)) < 8


def test_group_that_is_not_concatenated_is_a_dict(
    make_env: MakeEnv, standins: SimpleNamespace
) -> None:
    def edit(cfg: Any) -> None:
        cfg.observations.terms = standins.tasks.TermsGroupCfg()

    env = make_env(MANAGER_BASED_ID, edit=edit)
    obs, _ = env.reset()
    assert {name: tuple(term.shape) for name, term in obs["terms"].items()} == {
        "joint_pos": (8, 2),
        "joint_vel": (8, 2, 2),
    }
    assert isinstance(env.single_observation_space["terms"], gymnasium.spaces.Dict)


def test_recorder_writes_isaaclabs_layout(
    make_env: MakeEnv, standins: SimpleNamespace, tmp_path: Path
) -> None:
    def edit(cfg: Any) -> None:
        standins.tasks.record_to(cfg, tmp_path, "demos")
        standins.tasks.add_success(cfg)

    env = make_env(MANAGER_BASED_ID, num_envs=4, edit=edit)
    env.reset(seed=0)
    rollout(env, 150)
    recorder = env.recorder_manager
    num_success = recorder.exported_successful_episode_count
    num_episodes = num_success + recorder.exported_failed_episode_count
    env.close()
    del recorder  # the file is closed by the manager's destructor
    with h5py.File(tmp_path / "demos.hdf5") as file:
        data = file["data"]
        assert len(data) == num_episodes > 8
        assert 0 < num_success == sum(bool(demo.attrs["success"]) for demo in data.values())
        args = json.loads(data.attrs["env_args"])
        assert args["type"] == 2
        assert args["sim_args"]["num_envs"] == 4
        samples = [int(demo.attrs["num_samples"]) for demo in data.values()]
        assert data.attrs["total"] == sum(samples)
        demo = data["demo_0"]
        steps = samples[0]
        assert demo["actions"].shape == demo["processed_actions"].shape == (steps, 1)
        assert demo["obs"].shape == (steps, 10)
        for group, rows in (("initial_state", 1), ("states", steps)):
            robot = demo[group]["articulation/robot"]
            assert {name: tuple(robot[name].shape) for name in robot} == {
                "root_pose": (rows, 7),
                "root_velocity": (rows, 6),
                "joint_position": (rows, 2),
                "joint_velocity": (rows, 2),
            }
        assert demo["actions"].compression == "gzip"


def test_isaaclabs_own_cartpole_runs_too(standins: SimpleNamespace) -> None:
    utils = importlib.import_module("isaaclab_tasks.utils")
    cfg = utils.parse_env_cfg("Isaac-Cartpole-v0", device="cpu", num_envs=4)
    with standins.fake_scene.fake_simulation():
        env: gymnasium.Env[Any, Any] = gymnasium.make("Isaac-Cartpole-v0", cfg=cfg)
    try:
        env.reset(seed=0)
        steps = rollout(env.unwrapped, 320, scale=0.0)
    finally:
        env.close()
    assert any(bool(truncated.any()) for *_, truncated in steps)


@pytest.mark.parametrize(
    ("statement", "error"),
    [
        ("import omni.replicator.core", ModuleNotFoundError),
        ("from isaacsim import SimulationApp", ImportError),
        ("import isaaclab.app", ImportError),
        ("from pxr import UsdSkel", ImportError),
        ("import carb; carb.log_info('')", AttributeError),
    ],
)
def test_what_is_not_listed_fails(
    standins: SimpleNamespace, statement: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        exec(statement, {})


def test_uninstall_leaves_no_trace() -> None:
    """In its own process, because this one may have the stand-ins in use."""
    package = __name__.rpartition(".")[0]
    root = Path(__file__).parents[package.count(".") + 1]
    script = f"""
import builtins, sys
import gymnasium
from {package} import kit_standins
before = (set(sys.path), set(dir(builtins)), set(gymnasium.registry))
for _ in range(2):
    kit_standins.install()
    from {package} import tasks
    assert tasks.MANAGER_BASED_ID in gymnasium.registry
    import isaaclab.envs
    kit_standins.uninstall()
    assert before == (set(sys.path), set(dir(builtins)), set(gymnasium.registry))
    roots = {{"carb", "isaacsim", "omni", "pxr", "usdrt", *kit_standins.ISAACLAB_PACKAGES}}
    assert not [name for name in sys.modules if name.partition(".")[0] in roots]
sys.modules["isaaclab"] = sys
try:
    kit_standins.install()
except RuntimeError:
    print("refused")
"""
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=False
    )
    if "pip install" in result.stderr:
        pytest.skip("the isaaclab 2.3 wheel is not installed")
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "refused"
