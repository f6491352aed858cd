"""Rows of mjlab held on a GPU: contact solvers there are not deterministic, frozen rows are."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from holdstep.wrappers import SuspendOnWait
from tests.benchmarks.measure import syncs_refused
from tests.envs.state import lockstep

pytest.importorskip("mjlab", reason="the extra 'mjlab' is not installed")

from tests.envs.adapters.mjlab_hard_tasks import make_hard

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def run(task: str, num_envs: int, num_steps: int, *, suspend: bool) -> lockstep.Trace:
    env = wrapped(task, num_envs)
    generator = torch.Generator().manual_seed(7)
    actions = torch.rand(num_steps, *env.action_space.shape, generator=generator) * 2 - 1
    try:
        return lockstep.run(
            env,
            actions.to(env.device),
            schedule=lockstep.random_schedule(num_envs, seed=11) if suspend else None,
            first_lengths=(torch.arange(num_envs) * 17 % 20).to(env.device),
        )
    finally:
        env.close()


def wrapped(task: str, num_envs: int) -> SuspendOnWait:
    return SuspendOnWait(make_hard(task, num_envs=num_envs, device="cuda:0"), rng="per_env")


def test_rows_of_a_deterministic_task_do_not_notice_suspension():
    suspended = run("Mjlab-Cartpole-Balance", 6, 60, suspend=True)
    plain = run("Mjlab-Cartpole-Balance", 6, 60, suspend=False)
    lockstep.assert_same_rows(suspended, plain)


@pytest.mark.parametrize("task", ["Mjlab-Velocity-Flat-Unitree-G1", "Mjlab-Lift-Cube-Yam"])
def test_frozen_rows_are_bit_equal(task):
    run(task, 16, 20, suspend=True)  # compares every held row when it is resumed


@pytest.mark.parametrize("task", ["Mjlab-Cartpole-Balance", "Mjlab-Velocity-Flat-Unitree-G1"])
def test_no_step_waits_for_the_gpu(task):
    env = wrapped(task, 32)
    env.reset(seed=0)
    actions = torch.zeros(env.action_space.shape, device=env.device)
    env.suspend(torch.arange(0, 32, 2))
    for _ in range(3):  # kernels are compiled and buffers made
        env.step(actions)
    with syncs_refused(env.unwrapped, "_env"), hooks_may_not_wait(env):
        for _ in range(40):
            env.step(actions)
    env.close()


class hooks_may_not_wait:  # noqa: N801
    """Also what hooks do inside the simulator's step, after the method that they were put over."""

    def __init__(self, env: Any) -> None:
        self.control = env._control

    def __enter__(self) -> None:
        mask = self.control._held_mask
        self.fill = torch.Tensor.masked_fill_

        def checked(tensor: torch.Tensor, given: Any, value: Any) -> torch.Tensor:
            if given is not mask:
                return self.fill(tensor, given, value)
            before = torch.cuda.get_sync_debug_mode()
            torch.cuda.set_sync_debug_mode("error")
            try:
                return self.fill(tensor, given, value)
            finally:
                torch.cuda.set_sync_debug_mode(before)

        torch.Tensor.masked_fill_ = checked

    def __exit__(self, *_: object) -> None:
        torch.Tensor.masked_fill_ = self.fill
