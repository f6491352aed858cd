"""Rows with random streams of their own, on Isaac Lab 2.3.2's own managers and buffers.

The level is "approximate", since PhysX keeps caches out of reach; the stand-ins for it have none,
so that whole trajectories can be compared bit for bit.
"""

from __future__ import annotations

import importlib
import warnings
from typing import Any

import pytest
import torch

from holdstep.envs.state.per_env_random import UnattributedDrawWarning
from holdstep.wrappers import SuspendOnWait
from tests.envs.state import lockstep
from tests.isaaclab23.rollouts import (
    DIRECT_ID,
    MANAGER_BASED_ID,
    STATEFUL_DIRECT_ID,
    ignore_jit_warning,
)

pytestmark = ignore_jit_warning
NUM_STEPS = 110


@pytest.fixture
def wrapped(standins, tmp_path, monkeypatch):
    """Makes an env whose rows have streams of their own; only one is open at a time."""
    opened: list[Any] = []

    def make_one(
        env_id: str,
        *,
        num_envs: int = 5,
        actuator: str | None = None,
        cut_short: bool = True,
        biased: bool = False,
    ) -> SuspendOnWait:
        from holdstep.envs import make
        from holdstep.envs.adapters.isaaclab import tasks

        while opened:
            opened.pop().close()
        if env_id == STATEFUL_DIRECT_ID:  # it shows how often all rows have been observed
            module = importlib.import_module("tests.isaaclab23.stateful_direct_task")
            never = property(lambda self: 0, lambda self, value: None)
            task = module.StatefulDirectCartpoleEnv
            monkeypatch.setattr(task, "num_observed", never, raising=False)
        cfg = tasks.load_env_cfg(env_id)
        if cut_short:
            cfg.episode_length_s = 0.35
        if biased:
            cfg.observation_noise_model, cfg.action_noise_model = bias_model(), bias_model()
        cfg.events.push.interval_range_s = (0.02, 0.15)
        if env_id == MANAGER_BASED_ID:
            importlib.import_module("tests.isaaclab23.rich_observations").add_to(cfg)
            importlib.import_module("tests.isaaclab23.actuated").add_delayed_group(cfg)
            cfg.observations.stateful.count = None  # counts the observations of all rows
            cfg.commands.cart_target.resampling_time_range = (0.02, 0.2)
        env = make(f"isaaclab:{env_id}", num_envs=num_envs, device="cpu", seed=3, cfg=cfg)
        opened.append(env)
        if actuator is not None:
            module = importlib.import_module("tests.isaaclab23.actuated")
            module.actuate(env.backend_env.scene["robot"], actuator, tmp_path)
        env = SuspendOnWait(env, level="approximate", rng="per_env")
        opened.append(env)
        env.reset(seed=1)
        for _ in range(3):  # until the deque of a task is full: rows share its length
            env.step(torch.zeros(env.action_space.shape))
        return env

    yield make_one
    while opened:
        opened.pop().close()


def run(env: SuspendOnWait, *, num_steps: int = NUM_STEPS, suspends: bool) -> lockstep.Trace:
    generator = torch.Generator().manual_seed(7)
    actions = 0.3 * torch.randn(num_steps, *env.action_space.shape, generator=generator)
    return lockstep.run(
        env,
        actions,
        schedule=lockstep.random_schedule(env.num_envs, seed=11) if suspends else None,
        first_lengths=torch.arange(env.num_envs) * 7 % env.max_episode_length,
    )


def bias_model() -> Any:
    """Noise with an offset that a row keeps for an episode, as in Isaac Lab's direct hand tasks."""
    noise = importlib.import_module("isaaclab.utils.noise")
    return noise.NoiseModelWithAdditiveBiasCfg(
        noise_cfg=noise.GaussianNoiseCfg(mean=0.0, std=0.02),
        bias_noise_cfg=noise.GaussianNoiseCfg(mean=0.0, std=0.1),
    )


