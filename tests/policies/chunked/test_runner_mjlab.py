"""The chunk runner on real physics: what a row does, and that nothing but that is ever seen."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from holdstep.policies import (
    Adaptive,
    AnyTrigger,
    ChunkResult,
    ChunkRunner,
    ChunkSpec,
    Cohort,
    Continuous,
    GlobalClock,
    Prefetch,
    Threshold,
)
from holdstep.wrappers import SuspendOnWait
from tests.conftest import make_mjlab
from tests.envs.adapters.mjlab_hard_tasks import make_hard

CHUNK_LENGTH = 8
EXACT = (
    AnyTrigger,
    GlobalClock,
    lambda: GlobalClock(period=3),
    lambda: Threshold(2),
    lambda: Threshold(3, max_wait_ticks=2),
    Continuous,
    lambda: Continuous(max_batch=1, min_batch=1),
    Adaptive,
)


class NoisyFeedback:
    """Actions from the observation and the row's seed, by elementwise operations alone.

    So they can't depend on the batch. Large enough to make legged robots fall, and Cartpoles hit
    their limits.
    """

    def __init__(self, action_dim, *, length=CHUNK_LENGTH, key="actor"):
        self.spec = ChunkSpec(chunk_length=length, action_dim=action_dim, obs_keys=(key,))
        self._key = key

    def infer(self, request):
        noise = (request.seeds % 1009).float()[:, None, None] / 1009 - 0.5
        phase = torch.arange(self.spec.chunk_length).float()[None, :, None] / 5
        joint = torch.arange(self.spec.action_dim).float()[None, None, :]
        seen = request.obs[self._key][:, 0][:, None, None].clamp(-1, 1)
        return ChunkResult(
            actions=torch.sin(phase + joint + 7 * noise) * (0.5 + noise) + 0.1 * seen
        )

    def reset(self, env_ids, episode_ids):
        pass


def stagger(env):
    """Let rows reach their time limit one after the other; row i's place does not depend on N."""
    env.episode_length_buf = 5 * torch.arange(env.num_envs) % 19


def repeatable(env):
    """What makes a seeded run of an env repeat itself.

    A seeded reset alone does not where tasks have noise with a bias, which mjlab lets wander from
    episode to episode, over resets too.
    """
    env.reset(seed=0)
    initial = env.snapshot()
    return lambda: env.restore(initial, range(env.num_envs))


def run(env, scheduler, *, num_steps, seed=5):
    """What each row showed in each of its own first ``num_steps`` steps."""
    rows = [[] for _ in range(env.num_envs)]
    policy = NoisyFeedback(env.single_action_space.shape[0])
    with ChunkRunner(env, policy, scheduler) as runner:
        runner.reset(seed=seed)
        stagger(env)
        while min(map(len, rows)) < num_steps:
            step = runner.step()
            for row in np.flatnonzero(step.active_mask):
                shown = {f"obs {key}": value[row] for key, value in step.obs.items()}
                shown["action"] = step.actions[row]
                for name in ("reward", "terminated", "truncated"):
                    shown[name] = getattr(step, name)[row]
                if "final_obs" in step.info and step.info["_final_obs"][row]:
                    final = step.info["final_obs"]
                    shown |= {f"final {key}": value[row] for key, value in final.items()}
                rows[row].append({name: value.clone() for name, value in shown.items()})
        stats = runner.stats()
    return [shown[:num_steps] for shown in rows], stats


def assert_same(one, other):
    for row, (steps, others) in enumerate(zip(one, other, strict=False)):
        for index, (shown, other_shown) in enumerate(zip(steps, others, strict=True)):
            assert shown.keys() == other_shown.keys(), (row, index)
            for name, value in shown.items():
                assert torch.equal(value, other_shown[name]), (row, index, name)


def num_ends(rows):
    return sum(bool(shown["terminated"] | shown["truncated"]) for row in rows for shown in row)


@pytest.mark.parametrize(
    ("task", "level", "num_envs", "num_steps", "schedulers"),
    [
        ("Mjlab-Cartpole-Balance", "skip", 5, 50, EXACT),
        ("Mjlab-Velocity-Flat-Unitree-Go1", "exact", 4, 30, EXACT[::3]),
        ("Mjlab-Lift-Cube-Yam", "exact", 3, 30, EXACT[2::3]),
    ],
    ids=["cartpole", "go1", "lift-cube"],
)
def test_what_a_row_does_is_the_same_under_every_exact_scheduler(
    task, level, num_envs, num_steps, schedulers
):
    env = SuspendOnWait(
        make_hard(task, num_envs=num_envs, episode_steps=21), level=level, rng="per_env"
    )
    begin_anew = repeatable(env)
    expected, stats = run(env, Cohort(), num_steps=num_steps)
    assert num_ends(expected) >= num_envs
    assert stats.waiting_steps > 0  # rows ended in the middle of chunks
    different_waits = set()
    for make_scheduler in schedulers:
        begin_anew()
        rows, stats = run(env, make_scheduler(), num_steps=num_steps)
        assert_same(expected, rows)
        different_waits.add(stats.waiting_steps)
    assert len(different_waits) > 1  # they did schedule differently
    begin_anew()
    rows, _ = run(env, Prefetch(3), num_steps=num_steps)
    with pytest.raises(AssertionError):  # what this comparison would not notice, it can't show
        assert_same(expected, rows)
    env.close()


