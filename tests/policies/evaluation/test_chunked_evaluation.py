"""Policies that return chunks are evaluated as others are, whoever schedules them."""

import dataclasses
import json

import pytest
import torch

from holdstep import evaluate
from holdstep.envs import make
from holdstep.errors import ConfigError, EvaluationError, PolicyError
from holdstep.policies import (
    Adaptive,
    AnyTrigger,
    ChunkResult,
    ChunkSpec,
    Cohort,
    Continuous,
    GlobalClock,
    Prefetch,
    Threshold,
)
from holdstep.wrappers import ActionChunkReplay, SuspendOnWait
from tests.policies.evaluation.envs import Scripted

LENGTH = 6


class ToTheGoal:
    """Steers PointMass to its goal, not quite straight: the noise of a chunk follows its seed."""

    def __init__(self, *, fails_at=None, **spec):
        self.spec = ChunkSpec(chunk_length=LENGTH, action_dim=2, **spec)
        self.fails_at = fails_at
        self.num_inferences = 0
        self.instructions = []
        self.asked = []

    def infer(self, request):
        self.num_inferences += 1
        if self.num_inferences == self.fails_at:
            raise RuntimeError("out of memory")
        self.asked += request.env_ids.tolist()
        self.instructions += zip(
            request.seeds.tolist(), request.chunk_ids.tolist(), request.instructions, strict=False
        )
        policy = request.obs["policy"]
        noise = torch.stack([request.seeds % 1009, request.seeds % 997], dim=1) / 1000 - 0.5
        actions = 2.0 * policy[:, 4:] - 1.5 * policy[:, 2:4] + noise
        return ChunkResult(actions=actions[:, None].expand(-1, LENGTH, -1))

    def reset(self, env_ids, episode_ids):
        pass


class Nothing:
    """Idle chunks."""

    spec = ChunkSpec(chunk_length=4, action_dim=1)

    def infer(self, request):
        return ChunkResult(actions=torch.zeros(len(request), 4, 1))

    def reset(self, env_ids, episode_ids):
        pass


def point_mass(num_envs):
    env = make("holdstep:PointMass", num_envs=num_envs, device="cpu", seed=num_envs)
    return SuspendOnWait(env, level="skip")


def outcomes(result):
    return [dataclasses.replace(episode, env_id=0, wall_time_s=0.0) for episode in result.episodes]


@pytest.fixture(scope="module")
def reference():
    return evaluate(point_mass(1), ToTheGoal(), 16, seed=5)


@pytest.mark.parametrize(
    ("scheduler", "num_envs"),
    [
        (Cohort, 3),
        (Cohort, 20),
        (AnyTrigger, 5),
        (GlobalClock, 4),
        (lambda: Threshold(2), 6),
        (lambda: Continuous(max_batch=2), 5),
        (Adaptive, 4),
    ],
)
def test_the_same_episodes_for_any_number_of_rows_and_any_exact_scheduler(
    reference, scheduler, num_envs
):
    env = point_mass(num_envs)
    result = evaluate(env, ToTheGoal(), 16, seed=5, scheduler=scheduler())
    assert outcomes(result) == outcomes(reference)
    assert result.determinism == "exact"
    assert result.success_rate == reference.success_rate > 0.5
    assert not env.suspended.any()
    assert len({episode.length for episode in result.episodes}) > 5


def test_the_noise_follows_the_seed(reference):
    other = evaluate(point_mass(3), ToTheGoal(), 16, seed=6)
    assert outcomes(other) != outcomes(reference)


def test_what_waits_is_not_counted():
    """Rows wait for each other in a cohort, which neither lengths nor returns show."""
    lengths = [[3, 7, 2, 9] * 4, [5, 1, 8, 2] * 4, [2, 2, 11, 4] * 4]
    inner = Scripted(lengths)
    env = SuspendOnWait(inner, level="skip")
    result = evaluate(env, Nothing(), 9, per_episode_seeds=False)
    for episode in result.episodes:
        number = int(episode.episode_return) % 100
        assert episode.episode_return == 100 * episode.env_id + number
        assert episode.length == lengths[episode.env_id][number]
    assert int(inner.row_steps.sum()) == sum(episode.length for episode in result.episodes)
    assert result.num_steps > max(inner.row_steps.tolist())  # somebody did wait


def test_parked_rows_are_not_inferred():
    policy = ToTheGoal()
    result = evaluate(point_mass(6), policy, 2)
    assert set(policy.asked) == {0, 1}
    assert result.idle_rows == "suspended"


def test_without_suspension_idle_rows_go_on():
    env = make("holdstep:PointMass", num_envs=3, device="cpu", seed=0)
    result = evaluate(env, ToTheGoal(), 4, scheduler=AnyTrigger())
    assert result.idle_rows == "stepped"
    assert result.is_complete


