"""Rows with random streams of their own: what they go through depends on nobody else."""

from __future__ import annotations

import contextlib
import warnings
from typing import Any

import pytest
import torch

from holdstep.envs.state.per_env_random import UnattributedDrawWarning
from holdstep.wrappers import SuspendOnWait
from tests.envs.state import lockstep
from tests.isaaclab.hard_tasks import (
    ANT,
    ANT_DIRECT,
    CARTPOLE,
    CARTPOLE_DIRECT,
    GO2,
    MULTI_AGENT,
    hard_cartpole,
    hard_go2,
    short,
    short_on_newton,
)
from tests.isaaclab.held_rows import COUNTS_STEPS_OF_ALL, different, silenced

torch.set_num_threads(1)
NUM_STEPS = 110


@pytest.fixture
def wrapped(make_env):
    """Makes an env whose rows have streams of their own; only one is open at a time."""
    opened: list[Any] = []

    def make_one(task: str, edit: Any, num_envs: int = 4) -> SuspendOnWait:
        from holdstep.envs.adapters.isaaclab import tasks

        while opened:
            opened.pop().close()
        cfg = tasks.with_presets(tasks.load_env_cfg(task), None)
        edit(cfg)
        opened.append(SuspendOnWait(make_env(task, num_envs=num_envs, cfg=cfg), rng="per_env"))
        return opened[-1]

    return make_one


def run(env: SuspendOnWait, *, num_steps: int = NUM_STEPS, suspends: bool) -> lockstep.Trace:
    generator = torch.Generator().manual_seed(7)
    actions = 2 * torch.rand(num_steps, *env.action_space.shape, generator=generator) - 1
    with silenced():
        return lockstep.run(
            env,
            actions,
            schedule=lockstep.random_schedule(env.num_envs, seed=11) if suspends else None,
            first_lengths=torch.arange(env.num_envs) * 7 % env.max_episode_length,
        )


TASKS = [
    pytest.param(GO2, hard_go2, 4, id="go2"),
    pytest.param(GO2, hard_go2, 12, id="go2-as-many-rows-as-joints"),
    pytest.param(CARTPOLE, hard_cartpole, 3, id="cartpole-as-many-rows-as-frames"),
    pytest.param(ANT, short, 4, id="ant"),
    pytest.param(ANT_DIRECT, short, 4, id="ant-direct"),
    pytest.param(CARTPOLE_DIRECT, short, 2, id="cartpole-direct-as-many-rows-as-joints"),
    pytest.param(MULTI_AGENT, short_on_newton, 3, id="multi-agent"),
]


@pytest.mark.parametrize(("task", "edit", "num_envs"), TASKS)
def test_rows_do_not_notice_that_they_or_others_are_suspended(wrapped, task, edit, num_envs):
    env = wrapped(task, edit, num_envs)
    plain = run(env, suspends=False)
    assert env._control.unknown_state() == []
    suspended = run(wrapped(task, edit, num_envs), suspends=True)
    lockstep.assert_same_rows(suspended, plain)
    assert len(suspended.ticks) > 1.3 * NUM_STEPS  # rows were suspended a lot,
    assert plain.num_ended >= 3 * num_envs  # and ended often


WITHOUT = {
    "random counters": "random.counter",
    "warm start": "qacc_warmstart",
    "velocities": "physics.joint_qd",
    "clock": "env.episode_length_buf",
    "event timer": "event_manager.interval",
    "command timer": ".time_left",
    "history": ".history._buffer",
    "previous action": "action_manager._action",
    "contact sensor's clock": "contact_forces._timestamp",
    "reward sums": "_episode_sums",
    "air time": "_current_air_time",
}


def test_every_part_is_needed(wrapped, monkeypatch):
    """What is left out of the table shows in what rows go through."""
    env = wrapped(GO2, hard_go2)
    control, unnoticed = env._control, []
    with silenced():
        env.reset(seed=1)
        env.reset(seed=1)
    for _ in range(2):  # until all buffers are made
        env.step(torch.zeros(env.action_space.shape))
    start = env.snapshot()
    plain = run(env, num_steps=25, suspends=False)
    moving = control._moving_slots
    for name, part in {"nothing": None, **WITHOUT}.items():
        env.restore(start, torch.arange(env.num_envs))
        kept = [slot for slot in moving() if part is None or part not in slot.name]
        assert part is None or len(kept) < len(moving()), f"the table has no {part}"
        with monkeypatch.context() as patch:
            patch.setattr(control, "_moving_slots", lambda kept=kept: kept)
            patch.setattr(lockstep, "assert_held_row_is_same", lambda *_: None)
            control.tables_changed()
            suspended = run(env, num_steps=25, suspends=True)
        control.tables_changed()
        if lockstep.is_same(suspended, plain):
            unnoticed.append(name)
    assert unnoticed == ["nothing"]


