"""Chunks on a GPU: the same as on a CPU, with one wait per tick."""

import warnings

import pytest
import torch

from holdstep.envs.reference import CartPole, PointMass
from holdstep.errors import InvalidActionError
from holdstep.wrappers import ActionChunkReplay, SuspendOnWait
from tests.wrappers.chunk_tools import Spy, looks

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


@pytest.mark.parametrize("gamma", [1.0, 0.9])
@pytest.mark.parametrize("env_class", [CartPole, PointMass])
def test_chunks_are_played_as_on_a_cpu(env_class, gamma):
    """Ends are those of time limits, so that rounding does not decide them."""

    def play(device):
        suspender = SuspendOnWait(env_class(6, seed=0, device=device, max_episode_length=30))
        spy = Spy(suspender)
        env = ActionChunkReplay(spy, 5, 4, gamma)
        env.reset()
        env.episode_length_buf = torch.arange(6, device=env.device) + 22
        generator = torch.Generator().manual_seed(0)
        results = []
        for number in range(8):
            if number in (1, 5):
                suspender.suspend(2, until=looks(3))
            chunks = 0.1 * torch.rand(env.action_space.shape, generator=generator)
            obs, reward, _, truncated, info = env.step(chunks.to(env.device))
            assert obs["policy"].device == reward.device == info["num_steps"].device == env.device
            results.append((reward.cpu(), truncated.cpu(), info["num_steps"].cpu()))
            results[-1] += (info["active"].cpu(), info["_final_obs"].cpu())
        return results, spy

    (cpu, cpu_spy), (cuda, cuda_spy) = play("cpu"), play("cuda")
    for expected, given in zip(cpu, cuda, strict=True):
        torch.testing.assert_close(given[0], expected[0], rtol=1e-4, atol=1e-5)
        for one, other in zip(given[1:], expected[1:], strict=True):
            assert torch.equal(one, other)
    assert len(cpu_spy.ticks) == len(cuda_spy.ticks)
    for one, other in zip(cpu_spy.ticks, cuda_spy.ticks, strict=True):
        assert torch.equal(one["active"], other["active"])
        assert torch.equal(one["actions"][one["active"]], other["actions"].cpu()[one["active"]])


@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
@pytest.mark.parametrize(("execute", "num_waits"), [(16, 16), (1, 0)])
def test_a_tick_waits_once_for_the_gpu_and_a_single_one_never(execute, num_waits):
    suspender = SuspendOnWait(CartPole(64, seed=0, device="cuda"))
    env = ActionChunkReplay(suspender, 16, execute, gamma=0.99)
    env.reset()
    chunks = torch.zeros(64, 16, 1, device="cuda")
    for _ in range(2):  # buffers are made
        env.reset()
        env.step(chunks)
    env.reset()
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            info = env.step(chunks)[4]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert (info["num_steps"] == execute).all()
    waits = [warning for warning in caught if "synchronizing" in str(warning.message)]
    assert len(waits) == num_waits


def test_actions_that_are_not_finite_are_noticed_later():
    env = ActionChunkReplay(SuspendOnWait(CartPole(2, seed=0, device="cuda")), 4, 2)
    env.reset()
    chunks = torch.zeros(2, 4, 1, device="cuda")
    chunks[:, 2:] = torch.nan  # not played

    def play():
        for _ in range(10):
            env.step(chunks)
            torch.cuda.synchronize()

    play()
    chunks[1, 1] = torch.nan
    with pytest.raises(InvalidActionError, match="NaN or infinity"):
        play()
    with pytest.raises(InvalidActionError, match="must be on cuda:0, got cpu"):
        env.step(chunks.cpu())