def test_schedulers_that_depend_on_timing_are_refused_unless_forced():
    def scheduler():
        return Prefetch(2, mode="discard", switch="arrival")

    env = point_mass(3)
    with pytest.raises(ConfigError, match=r"Prefetch.*class 'timing'.*force=True"):
        evaluate(env, ToTheGoal(), 4, scheduler=scheduler())
    result = evaluate(env, ToTheGoal(), 4, scheduler=scheduler(), force=True)
    assert result.determinism == "timing"
    assert result.is_complete


def test_delayed_schedulers_are_fine_and_say_so():
    first, second = (
        evaluate(point_mass(num_envs), ToTheGoal(), 10, scheduler=Prefetch(2))
        for num_envs in (2, 7)
    )
    assert first.determinism == "delayed"
    assert outcomes(first) == outcomes(second)
    assert outcomes(first) != outcomes(evaluate(point_mass(2), ToTheGoal(), 10))


def test_instructions_reach_the_inferences_of_their_episodes():
    policy = ToTheGoal(uses_instructions=True)
    texts = [f"goal {number}" for number in range(9)]
    result = evaluate(point_mass(4), policy, 9, instructions=texts)
    assert [episode.instruction for episode in result.episodes] == texts
    # Once each at its first chunk, and never another one in mid-episode.
    first = [text for _, chunk, text in policy.instructions if chunk == 0]
    assert sorted(first) == texts
    chunks = sum(-(-episode.length // LENGTH) for episode in result.episodes)
    assert len(policy.instructions) == chunks
    assert len(result.by_instruction()) == 9


def test_execute_and_metadata():
    result = evaluate(
        point_mass(2), ToTheGoal(reproducible=False), 3, execute=2, scheduler=Threshold(1)
    )
    assert result.metadata["scheduler"] == "Threshold"
    assert result.metadata["execute"] == 2
    assert result.metadata["policy_is_reproducible"] is False
    assert result.metadata["policy"] == "ToTheGoal"
    json.dumps(result.metadata)


def test_a_policy_that_fails_leaves_no_row_suspended():
    env = point_mass(4)
    with pytest.raises(PolicyError) as caught:
        evaluate(env, ToTheGoal(fails_at=7), 12)
    assert "of 12 episodes had ended" in caught.value.__notes__[-1]
    assert not env.suspended.any()
    assert evaluate(env, ToTheGoal(), 3).is_complete


def test_an_episode_that_does_not_end():
    env = SuspendOnWait(Scripted([[900] * 40, [3] * 40]), level="skip")
    with pytest.raises(EvaluationError, match=r"rows \[0\] have not ended after \[25\]") as caught:
        evaluate(env, Nothing(), 30, max_steps=25, per_episode_seeds=False)
    assert 0 < len(caught.value.partial.episodes) < 30
    assert not env.suspended.any()


@pytest.mark.parametrize("scheduler", ["cohort", 3])
def test_schedulers_that_are_none(scheduler):
    with pytest.raises(ConfigError, match="scheduler must be a Scheduler"):
        evaluate(point_mass(2), ToTheGoal(), 2, scheduler=scheduler)


def test_cohorts_need_suspension():
    env = make("holdstep:PointMass", num_envs=2, device="cpu")
    with pytest.raises(ConfigError, match="SuspendOnWait"):
        evaluate(env, ToTheGoal(), 2)


def test_a_trace_can_be_written(tmp_path):
    from holdstep.timeline import read_timeline

    path = tmp_path / "trace.jsonl"
    result = evaluate(point_mass(3), ToTheGoal(), 5, timeline=path)
    assert read_timeline(path).num_ticks == result.num_steps


def test_chunk_replay_counts_env_steps():
    """A step of ActionChunkReplay is several of the env's, and episodes are as long as they are."""

    def forever(obs):
        return torch.zeros(len(obs["policy"]), 4, 1)

    def idle(obs):
        return torch.zeros(len(obs["policy"]), 1)

    def cartpole():
        return make("holdstep:CartPole", num_envs=3, device="cpu", seed=0)

    one_by_one = evaluate(cartpole(), idle, 6)
    replayed = evaluate(ActionChunkReplay(SuspendOnWait(cartpole()), 4), forever, 6)
    assert [e.length for e in replayed.episodes] == [e.length for e in one_by_one.episodes]
    assert [e.episode_return for e in replayed.episodes] == pytest.approx(
        [e.episode_return for e in one_by_one.episodes]
    )
    with pytest.raises(ConfigError, match=r"gamma=0\.9"):
        evaluate(ActionChunkReplay(SuspendOnWait(cartpole()), 4, gamma=0.9), forever, 6)


def test_instructions_for_a_policy_that_takes_none_are_refused():
    with pytest.raises(ConfigError, match=r"(?s)uses_instructions is False.*language_key"):
        evaluate(point_mass(4), ToTheGoal(), 9, instructions=["reach"] * 9)
