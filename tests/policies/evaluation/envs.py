"""Envs of which it is known what an evaluation must find."""

import torch

from tests.benchmarks import evaluation_bias


class Coin(evaluation_bias.Coin):
    """The coin env, which also counts the steps of each row."""

    def __init__(self, num_envs, **options):
        super().__init__(num_envs, **options)
        self.row_steps = torch.zeros(num_envs, dtype=torch.int64)

    def _finish_step(self, state, length, reward, terminated, truncated, active):
        self.row_steps += active
        return super()._finish_step(state, length, reward, terminated, truncated, active)


class Scripted(Coin):
    """The k-th episode of row r has ``lengths[r][k]`` steps, and the return ``100 * r + k``."""

    def __init__(self, lengths):
        super().__init__(len(lengths), max_episode_length=1000)
        self.lengths = torch.tensor(lengths)
        self._state[:, 2] = -1.0  # the number of the episode; the first reset makes it 0

    def _initial_state(self, mask):
        number = self._state[:, 2] + mask
        length = self.lengths[torch.arange(self.num_envs), number.clamp(min=0).long()]
        return torch.stack((torch.zeros_like(number), length.float(), number), dim=1)

    def _advance(self, actions):
        state, _, terminated = super()._advance(actions)
        code = 100.0 * torch.arange(self.num_envs) + state[:, 2]
        return state, torch.where(terminated, code, 0.0), terminated

    def _annotate(self, info, terminated, done):
        pass


def idle(obs):
    """A policy for envs in which it doesn't matter."""
    return torch.zeros(len(obs["policy"]), 1)


def to_the_goal(obs):
    """A policy that solves PointMass."""
    return 2.0 * obs["policy"][:, 4:] - 1.5 * obs["policy"][:, 2:4]
