"""Ways to hold rows that an env does not have are refused, with what it has instead."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from holdstep.envs.adapters.isaaclab.physics import physics_of
from holdstep.errors import CapabilityError, SuspensionError
from holdstep.wrappers import SuspendOnWait
from tests.isaaclab.hard_tasks import CARTPOLE
from tests.isaaclab.held_rows import silenced


def test_levels_are_chosen_by_name(make_env):
    env = make_env(CARTPOLE)
    assert env.capabilities.freeze == "exact"
    assert env.capabilities.snapshot
    for level in ("skip", "approximate"):
        with pytest.raises(CapabilityError, match=rf"is 'exact', '{level}' was asked for"):
            env.row_control(level=level, rng="global")
        with pytest.raises(CapabilityError, match="level='exact'"):
            SuspendOnWait(env, level=level)
    with pytest.raises(CapabilityError, match="SuspendOnWait"):
        env.step_masked(torch.zeros(4, 1), torch.ones(4, dtype=torch.bool))
    SuspendOnWait(env, level="exact")  # nothing was left behind


def test_a_step_past_the_wrapper_is_refused_while_rows_are_held(make_env):
    env = make_env(CARTPOLE)
    wrapped = SuspendOnWait(env)
    with silenced():
        wrapped.reset(seed=0)
    wrapped.suspend(1)
    with pytest.raises(SuspensionError, match="SuspendOnWait"):
        env.step(torch.zeros(4, 1))


def test_physics_that_rows_cannot_be_put_back_into_is_refused(make_env, monkeypatch):
    env = make_env(CARTPOLE)
    core = env.backend_env
    manager = env._physics._manager

    def check(said: str) -> None:
        physics = physics_of(core)
        assert physics.level == "none"
        env._physics = physics
        with pytest.raises(CapabilityError, match=said):
            env.row_control(level="exact", rng="global")

    for solver in ("SolverXPBD", "SolverFeatherstone", "SolverKamino"):
        with monkeypatch.context() as patch:
            patch.setattr(manager, "_solver", type(solver, (), {})())
            check(f"{solver}.*newton_mjwarp")
    with monkeypatch.context() as patch:
        patch.setattr(manager, "_adapter", object())
        check("use_newton_actuators")
    with monkeypatch.context() as patch:
        patch.setattr(manager._model, "particle_count", 3)
        check("particles")
    with monkeypatch.context() as patch:
        patch.setattr(manager._model, "world_count", 3)
        check("differ from each other")
    sim = SimpleNamespace(physics_manager="isaaclab_bullet.physics:BulletManager")
    with monkeypatch.context() as patch:
        patch.setattr(core, "sim", sim)
        check("BulletManager")
    assert physics_of(core).level == "exact"
