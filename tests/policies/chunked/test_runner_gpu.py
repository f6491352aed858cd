"""The chunk runner on a GPU: a worker's chunks are complete when used, and no upload waits."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from holdstep.envs import make
from holdstep.policies import (
    AnyTrigger,
    ChunkResult,
    ChunkRunner,
    ChunkSpec,
    Cohort,
    Continuous,
    Prefetch,
    Threshold,
)
from holdstep.policies.chunked.action_source import ActionSource
from holdstep.policies.chunked.ensemble import TemporalEnsembling
from holdstep.policies.chunked.handover import Splice
from holdstep.wrappers import SuspendOnWait

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

NUM_ENVS, CHUNK_LENGTH = 32, 6


class SlowKernels:
    """Writes its chunks some milliseconds after ``infer`` has returned, as launches do."""

    def __init__(self):
        self.spec = ChunkSpec(chunk_length=CHUNK_LENGTH, action_dim=1)
        self._buffer = torch.zeros(NUM_ENVS, CHUNK_LENGTH, 1, device="cuda")

    def infer(self, request):
        chunks = self._buffer[: len(request)].clone()
        torch.cuda._sleep(5_000_000)
        seen = request.obs["policy"][:, 2:3, None] * 8
        noise = (request.seeds % 1009).to("cuda").float()[:, None, None] / 1009 - 0.5
        chunks += (seen + noise).clamp(-1, 1)
        return ChunkResult(actions=chunks)

    def reset(self, env_ids, episode_ids):
        pass


def traces(scheduler, num_steps=60):
    adapter = make("holdstep:CartPole", num_envs=NUM_ENVS, device="cuda:0", seed=0)
    env = SuspendOnWait(adapter, rng="per_env")
    rows = [[] for _ in range(NUM_ENVS)]
    with ChunkRunner(env, SlowKernels(), scheduler) as runner:
        runner.reset(seed=1)
        env.episode_length_buf = torch.arange(NUM_ENVS, device="cuda") * 7 % 400
        while min(map(len, rows)) < num_steps:
            step = runner.step()
            assert torch.equal(step.info["active"].cpu(), torch.from_numpy(step.active_mask))
            shown = torch.cat([step.obs["policy"], step.actions, step.reward[:, None]], dim=1).cpu()
            for row in np.flatnonzero(step.active_mask):
                rows[row].append(shown[row])
    env.close()
    return torch.stack([torch.stack(row[:num_steps]) for row in rows])


@pytest.mark.parametrize(
    "scheduler", [AnyTrigger(), Threshold(4), Continuous(), Continuous(max_batch=3, min_batch=1)]
)
def test_rows_do_the_same_on_a_stream_beside_the_simulation(scheduler):
    assert torch.equal(traces(Cohort()), traces(scheduler))


def test_prefetched_chunks_are_those_of_the_observation_at_the_lead():
    assert torch.equal(traces(Prefetch(2)), traces(Prefetch(2, min_batch=1)))


def use(source, chunks):
    rows, active = np.arange(NUM_ENVS), np.arange(NUM_ENVS) % 3 > 0
    lengths = np.full(NUM_ENVS, CHUNK_LENGTH)
    for keep in (0, 1):
        source.put(
            rows,
            chunks,
            lengths=lengths,
            splice=Splice(keep=lengths * 0 + keep, start=lengths * 0, count=lengths - keep),
            age=rows * 0,
        )
        for _ in range(2):
            source.current(active)
            source.upcoming(rows, 2)
            source.advance(active)
    source.forget(rows[:2])


@pytest.mark.parametrize("ensemble", [None, TemporalEnsembling()])
def test_taking_chunks_in_and_giving_actions_out_does_not_wait(ensemble):
    env = make("holdstep:CartPole", num_envs=NUM_ENVS, device="cuda:0", seed=0)
    spec = ChunkSpec(chunk_length=CHUNK_LENGTH, action_dim=1)
    source = ActionSource(env, spec, capacity=CHUNK_LENGTH, ensemble=ensemble)
    chunks = torch.rand(NUM_ENVS, CHUNK_LENGTH, 1, device="cuda")
    use(source, chunks)  # sets up what is set up once
    torch.cuda.synchronize()
    torch.cuda._sleep(1_000_000_000)
    slept = torch.cuda.Event()
    slept.record()
    use(source, chunks)
    assert not slept.query()
    env.close()
