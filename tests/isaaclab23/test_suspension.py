"""Rows held still on Isaac Lab 2.3.2's own managers and buffers, over stand-ins for the physics.

The level is "approximate", since PhysX keeps caches out of reach; the stand-ins have none, so that
everything else can be compared bit for bit.
"""

from __future__ import annotations

import dataclasses
import importlib
from typing import Any

import pytest
import torch

from holdstep.envs import make
from holdstep.envs.state.slot import Layout
from holdstep.errors import CapabilityError
from tests.isaaclab23.rollouts import (
    DIRECT_ID,
    MANAGER_BASED_ID,
    STATEFUL_DIRECT_ID,
    ignore_jit_warning,
)

pytestmark = ignore_jit_warning
held_rows = importlib.import_module("tests.isaaclab.held_rows")
ACTUATORS = ("delay", "lstm", "mlp")


@pytest.fixture
def make_controlled(standins, tmp_path):
    """Makes an env that was reset, and its row control."""
    opened = []

    def make_one(
        env_id: str, *, num_envs: int = 5, edit: Any = None, actuator: str | None = None
    ) -> Any:
        from holdstep.envs.adapters.isaaclab import tasks

        cfg = tasks.load_env_cfg(env_id)
        if edit is not None:
            edit(cfg)
        env = make(f"isaaclab:{env_id}", num_envs=num_envs, device="cpu", seed=3, cfg=cfg)
        opened.append(env)
        if actuator is not None:
            module = importlib.import_module("tests.isaaclab23.actuated")
            module.actuate(env.backend_env.scene["robot"], actuator, tmp_path)
        env.reset(seed=3)
        return env, env.row_control(level="approximate", rng="global")

    yield make_one
    for env in opened:
        env.close()


def rich(cfg: Any) -> None:
    """All kinds of state, and pushes and new commands every few steps."""
    importlib.import_module("tests.isaaclab23.rich_observations").add_to(cfg)
    importlib.import_module("tests.isaaclab23.actuated").add_delayed_group(cfg)
    cfg.events.push.interval_range_s = (0.02, 0.15)
    cfg.commands.cart_target.resampling_time_range = (0.02, 0.2)


def fixed(cfg: Any) -> None:
    """The same without anything random."""
    rich(cfg)
    for group in (cfg.observations.policy, cfg.observations.stateful):
        group.enable_corruption = False
    cfg.observations.stateful.count = None  # counts the observations of all rows
    cfg.events.push.params["velocity_range"] = (0.1, 0.1)
    cfg.events.push.interval_range_s = (0.1, 0.1)
    cfg.commands.cart_target.resampling_time_range = (0.15, 0.15)
    cfg.commands.cart_target.range_m = (0.3, 0.3)
    for event in (cfg.events.reset_cart, cfg.events.reset_pole):
        event.params |= {"position_range": (0.05, 0.05), "velocity_range": (0.02, 0.02)}


@pytest.mark.parametrize(
    ("env_id", "num_envs", "actuator"),
    [
        *[(MANAGER_BASED_ID, num_envs, None) for num_envs in (2, 3, 5)],
        *[(MANAGER_BASED_ID, 5, actuator) for actuator in ACTUATORS],
        (MANAGER_BASED_ID, 2, "lstm"),
        (DIRECT_ID, 5, "delay"),
        (STATEFUL_DIRECT_ID, 3, None),
    ],
)
def test_held_rows_do_not_change(make_controlled, env_id, num_envs, actuator):
    edit = rich if env_id == MANAGER_BASED_ID else None
    env, control = make_controlled(env_id, num_envs=num_envs, edit=edit, actuator=actuator)
    counts = held_rows.hold_at_random(env, control, 150)
    assert counts["slots"] > (50 if env_id == MANAGER_BASED_ID else 20)
    assert counts["held"] > 60
    assert counts["suppressed"] >= 5
    assert counts["ended"] > 15
    # The stand-in's physics, out of reach as PhysX is.
    assert [path for path in control.unknown_state() if ".physics." not in path] == []


