"""Rows held still on Newton physics: they don't change, don't end, and go on where they were."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from holdstep.envs.state.snapshot import Snapshot
from holdstep.errors import CapabilityError, SnapshotError
from holdstep.wrappers import SuspendOnWait
from tests.isaaclab.held_rows import (
    ResetSpy,
    different,
    first_difference,
    hold_at_random,
    same_bits,
    silenced,
    state_of,
    trajectory,
)

torch.set_num_threads(1)
CARTPOLE, ANT, GO2 = "Isaac-Cartpole-v0", "Isaac-Ant-v0", "Isaac-Velocity-Flat-Unitree-Go2-v0"
ANT_DIRECT = "Isaac-Ant-Direct-v0"


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


def busy(cfg: Any) -> None:
    """Pushes and new commands every few steps, on top of the task's noise and random resets."""
    cfg.events.push_robot.interval_range_s = (0.02, 0.15)
    cfg.commands.base_velocity.resampling_time_range = (0.02, 0.2)
    cfg.observations.policy.history_length = 3


def fixed(cfg: Any) -> None:
    """Nothing is random: resets put rows where they were, commands and pushes stay away."""
    for event in vars(cfg.events).values():
        params = getattr(event, "params", None)
        if params and getattr(event, "mode", None) == "reset":
            for name in ("position_range", "velocity_range"):
                if isinstance(params.get(name), tuple):
                    middle = sum(params[name]) / 2
                    params[name] = (middle + 0.05, middle + 0.05)
    cfg.observations.policy.history_length = 3


def on_newton(cfg: Any) -> None:
    """Physics without Isaac Sim, for a task without presets."""
    from isaaclab_newton.physics import MJWarpSolverCfg, NewtonCfg

    cfg.sim.physics = NewtonCfg(solver_cfg=MJWarpSolverCfg())


def quiet_go2(cfg: Any) -> None:
    """Noise, pushes, new commands and ends are off; histories on."""
    cfg.observations.policy.enable_corruption = False
    cfg.observations.policy.history_length = 3
    cfg.events.push_robot = None
    cfg.terminations.base_contact = None
    cfg.commands.base_velocity.resampling_time_range = (1000.0, 1000.0)
    cfg.episode_length_s = 1000.0