@pytest.mark.parametrize(
    ("env_id", "num_envs", "actuator"),
    [
        (MANAGER_BASED_ID, 3, None),
        *[(MANAGER_BASED_ID, 5, actuator) for actuator in ("delay", "lstm", "mlp")],
        (DIRECT_ID, 5, "delay"),
        (STATEFUL_DIRECT_ID, 3, None),
    ],
)
def test_rows_do_not_notice_that_they_or_others_are_suspended(wrapped, env_id, num_envs, actuator):
    plain = run(wrapped(env_id, num_envs=num_envs, actuator=actuator), suspends=False)
    suspended = run(wrapped(env_id, num_envs=num_envs, actuator=actuator), suspends=True)
    lockstep.assert_same_rows(suspended, plain)
    assert len(suspended.ticks) > 1.3 * NUM_STEPS
    assert plain.num_ended >= 3 * num_envs


def test_offsets_of_a_direct_tasks_noise_are_state_of_the_rows(wrapped):
    env = wrapped(DIRECT_ID, biased=True)
    names = [name for name in env.snapshot().rows if name.endswith("noise_model._bias")]
    assert sorted(names) == [f"env._{what}_noise_model._bias" for what in ("action", "observation")]
    plain = run(env, num_steps=40, suspends=False)
    suspended = run(wrapped(DIRECT_ID, biased=True), num_steps=40, suspends=True)
    lockstep.assert_same_rows(suspended, plain)
    assert plain.num_ended > env.num_envs


@pytest.fixture
def busy_env(wrapped):
    return wrapped(MANAGER_BASED_ID, actuator="delay")


WITHOUT = {
    "random counters": "random.counter",
    "clock": "env.episode_length_buf",
    "event timer": "event_manager.interval",
    "command timer": "cart_target.time_left",
    "history": "joint_vel.history._buffer",
    "observation delay": "DelayedVelocity.buffer._circular_buffer._buffer",
    "filter": "x_n",
    "actuator delay": "positions_delay_buffer._circular_buffer._buffer",
    "previous action": "action_manager._action",
    "reward sums": "_episode_sums",
}


def test_every_part_is_needed(busy_env, monkeypatch):
    """What is left out of the table shows in what rows go through."""
    control, unnoticed = busy_env._control, []
    start = busy_env.snapshot()
    plain = run(busy_env, num_steps=30, suspends=False)
    moving = control._moving_slots
    for name, part in {"nothing": None, **WITHOUT}.items():
        busy_env.restore(start, torch.arange(busy_env.num_envs))
        kept = [slot for slot in moving() if part is None or part not in slot.name]
        assert part is None or len(kept) < len(moving()), f"the table has no {part}"
        with monkeypatch.context() as patch:
            patch.setattr(control, "_moving_slots", lambda kept=kept: kept)
            patch.setattr(lockstep, "assert_held_row_is_same", lambda *_: None)
            control.tables_changed()
            suspended = run(busy_env, num_steps=30, suspends=True)
        control.tables_changed()
        if lockstep.is_same(suspended, plain):
            unnoticed.append(name)
    assert unnoticed == ["nothing"]


def test_every_draw_has_its_rows(wrapped):
    for env_id in (MANAGER_BASED_ID, DIRECT_ID):
        env = wrapped(env_id, actuator="delay")
        random = env._control._random
        before = random.num_draws
        with warnings.catch_warnings():
            warnings.simplefilter("error", UnattributedDrawWarning)
            for step in range(100):
                env.step(torch.ones(5, 1))
                if step % 17 == 5:
                    env.reset(seed=step, options={"env_ids": [1, 4]})
        assert random.unattributed == {}
        assert not random.missed
        assert random.num_draws - before > 200
        assert random.counter.unique().numel() > 1


def test_a_seed_repeats_rows_and_hooks_come_off(wrapped):
    env = wrapped(MANAGER_BASED_ID)
    core = env.backend_env
    managers = (core, core.event_manager, *core.command_manager._terms.values())
    ids = [1, 3]
    first = env.reset(seed=5, options={"env_ids": ids})[0]["policy"][ids].clone()
    env.step(torch.ones(5, 1))
    start = env._control._random.counter.clone()
    again = env.reset(seed=5, options={"env_ids": ids})[0]["policy"][ids]
    assert torch.equal(first[:, :2], again[:, :2])  # noise on the positions that were drawn
    assert env._control._random.counter[0] == start[0]
    assert any("_resample" in vars(owner) for owner in managers)
    env._control.close()
    names = {"seed", "reset", "apply", "_resample", "_resample_command"}
    assert not any(names & set(vars(owner)) for owner in managers)
    assert torch.rand.__module__ != "holdstep.envs.state.random_redirect"