def run_twice(env: Any, control: Any, *, change: Any = None) -> tuple[str | None, int]:
    """Compare the rows' lives without and with suspensions; ``change`` is made in between."""
    generator = torch.Generator().manual_seed(5)
    actions = 0.3 * torch.randn((110, *env.action_space.shape), generator=generator)
    everybody = torch.arange(env.num_envs)
    for action in actions[:7]:
        env.step(action)
    start = control.snapshot(everybody)
    plain, num_ended = held_rows.trajectory(env, control, actions, seed=None)
    control.restore(start, everybody)
    if change is not None:
        change()
    suspended, _ = held_rows.trajectory(env, control, actions, seed=1)
    return held_rows.first_difference(plain, suspended), num_ended


@pytest.mark.parametrize("actuator", [None, *ACTUATORS])
def test_rows_go_on_where_they_were(make_controlled, actuator):
    env, control = make_controlled(MANAGER_BASED_ID, edit=fixed, actuator=actuator)
    if actuator == "delay":
        fix_lags(env)
    found, num_ended = run_twice(env, control)
    assert found is None
    assert num_ended > env.num_envs


def fix_lags(env: Any) -> None:
    """Resets draw no new delays; each row has its own."""
    actuator = env.backend_env.scene["robot"].actuators["all"]
    actuator.reset = lambda env_ids: [
        buffer.reset(env_ids)
        for buffer in (
            actuator.positions_delay_buffer,
            actuator.velocities_delay_buffer,
            actuator.efforts_delay_buffer,
        )
    ]
    lags = torch.arange(env.num_envs, dtype=torch.int) % 4
    for name in ("positions", "velocities", "efforts"):
        getattr(actuator, f"{name}_delay_buffer").set_time_lag(lags)


PLANTED = [
    (None, "env.episode_length_buf"),
    (None, "event_manager.interval"),
    (None, "cart_target.time_left"),
    (None, "joint_vel.history._buffer"),
    (None, ".late.buffer._circular_buffer._buffer"),
    (None, "integral"),
    (None, "action_manager._action"),
    ("delay", "positions_delay_buffer._circular_buffer._buffer"),
    ("lstm", "sea_hidden_state"),
    ("lstm", "sea_cell_state"),
    ("mlp", "_joint_vel_history"),
]


@pytest.mark.parametrize(("actuator", "forgotten"), PLANTED)
def test_a_forgotten_slot_would_be_noticed(make_controlled, monkeypatch, actuator, forgotten):
    env, control = make_controlled(MANAGER_BASED_ID, edit=fixed, actuator=actuator)
    if actuator == "delay":
        fix_lags(env)

    def forget() -> None:
        slots = control._moving_slots()
        matching = forgotten.replace(".late.", "].DelayedVelocity.")
        kept = [slot for slot in slots if matching not in slot.name]
        assert len(kept) < len(slots), [slot.name for slot in slots]
        monkeypatch.setattr(control, "_moving_slots", lambda: kept)
        control.tables_changed()

    assert run_twice(env, control, change=forget)[0] is not None


@pytest.mark.parametrize("actuator", [None, "delay"])
def test_forgotten_rotations_would_be_noticed(make_controlled, monkeypatch, actuator):
    """Rings are put back where their write position is by then, not where it was."""
    env, control = make_controlled(MANAGER_BASED_ID, edit=fixed, actuator=actuator)
    if actuator == "delay":
        fix_lags(env)

    def forget() -> None:
        slots = [
            dataclasses.replace(slot, layout=Layout(dim=1), position=None)
            if slot.layout.ring and ("robot" in slot.name) == (actuator is not None)
            else slot
            for slot in control._moving_slots()
        ]
        assert sum(slot.layout.ring for slot in control._moving_slots()) > sum(
            slot.layout.ring for slot in slots
        )
        monkeypatch.setattr(control, "_moving_slots", lambda: slots)
        control.tables_changed()

    assert run_twice(env, control, change=forget)[0] is not None


def test_forgotten_setters_would_be_noticed(make_controlled, monkeypatch):
    env, control = make_controlled(MANAGER_BASED_ID, edit=fixed)
    monkeypatch.setattr(control._physics, "push", lambda env_ids: None)
    assert run_twice(env, control)[0] is not None