def test_what_a_row_does_is_the_same_among_any_number_of_rows():
    traces = []
    for num_envs in (1, 2, 7):
        env = SuspendOnWait(
            make_mjlab("Mjlab-Cartpole-Balance", num_envs=num_envs, seed=0, episode_length_s=1.1),
            rng="per_env",
        )
        traces.append(run(env, Cohort(), num_steps=60)[0])
        env.close()
    assert_same(traces[0], traces[1])
    assert_same(traces[1], traces[2])


def test_prefetching_does_not_depend_on_how_long_inference_takes():
    env = SuspendOnWait(
        make_hard("Mjlab-Cartpole-Balance", num_envs=4, episode_steps=21),
        level="skip",
        rng="per_env",
    )
    begin_anew = repeatable(env)
    for scheduler in (
        lambda: Prefetch(3),
        lambda: Prefetch(3, mode="discard"),
        lambda: Prefetch(3, min_batch=1),
    ):
        begin_anew()
        expected, _ = run(env, scheduler(), num_steps=40)
        begin_anew()
        assert_same(expected, run(env, scheduler(), num_steps=40)[0])
    env.close()


class RememberedChunks(NoisyFeedback):
    """Keeps the chunks of every episode."""

    def __init__(self, action_dim):
        super().__init__(action_dim)
        self.chunks = {}

    def infer(self, request):
        result = super().infer(request)
        who = zip(request.env_ids.tolist(), request.episode_ids.tolist(), strict=True)
        for key, chunk in zip(who, result.actions, strict=True):
            self.chunks.setdefault(key, []).append(chunk)
        return result


class Recorder:
    """Keeps what a data set would: every step of every row that advanced, by episode."""

    def __init__(self, num_envs):
        self.running = [[] for _ in range(num_envs)]
        self.episodes = []

    def add(self, step):
        assert torch.equal(torch.from_numpy(step.active_mask), step.info["active"])
        ended = step.terminated | step.truncated
        assert not (ended & ~step.info["active"]).any()
        assert not step.reward[~step.info["active"]].any()
        for row in np.flatnonzero(step.active_mask).tolist():
            self.running[row].append((step.actions[row].clone(), float(step.reward[row])))
            if ended[row]:
                self.episodes.append((row, self.running[row]))
                self.running[row] = []


def test_waiting_rows_leave_no_trace_in_data_rewards_lengths_and_terminations():
    """As a recorder sees it that keeps the rows of ``info["active"]``, and as mjlab counts."""
    env = SuspendOnWait(
        make_hard("Mjlab-Velocity-Flat-Unitree-Go1", num_envs=4, episode_steps=21), rng="per_env"
    )
    recorder = Recorder(4)
    num_waiting = 0
    policy = RememberedChunks(12)
    with ChunkRunner(env, policy, Cohort()) as runner:
        runner.reset(seed=1)
        stagger(env)
        while len(recorder.episodes) < 12:
            lengths_before = env.episode_length_buf.clone()
            step = runner.step()
            active = step.info["active"]
            num_waiting += int((~active).sum())
            ended = step.terminated | step.truncated
            expected = torch.where(ended, 0, lengths_before + active)
            assert torch.equal(env.episode_length_buf, expected)
            recorder.add(step)
        stats = runner.stats()
    assert num_waiting > 20
    recorded = sum(len(steps) for _, steps in recorder.episodes) + sum(map(len, recorder.running))
    assert recorded == stats.env_steps
    assert max(len(steps) for _, steps in recorder.episodes) <= 21
    # What was recorded of an episode is its chunks one after the other, the last of them cut off.
    num_episodes = [0] * 4
    for row, steps in recorder.episodes:
        chunks = policy.chunks[row, num_episodes[row]]
        num_episodes[row] += 1
        assert len(chunks) == -(-len(steps) // CHUNK_LENGTH)
        expected = torch.cat(chunks)[: len(steps)]
        assert torch.equal(torch.stack([action for action, _ in steps]), expected)
    env.close()


class Nothing(NoisyFeedback):
    def infer(self, request):
        return ChunkResult(
            actions=torch.zeros(len(request), self.spec.chunk_length, self.spec.action_dim)
        )


@pytest.mark.parametrize("level", ["exact", "skip"])
def test_a_waiting_row_stands_still_where_zero_actions_would_let_it_drift(level):
    env = SuspendOnWait(
        make_mjlab("Mjlab-Cartpole-Balance", num_envs=3, seed=0), level=level, rng="per_env"
    )
    with ChunkRunner(env, Nothing(1), Cohort()) as runner:
        runner.reset(seed=0)
        runner.step()
        runner.reset_rows([1])
        obs = runner.step().obs["actor"][1].clone()
        for _ in range(CHUNK_LENGTH - 2):
            step = runner.step()
            assert step.active_mask.tolist() == [True, False, True]
            assert torch.equal(step.obs["actor"][1], obs)
        assert runner.step().active_mask.all()
        assert not torch.equal(env.step(torch.zeros(3, 1))[0]["actor"][1], obs)
    env.close()
