"""An env whose episodes end as scripted, and a policy whose actions say where they come from."""

import threading
import time
from dataclasses import dataclass, field

import gymnasium
import numpy as np
import torch

from holdstep.envs.reference.base import ReferenceEnv
from holdstep.policies import ChunkResult, ChunkRunner, ChunkSpec
from holdstep.wrappers import SuspendOnWait
from tests.wrappers.chunk_tools import Spy

FIELDS = ("row", "episode", "chunk", "index", "seen_episode", "seen_step")
LONG_S = 20.0
"""Longer than anything takes, so that a hang is a failure."""


class Scripted(ReferenceEnv):
    """Row ``i``'s ``e``-th episode has ``lengths[i][e]`` steps (again from the first when used up).

    Its observation is which row, episode and step of it that is. Actions do nothing.
    """

    step_dt = 0.02
    _single_policy_space = gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float32)
    _single_critic_space = gymnasium.spaces.Box(-np.inf, np.inf, (1,), np.float32)
    _num_actions = len(FIELDS)
    _num_states = 3

    def __init__(self, lengths):
        super().__init__(len(lengths), device="cpu", seed=0, max_episode_length=10_000)
        self.lengths = [list(row) for row in lengths]
        self._state[:, 0] = torch.arange(self.num_envs)
        self._state[:, 1] = -1

    def _advance(self, actions):
        state = self._state + torch.tensor([0.0, 0.0, 1.0])
        scripts = zip(self.lengths, state[:, 1].int().tolist(), strict=True)
        ends = [lengths[episode % len(lengths)] for lengths, episode in scripts]
        return state, torch.ones(self.num_envs), state[:, 2] >= torch.tensor(ends)

    def _initial_state(self, mask):
        return torch.stack(
            [self._state[:, 0], self._state[:, 1] + 1, torch.zeros(self.num_envs)], dim=1
        )

    def _observe(self, state, length):
        return {"policy": state.clone(), "critic": state[:, :1].clone()}

    def _draw(self, state):
        raise NotImplementedError


class Marking:
    """Chunks in which each action says which one it is, in 4096ths.

    ``before`` is called with each request first; ``length_of(row, episode, chunk)`` gives the valid
    length, where not all is.
    """

    def __init__(self, length=6, *, before=None, length_of=None, obs_keys=("policy",), **spec):
        self.spec = ChunkSpec(
            chunk_length=length, action_dim=len(FIELDS), obs_keys=obs_keys, **spec
        )
        self.before = before
        self.length_of = length_of
        self.requests = []
        self.resets = []

    def infer(self, request):
        self.requests.append(request)
        if self.before is not None:
            self.before(request)
        length = self.spec.chunk_length
        seen = request.obs["policy"]
        columns = [request.env_ids, request.episode_ids, request.chunk_ids, *seen[:, 1:].unbind(1)]
        marks = torch.stack([column.float() for column in columns], dim=1)
        actions = marks[:, None, :].expand(-1, length, -1).clone()
        index = torch.arange(length).float()[None, :, None].expand(len(request), -1, 1)
        actions = torch.cat([actions[..., :3], index, actions[..., 3:]], dim=2)
        lengths = None
        if self.length_of is not None:
            keys = torch.stack([request.env_ids, request.episode_ids, request.chunk_ids], dim=1)
            lengths = torch.tensor([self.length_of(*key) for key in keys.tolist()])
        return ChunkResult(actions=actions / 4096, valid_lengths=lengths)

    def reset(self, env_ids, episode_ids):
        self.resets.append((env_ids.tolist(), episode_ids.tolist()))


@dataclass(frozen=True)
class Applied:
    """An action that was applied, by what it says, and where that was."""

    row: int
    episode: int
    chunk: int
    index: int
    seen_episode: int
    seen_step: int
    in_episode: int
    at_step: int


@dataclass
class Rollout:
    """A runner on a scripted env, and all that it applied."""

    lengths: list
    policy: Marking
    scheduler: object
    options: dict = field(default_factory=dict)

    def __post_init__(self):
        self.adapter = Scripted(self.lengths)
        self.suspend = SuspendOnWait(self.adapter, rng="per_env")
        self.env = Spy(self.suspend)
        self.runner = ChunkRunner(self.env, self.policy, self.scheduler, **self.options)

    def __enter__(self):
        self.runner.reset(seed=0)
        return self

    def __exit__(self, *_):
        self.runner.close()
        self.env.close()

    def until(self, steps, rows=None, most=5000):
        """Step until each of the rows has made so many steps."""
        rows = list(range(len(self.lengths)) if rows is None else rows)
        made = sum((tick["active"].numpy().astype(int) for tick in self.env.ticks), 0)
        made = np.zeros(len(self.lengths), dtype=int) + made
        for _ in range(most):
            if made[rows].min() >= steps:
                return self
            made += self.runner.step().active_mask
        raise AssertionError("too many ticks")

    def trace(self, row, steps=None):
        """What was applied to a row, in order."""
        found, at_step, before = [], 0, None
        for episode, action in self.env.applied(row):
            at_step = 0 if episode != before else at_step + 1
            before = episode
            marks = [round(mark) for mark in (action * 4096).tolist()]
            found.append(Applied(*marks, in_episode=episode, at_step=at_step))
        return found[:steps]

    def traces(self, steps=None):
        return [self.trace(row, steps) for row in range(len(self.lengths))]


class Gate:
    """Lets requests of a policy in another thread through one by one."""

    def __init__(self):
        self._open = threading.Semaphore(0)
        self._entered = threading.Semaphore(0)
        self.error = None

    def __call__(self, request):
        self._entered.release()
        assert self._open.acquire(timeout=LONG_S)
        if self.error is not None:
            error, self.error = self.error, None
            raise error

    def wait_entered(self):
        """Until one more request has reached the policy."""
        assert self._entered.acquire(timeout=LONG_S)

    def let_through(self, count=1):
        self._open.release(count)


def let_arrive(runner):
    """Until what the worker is at is there to be handed out."""
    results = runner._desk._inference._results
    end_s = time.perf_counter() + LONG_S
    while results.empty():
        assert time.perf_counter() < end_s
        time.sleep(0.0005)