def test_rows_of_an_lstm_are_its_joints(make_controlled):
    env, control = make_controlled(MANAGER_BASED_ID, actuator="lstm", num_envs=2)
    actuator = env.backend_env.scene["robot"].actuators["all"]
    assert actuator.sea_hidden_state.shape == (2, 4, 5)  # layers, rows * joints, width
    env.step(torch.ones(2, 1))
    control.hold(torch.tensor([1]))
    before = actuator.sea_hidden_state_per_env.clone()
    env.step_masked(torch.ones(2, 1), torch.tensor([True, False]))
    after = actuator.sea_hidden_state_per_env
    assert torch.equal(before[:, 1], after[:, 1])
    assert not torch.equal(before[:, 0], after[:, 0])


def test_no_frame_of_a_held_row_is_recorded(make_controlled, standins, tmp_path):
    def record(cfg: Any) -> None:
        standins.tasks.record_to(cfg, tmp_path)

    env, control = make_controlled(MANAGER_BASED_ID, edit=record)
    manager = env.backend_env.recorder_manager

    def num_frames() -> list[int]:
        episodes = [manager.get_episode(row).data for row in range(env.num_envs)]
        return [len(data.get("actions", ())) for data in episodes]

    zero, active = torch.zeros(5, 1), torch.tensor([True, False, True, True, True])
    env.step(zero)
    control.hold(torch.tensor([1]))
    env.step_masked(zero, active)
    assert num_frames() == [2, 1, 2, 2, 2]
    env.episode_length_buf = torch.full((5,), env.max_episode_length - 1)
    control.hold(torch.tensor([1]))
    *_, info = env.step_masked(zero, active)
    assert manager.exported_failed_episode_count == 4
    assert num_frames() == [0, 1, 0, 0, 0]
    assert info["_final_obs"].tolist() == active.tolist()
    control.release(torch.tensor([1]))
    env.step(zero)
    assert manager.exported_failed_episode_count == 5


@pytest.mark.parametrize("env_id", [MANAGER_BASED_ID, DIRECT_ID, STATEFUL_DIRECT_ID])
def test_resets_of_some_rows_leave_the_others(make_controlled, env_id):
    edit = rich if env_id == MANAGER_BASED_ID else None
    env, control = make_controlled(env_id, edit=edit)
    for _ in range(4):
        env.step(torch.ones(5, 1))
    control.hold(torch.tensor([1, 2]))
    before = held_rows.state_of(control, [0, 1, 4])
    env.reset(options={"env_ids": [2, 3]})
    assert held_rows.different(before, held_rows.state_of(control, [0, 1, 4])) == []
    held = held_rows.state_of(control, [1, 2])
    env.step_masked(torch.ones(5, 1), torch.tensor([True, False, False, True, True]))
    assert held_rows.different(held, held_rows.state_of(control, [1, 2])) == []


def test_a_fork_stands_where_its_row_stands(make_controlled):
    env, control = make_controlled(MANAGER_BASED_ID, edit=fixed)
    core = env.backend_env
    for index in range(5):
        env.step(torch.full((5, 1), 0.1 * index))
    control.fork(torch.tensor([0]), torch.tensor([3]))
    root = core.scene["robot"].data.root_pose_w
    shift = core.scene.env_origins[3] - core.scene.env_origins[0]
    assert torch.allclose(root[3, :3], root[0, :3] + shift)
    assert torch.equal(
        core.scene["robot"].physics.position[3], core.scene["robot"].physics.position[0]
    )
    for _ in range(8):
        obs, *_ = env.step(torch.ones(5, 1))
        assert all(torch.equal(value[0], value[3]) for value in obs.values())


def test_hooks_are_there_only_while_rows_are_held(make_controlled):
    env, control = make_controlled(MANAGER_BASED_ID)
    manager = env.backend_env.termination_manager
    assert "compute" not in vars(manager)
    control.hold(torch.tensor([0]))
    assert "compute" in vars(manager)
    control.release(torch.tensor([0]))
    assert "compute" not in vars(manager)
    control.hold(torch.tensor([0]))
    env.close()
    assert "compute" not in vars(manager)


def test_exact_is_refused_over_physx(make_controlled):
    env, control = make_controlled(DIRECT_ID)
    control.close()
    assert env.capabilities.freeze == "approximate"
    with pytest.raises(CapabilityError, match="level='approximate' is available"):
        env.row_control(level="exact", rng="global")