def test_direct_resets_would_change_other_rows(wrapped, monkeypatch):
    """Ant computes its potentials anew for all rows when some are reset."""
    from holdstep.envs.adapters.isaaclab import random_scopes

    monkeypatch.setattr(random_scopes, "other_rows_kept", lambda *_: contextlib.nullcontext())
    plain = run(wrapped(ANT_DIRECT, short), num_steps=30, suspends=False)
    suspended = run(wrapped(ANT_DIRECT, short), num_steps=30, suspends=True)
    with pytest.raises(AssertionError, match=r"env\.prev_potentials"):
        lockstep.assert_same_rows(suspended, plain)


@pytest.mark.parametrize(("task", "edit", "num_envs"), [TASKS[0], *TASKS[2:4], *TASKS[5:]])
def test_every_draw_has_its_rows(wrapped, task, edit, num_envs):
    env = wrapped(task, edit, num_envs)
    random = env._control._random
    with warnings.catch_warnings(), silenced():
        warnings.simplefilter("error", UnattributedDrawWarning)
        env.reset(seed=1)
        for step in range(60):
            env.step(torch.zeros(env.action_space.shape))
            if step % 17 == 5:
                env.reset(seed=step, options={"env_ids": [1]})
    assert random.unattributed == {}
    assert not random.missed
    assert random.num_draws > 5
    assert random.counter.unique().numel() > 1  # rows draw different numbers of numbers


def test_torchs_own_stream_does_not_matter(wrapped):
    env = wrapped(GO2, hard_go2)
    with silenced():
        env.reset(seed=3)
    start = env.snapshot()
    runs = []
    for global_seed in (1, 2):
        env.restore(start, torch.arange(env.num_envs))
        torch.manual_seed(global_seed)
        runs.append([env.step(torch.zeros(env.action_space.shape))[0] for _ in range(20)])
    for one, other in zip(*runs, strict=True):
        assert torch.equal(one["policy"], other["policy"])


@pytest.mark.parametrize("task", [GO2, ANT_DIRECT])
def test_rows_do_not_notice_that_others_are_reset(wrapped, task):
    env = wrapped(task, hard_go2 if task == GO2 else short)
    with silenced():
        env.reset(seed=3)
    for _ in range(3):
        env.step(torch.zeros(env.action_space.shape))
    start, others = env.snapshot(), torch.tensor([1, 3])
    runs = []
    for resets in (False, True):
        env.restore(start, torch.arange(env.num_envs))
        run = []
        for step in range(30):
            if resets and step % 5 == 2:
                with silenced():
                    env.reset(options={"env_ids": [0, 2]}, seed=step if step % 2 else None)
            obs, reward, *_ = env.step(torch.zeros(env.action_space.shape))
            shown = {name: value[others] for name, value in obs.items()}
            run.append({**env.snapshot(others).rows, **shown, "reward": reward[others]})
        runs.append(run)
    for one, other in zip(*runs, strict=True):
        names = [name for name in different(one, other) if COUNTS_STEPS_OF_ALL not in name]
        assert names == []


def test_final_observations_take_nothing_from_the_streams(wrapped):
    env = wrapped(GO2, hard_go2)
    env.unwrapped.final_obs_enabled = False
    plain = run(env, num_steps=40, suspends=False)
    observed = run(wrapped(GO2, hard_go2), num_steps=40, suspends=False)
    assert plain.num_ended > 0
    assert any("final policy" in tick for tick in observed.ticks)
    lockstep.assert_same_rows(observed, plain)


def test_a_seed_starts_the_streams_of_the_rows_that_are_reset(wrapped):
    env = wrapped(GO2, hard_go2)
    counter = env._control._random.counter
    with silenced():
        env.reset(seed=5)
        drawn = counter.clone()
        for _ in range(3):
            env.step(torch.zeros(env.action_space.shape))
        before = counter.clone()
        assert (before > drawn).all()
        env.reset(seed=5, options={"env_ids": [0, 2]})
        assert torch.equal(counter[[1, 3]], before[[1, 3]])
        assert torch.equal(counter[[0, 2]], drawn[[0, 2]])
        again = env.reset(seed=6)[0]["policy"]
        assert torch.equal(counter, drawn)
        assert not torch.equal(env.reset(seed=7)[0]["policy"], again)


def test_streams_and_hooks_end_with_the_wrapper(wrapped):
    env = wrapped(GO2, hard_go2)
    core = env.backend_env
    adapter = env.unwrapped
    owners = (core, core.event_manager, *core.command_manager._terms.values())
    names = {"seed", "reset", "apply", "_resample", "_resample_command"}
    assert all(names & set(vars(owner)) for owner in owners)
    with silenced():
        env.reset(seed=1)
    assert torch.rand.__qualname__ == "rand"
    env._control.close()
    assert not any(names & set(vars(owner)) for owner in owners)
    assert torch.rand.__module__ != "holdstep.envs.state.random_redirect"
    state = torch.get_rng_state()
    adapter.step(torch.zeros(env.action_space.shape))
    assert not torch.equal(torch.get_rng_state(), state)
    again = adapter.row_control(level="exact", rng="global")
    adapter.step(torch.zeros(env.action_space.shape))
    again.close()
