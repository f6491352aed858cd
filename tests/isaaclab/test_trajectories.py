"""Rows that were held go on where they were; others do not notice. Nothing is random here."""

from __future__ import annotations

import pytest
import torch

from tests.isaaclab.hard_tasks import actions_for
from tests.isaaclab.held_rows import different, first_difference, state_of, trajectory

torch.set_num_threads(1)


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
