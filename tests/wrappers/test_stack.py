"""Every legal order and subset of the wrappers, against the env without them."""

import functools
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from holdstep.envs import check_vector_env
from holdstep.envs.reference import CartPole, PointMass
from holdstep.errors import WrapperOrderError
from holdstep.timeline import read_timeline
from holdstep.wrappers import SuspendOnWait
from holdstep.wrappers.record import Dataset
from tests.conftest import make_mjlab
from tests.wrappers.stacks import CHUNK_LENGTH, check_same, legal_plans, run_plain, run_stack

PLANS = list(legal_plans())
NUM_ENVS, NUM_STEPS = 4, 8


def random_actions(env, num_steps, seed):
    shape = (num_steps * CHUNK_LENGTH, *env.action_space.shape)
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def held_rows(plan, num_envs, num_steps, seed):
    """Rows to be suspended in each step; never all of them."""
    random = np.random.default_rng(seed)
    if not plan.suspend:
        return [frozenset()] * num_steps
    return [
        frozenset(random.permutation(num_envs)[: random.integers(0, num_envs)].tolist())
        for _ in range(num_steps)
    ]


def check_plan(plan, make_env, folder, *, num_steps, seed):
    """Run a stack, and compare it with the plain env and with what it has written."""
    env = make_env()
    actions = random_actions(env, num_steps, seed)
    stack = plan.build(env, folder, actions)
    held = held_rows(plan, env.num_envs, num_steps, seed)
    seen = run_stack(stack, plan, actions, held)
    stack.close()
    plain = SuspendOnWait(make_env(), rng="per_env") if plan.suspend else make_env()
    check_same(seen, run_plain(plain, seen.applied))
    plain.close()
    if plan.record:
        check_recorded(folder / "data", seen.applied)
    if plan.trace_at is not None:
        timeline = read_timeline(folder / "run.jsonl")
        assert timeline.complete
        assert not timeline.problems
        assert timeline.num_ticks >= num_steps
    return seen


def check_recorded(path, applied):
    """Exactly the actions that were applied are recorded, in their order, and nothing else."""
    recorded = {row: [] for row in range(len(applied))}
    with Dataset(path) as dataset:
        episodes = sorted(dataset, key=lambda episode: episode.attributes["episode_id"])
        for episode in episodes:
            recorded[episode.attributes["env_id"]].append(episode.arrays["actions"])
    for row, expected in enumerate(applied):
        got = np.concatenate(recorded[row]) if recorded[row] else np.empty((0,))
        assert len(got) == len(expected)
        if expected:
            assert np.array_equal(got, torch.stack(expected).numpy())


@pytest.mark.parametrize("plan", PLANS, ids=str)
def test_every_legal_stack_does_what_its_ticks_do(plan, tmp_path):
    make_env = lambda: CartPole(NUM_ENVS, seed=3, max_episode_length=3)  # noqa: E731
    seen = check_plan(plan, make_env, tmp_path, num_steps=NUM_STEPS, seed=1)
    ends = [step[3] or step[4] for row in seen.returned for step in row]
    assert any(ends)  # episodes begin and end in it


@settings(deadline=None, max_examples=60)
@given(plan=st.sampled_from(PLANS), seed=st.integers(0, 2**31), limit=st.integers(2, 9))
def test_any_stack_with_any_actions_and_suspensions(plan, seed, limit, tmp_path_factory):
    make_env = lambda: PointMass(NUM_ENVS, seed=seed % 97, max_episode_length=limit)  # noqa: E731
    folder = tmp_path_factory.mktemp("stack")
    check_plan(plan, make_env, folder, num_steps=NUM_STEPS, seed=seed)


@pytest.mark.parametrize("plan", [p for p in PLANS if p.trace_at is None], ids=str)
def test_every_legal_stack_keeps_the_contract(plan, tmp_path):
    env = PointMass(NUM_ENVS, seed=3)
    actions = torch.zeros(500, NUM_ENVS, *env.single_action_space.shape)
    stack = plan.build(env, tmp_path, actions)
    check_vector_env(stack)
    stack.close()
    stack.close()


def test_every_other_order_is_refused(tmp_path):
    layers = {
        "suspend": lambda env: SuspendOnWait(env),
        "record": lambda env: PLANS_BY["record"].build(env, tmp_path, None),
        "chunk": lambda env: _chunked(env),
        "pipelined": lambda env: _pipelined(env),
    }
    rank = {"suspend": 1, "record": 2, "chunk": 3, "pipelined": 3}
    for length in (2, 3):
        for names in itertools.permutations(layers, length):
            ranks = [rank[name] for name in names]
            rising = all(a < b for a, b in itertools.pairwise(ranks))
            if rising and ("chunk" not in names or "suspend" in names):
                continue
            env = PointMass(2, seed=0)
            with pytest.raises(WrapperOrderError):
                functools.reduce(lambda env, name: layers[name](env), names, env)
            env.close()


PLANS_BY = {str(plan): plan for plan in PLANS}


def _chunked(env):
    from holdstep.wrappers import ActionChunkReplay

    return ActionChunkReplay(env, CHUNK_LENGTH)


def _pipelined(env):
    from tests.wrappers.stacks import pipelined

    return pipelined(env, torch.zeros(10, 2, 2))


@pytest.mark.parametrize(
    ("task", "num_steps"), [("Mjlab-Cartpole-Balance", 6), ("Mjlab-Lift-Cube-Yam", 4)]
)
@pytest.mark.parametrize("name", ["suspend-record-trace-chunk", "suspend-record-pipelined-trace"])
def test_stacks_on_physics(task, num_steps, name, tmp_path):
    """Bit for bit: what is replayed is real physics, with suspended rows and recorded."""

    def make_env():
        return make_mjlab(task, num_envs=3, seed=7)

    check_plan(PLANS_BY[name], make_env, tmp_path, num_steps=num_steps, seed=2)
