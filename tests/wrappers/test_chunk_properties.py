"""Random chunks, ends of episodes and suspensions, against the second implementation."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from holdstep.envs.reference import CartPole, PointMass
from holdstep.wrappers import ActionChunkReplay, SuspendOnWait
from tests.wrappers.chunk_tools import PlainReplay, Spy, check_equal, looks
from tests.wrappers.fake_clock import FakeClock

TIME_LIMIT = 9


@st.composite
def plans(draw):
    """A stack's sizes, and what happens before each of its steps."""
    num_envs = draw(st.integers(1, 5))
    chunk_length = draw(st.integers(1, 6))
    row_ids = st.lists(st.integers(0, num_envs - 1), unique=True)
    before = st.one_of(
        st.tuples(st.just("nothing"), st.none()),
        st.tuples(st.just("clocks"), st.lists(st.integers(0, 8), min_size=5, max_size=5)),
        st.tuples(st.sampled_from(["suspend", "resume", "reset"]), row_ids),
        st.tuples(
            st.just("wait"), st.dictionaries(st.integers(0, num_envs - 1), st.integers(1, 9))
        ),
    )
    return {
        "env_class": draw(st.sampled_from([CartPole, PointMass])),
        "num_envs": num_envs,
        "chunk_length": chunk_length,
        "execute": draw(st.integers(1, chunk_length)),
        "gamma": draw(st.sampled_from([1.0, 0.9, 0.5])),
        "before": draw(st.lists(before, min_size=1, max_size=12)),
        "seed": draw(st.integers(0, 99)),
    }


@settings(deadline=None, max_examples=200)
@given(plan=plans())
def test_a_step_is_its_ticks_and_no_action_outlives_its_episode(plan):
    num_envs, execute = plan["num_envs"], plan["execute"]
    make = lambda: plan["env_class"](num_envs, seed=3, max_episode_length=TIME_LIMIT)  # noqa: E731
    spy = Spy(SuspendOnWait(make(), clock=FakeClock()))
    suspender = spy.env
    env = ActionChunkReplay(spy, plan["chunk_length"], execute, plan["gamma"])
    plain = PlainReplay(make(), execute, plan["gamma"])
    env.reset()
    plain.env.reset()
    generator = torch.Generator().manual_seed(plan["seed"])

    for what, argument in plan["before"]:
        if what == "clocks":
            env.episode_length_buf = torch.tensor(argument[:num_envs])
            plain.env.episode_length_buf = torch.tensor(argument[:num_envs])
        elif what == "suspend":
            ids = [row for row in argument if row not in plain.waits]
            suspender.suspend(ids)
            plain.waits |= dict.fromkeys(ids)
        elif what == "resume":
            ids = [row for row in argument if row in plain.waits]
            suspender.resume(ids)
            plain.waits = {row: left for row, left in plain.waits.items() if row not in ids}
        elif what == "reset":
            env.reset(options={"env_ids": argument})
            plain.env.reset(options={"env_ids": argument})
            spy.episode[argument] += 1
        elif what == "wait":
            for row, count in argument.items():
                if row not in plain.waits:
                    suspender.suspend(row, until=looks(count))
                    plain.waits[row] = count
        if len(plain.waits) == num_envs and not any(plain.waits.values()):
            continue  # a step would never end

        chunks = torch.rand(env.action_space.shape, generator=generator) * 2 - 1
        given_chunks = chunks.clone()
        given_chunks[:, execute:] = torch.nan
        rows_that_stay = [row for row, left in plain.waits.items() if left is None]
        given_chunks[rows_that_stay] = torch.nan
        episodes, seen = spy.episode.clone(), [len(spy.applied(row)) for row in range(num_envs)]
        step = env.step(given_chunks)
        check_equal(step, plain.step(chunks), num_envs)

        assert suspender.suspended.nonzero().flatten().tolist() == sorted(plain.waits)
        assert env.episode_length_buf.tolist() == plain.env.episode_length_buf.tolist()
        for row in range(num_envs):
            applied = spy.applied(row)[seen[row] :]
            assert len(applied) == step[4]["num_steps"][row]
            for position, (episode, action) in enumerate(applied):
                assert episode == episodes[row]
                assert torch.equal(action, chunks[row, position])


