"""Rows of mjlab held still: real physics, random suspensions, and everything that can go wrong."""

from __future__ import annotations

import dataclasses
import functools
import gc
import threading
from typing import Any

import pytest
import torch

from holdstep.envs.adapters import mjlab_compact
from holdstep.envs.adapters.mjlab_rows import MjlabRowControl
from holdstep.envs.state.put_back import PutBackControl
from holdstep.envs.state.row_store import RowStore
from holdstep.errors import CapabilityError, SnapshotError, SuspensionError
from holdstep.wrappers import SuspendOnWait
from tests.conftest import silenced
from tests.envs.state import lockstep

pytest.importorskip("mjlab", reason="the extra 'mjlab' is not installed")

from tests.envs.adapters.mjlab_hard_tasks import make_hard

# Numbers of rows that are numbers of other things too: Cartpole has 2 joints, Yam 7 actions, and a
# history has 3 entries.
TASKS = {
    "Mjlab-Cartpole-Balance": 2,
    "Mjlab-Lift-Cube-Yam": 7,
    "Mjlab-Velocity-Flat-Unitree-Go1": 3,
    "Mjlab-Velocity-Flat-Unitree-G1": 5,
}
NUM_STEPS = 100


def wrapped(task: str, num_envs: int, level: str = "exact", **options: Any) -> SuspendOnWait:
    return SuspendOnWait(make_hard(task, num_envs=num_envs, **options), level=level, rng="per_env")