def actions_for(env: Any, num_steps: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.rand((num_steps, *env.action_space.shape), generator=generator) - 0.5


@pytest.mark.parametrize(
    ("task", "num_envs", "edit"),
    [
        pytest.param(CARTPOLE, 5, fixed, id="cartpole"),
        pytest.param(GO2, 4, busy, id="go2"),
        pytest.param(GO2, 12, busy, id="go2-as-many-rows-as-joints"),
        pytest.param(ANT, 3, None, id="ant"),
        pytest.param(ANT_DIRECT, 8, None, id="ant-direct-as-many-rows-as-joints"),
        pytest.param("Isaac-Cartpole-Direct-v0", 3, None, id="cartpole-direct"),
        pytest.param("Isaac-Cart-Double-Pendulum-Direct-v0", 3, on_newton, id="multi-agent"),
    ],
)
def test_held_rows_do_not_change(make_controlled, task, num_envs, edit):
    env, control = make_controlled(task, num_envs=num_envs, edit=edit)
    counts = hold_at_random(env, control, 110)
    assert counts["slots"] > 60
    assert counts["compared"] > 5000
    assert counts["held"] > 100
    assert counts["suppressed"] >= 5
    assert counts["ended"] > 10
    assert control.unknown_state() == []


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


NUM_ACTIVE = {"go2": 60, "ant": 60, "cartpole": 100}


@pytest.mark.parametrize("name", NUM_ACTIVE)
def test_rows_go_on_where_they_were(make_deterministic, name):
    env, control = make_deterministic(name)
    actions = actions_for(env, NUM_ACTIVE[name])
    start = control.snapshot(torch.arange(env.num_envs))
    plain, num_ended = trajectory(env, control, actions, seed=None)
    control.restore(start, torch.arange(env.num_envs))
    suspended, num_ended_again = trajectory(env, control, actions, seed=1)
    assert first_difference(plain, suspended) is None
    assert num_ended == num_ended_again
    assert num_ended >= (0 if name == "go2" else env.num_envs)


PLANTED = [
    ("go2", "physics.solver.qacc_warmstart"),
    ("go2", "physics.joint_q"),
    ("go2", "contact_forces._timestamp"),
    ("go2", ".history._buffer"),
    ("go2", "action_manager._action"),
    ("go2", "time_left"),
    ("go2", "env.episode_length_buf"),
    ("go2", "_episode_sums"),
    ("ant", "potentials"),
    ("cartpole", "env.episode_length_buf"),
]


@pytest.mark.parametrize(("name", "forgotten"), PLANTED)
def test_a_forgotten_slot_would_be_noticed(make_deterministic, monkeypatch, name, forgotten):
    env, control = make_deterministic(name)
    actions = actions_for(env, 15)
    start = control.snapshot(torch.arange(env.num_envs))
    plain, _ = trajectory(env, control, actions, seed=None)
    control.restore(start, torch.arange(env.num_envs))
    slots = control._moving_slots()
    kept = [slot for slot in slots if forgotten not in slot.name]
    assert len(kept) < len(slots)
    monkeypatch.setattr(control, "_moving_slots", lambda: kept)
    control.tables_changed()
    suspended, _ = trajectory(env, control, actions, seed=1)
    assert first_difference(plain, suspended) is not None


def test_active_rows_do_not_notice(make_deterministic):
    """Whether row 1 is held, and what its action is, changes nothing for the others."""
    env, control = make_deterministic("go2")
    start = control.snapshot(torch.arange(env.num_envs))
    runs = []
    for held in ([], [1], [1, 3]):
        control.restore(start, torch.arange(env.num_envs))
        control.hold(torch.tensor(held, dtype=torch.int64))
        active = torch.tensor([row not in held for row in range(env.num_envs)])
        run = []
        for action in actions_for(env, 15):
            given = action.clone()
            given[held] = torch.nan
            _, reward, *_ = env.step_masked(given, active)
            run.append(state_of(control, [0, 2]) | {"reward": reward[[0, 2]]})
        control.release(torch.tensor(held, dtype=torch.int64))
        runs.append(run)
    for run in runs[1:]:
        assert [different(*pair) for pair in zip(runs[0], run, strict=True)] == [[]] * 15


def test_nothing_happens_to_a_row_that_is_held_in_the_very_step(make_controlled):
    """Row 0 times out, is pushed and gets a new command; so would row 1, which is held."""
    env, control = make_controlled(GO2, edit=busy)
    core = env._workflow.core
    for action in actions_for(env, 3):
        env.step(action)
    clocks = env.episode_length_buf
    env.episode_length_buf = torch.tensor([core.max_episode_length - 1] * 2 + clocks[2:].tolist())
    control.hold(torch.tensor([1]))
    spy, asked = ResetSpy(core), []
    compute = core.curriculum_manager.compute
    core.curriculum_manager.compute = lambda env_ids: (
        asked.append(env_ids.tolist()) or compute(env_ids)
    )
    before = state_of(control, [1])
    core.event_manager._interval_term_time_left[0][2:] = 1e-9
    core.event_manager._interval_term_time_left[0][1] = 1e-9
    counters = core.command_manager._terms["base_velocity"].command_counter.clone()
    core.command_manager._terms["base_velocity"].time_left[:] = 1e-9
    control.hold(torch.tensor([1]))
    before = state_of(control, [1])
    pushed = []
    push = core.event_manager._mode_term_cfgs["interval"][0]
    func = push.func
    push.func = lambda env, env_ids, **params: (
        pushed.extend(env_ids.tolist()) or func(env, env_ids, **params)
    )
    active = torch.tensor([True, False, True, True])
    *_, truncated, info = env.step_masked(actions_for(env, 1)[0], active)
    assert truncated.tolist() == [True, False, False, False]
    assert spy.rows == [0]
    assert asked == [[0]]
    assert {2, 3} <= set(pushed)
    assert 1 not in pushed
    new_counters = core.command_manager._terms["base_velocity"].command_counter
    assert new_counters[1] == counters[1]
    assert (new_counters[2:] == counters[2:] + 1).all()
    assert info["log"]["Episode_Termination/time_out"] == pytest.approx(0.25)
    assert different(before, state_of(control, [1])) == []
    control.release(torch.tensor([1]))
    assert env.step(actions_for(env, 1)[0])[3].tolist()[1]  # its time is up now


def test_no_frame_of_a_held_row_is_recorded(make_controlled, tmp_path):
    def record(cfg: Any) -> None:
        from isaaclab.envs.mdp.recorders.recorders_cfg import ActionStateRecorderManagerCfg

        cfg.recorders = ActionStateRecorderManagerCfg()
        cfg.recorders.dataset_export_dir_path = str(tmp_path)
        cfg.recorders.dataset_filename = "run"

    env, control = make_controlled(CARTPOLE, edit=record)
    manager = env._workflow.core.recorder_manager

    def num_frames() -> list[int]:
        episodes = [manager.get_episode(row).data for row in range(env.num_envs)]
        return [len(data.get("actions", ())) for data in episodes]

    def num_exported() -> int:
        return manager.exported_failed_episode_count + manager.exported_successful_episode_count

    first = num_exported()
    zero = torch.zeros(env.action_space.shape)
    for _ in range(2):
        env.step(zero)
    assert num_frames() == [2, 2, 2, 2]
    control.hold(torch.tensor([1]))
    active = torch.tensor([True, False, True, True])
    for _ in range(2):
        env.step_masked(zero, active)
    assert num_frames() == [4, 2, 4, 4]
    env.episode_length_buf = torch.full((4,), env.max_episode_length - 1)
    control.hold(torch.tensor([1]))
    env.step_masked(zero, active)  # would export row 1 too
    assert num_exported() == first + 3
    assert num_frames() == [0, 2, 0, 0]
    control.release(torch.tensor([1]))
    env.step(zero)
    assert num_exported() == first + 4
    assert num_frames() == [1, 0, 1, 1]


def hooked(env: Any) -> list[str]:
    """Methods that are shadowed on the backend's objects, apart from the adapter's own hook."""
    core = env._workflow.core
    managers = ("termination_manager", "recorder_manager", "event_manager", "command_manager")
    owners = {"env": core, "sim": core.sim}
    owners |= {name: vars(core)[name] for name in managers if name in vars(core)}
    return [
        f"{name}.{key}"
        for name, owner in owners.items()
        for key, value in vars(owner).items()
        if callable(value) and hasattr(type(owner), key) and key != "_reset_idx"
    ]


@pytest.mark.parametrize("task", [CARTPOLE, ANT_DIRECT])
def test_nothing_is_hooked_while_nothing_is_held(make_controlled, task):
    env, control = make_controlled(task)
    assert hooked(env) == []
    env.step(torch.zeros(env.action_space.shape))
    control.hold(torch.tensor([2]))
    assert len(hooked(env)) == 1
    control.release(torch.tensor([2]))
    assert hooked(env) == []
    control.hold(torch.tensor([0, 1]))
    control.close()
    assert hooked(env) == []
    again = env.row_control(level="approximate", rng="global")  # more than asked for is fine
    assert again.level == "exact"
    again.hold(torch.tensor([0]))
    core = env._workflow.core
    env.close()
    assert "_get_dones" not in vars(core)


def test_a_held_row_survives_an_error_of_the_task(make_controlled, monkeypatch):
    env, control = make_controlled(ANT)
    for action in actions_for(env, 3):
        env.step(action)
    control.hold(torch.tensor([1]))
    before = state_of(control, [1])
    core = env._workflow.core

    def fail(*_: Any, **__: Any) -> None:
        raise ArithmeticError("the task's own")

    with monkeypatch.context() as patch:
        patch.setattr(core.reward_manager, "compute", fail)
        with pytest.raises(ArithmeticError):
            env.step_masked(actions_for(env, 1)[0], torch.tensor([True, False, True, True]))
    assert different(before, state_of(control, [1])) == []


@pytest.mark.parametrize("name", ["go2", "ant"])
def test_forks_live_the_same_life(make_deterministic, name):
    env, control = make_deterministic(name)
    obs = control.fork(torch.tensor([0, 0]), torch.tensor([1, 3]))
    assert all(same_bits(value[0], value[row]) for value in obs.values() for row in (1, 3))
    for action in actions_for(env, 20):
        obs, reward, *_ = env.step(action[:1].expand_as(action).contiguous())
        for row in (1, 3):
            assert all(same_bits(value[0], value[row]) for value in obs.values())
            assert reward[0] == reward[row]
            assert different(state_of(control, [0]), state_of(control, [row])) == []
        assert not torch.equal(obs["policy"][0], obs["policy"][2])


def test_a_saved_snapshot_continues_exactly(make_deterministic, tmp_path):
    env, control = make_deterministic("ant")
    path = control.snapshot(torch.arange(env.num_envs)).save(tmp_path / "rows.pt")
    actions = actions_for(env, 20)
    plain, _ = trajectory(env, control, actions, seed=None)
    snapshot = Snapshot.load(path)
    control.restore(snapshot, torch.arange(env.num_envs))
    again, _ = trajectory(env, control, actions, seed=None)
    assert first_difference(plain, again) is None
    with pytest.raises(SnapshotError, match="4 rows"):
        control.restore(snapshot, torch.tensor([0]))


def test_a_snapshot_brings_masses_and_gains(make_controlled):
    """Go2's masses differ by row; a fork moves as its origin does only if it has its mass."""
    env, control = make_controlled(GO2, edit=quiet_go2)
    mass = next(s.get() for s in control.registry if s.name == "physics.model.body_mass")
    assert not torch.equal(mass[0], mass[2])
    control.fork(torch.tensor([0]), torch.tensor([2]))
    assert torch.equal(mass[0], mass[2])
    for action in actions_for(env, 10):
        obs, *_ = env.step(action[:1].expand_as(action).contiguous())
    assert same_bits(obs["policy"][0], obs["policy"][2])


@pytest.mark.parametrize("task", [GO2, ANT_DIRECT])
def test_resets_of_some_rows_leave_the_others(make_controlled, task):
    env, control = make_controlled(task, edit=busy if task == GO2 else None)
    for action in actions_for(env, 4):
        env.step(action)
    control.hold(torch.tensor([1, 2]))
    before = state_of(control, [0, 1])
    with silenced():
        obs, _ = env.reset(options={"env_ids": [2, 3]})
    after = state_of(control, [0, 1])
    assert different(before, after) == []
    assert env.episode_length_buf.tolist()[2:] == [0, 0]
    held = state_of(control, [1, 2])
    env.step_masked(actions_for(env, 1)[0], torch.tensor([True, False, False, True]))
    assert different(held, state_of(control, [1, 2])) == []
    assert all(same_bits(obs[name][2], held[f"obs {name}"][1]) for name in obs)


def test_suspend_on_wait(make_env):
    env = SuspendOnWait(make_env(CARTPOLE))
    with silenced():
        first = env.reset(seed=0)[0]["policy"].clone()
    done: list[bool] = []
    env.suspend([1], until=lambda: bool(done))
    env.suspend([3])
    actions = torch.full((4, 1), 0.5)
    actions[3] = torch.nan
    for _ in range(3):
        obs, reward, *_, info = env.step(actions)
    assert info["active"].tolist() == [True, False, True, False]
    assert torch.equal(obs["policy"][[1, 3]], first[[1, 3]])
    assert reward[[1, 3]].tolist() == [0, 0]
    done.append(True)
    *_, info = env.step(actions)
    assert info["active"].tolist() == [True, True, True, False]
    assert env.episode_length_buf.tolist() == [4, 1, 4, 0]


def test_what_cannot_be_had_is_refused(make_env):
    env = make_env(CARTPOLE)
    assert env.capabilities.freeze == "exact"
    assert env.capabilities.snapshot
    with pytest.raises(CapabilityError, match="'exact'"):
        env.row_control(level="skip", rng="global")
    with pytest.raises(CapabilityError, match="SuspendOnWait"):
        env.step_masked(torch.zeros(4, 1), torch.ones(4, dtype=torch.bool))


def test_a_users_state_is_kept_once_it_is_registered(make_controlled):
    env, control = make_controlled(ANT_DIRECT)
    core = env._workflow.core
    hidden = type("Planner", (), {})()
    hidden.memory = torch.zeros(3, env.num_envs)
    core.planner = hidden
    get_rewards = core._get_rewards

    def rewards() -> torch.Tensor:
        hidden.memory += 1.0
        return get_rewards()

    core._get_rewards = rewards
    assert any("planner.memory" in path for path in control.unknown_state())
    env.register_state("memory", lambda: hidden.memory, dim=1)
    assert control.unknown_state() == []
    env.step(actions_for(env, 1)[0])
    control.hold(torch.tensor([1]))
    env.step_masked(actions_for(env, 1)[0], torch.tensor([True, False, True, True]))
    assert hidden.memory[0].tolist() == [2.0, 1.0, 2.0, 2.0]
    del core.planner, core._get_rewards
