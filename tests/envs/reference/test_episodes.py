"""What the reference envs share: episodes, resets, seeds, and who owns which tensor."""

import gymnasium
import pytest
import torch
from gymnasium.vector import AutoresetMode

from holdstep.envs.reference import CartPole, PointMass
from holdstep.errors import (
    CapabilityError,
    ClosedEnvError,
    ConfigError,
    InvalidActionError,
    InvalidEnvIdsError,
    ResetNeededError,
)

pytestmark = pytest.mark.parametrize("env_class", [CartPole, PointMass])


def zeros(env):
    return torch.zeros(env.num_envs, env.single_action_space.shape[0])


def tensors_in(tree):
    if isinstance(tree, torch.Tensor):
        yield tree
    else:
        for item in tree.values() if isinstance(tree, dict) else tree:
            yield from tensors_in(item)


def test_shapes_and_dtypes(env_class):
    env = env_class(3, seed=0)
    obs, _ = env.reset()
    for each in (obs, env.step(zeros(env))[0]):
        assert env.observation_space.contains({k: v.numpy() for k, v in each.items()})
    _, reward, terminated, truncated, info = env.step(zeros(env))
    assert (reward.shape, reward.dtype) == ((3,), torch.float32)
    for flag in (terminated, truncated, info["active"], info["_final_obs"]):
        assert (flag.shape, flag.dtype) == ((3,), torch.bool)
    assert info["active"].all()
    assert env.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    assert env.metadata is not env_class(1).metadata
    assert env.unwrapped is env.backend_env is env
    assert env.episode_length_buf.dtype == torch.int64


def test_row_that_ends_starts_its_next_episode_in_the_same_step(env_class):
    env = env_class(2, seed=0, max_episode_length=5)
    env.reset()
    env.episode_length_buf = torch.tensor([0, 3])
    env.step(zeros(env))
    before = env.row_buffers["state"].clone()
    obs, _, terminated, truncated, info = env.step(zeros(env))
    assert truncated.tolist() == info["_final_obs"].tolist() == [False, True]
    assert not terminated.any()
    assert env.episode_length_buf.tolist() == [2, 0]
    critic, final = obs["critic"], info["final_obs"]["critic"]
    assert critic[:, -1].tolist() == pytest.approx([0.6, 1.0])
    assert final[:, -1].tolist() == pytest.approx([0.6, 0.0])
    assert torch.equal(critic[0], final[0])
    # The final observation is the ended episode's, the returned one that of a new first state.
    assert torch.allclose(final[1, :2], before[1, :2], atol=0.05)
    assert torch.equal(env.row_buffers["state"][1, :2], obs["policy"][1, :2])
    assert not torch.equal(critic[1, :2], final[1, :2])


def test_final_obs_can_be_switched_off_and_changes_nothing_else(env_class):
    on, off = env_class(4, seed=0, max_episode_length=3), env_class(4, seed=0, max_episode_length=3)
    assert on.final_obs_enabled
    off.final_obs_enabled = False
    assert not off.final_obs_enabled
    on.reset(), off.reset()
    for _ in range(7):
        with_final, without = on.step(zeros(on)), off.step(zeros(off))
        assert {"final_obs", "_final_obs"} <= with_final[4].keys()
        assert not {"final_obs", "_final_obs"} & without[4].keys()
        for one, other in zip(tensors_in(with_final[:4]), tensors_in(without[:4]), strict=True):
            assert torch.equal(one, other)


def test_returned_tensors_are_the_callers(env_class):
    env = env_class(4, seed=0, max_episode_length=3)
    kept = [env.reset(), *(env.step(zeros(env)) for _ in range(7))]
    copies = [tensor.clone() for tensor in tensors_in(kept)]
    undisturbed = env_class(4, seed=0, max_episode_length=3)
    undisturbed.reset()
    for _ in range(7):
        undisturbed.step(zeros(undisturbed))
    for _ in range(5):
        env.step(zeros(env)), undisturbed.step(zeros(env))
    for tensor, copy in zip(tensors_in(kept), copies, strict=True):
        assert torch.equal(tensor, copy)
    for tensor in tensors_in(kept):
        tensor.fill_(1)  # and what the caller does with them reaches neither env nor each other
    for _ in range(5):
        for one, other in zip(
            tensors_in(env.step(zeros(env))), tensors_in(undisturbed.step(zeros(env))), strict=True
        ):
            assert torch.equal(one, other)
    for _ in range(3):  # with and without a row that ends
        *results, info = env.step(zeros(env))
        assert info.pop("final_info").keys() == info["final_obs"].keys()  # the same tensors again
        assert info.pop("_final_info") is info["_final_obs"]
        addresses = [tensor.data_ptr() for tensor in tensors_in([*results, info])]
        assert len(set(addresses)) == len(addresses)


def test_same_seed_same_trajectory(env_class):
    runs = []
    for seed in (5, 5, 6):
        env = env_class(3, max_episode_length=4)
        run = [env.reset(seed=seed)]
        run += [env.step(zeros(env)) for _ in range(9)]
        runs.append(torch.cat([t.flatten().double() for t in tensors_in([r[0] for r in run])]))
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])


def test_without_a_seed_streams_go_on(env_class):
    env = env_class(3, seed=0)
    first, second = env.reset()[0]["policy"], env.reset()[0]["policy"]
    assert not torch.equal(first, second)
    env.reset(seed=0)
    assert torch.equal(env.reset()[0]["policy"], second)


