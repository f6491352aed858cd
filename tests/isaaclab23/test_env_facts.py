"""Facts of Isaac Lab 2.3.2 that an adapter has to know; each test pins one of them."""

from __future__ import annotations

import copy
import gc
import importlib
from typing import TYPE_CHECKING, Any

import pytest
import torch

from tests.isaaclab23.rollouts import (
    BOTH,
    DIRECT_ID,
    MANAGER_BASED_ID,
    actions,
    ignore_failed_destructor,
    ignore_jit_warning,
    rollout,
)

if TYPE_CHECKING:
    from types import SimpleNamespace

    from tests.isaaclab23.conftest import MakeEnv

pytestmark = ignore_jit_warning


def test_which_returned_tensors_a_manager_based_step_overwrites(make_env: MakeEnv) -> None:
    env = make_env(MANAGER_BASED_ID)
    first_obs, info = env.reset(seed=0)
    obs1, reward1, terminated1, truncated1, extras1 = env.step(actions(8, 0))
    kept = {group: tensor.clone() for group, tensor in obs1.items()}
    obs2, reward2, terminated2, truncated2, extras2 = env.step(actions(8, 1))
    assert reward1.data_ptr() == reward2.data_ptr()
    assert terminated1.data_ptr() == terminated2.data_ptr()
    assert truncated1.data_ptr() == truncated2.data_ptr()
    assert info is extras1 is extras2 is env.extras
    assert first_obs is not obs1 is not obs2 is env.obs_buf
    assert all(torch.equal(obs1[group], kept[group]) for group in obs1)


def test_which_returned_tensors_a_direct_step_overwrites(make_env: MakeEnv) -> None:
    env = make_env(DIRECT_ID)
    env.reset(seed=0)
    obs1, reward1, terminated1, truncated1, _ = env.step(actions(8, 0))
    critic = obs1["critic"].clone()
    obs2, reward2, terminated2, truncated2, _ = env.step(actions(8, 1))
    assert terminated1.data_ptr() == terminated2.data_ptr()
    assert truncated1.data_ptr() == truncated2.data_ptr()
    assert reward1.data_ptr() != reward2.data_ptr()
    assert obs1["critic"].data_ptr() == obs2["critic"].data_ptr()
    assert not torch.equal(obs1["critic"], critic)


def test_partial_reset_also_pushes_the_history_of_other_rows(make_env: MakeEnv) -> None:
    env = make_env(MANAGER_BASED_ID)
    env.reset(seed=0)
    before, *_ = env.step(actions(8, 0))
    after, _ = env.reset(env_ids=torch.tensor([1, 4]))
    kept = torch.tensor([0, 2, 3, 5, 6, 7])
    assert torch.equal(after["critic"][kept], before["critic"][kept])  # physics stands still
    history = after["policy"][kept, 2:8]
    assert torch.equal(history[:, 2:4], history[:, 4:6])  # the newest entry twice
    assert env.episode_length_buf.tolist() == [1, 0, 1, 1, 0, 1, 1, 1]


@BOTH
def test_reset_idx_can_be_hooked_on_the_instance(make_env: MakeEnv, env_id: str) -> None:
    """The state before a reset is visible there; a read-only hook leaves the run bit-equal."""
    env = make_env(env_id, seed=3)
    env.reset(seed=3)
    plain = rollout(env, 100)
    env.close()
    env = make_env(env_id, seed=3)
    env.reset(seed=3)
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    original = env._reset_idx

    def hook(env_ids: torch.Tensor) -> None:
        seen.append((env_ids.clone(), env.scene["robot"].data.joint_pos[env_ids].clone()))
        original(env_ids)

    env._reset_idx = hook
    hooked = rollout(env, 100)
    del env._reset_idx
    assert all(all(map(torch.equal, a, b)) for a, b in zip(plain, hooked, strict=True))
    assert env._reset_idx == original
    dones = [(t | c).nonzero().squeeze(-1) for _, _, t, c in hooked if (t | c).any()]
    assert [ids.tolist() for ids, _ in seen] == [ids.tolist() for ids in dones]
    assert all(ids.dtype == torch.int64 for ids, _ in seen)
    failed = torch.cat([position for _, position in seen])
    assert ((failed[:, 0].abs() > 2.0) | (failed[:, 1].abs() > 0.6)).any()


