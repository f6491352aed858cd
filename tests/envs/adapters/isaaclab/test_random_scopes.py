"""Isaac Lab's hooks for per-env random numbers, on stand-ins for its envs."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from holdstep.envs.adapters.isaaclab.random_scopes import IsaacLabRandomScopes
from holdstep.envs.state.per_env_random import PerEnvRandom

N = 5


class DirectEnv:
    """Draws as Isaac Lab's in-hand manipulation does: new goals in the middle of the rewards."""

    num_envs, device = N, "cpu"

    def __init__(self) -> None:
        self.reached = torch.tensor([False, True, False, False, True])

    @staticmethod
    def seed(seed=-1):
        torch.manual_seed(seed)

    def reset(self, seed=None, options=None):
        if seed is not None:
            self.seed(seed)
        self._reset_idx(torch.arange(N))
        return torch.rand(N, 2), {}

    def _reset_idx(self, env_ids):
        torch.rand(len(env_ids), 3)

    def _get_rewards(self):
        goal_env_ids = self.reached.nonzero(as_tuple=False).squeeze(-1)
        torch.rand((len(goal_env_ids), 2))
        self._reset_idx(goal_env_ids)


class EventManager:
    """The parts of Isaac Lab's that matter here."""

    def __init__(self, func, mode) -> None:
        self._mode_term_cfgs = {mode: [SimpleNamespace(func=func)]}

    def apply(self, mode, env_ids=None, dt=None, global_env_step_count=None):
        for cfg in self._mode_term_cfgs[mode]:
            if isinstance(cfg.func, type):
                cfg.func = cfg.func()
            some = torch.tensor([1, 3]) if env_ids is None else env_ids[:1]
            cfg.func(self, some)


def draw(env, env_ids):
    torch.rand(len(env_ids))


class Term:
    def __call__(self, env, env_ids):
        torch.rand(N)


@pytest.fixture
def random():
    made = PerEnvRandom(N, "cpu", 7, engine="torch")
    yield made
    made.close()


def test_direct_envs(random):
    env = DirectEnv()
    scopes = IsaacLabRandomScopes(env, random)
    with random.active():
        env.reset(seed=3)
        assert random.counter.tolist() == [5] * N
        env._get_rewards()
    assert random.counter.tolist() == [5, 10, 5, 5, 10]
    assert not random.unattributed
    assert not random.missed
    scopes.remove()
    assert set(vars(env)) == {"reached"}


def test_events(random):
    env = DirectEnv()
    env.event_manager = EventManager(draw, "interval")
    scopes = IsaacLabRandomScopes(env, random)
    with random.active():
        env.event_manager.apply(mode="interval", dt=0.1)
        env.event_manager.apply("interval", env_ids=torch.tensor([4, 2]))
    assert random.counter.tolist() == [0, 1, 0, 1, 1]
    assert not random.unattributed
    assert env.event_manager._mode_term_cfgs["interval"][0].func is draw
    scopes.remove()
    assert set(vars(env.event_manager)) == {"_mode_term_cfgs"}


def test_a_term_that_becomes_an_object_stays_one(random):
    env = DirectEnv()
    env.event_manager = EventManager(Term, "startup")
    IsaacLabRandomScopes(env, random)
    with random.active():
        env.event_manager.apply("startup")
    assert isinstance(env.event_manager._mode_term_cfgs["startup"][0].func, Term)


def test_commands(random):
    command = SimpleNamespace(_resample=lambda ids: draw(None, ids), _resample_command=draw)
    env = DirectEnv()
    env.command_manager = SimpleNamespace(_terms={"goal": command})
    IsaacLabRandomScopes(env, random)
    with random.active():
        command._resample([2])
    assert random.counter.tolist() == [0, 0, 1, 0, 0]


class Locomotion(DirectEnv):
    """Computes its quantities anew for all rows when some are reset, as Isaac Lab's Ant does."""

    def __init__(self) -> None:
        super().__init__()
        self.now, self.before = torch.zeros(N), torch.zeros(N)
        self.expanded = torch.zeros(1).expand(N)
        self.alias = self.now
        self.num_resets = 0

    def _reset_idx(self, env_ids):
        self.before[:] = self.now
        self.now = self.now + 1.0
        self.alias = self.before
        self.num_resets += 1


def test_direct_resets_leave_the_attributes_of_other_rows(random):
    env = Locomotion()
    env.now[:] = 5.0
    scopes = IsaacLabRandomScopes(env, random)
    with random.active():
        env._reset_idx(torch.tensor([1, 3], dtype=torch.int32))
        assert env.now.tolist() == [5, 6, 5, 6, 5]
        assert env.before.tolist() == [0, 5, 0, 5, 0]
        assert env.alias.tolist() == [5, 5, 5, 5, 5]  # not written through to what it is now
        assert env.num_resets == 1
        env._reset_idx(torch.arange(N))
        assert env.now.tolist() == [6, 7, 6, 7, 6]
    env._reset_idx(torch.tensor([0]))  # as without hooks
    assert env.now.tolist() == [7, 8, 7, 8, 7]
    scopes.remove()


class Viewing(DirectEnv):
    """Looks anew at the simulator's memory in each reset, as tasks do that read an asset's data."""

    def __init__(self) -> None:
        super().__init__()
        self.data = SimpleNamespace(pose=torch.zeros(N, 7))
        self.pos, self.made = self.data.pose[:, :3], torch.zeros(N, 2)

    def _reset_idx(self, env_ids):
        self.data.pose[env_ids.long()] += 1.0
        self.pos = self.data.pose[:, :3]
        self.made = self.data.made = torch.ones(N, 4)[:, :2]


def test_views_of_the_simulators_memory_stay_views(random):
    env = Viewing()
    scopes = IsaacLabRandomScopes(env, random)
    with random.active():
        env._reset_idx(torch.tensor([1, 3], dtype=torch.int32))
        assert env.pos[:, 0].tolist() == [0, 1, 0, 1, 0]
        env.data.pose[:] = 7.0
        assert bool((env.pos == 7).all())
        assert env.made[:, 0].tolist() == [0, 1, 0, 1, 0]
        env._reset_idx(torch.arange(N))  # of all rows: what it has made is left as it is
        assert env.made is env.data.made
    scopes.remove()


def test_positional_seeds_and_options_pass_through(random):
    env = DirectEnv()
    IsaacLabRandomScopes(env, random)
    with random.active():
        env.reset(3, {})
    assert not random.missed
    assert random.counter.tolist() == [5] * N