@pytest.mark.parametrize(
    "env_ids", [[2, 0], torch.tensor([0, 2]), torch.tensor([True, False, True])]
)
def test_partial_reset_leaves_the_other_rows(env_class, env_ids):
    env = env_class(3, seed=0)
    env.reset()
    last, *_ = env.step(zeros(env))
    before = {name: value[1].clone() for name, value in env.row_buffers.items()}
    obs, _ = env.reset(seed=8, options={"env_ids": env_ids})
    for name, value in env.row_buffers.items():
        assert torch.equal(value[1], before[name]), name
    fresh, _ = env_class(3, seed=8).reset()
    for name in obs:
        assert torch.equal(obs[name][1], last[name][1])
        assert torch.equal(obs[name][[0, 2]], fresh[name][[0, 2]])
    assert env.episode_length_buf.tolist() == [0, 1, 0]


def test_partial_reset_of_no_row_is_no_reset(env_class):
    env = env_class(3, seed=0)
    env.reset()
    last, *_ = env.step(zeros(env))
    obs, _ = env.reset(options={"env_ids": []})
    for name in obs:
        assert torch.equal(obs[name], last[name])


def test_partial_reset_refuses_bad_ids_and_comes_second(env_class):
    env = env_class(3, seed=0)
    with pytest.raises(ResetNeededError):
        env.reset(options={"env_ids": [0]})
    env.reset()
    with pytest.raises(InvalidEnvIdsError):
        env.reset(options={"env_ids": [3]})


def test_time_limit_follows_the_episode_length_that_was_set(env_class):
    env = env_class(3, seed=0, max_episode_length=50)
    env.reset()
    env.episode_length_buf = torch.tensor([48, 49, 70])
    _, _, _, truncated, info = env.step(zeros(env))
    assert truncated.tolist() == [False, True, True]
    assert env.observation_space["critic"].contains(info["final_obs"]["critic"].numpy())
    assert info["final_obs"]["critic"][:, -1].tolist() == pytest.approx([0.02, 0, 0], abs=1e-6)
    env.episode_length_buf[0] = 0  # in place, as a state registry does
    _, _, _, truncated, _ = env.step(zeros(env))
    assert not truncated.any()


def test_stepped_in_inference_mode_and_edited_outside_it(env_class):
    with torch.inference_mode():
        env = env_class(3, seed=0, max_episode_length=3)
        env.reset()
        for _ in range(5):
            env.step(zeros(env))
            env.step_masked(zeros(env), torch.tensor([True, False, True]))
    env.episode_length_buf = torch.zeros(3, dtype=torch.int64)
    for buffer in env.row_buffers.values():
        buffer.add_(0)
    env.reset(seed=1, options={"env_ids": [1]})
    env.step(zeros(env))


def test_actions_that_need_gradients_leave_none_behind(env_class):
    env = env_class(2, seed=0)
    env.reset()
    actions = zeros(env).requires_grad_()
    results = [env.step(actions), env.step_masked(actions, torch.tensor([True, False]))]
    assert not any(tensor.requires_grad for tensor in tensors_in(results))
    assert not any(buffer.requires_grad for buffer in env.row_buffers.values())


def test_bad_actions_are_refused_and_change_nothing(env_class):
    env = env_class(2, seed=0)
    env.reset()
    before = env.row_buffers["state"].clone()
    nan, infinite = zeros(env), zeros(env)
    nan[1, 0], infinite[0, 0] = float("nan"), float("inf")
    for wrong in (nan, infinite, zeros(env).double(), zeros(env)[:1], None):
        with pytest.raises(InvalidActionError):
            env.step(wrong)
    assert torch.equal(env.row_buffers["state"], before)


def test_calls_out_of_order_are_refused(env_class):
    env = env_class(2, seed=0, render_mode="rgb_array")
    for call in (lambda: env.step(zeros(env)), env.render):
        with pytest.raises(ResetNeededError):
            call()
    env.reset()
    env.close()
    env.close()
    for call in (env.reset, lambda: env.step(zeros(env)), env.render):
        with pytest.raises(ClosedEnvError):
            call()


def test_render_needs_a_render_mode(env_class):
    env = env_class(2, seed=0)
    env.reset()
    assert not env.capabilities.render
    with pytest.raises(CapabilityError, match="rgb_array"):
        env.render()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_gpu_steps_never_wait_and_agree_with_the_cpu(env_class):
    gpu, cpu = (env_class(64, device=d, seed=0, max_episode_length=9) for d in ("cuda", "cpu"))
    started = gpu.reset()[0]["policy"]
    torch.testing.assert_close(started.cpu(), cpu.reset()[0]["policy"], rtol=0, atol=1e-7)
    actions = torch.rand(40, 64, gpu.single_action_space.shape[0]) * 2 - 1
    mask = torch.rand(40, 64) < 0.5
    on_gpu, mask_on_gpu = actions.cuda(), mask.cuda()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for step in range(40):
            got = gpu.step(on_gpu[step])
            masked = gpu.step_masked(on_gpu[step], mask_on_gpu[step])
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for step in range(40):
        expected = cpu.step(actions[step])
        expected_masked = cpu.step_masked(actions[step], mask[step])
    for one, other in (got, expected), (masked, expected_masked):
        for theirs, ours in zip(tensors_in(one), tensors_in(other), strict=True):
            torch.testing.assert_close(theirs.cpu(), ours, rtol=1e-4, atol=1e-4)
    assert torch.equal(gpu.row_buffers["rng_counter"].cpu(), cpu.row_buffers["rng_counter"])


@pytest.mark.parametrize("num_envs", [0, -1, 2.0, True])
def test_num_envs_is_a_positive_integer(env_class, num_envs):
    with pytest.raises(ConfigError, match="num_envs"):
        env_class(num_envs)
    with pytest.raises(ConfigError, match="num_envs"):
        gymnasium.make_vec(f"holdstep/{env_class.__name__}-v0", num_envs=num_envs)
