"""Rows copied, saved, and put back or over others, on Newton physics."""

from __future__ import annotations

import pytest
import torch

from holdstep.envs.state.snapshot import Snapshot
from holdstep.errors import SnapshotError
from tests.isaaclab.hard_tasks import GO2, actions_for, quiet_go2, without_kit
from tests.isaaclab.held_rows import different, first_difference, same_bits, state_of, trajectory

torch.set_num_threads(1)


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


def test_an_arm_stands_where_its_original_does(assets, make_controlled):
    """The pose of a base that is fixed is in none of the physics' own arrays."""
    from tests.isaaclab.registry_assets import write_outlines

    write_outlines(assets)
    env, control = make_controlled("Isaac-Lift-Cube-Franka-v0", edit=without_kit)
    env.step(actions_for(env, 1)[0])
    control.fork(torch.tensor([0]), torch.tensor([2]))
    for action in actions_for(env, 3):
        obs, *_ = env.step(action[:1].expand_as(action).contiguous())
    assert same_bits(obs["policy"][0], obs["policy"][2])
    for value in env.scene_state().values():
        assert same_bits(value[0], value[2])
