"""Random suspensions, resets and restores against rows that never stand still."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from holdstep.envs.reference import CartPole, PointMass
from holdstep.errors import SuspensionError
from holdstep.wrappers import SuspendOnWait

NUM_ENVS = 3
masks = st.lists(st.booleans(), min_size=NUM_ENVS, max_size=NUM_ENVS)
OPERATIONS = st.one_of(
    st.tuples(st.just("step"), st.integers(0, 99)),
    st.tuples(st.just("step"), st.integers(0, 99)),  # twice as often
    st.tuples(st.sampled_from(["suspend", "resume", "reset", "length", "snapshot"]), masks),
    st.tuples(st.just("wait"), masks),
    st.tuples(st.just("done"), st.none()),
    st.tuples(st.just("reset all"), st.one_of(st.none(), st.integers(0, 9))),
    st.tuples(st.sampled_from(["restore", "fork"]), st.permutations(range(NUM_ENVS))),
)


class Row:
    """The model of one row: an env in which everybody always steps, and of which one row counts."""

    def __init__(self, env_class, row):
        self.env, self.row = env_class(NUM_ENVS, seed=5, max_episode_length=4), row
        self.suspended, self.waits = False, False
        self.outcome = None
        self.obs = self.of(self.env.reset()[0])

    def of(self, tree):
        return {name: value[self.row].tolist() for name, value in tree.items()}

    def step(self, actions):
        if self.suspended:
            self.outcome = (0.0, False, False)
            return
        obs, *outcome, _ = self.env.step(actions)
        self.outcome = tuple(part[self.row].item() for part in outcome)
        self.obs = self.of(obs)

    def reset(self, seed=None):
        self.obs = self.of(self.env.reset(seed=seed, options={"env_ids": [self.row]})[0])

    def reset_all(self, seed):
        self.suspended = self.waits = False
        self.obs = self.of(self.env.reset(seed=seed)[0])

    def save(self):
        return {name: value[self.row].clone() for name, value in self.env.row_buffers.items()}

    def load(self, saved):
        for name, value in self.env.row_buffers.items():
            value[self.row] = saved[name]
        self.obs = self.of(self.env.observe())


@settings(deadline=None, max_examples=150)
@given(
    env_class=st.sampled_from([CartPole, PointMass]),
    operations=st.lists(OPERATIONS, min_size=1, max_size=40),
)
def test_a_row_is_what_it_would_be_if_nobody_had_ever_stood_still(env_class, operations):
    env = SuspendOnWait(env_class(NUM_ENVS, seed=5, max_episode_length=4))
    obs, _ = env.reset()
    rows = [Row(env_class, row) for row in range(NUM_ENVS)]
    ready = []
    snapshot = None

    for operation, argument in operations:
        chosen = [row for row in rows if isinstance(argument, list) and argument[row.row] is True]
        ids = [row.row for row in chosen]
        if operation == "step":
            generator = torch.Generator().manual_seed(argument)
            actions = torch.rand(env.action_space.shape, generator=generator) * 2 - 1
            for row in rows:
                if row.waits and ready:
                    row.suspended = row.waits = False
            given_actions = actions.clone()
            given_actions[[row.suspended for row in rows]] = torch.nan
            if all(row.suspended for row in rows):
                if not any(row.waits for row in rows):
                    with pytest.raises(SuspensionError):
                        env.step(given_actions)
                continue  # would wait
            obs, *outcome, info = env.step(given_actions)
            for row in rows:
                row.step(actions)
                got = tuple(part[row.row].item() for part in outcome)
                assert got == row.outcome, (operation, row.row)
                assert info["active"][row.row] == (not row.suspended)
        elif operation in ("suspend", "wait"):
            chosen = [row for row in chosen if not row.suspended]
            if operation == "wait":
                ready.clear()
            env.suspend([row.row for row in chosen], *[lambda: bool(ready)][: operation == "wait"])
            for row in chosen:
                row.suspended, row.waits = True, operation == "wait"
        elif operation == "done":
            ready.append(True)
        elif operation == "resume":
            chosen = [row for row in chosen if row.suspended]
            env.resume([row.row for row in chosen])
            for row in chosen:
                row.suspended = row.waits = False
        elif operation == "reset":
            obs, _ = env.reset(options={"env_ids": ids})
            for row in chosen:
                row.reset()
        elif operation == "reset all":
            obs, _ = env.reset(seed=argument)
            for row in rows:
                row.reset_all(argument)
        elif operation == "length":
            lengths = torch.tensor([3 if mine else 0 for mine in argument])
            env.episode_length_buf = lengths
            for row in rows:
                row.env.episode_length_buf = lengths
                row.obs = row.of(row.env.observe())
            obs = env.unwrapped.observe()
        elif operation == "snapshot":
            snapshot = (env.snapshot(ids), [row.save() for row in chosen])
        elif operation == "restore" and snapshot is not None:
            targets = list(argument)[: len(snapshot[0])]
            obs = env.restore(snapshot[0], targets)
            for target, saved in zip(targets, snapshot[1], strict=True):
                rows[target].load(saved)
        elif operation == "fork":
            source, *targets = argument
            obs = env.fork(source, targets)
            for target in targets:
                rows[target].load(rows[source].save())
        for row in rows:
            assert row.of(obs) == row.obs, (operation, row.row)
            assert env.suspended[row.row] == row.suspended
            for name, value in row.save().items():
                assert torch.equal(env.unwrapped.row_buffers[name][row.row], value), name
