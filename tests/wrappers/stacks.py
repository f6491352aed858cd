"""Every legal stack, what it does with a known stream of actions, and the same without it."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import torch

from holdstep.wrappers import (
    ActionChunkReplay,
    RecordEpisodes,
    RecordTimeline,
    SuspendOnWait,
    find_wrapper,
)

CHUNK_LENGTH = 3


@dataclass(frozen=True)
class Plan:
    """Which wrappers, and after how many of them a trace is put around; None for no trace."""

    suspend: bool
    record: bool
    drive: str | None
    trace_at: int | None

    def __str__(self):
        parts = (
            ["suspend"] * self.suspend + ["record"] * self.record + [self.drive] * bool(self.drive)
        )
        if self.trace_at is not None:
            parts.insert(self.trace_at, "trace")
        return "-".join(parts) or "bare"

    def build(self, env, folder, actions):
        """The stack; ``actions`` ``[K, N, A]`` is what a source would answer, frame by frame."""
        layers = []
        if self.suspend:
            layers.append(lambda env: SuspendOnWait(env, rng="per_env"))
        if self.record:
            layers.append(
                lambda env: RecordEpisodes(
                    env, folder / "data", writer="thread", durability="os", partial="keep"
                )
            )
        if self.drive == "chunk":
            layers.append(lambda env: ActionChunkReplay(env, CHUNK_LENGTH))
        elif self.drive == "pipelined":
            layers.append(lambda env: pipelined(env, actions))
        if self.trace_at is not None:
            layers.insert(self.trace_at, lambda env: RecordTimeline(env, folder / "run.jsonl"))
        for layer in layers:
            env = layer(env)
        return env


def pipelined(env, actions):
    from holdstep.wrappers import PipelinedActions

    return PipelinedActions(env, Stream(actions), mode="sync")


class Stream:
    """A source that knows its actions beforehand."""

    uses_obs = False

    def __init__(self, actions):
        self._actions = actions

    def start(self, env_ids):
        pass

    def compute(self, request):
        from holdstep.wrappers.pipeline import SourceResult

        return SourceResult(actions=self._actions[request.frame_id][list(request.env_ids)])

    def stop(self):
        pass


def legal_plans():
    """All of them: the stages in their order, each or not, and a trace at every place."""
    for suspend, record, drive in itertools.product(
        (False, True), (False, True), (None, "chunk", "pipelined")
    ):
        if drive == "chunk" and not suspend:
            continue  # refused: rows that are done must stand still
        depth = suspend + record + (drive is not None)
        for trace_at in (None, *range(depth + 1)):
            yield Plan(suspend, record, drive, trace_at)


@dataclass
class Seen:
    """What a stack did: per row, the actions that were applied and what came back.

    Attributes:
        applied: actions of each row, in order.
        returned: per row, (number of actions so far, obs, reward, terminated, truncated) after each
            step in which it advanced.
    """

    applied: list = field(default_factory=list)
    returned: list = field(default_factory=list)


def run_stack(env, plan, actions, held_per_step):
    """Step a stack; ``held_per_step[t]`` are the rows that are suspended in step t."""
    num_envs = env.num_envs
    seen = Seen([[] for _ in range(num_envs)], [[] for _ in range(num_envs)])
    suspender = find_wrapper(env, SuspendOnWait)
    env.reset(seed=5)
    for step, held in enumerate(held_per_step):
        if suspender is not None:
            suspender.resume(suspender.suspended)
            suspender.suspend(sorted(held))
        if plan.drive == "chunk":
            # As a batch of chunks, [N, L, A]
            block = actions[step * CHUNK_LENGTH : (step + 1) * CHUNK_LENGTH].transpose(0, 1)
        elif plan.drive == "pipelined":
            block = None
        else:
            block = actions[step]
        obs, reward, terminated, truncated, info = env.step(block)
        for row in range(num_envs):
            if not info["active"][row]:
                assert row in held
                assert reward[row] == 0
                assert not terminated[row] | truncated[row]
                continue
            assert row not in held
            if plan.drive == "chunk":
                count = int(info["num_steps"][row])
                seen.applied[row] += list(block[row, :count])
            else:
                seen.applied[row].append(actions[step][row])
            seen.returned[row].append(
                (
                    len(seen.applied[row]),
                    {key: value[row].clone() for key, value in obs.items()},
                    float(reward[row]),
                    bool(terminated[row]),
                    bool(truncated[row]),
                )
            )
    return seen


def run_plain(env, applied):
    """Apply the same actions, each row at its own pace, with nothing around the env but what holds
    rows that have none left (if they don't have equally many)."""
    num_envs = env.num_envs
    returned = [{} for _ in range(num_envs)]
    env.reset(seed=5)
    suspender = find_wrapper(env, SuspendOnWait)
    for step in range(max(map(len, applied), default=0)):
        done = [row for row in range(num_envs) if step >= len(applied[row])]
        if suspender is not None:
            suspender.resume(suspender.suspended)
            suspender.suspend(done)
        else:
            assert not done
        zero = torch.zeros_like(next(a[0] for a in applied if a))
        block = torch.stack(
            [zero if row in done else applied[row][step] for row in range(num_envs)]
        )
        obs, reward, terminated, truncated, _ = env.step(block)
        for row in set(range(num_envs)) - set(done):
            returned[row][step + 1] = (
                {key: value[row].clone() for key, value in obs.items()},
                float(reward[row]),
                bool(terminated[row]),
                bool(truncated[row]),
            )
    return returned


def check_same(seen, plain):
    """What came out of the stack is what its ticks would have given one by one."""
    for row, steps in enumerate(seen.returned):
        before = 0
        for count, obs, reward, terminated, truncated in steps:
            ticks = [plain[row][tick] for tick in range(before + 1, count + 1)]
            for key, value in ticks[-1][0].items():
                assert torch.equal(obs[key], value), (row, count, key)
            total = torch.zeros(())
            for tick in ticks:
                total = total + tick[1]
            assert reward == float(total), (row, count)
            assert terminated == ticks[-1][2]
            assert truncated == ticks[-1][3]
            assert not any(tick[2] or tick[3] for tick in ticks[:-1])
            before = count