def random_actions(env: Any, num_steps: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(7)
    return torch.rand(num_steps, *env.action_space.shape, generator=generator) * 2 - 1


def first_lengths(num_envs: int) -> torch.Tensor:
    return torch.arange(num_envs) * 17 % 20


@functools.cache
def plain_trace(task: str, num_envs: int, num_steps: int) -> lockstep.Trace:
    env = wrapped(task, num_envs)
    try:
        return lockstep.run(
            env, random_actions(env, num_steps), first_lengths=first_lengths(num_envs)
        )
    finally:
        env.close()


def suspended_trace(task: str, num_envs: int, num_steps: int, level: str) -> lockstep.Trace:
    env = wrapped(task, num_envs, level)
    try:
        return lockstep.run(
            env,
            random_actions(env, num_steps),
            schedule=lockstep.random_schedule(num_envs, seed=11),
            first_lengths=first_lengths(num_envs),
        )
    finally:
        env.close()


@pytest.mark.parametrize("level", ["exact", "skip"])
@pytest.mark.parametrize(("task", "num_envs"), TASKS.items())
def test_rows_do_not_notice_that_they_or_others_are_suspended(task, num_envs, level):
    suspended = suspended_trace(task, num_envs, NUM_STEPS, level)
    plain = plain_trace(task, num_envs, NUM_STEPS)
    lockstep.assert_same_rows(suspended, plain)
    assert len(suspended.ticks) > 1.3 * NUM_STEPS  # rows were suspended a lot,
    assert plain.num_ended >= 3 * num_envs  # and ended often


WITHOUT = {
    "warm start": "qacc_warmstart",
    "velocities": "sim.data.qvel",
    "clock": "episode_length_buf",
    "random counters": "random.counter",
    "previous action": "_prev_action",
    "command timer": ".time_left",
    "event timer": "_interval_term_time_left",
    "history": "history.buffer._buffer",
    "history length": "_num_pushes",
    "lags": "_current_lags",
    "lag clock": "_step_count",
    "air time": "_air_time_state",
    "reward sums": "_episode_sums",
    "action delay": "_delay_buffer._buffer",
}


@pytest.mark.parametrize("part", WITHOUT.values(), ids=WITHOUT.keys())
def test_every_part_is_needed(part, monkeypatch):
    """What is left out of the table shows."""
    moving = MjlabRowControl._moving_slots
    left_out = []

    def fewer(self):
        slots = moving(self)
        left_out.extend(slot.name for slot in slots if part in slot.name)
        return [slot for slot in slots if part not in slot.name]

    monkeypatch.setattr(MjlabRowControl, "_moving_slots", fewer)
    with pytest.raises(AssertionError, match=r"row|held"):
        lockstep.assert_same_rows(*both_traces())
    assert left_out, "the table has no such slot"


def test_rings_must_be_rotated(monkeypatch):
    moving = MjlabRowControl._moving_slots
    monkeypatch.setattr(
        MjlabRowControl,
        "_moving_slots",
        lambda self: [
            dataclasses.replace(slot, position=lambda: 0) if slot.position else slot
            for slot in moving(self)
        ],
    )
    with pytest.raises(AssertionError, match=r"row|held"):
        lockstep.assert_same_rows(*both_traces())


def test_sensor_caches_must_be_dropped(monkeypatch):
    """mjlab drops the caches of all rows when one of them resets."""
    monkeypatch.setattr(MjlabRowControl, "_drop_caches", lambda self: None)
    plain_trace.cache_clear()
    try:
        with pytest.raises(AssertionError, match=r"row|held"):
            lockstep.assert_same_rows(*both_traces(num_steps=40))
    finally:
        plain_trace.cache_clear()


def both_traces(num_steps: int = 30) -> tuple[lockstep.Trace, lockstep.Trace]:
    task, num_envs = "Mjlab-Velocity-Flat-Unitree-G1", 5
    plain = plain_trace(task, num_envs, num_steps)
    return suspended_trace(task, num_envs, num_steps, "exact"), plain


@pytest.fixture(scope="module")
def g1():
    env = wrapped("Mjlab-Velocity-Flat-Unitree-G1", 4)
    yield env
    env.close()


@pytest.fixture
def env(g1):
    g1.reset(seed=1)
    yield g1
    g1.resume(g1.suspended)


def zeros(env: Any) -> torch.Tensor:
    return torch.zeros(env.action_space.shape)


def test_a_row_suspended_on_its_last_step_ends_when_it_is_resumed(env):
    backend = env.backend_env
    env.step(zeros(env))
    lengths = torch.zeros(4, dtype=torch.int64)
    lengths[1] = env.max_episode_length - 1
    env.episode_length_buf = lengths
    curriculum = Spy(backend.curriculum_manager, "compute")
    env.suspend(1)
    with curriculum:
        for _ in range(5):
            _, reward, terminated, truncated, info = env.step(zeros(env))
            assert not truncated[1]
            assert not terminated[1]
            assert reward[1] == 0
            assert not any(key.startswith("Episode") for key in info.get("log", ()))
    assert not curriculum.calls
    assert env.episode_length_buf.tolist() == [5, env.max_episode_length - 1, 5, 5]
    env.resume(1)
    truncated, info = env.step(zeros(env))[3:]
    assert truncated.tolist() == [False, True, False, False]
    assert info["log"]["Episode_Termination/time_out"] == 1


def test_a_row_that_would_fall_is_not_ended_while_it_is_suspended(env):
    backend = env.backend_env
    env.step(zeros(env))
    robot = backend.scene["robot"]
    pose = robot.data.root_link_pose_w.clone()
    pose[2, 3:] = torch.tensor([0.0, 1.0, 0.0, 0.0])  # upside down
    robot.write_root_link_pose_to_sim(pose)
    env.suspend(2)
    for _ in range(3):
        assert not env.step(zeros(env))[2].any()
    assert int(env.episode_length_buf[2]) == 1
    env.resume(2)
    assert env.step(zeros(env))[2].tolist() == [False, False, True, False]


def test_no_push_and_no_command_for_a_suspended_row(env):
    backend = env.backend_env
    env.step(zeros(env))
    (push,) = backend.event_manager._mode_term_cfgs["interval"]
    command = backend.command_manager.get_term("twist")
    pushes, commands = Spy(push, "func"), Spy(command, "_resample_command")
    for timer in (backend.event_manager._interval_term_time_left[0], command.time_left):
        timer[:] = torch.tensor([1.0, 0.001, 1.0, 0.001])
    env.suspend([1])
    before = env.snapshot(1)
    with pushes, commands:
        for _ in range(3):
            env.step(zeros(env))
    assert {int(row) for call in pushes.calls for row in call[1]} == {3}
    assert {int(row) for call in commands.calls for row in call[0]} == {3}
    assert_equal(env.snapshot(1).rows, before.rows)
    env.resume([1])
    with pushes, commands:
        env.step(zeros(env))
    assert 1 in pushes.calls[0][1].tolist()
    assert 1 in commands.calls[0][0].tolist()


def test_the_peak_of_an_episode_is_of_its_own_steps():
    from mjlab.managers import MetricsTermCfg

    def age(env):
        return env.episode_length_buf.float()

    metrics = {
        "age": MetricsTermCfg(func=age, reduce="max"),
        "age of substeps": MetricsTermCfg(func=age, reduce="max", per_substep=True),
    }
    env = wrapped("Mjlab-Cartpole-Balance", 3, metrics=metrics)
    env.reset(seed=0)
    env.step(zeros(env))
    env.suspend(1)
    for _ in range(3):
        env.step(zeros(env))
    peaks = env.backend_env.metrics_manager._episode_max
    assert peaks["age"].tolist() == [4, 1, 4]
    assert peaks["age of substeps"].tolist() == [3, 0, 3]
    env.fork(0, 1)
    assert peaks["age"].tolist() == [4, 4, 4]
    assert env._control.unknown_state() == []
    env.close()


def test_no_frame_is_recorded_for_a_suspended_row():
    from mjlab.managers.recorder_manager import RecorderTerm, RecorderTermCfg

    frames: list[tuple[int, float]] = []

    class Frames(RecorderTerm):
        """Leaves out rows that were just reset in the way that mjlab's documentation shows."""

        def record_post_step(self):
            rows = (~self._env.reset_buf).nonzero().squeeze(-1)
            heights = self._env.scene["robot"].data.root_link_pos_w[rows, 2]
            frames.extend(zip(rows.tolist(), heights.tolist(), strict=True))

    env = wrapped(
        "Mjlab-Velocity-Flat-Unitree-Go1",
        3,
        recorders={"frames": RecorderTermCfg(func=Frames, params={})},
    )
    env.reset(seed=0)
    env.step(zeros(env))
    frames.clear()
    env.suspend(1)
    for _ in range(4):
        env.step(zeros(env))
    assert [row for row, _ in frames] == [0, 2] * 4
    assert not env.backend_env.reset_buf.any()
    env.close()


def test_the_simulator_is_hooked_only_while_rows_are_held():
    env = SuspendOnWait(make_hard("Mjlab-Velocity-Flat-Unitree-Go1", num_envs=3), rng="global")
    env.unwrapped.final_obs_enabled = False
    env.reset(seed=0)
    clean = instance_functions(env.backend_env)
    env.step(zeros(env))
    env.suspend(1)
    assert instance_functions(env.backend_env) != clean
    env.resume(1)
    assert instance_functions(env.backend_env) == clean
    env.suspend([0, 2])
    env.close()
    assert instance_functions(env.backend_env) == clean


def test_the_env_inside_is_not_stepped_past_the_wrapper(env):
    env.step(zeros(env))
    env.suspend(1)
    before = env.snapshot()
    with pytest.raises(SuspensionError, match="SuspendOnWait"):
        env.unwrapped.step(zeros(env))
    assert_equal(env.snapshot().rows, before.rows)


def test_a_wrapper_that_is_thrown_away_lets_go():
    inner = make_hard("Mjlab-Cartpole-Balance", num_envs=2)
    inner.final_obs_enabled = False
    clean = instance_functions(inner.backend_env)
    for rng in ("global", "per_env"):
        env = SuspendOnWait(inner, rng=rng)
        env.reset(seed=0)
        env.suspend(1)
        with pytest.raises(CapabilityError, match="already"):
            SuspendOnWait(inner)
        del env
        gc.collect()
        assert instance_functions(inner.backend_env) == clean
    inner.close()


@pytest.mark.parametrize("level", ["approximate"])
def test_a_level_that_mjlab_does_not_have_is_refused(level):
    inner = make_hard("Mjlab-Cartpole-Balance", num_envs=2)
    with pytest.raises(CapabilityError, match="'exact'"):
        SuspendOnWait(inner, level=level)
    with pytest.raises(CapabilityError, match="SuspendOnWait"):
        inner.step_masked(zeros(inner), torch.ones(2, dtype=torch.bool))
    SuspendOnWait(inner, level="skip").close()


def test_a_step_that_fails_leaves_held_rows_and_no_hooks(env, monkeypatch):
    env.step(zeros(env))
    env.suspend(0)
    before = env.snapshot(0)
    with monkeypatch.context() as patch:
        patch.setattr(env.backend_env.reward_manager, "compute", lambda dt: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            env.step(zeros(env))
    assert_equal(env.snapshot(0).rows, before.rows)
    env.resume(0)
    assert "compute" not in vars(env.backend_env.termination_manager)


def test_a_reset_of_some_rows_leaves_the_others_as_they_are(env):
    env.step(zeros(env))
    env.suspend(1)
    others = torch.tensor([0, 1, 3])
    before = env.snapshot(others)
    env.reset(options={"env_ids": [2]})
    assert_equal(env.snapshot(others).rows, before.rows)
    env.step(zeros(env))
    assert env.episode_length_buf.tolist() == [2, 1, 1, 2]


def test_a_snapshot_brings_everything_back(env):
    actions = random_actions(env, 60)
    for action in actions[:7]:
        env.step(action)
    ids = torch.tensor([3, 1])
    snapshot = env.snapshot(ids)
    first = [observed(env.step(action), ids) for action in actions[7:40]]
    for action in actions[40:]:  # to somewhere else
        env.step(action)
    obs = env.restore(snapshot, ids)
    assert_equal({name: value[ids] for name, value in obs.items()}, snapshot.obs)
    again = [observed(env.step(action), ids) for action in actions[7:40]]
    for mine, theirs in zip(again, first, strict=True):
        assert_equal(mine, theirs)
    assert any(step["ended"].any() for step in first)


def test_a_fork_goes_on_as_its_source(env):
    for action in random_actions(env, 5):
        env.step(action)
    obs = env.fork(0, [2, 3])
    for value in obs.values():
        assert torch.equal(value[0], value[2])
    for action in random_actions(env, 40)[:, :1]:
        step = observed(env.step(action.expand(4, -1).contiguous()), torch.arange(4))
        for name, value in step.items():
            assert torch.equal(value[0], value[2]), name
            assert torch.equal(value[0], value[3]), name


def test_a_snapshot_goes_through_a_file(env, tmp_path):
    from holdstep.envs.state.snapshot import Snapshot

    env.step(zeros(env))
    path = env.snapshot([0, 2]).save(tmp_path / "two.pt")
    loaded = Snapshot.load(path)
    before = env.snapshot([0, 2])
    for _ in range(3):
        env.step(zeros(env))
    env.restore(loaded, [0, 2])
    assert_equal(env.snapshot([0, 2]).rows, before.rows)
    with pytest.raises(SnapshotError, match="2 rows, 1 env_ids"):
        env.restore(loaded, [1])
    other = wrapped("Mjlab-Cartpole-Balance", 2)
    other.reset(seed=0)
    state = other.snapshot()
    with pytest.raises(SnapshotError, match=r"another task(.|\n)*joint_pos"):
        other.restore(loaded, [0, 1])
    assert_equal(other.snapshot().rows, state.rows)
    other.close()


@pytest.mark.parametrize(
    ("task", "num_envs"),
    [
        ("Mjlab-Cartpole-Balance", 2),  # joints
        ("Mjlab-Lift-Cube-Yam", 8),  # joints
        ("Mjlab-Velocity-Flat-Unitree-Go1", 12),  # joints
        ("Mjlab-Velocity-Flat-Unitree-Go1", 13),  # bodies
    ],
)
def test_a_fork_is_whole_when_the_number_of_rows_is_that_of_something_else(task, num_envs):
    env = wrapped(task, num_envs)
    env.reset(seed=1)
    actions = random_actions(env, 24)
    env.fork(0, 1)  # before anything has changed that could tell state from constants
    for step, action in enumerate(actions):
        if step == 10:
            env.fork(2 % num_envs if num_envs > 2 else 0, 1)
        source = 0 if step < 10 or num_envs == 2 else 2
        action[1] = action[source]
        shown = observed(env.step(action), torch.tensor([source, 1]))
        for name, value in shown.items():
            assert torch.equal(value[0], value[1]), (name, step)
    env.close()


def test_what_all_rows_share_is_not_copied_with_a_row():
    """Joints, axes and rows of terrain: as many of each as there are rows."""
    from mjlab import terrains
    from mjlab.envs.mdp.actions import DifferentialIKActionCfg
    from mjlab.envs.mdp.events import apply_body_impulse
    from mjlab.managers import EventTermCfg, SceneEntityCfg

    from holdstep.envs import make
    from tests.envs.adapters.mjlab_hard_tasks import hard_cfg

    task, num_envs = "Mjlab-Lift-Cube-Yam", 3
    cfg = hard_cfg(task, num_envs=num_envs)
    cfg.actions = {
        "reach": DifferentialIKActionCfg(
            entity_name="robot",
            actuator_names=("joint[1-3]",),
            frame_type="site",
            frame_name="grasp_site",
        )
    }
    bumps = {
        "asset_cfg": SceneEntityCfg("cube"),
        "force_range": (-1.0, 1.0),
        "torque_range": (0.0, 0.0),
        "duration_s": (0.1, 0.2),
        "cooldown_s": (0.1, 0.2),
        "body_point_offset": (0.01, 0.02, 0.03),
    }
    cfg.events["bumps"] = EventTermCfg(func=apply_body_impulse, mode="step", params=bumps)
    ground = terrains.BoxFlatTerrainCfg(
        flat_patch_sampling={"spawn": terrains.FlatPatchSamplingCfg(num_patches=2)}
    )
    cfg.scene.terrain = terrains.TerrainEntityCfg(
        terrain_type="generator",
        terrain_generator=terrains.TerrainGeneratorCfg(
            size=(2.0, 2.0), num_rows=num_envs, sub_terrains={"flat": ground}
        ),
    )
    with silenced():
        env = SuspendOnWait(make(f"mjlab:{task}", num_envs=num_envs, device="cpu", cfg=cfg))
    env.reset(seed=0)
    backend = env.backend_env
    shared = {
        "joints": backend.action_manager.get_term("reach")._joint_dof_ids,
        "point": backend.event_manager.get_term_cfg("bumps").func._body_point_offset,
        "patches": backend.scene.terrain.flat_patches["spawn"],
    }
    assert {len(tensor) for tensor in shared.values()} == {num_envs}
    before = {name: tensor.clone() for name, tensor in shared.items()}
    env.fork(0, 1)
    assert_equal(shared, before)
    env.close()


@pytest.mark.parametrize(("from_rows", "to_rows"), [(1, 3), (2, 5), (12, 4)])
def test_a_snapshot_fits_an_env_with_another_number_of_rows(from_rows, to_rows):
    task = "Mjlab-Velocity-Flat-Unitree-Go1"
    small, large = wrapped(task, from_rows), wrapped(task, to_rows)
    small.reset(seed=3)
    actions = random_actions(small, 20)[:, :1]
    for action in actions[:5]:
        small.step(action.expand(from_rows, -1).contiguous())
    snapshot = small.snapshot(from_rows - 1)
    last = torch.tensor([from_rows - 1])
    first = [
        observed(small.step(action.expand(from_rows, -1).contiguous()), last)
        for action in actions[5:]
    ]
    small.close()
    large.reset(seed=8)
    large.restore(snapshot, to_rows - 1)
    last = torch.tensor([to_rows - 1])
    for action, theirs in zip(actions[5:], first, strict=True):
        assert_equal(observed(large.step(action.expand(to_rows, -1).contiguous()), last), theirs)
    large.close()


def test_a_snapshot_of_another_task_of_the_same_shape_is_refused():
    from holdstep.envs import make

    envs = []
    for name in ("Balance", "Swingup"):
        with silenced():
            env = SuspendOnWait(make(f"mjlab:Mjlab-Cartpole-{name}", num_envs=2, device="cpu"))
        env.reset(seed=0)
        envs.append(env)
    with pytest.raises(SnapshotError, match="Swingup"):
        envs[1].restore(envs[0].snapshot(), [0, 1])
    for env in envs:
        env.close()


def test_terms_of_a_users_own_may_name_their_state_as_they_like():
    class Names:
        def __init__(self, cfg, env):
            self.target_ids = torch.zeros(5)
            self._offset = torch.zeros(5)
            self.late = None

        def __call__(self, env):
            if self.late is None:
                self.late = torch.zeros(5)
            for tensor in (self.target_ids, self._offset, self.late):
                tensor += 1
            return torch.zeros(5)

    from mjlab.managers import RewardTermCfg

    from tests.envs.adapters.mjlab_hard_tasks import hard_cfg

    cfg = hard_cfg("Mjlab-Cartpole-Balance", num_envs=5)
    cfg.rewards["names"] = RewardTermCfg(func=Names, weight=1.0)
    env = wrapped("Mjlab-Cartpole-Balance", 5, rewards=cfg.rewards)
    env.reset(seed=0)
    term = env.backend_env.reward_manager.get_term_cfg("names").func
    env.suspend(0)  # the table is made before `late` is
    env.resume(0)
    env.step(zeros(env))
    env.suspend(2)
    for _ in range(3):
        env.step(zeros(env))
    for tensor in (term.target_ids, term._offset, term.late):
        assert tensor.tolist() == [4, 4, 1, 4, 4]
    assert env._control.unknown_state() == []
    env.close()


def test_skipping_in_two_threads_leaves_the_solver_as_it_was():
    from concurrent.futures import ThreadPoolExecutor

    from mujoco_warp._src import solver

    before = solver._jtdaj_groups_per_world
    order = mjlab_compact._OrderOfSums()
    barrier = threading.Barrier(2, timeout=10)

    def inside(num_envs: int, *, leaves_first: bool) -> Any:
        with order.of(num_envs):
            barrier.wait()
            groups = solver._jtdaj_groups_per_world(1, 8)
            barrier.wait()
            if not leaves_first:
                barrier.wait()
        if leaves_first:
            barrier.wait()
        return groups

    with ThreadPoolExecutor() as pool:
        futures = [
            pool.submit(inside, num_envs, leaves_first=num_envs == 1) for num_envs in (1, 100_000)
        ]
        assert futures[0].result() > futures[1].result() == before(100_000, 8)
    assert solver._jtdaj_groups_per_world is before


def test_skipping_follows_model_fields_that_are_expanded_later():
    speeds = []
    for level in ("exact", "skip"):
        env = wrapped("Mjlab-Cartpole-Balance", 3, level)
        env.reset(seed=0)
        env.backend_env.sim.expand_model_fields(("dof_damping",))
        env.backend_env.sim.model.dof_damping[:] = 5.0
        env.suspend(1)
        for action in random_actions(env, 5):
            env.step(action)
        speeds.append(env.backend_env.sim.data.qvel[:].clone())
        env.close()
    assert torch.equal(*speeds)


def test_state_of_a_users_own_is_held_when_it_is_registered(env):
    mine = torch.arange(8.0).reshape(2, 4)
    env.unwrapped.register_state("mine", lambda: mine, dim=1)
    env.suspend([1, 3])
    mine += 1
    env.step(zeros(env))
    assert mine.tolist() == [[1, 1, 3, 3], [5, 5, 7, 7]]


def test_the_table_knows_all_of_the_tasks_row_state(env):
    assert env._control.unknown_state() == []


def test_what_the_table_does_not_know_is_reported(env):
    class Helper:
        def __init__(self):
            self.hidden = torch.zeros(4, 3)

    env.backend_env.reward_manager.helper = Helper()
    try:
        assert env._control.unknown_state() == ["reward_manager.helper.hidden: float32[4, 3]"]
    finally:
        del env.backend_env.reward_manager.helper


def test_everything_goes_through_the_store(env):
    """The tests above test what users run: nothing puts rows back but the store."""
    assert isinstance(env._control, PutBackControl)
    env.suspend(0)
    assert isinstance(env._control._store, RowStore)


class Spy:
    """Notes the arguments of a method's calls."""

    def __init__(self, owner: Any, name: str) -> None:
        self.owner, self.name, self.calls = owner, name, []

    def __enter__(self) -> None:
        self.calls.clear()
        self.before = vars(self.owner).get(self.name)
        original = getattr(self.owner, self.name)

        def noting(*args: Any, **kwargs: Any) -> Any:
            self.calls.append(args)
            return original(*args, **kwargs)

        setattr(self.owner, self.name, noting)

    def __exit__(self, *_: object) -> None:
        if self.before is None:
            delattr(self.owner, self.name)
        else:
            setattr(self.owner, self.name, self.before)


def observed(result: Any, ids: torch.Tensor) -> dict[str, torch.Tensor]:
    obs, reward, terminated, truncated, _ = result
    shown = {name: value[ids] for name, value in obs.items()}
    return shown | {"reward": reward[ids], "ended": (terminated | truncated)[ids]}


def assert_equal(mine: Any, theirs: Any) -> None:
    assert mine.keys() == theirs.keys()
    different = [name for name in mine if not torch.equal(mine[name], theirs[name])]
    assert not different


def instance_functions(backend_env: Any) -> dict[str, Any]:
    owners = {
        "env": backend_env,
        "sim": backend_env.sim,
        "terminations": backend_env.termination_manager,
        "events": backend_env.event_manager,
        "commands": backend_env.command_manager,
        "recorders": backend_env.recorder_manager,
    }
    return {
        f"{prefix}.{name}": value
        for prefix, owner in owners.items()
        for name, value in vars(owner).items()
        if callable(value) and hasattr(value, "__code__")
    }
