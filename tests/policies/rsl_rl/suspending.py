"""Wrappers that suspend rows as the tests want it."""

import torch

from holdstep.wrappers import VectorWrapper, find_wrapper
from holdstep.wrappers.suspend import SuspendOnWait


class Scheduled(VectorWrapper):
    """Suspends, in each step, the rows that a function of the step's number says.

    Args:
        env: a stack with a SuspendOnWait in it.
        active_mask: from the number of the step to the rows that advance, bool ``[N]``.
    """

    def __init__(self, env, active_mask):
        super().__init__(env)
        self.suspender = find_wrapper(env, SuspendOnWait)
        self.num_steps = 0
        self._active_mask = active_mask

    def step(self, actions):
        active = self._active_mask(self.num_steps)
        self.num_steps += 1
        self.suspender.resume(self.suspender.suspended)
        self.suspender.suspend(~active)
        return self.env.step(actions)


def thirty_percent(num_envs, *, seed=0):
    """Each row stands still with a probability of 0.3; never all of them."""
    draw = torch.Generator().manual_seed(seed)

    def active_mask(_):
        while not (mask := torch.rand(num_envs, generator=draw) < 0.7).any():
            pass
        return mask

    return active_mask