def test_final_obs_can_be_computed_without_a_trace(make_env: MakeEnv) -> None:
    """The recipe for adapters: shadow history buffers, restored RNG, restored obs cache."""
    env = make_env(MANAGER_BASED_ID, seed=3)
    env.reset(seed=3)
    plain = rollout(env, 100)
    env.close()
    env = make_env(MANAGER_BASED_ID, seed=3)
    obs, _ = env.reset(seed=3)
    manager = env.observation_manager
    final: list[tuple[torch.Tensor, dict[str, torch.Tensor]]] = []
    original = env._reset_idx

    def hook(env_ids: torch.Tensor) -> None:
        real, cached, rng = (
            manager._group_obs_term_history_buffer,
            manager._obs_buffer,
            torch.random.get_rng_state(),
        )
        # A copy of a few tensors; appending to it leaves the real buffers' pointers alone.
        manager._group_obs_term_history_buffer = copy.deepcopy(real)
        try:
            computed = manager.compute(update_history=True)
        finally:
            manager._group_obs_term_history_buffer, manager._obs_buffer = real, cached
            torch.random.set_rng_state(rng)
        final.append((env_ids, {name: group[env_ids] for name, group in computed.items()}))
        original(env_ids)

    env._reset_idx = hook
    previous = obs["policy"][:, 4:8].clone()
    for index, expected in enumerate(plain):
        num_final = len(final)
        obs, *rest = env.step(actions(8, index))
        assert all(map(torch.equal, (obs["policy"], *rest[:3]), expected))
        if len(final) > num_final:
            ids, last = final[-1]
            assert torch.equal(last["policy"][:, 2:6], previous[ids])  # older history
            assert torch.equal(last["policy"][:, 6:8], last["critic"][:, 2:])  # terminal velocity
            assert not torch.equal(last["critic"], obs["critic"][ids])
        previous = obs["policy"][:, 4:8].clone()
    assert len(final) > 4


@ignore_failed_destructor
def test_only_one_env_is_open_at_a_time(make_env: MakeEnv, standins: SimpleNamespace) -> None:
    env = make_env(MANAGER_BASED_ID)
    with pytest.raises(RuntimeError, match="already exists"):
        make_env(DIRECT_ID)
    assert standins.fake_scene.FakeSimulationContext.instance() is env.sim
    gc.collect()  # the failed env's destructor must not close the open one
    env.step(actions(8, 0))
    env.close()
    env.close()  # a second close does nothing
    make_env(DIRECT_ID).reset()


def test_close_leaves_nothing_behind(make_env: MakeEnv, standins: SimpleNamespace) -> None:
    stream = importlib.import_module("omni.timeline").get_timeline_interface()
    env = make_env(MANAGER_BASED_ID)
    env.close()
    assert stream.get_timeline_event_stream().num_subscriptions == 0
    assert standins.fake_scene.FakeSimulationContext.instance() is None
    module = importlib.import_module("isaaclab.envs.manager_based_env")
    assert module.SimulationContext.__module__ == "isaaclab.sim.simulation_context"


@ignore_failed_destructor
def test_failed_constructor_frees_the_simulation(
    make_env: MakeEnv, standins: SimpleNamespace
) -> None:
    def edit(cfg: Any) -> None:
        cfg.rewards.alive.weight = "much"

    with pytest.raises(TypeError, match="alive"):
        make_env(MANAGER_BASED_ID, edit=edit)
    gc.collect()
    assert standins.fake_scene.FakeSimulationContext.instance() is None
    make_env(MANAGER_BASED_ID).reset()


@BOTH
def test_rsl_rl_wrapper_and_config(make_env: MakeEnv, env_id: str) -> None:
    pytest.importorskip("rsl_rl", exc_type=ImportError)
    pytest.importorskip("tensordict", exc_type=ImportError)
    rsl_rl = importlib.import_module("isaaclab_rl.rsl_rl")
    load = importlib.import_module("isaaclab_tasks.utils").load_cfg_from_registry
    agent_cfg = load(env_id, "rsl_rl_cfg_entry_point")
    env = rsl_rl.RslRlVecEnvWrapper(make_env(env_id), clip_actions=agent_cfg.clip_actions)
    obs, reward, dones, extras = env.step(torch.full((8, 1), 7.0))
    assert set(obs.keys()) == {"policy", "critic"}
    assert reward.shape == dones.shape == (8,)
    assert dones.dtype == torch.int64
    assert extras["time_outs"] is env.unwrapped.reset_time_outs
    unwrapped = env.unwrapped
    manager = getattr(unwrapped, "action_manager", None)
    raw = unwrapped.actions if manager is None else manager.action
    assert torch.equal(raw, torch.ones(8, 1))
