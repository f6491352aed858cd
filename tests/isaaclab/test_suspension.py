"""Rows held still on Newton physics: nothing happens to them, and they don't end."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from holdstep.wrappers import SuspendOnWait
from tests.isaaclab.hard_tasks import (
    ANT,
    ANT_DIRECT,
    CARTPOLE,
    CARTPOLE_DIRECT,
    GO2,
    MULTI_AGENT,
    actions_for,
    busy,
    fixed,
    on_newton,
)
from tests.isaaclab.held_rows import (
    ResetSpy,
    different,
    hold_at_random,
    same_bits,
    silenced,
    state_of,
)

torch.set_num_threads(1)


@pytest.mark.parametrize(
    ("task", "num_envs", "edit"),
    [
        pytest.param(CARTPOLE, 5, fixed, id="cartpole"),
        pytest.param(GO2, 4, busy, id="go2"),
        pytest.param(GO2, 12, busy, id="go2-as-many-rows-as-joints"),
        pytest.param(ANT, 3, None, id="ant"),
        pytest.param(ANT_DIRECT, 8, None, id="ant-direct-as-many-rows-as-joints"),
        pytest.param(CARTPOLE_DIRECT, 3, None, id="cartpole-direct"),
        pytest.param(MULTI_AGENT, 3, on_newton, id="multi-agent"),
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
    registry = control.registry
    control.hold(torch.tensor([3]))
    assert control.registry is registry  # a hook is no new state
    control.release(torch.tensor([2, 3]))
    assert hooked(env) == []
    control.hold(torch.tensor([0, 1]))
    control.close()
    assert hooked(env) == []
    again = env.row_control(level="exact", rng="global")
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