def cart_that_falls_off_in(num_ticks):
    """A state of CartPole that terminates in that many ticks, whatever is done until then."""
    speed = 20.0
    return torch.tensor([2.4 - speed * 0.02 * (num_ticks - 0.5), speed, 0.0, 0.0])


@pytest.mark.parametrize("execute", [1, 3, 6])
@pytest.mark.parametrize("kind", ["terminated", "truncated"])
def test_rows_that_end_at_every_index_of_a_chunk(execute, kind):
    """Rows 0 to 6 end in tick 1 to 7; with N rows, every pair of indices ends beside each other."""
    num_envs, length, gamma = 7, 6, 0.9
    spy = Spy(SuspendOnWait(CartPole(num_envs, seed=0, max_episode_length=50)))
    env = ActionChunkReplay(spy, length, execute, gamma)
    env.reset()
    for row in range(num_envs):
        if kind == "terminated":
            env.unwrapped.row_buffers["state"][row] = cart_that_falls_off_in(row + 1)
    if kind == "truncated":
        env.episode_length_buf = 49 - torch.arange(num_envs)
    chunks = torch.rand(num_envs, length, 1) * 2 - 1
    obs, reward, terminated, truncated, info = env.step(chunks)

    ends = [row + 1 for row in range(num_envs)]
    assert info["num_steps"].tolist() == [min(end, execute) for end in ends]
    flags = {"terminated": terminated, "truncated": truncated}
    assert flags.pop(kind).tolist() == [end <= execute for end in ends]
    assert not next(iter(flags.values())).any()
    for row, end in enumerate(ends):
        applied = [action for _, action in spy.applied(row)]
        assert torch.equal(torch.stack(applied), chunks[row, : min(end, execute)])
        assert float(reward[row]) == pytest.approx(
            sum(gamma**tick for tick in range(min(end, execute)))
        )
        if end <= execute:  # in the first state of the next episode, to which nothing was applied
            assert env.episode_length_buf[row] == 0
            assert torch.equal(obs["policy"][row], env.unwrapped.observe()["policy"][row])
            assert obs["policy"][row].abs().max() <= 0.05
    # The first chunks of the next episodes begin at their first actions.
    chunks = torch.rand(num_envs, length, 1) * 2 - 1
    before = len(spy.ticks)
    env.step(chunks)
    first = spy.ticks[before]
    assert first["active"].all()
    assert torch.equal(first["actions"], chunks[:, 0])


@pytest.mark.parametrize(("first", "second"), list(itertools.product(range(1, 5), repeat=2)))
def test_two_rows_that_end_at_any_two_indices(first, second):
    env = ActionChunkReplay(SuspendOnWait(PointMass(2, seed=0, max_episode_length=20)), 4)
    env.reset()
    env.episode_length_buf = 20 - torch.tensor([first, second])
    spy_lengths = env.step(torch.zeros(2, 4, 2))[4]["num_steps"]
    assert spy_lengths.tolist() == [first, second]
    assert env.step(torch.zeros(2, 4, 2))[4]["num_steps"].tolist() == [4, 4]


def test_a_rows_return_does_not_depend_on_the_others_bit_for_bit():
    """Positions that differ between rows take another way through the code."""

    def run(disturbed):
        suspender = SuspendOnWait(PointMass(4, seed=1), rng="per_env")
        env = ActionChunkReplay(suspender, 7, None, 0.93)
        env.reset()
        generator = torch.Generator().manual_seed(0)
        rewards = []
        for _ in range(12):
            if disturbed:
                suspender.suspend([1, 3], until=looks(3))
            rewards.append(env.step(torch.rand(4, 7, 2, generator=generator) * 2 - 1)[1])
        return torch.stack(rewards)

    alone, disturbed = run(False), run(True)
    assert torch.equal(alone[:, [0, 2]], disturbed[:, [0, 2]])
    assert torch.equal(alone[:, [1, 3]], disturbed[:, [1, 3]])
