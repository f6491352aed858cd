"""What rows do under every scheduler, among any number of rows, and who is asked for it."""

import numpy as np
import pytest
import torch

from holdstep.envs import make
from holdstep.errors import ClosedEnvError, ConfigError, PolicyError, ResetNeededError
from holdstep.policies import (
    Adaptive,
    AnyTrigger,
    ChunkResult,
    ChunkRunner,
    ChunkSpec,
    Cohort,
    Continuous,
    Prefetch,
    Scheduler,
    Threshold,
)
from holdstep.wrappers import SuspendOnWait
from tests.policies.chunked.doubles import Marking, Rollout, Scripted
from tests.policies.chunked.test_runner_episodes import EXACT, SCHEDULERS, marking, sometimes_slow

ACTION_DIMS = {"holdstep:CartPole": 1, "holdstep:PointMass": 2}


class Feedback:
    """Actions from each row's observation and seed, one operation per element."""

    def __init__(self, action_dim, before=None):
        self.spec = ChunkSpec(chunk_length=6, action_dim=action_dim, obs_keys=("policy",))
        self.before = before

    def infer(self, request):
        if self.before is not None:
            self.before(request)
        noise = (request.seeds % 1009).float()[:, None, None] / 504.5 - 1
        phase = torch.arange(6.0)[None, :, None] / 5 + torch.arange(self.spec.action_dim)
        return ChunkResult(
            actions=torch.sin(phase + 3 * noise) * noise
            + 0.1 * request.obs["policy"][:, :1, None].clamp(-1, 1)
        )

    def reset(self, env_ids, episode_ids):
        pass


def run(task, num_envs, scheduler, *, num_steps=50, before=None, rows=None):
    """What each row showed in its own first steps, as one tensor per row."""
    env = SuspendOnWait(
        make(task, num_envs=num_envs, device="cpu", seed=0, max_episode_length=23), rng="per_env"
    )
    shown = [[] for _ in range(num_envs)]
    with ChunkRunner(env, Feedback(ACTION_DIMS[task], before), scheduler, seed=4) as runner:
        runner.reset(seed=5)
        while min(map(len, shown)) < num_steps:
            step = runner.step()
            assert torch.equal(step.info["active"], torch.from_numpy(step.active_mask))
            flags = torch.stack([step.reward, step.terminated.float(), step.truncated.float()], 1)
            everything = torch.cat(
                [step.actions, step.obs["policy"], step.obs["critic"], flags], dim=1
            )
            for row in np.flatnonzero(step.active_mask):
                shown[row].append(everything[row])
            ended = np.flatnonzero((step.terminated | step.truncated).numpy())
            assert step.ended_ids.tolist() == ended.tolist()
        stats = runner.stats()
    env.close()
    return [torch.stack(row[:num_steps]) for row in shown], stats


@pytest.mark.parametrize("task", list(ACTION_DIMS))
def test_every_exact_scheduler_gives_the_same_bits_among_any_number_of_rows(task):
    reference, stats = run(task, 16, Cohort())
    assert stats.num_episodes > 16
    waits = {stats.waiting_steps}
    for make_scheduler in EXACT.values():
        rows, stats = run(task, 5, make_scheduler(), before=sometimes_slow(1))
        waits.add(stats.waiting_steps)
        for row, trace in enumerate(rows):
            assert torch.equal(trace, reference[row])
    assert len(waits) > 4  # they did schedule differently
    for num_envs in (1, 2, 16):
        for make_scheduler in (Cohort, Continuous, AnyTrigger):
            for row, trace in enumerate(run(task, num_envs, make_scheduler())[0]):
                assert torch.equal(trace, reference[row])
    assert not torch.equal(run(task, 2, Prefetch(2))[0][0], reference[0])


@pytest.mark.parametrize("mode", ["append", "discard"])
def test_prefetching_gives_the_same_bits_however_long_inference_takes(mode):
    reference, _ = run("holdstep:CartPole", 5, Prefetch(2, mode=mode))
    for num_envs, options in ((5, {"min_batch": 1}), (2, {}), (5, {"min_batch": 3})):
        scheduler = Prefetch(2, mode=mode, **options)
        rows, _ = run("holdstep:CartPole", num_envs, scheduler, before=sometimes_slow(num_envs))
        for row, trace in enumerate(rows):
            assert torch.equal(trace, reference[row])


@pytest.mark.parametrize("name", list(SCHEDULERS))
def test_each_chunk_is_asked_for_once_and_only_of_rows_that_need_it(name):
    lengths = [[5, 8, 20], [13], [40]]
    with Rollout(lengths, marking(before=sometimes_slow(2)), SCHEDULERS[name]()) as rollout:
        rollout.until(40)
        asked = [
            key
            for request in rollout.policy.requests
            for key in zip(
                request.env_ids.tolist(),
                request.episode_ids.tolist(),
                request.chunk_ids.tolist(),
                strict=True,
            )
        ]
        assert all(request.env_ids.dtype == torch.int64 for request in rollout.policy.requests)
        executed = {(a.row, a.episode, a.chunk) for trace in rollout.traces() for a in trace}
    if name == "any trigger":  # the baseline infers everybody each time
        assert all(len(request) == 3 for request in rollout.policy.requests)
        assert len(asked) > 1.3 * len(executed)
    else:
        assert len(asked) == len(set(asked))
    assert executed <= set(asked)


def test_only_the_groups_that_are_read_are_cut_out_and_they_are_the_policys_own():
    def scribble(request):
        assert list(request.obs) == ["critic", "policy"]
        request.obs["critic"].fill_(-1)
        for tensor in (request.env_ids, request.episode_ids, request.chunk_ids, request.seeds):
            tensor.clone().copy_(tensor)

    def vandalise(request):
        for tensor in (request.env_ids, request.episode_ids, request.chunk_ids, request.seeds):
            tensor.fill_(0)

    policy = marking(before=scribble, obs_keys=("critic", "policy"))
    inner = policy.infer
    policy.infer = lambda request: (inner(request), vandalise(request))[0]
    with Rollout([[9], [30]], policy, Threshold(1)) as rollout:
        rollout.until(30)
        assert [a.row for a in rollout.trace(1)] == [1] * len(rollout.trace(1))
        assert rollout.trace(1)[-1].in_episode == rollout.trace(1)[-1].episode
        obs = rollout.runner.step().obs
        assert obs["critic"].tolist() == [[0.0], [1.0]]


def test_a_policy_that_reads_nothing_gets_nothing():
    seen = []

    class Blind(Marking):
        def infer(self, request):
            seen.append(dict(request.obs))
            return ChunkResult(actions=torch.zeros(len(request), 6, 6))

    with Rollout([[9]], Blind(6, obs_keys=()), Cohort()) as rollout:
        rollout.until(7)
    assert seen == [{}, {}]


def test_fewer_actions_may_be_executed_than_there_are():
    with Rollout([[100]], Marking(6), Cohort(), {"execute": 2}) as rollout:
        rollout.until(6)
        assert [(a.chunk, a.index) for a in rollout.trace(0)] == [
            (0, 0),
            (0, 1),
            (1, 0),
            (1, 1),
            (2, 0),
            (2, 1),
        ]


@pytest.mark.parametrize("inside", [True, False])
def test_a_runner_may_be_built_and_used_in_and_out_of_inference_mode(inside):
    for name in ("cohort", "rtc", "continuous"):
        with torch.inference_mode(inside):
            rollout = Rollout([[9], [4, 20]], marking(), SCHEDULERS[name]())
        rollout.env.episode = torch.zeros(2, dtype=torch.int64)  # the spy's own
        with torch.inference_mode(not inside), rollout:
            rollout.until(15)


class Stubborn(Scheduler):
    """Selects what it is told."""

    def __init__(self, rows):
        self.rows = rows

    def select(self, rows):
        return np.array(self.rows, dtype=np.int64)


def test_a_scheduler_that_asks_for_nobody_is_an_error_and_not_a_hang():
    message = "asked for nobody while every live row waits"
    with Rollout([[9]], marking(), Stubborn([])) as rollout:  # noqa: SIM117
        with pytest.raises(PolicyError, match=message):
            rollout.runner.step()


def test_a_scheduler_that_asks_for_rows_that_want_nothing_is_an_error_and_no_endless_loop():
    with Rollout([[9], [9]], marking(), Stubborn([0])) as rollout:  # noqa: SIM117
        with pytest.raises(ConfigError, match=r"selected rows \[0\].*\[0\] are not in"):
            rollout.runner.step()


class Unsorted(Cohort):
    """Names rows in its own order."""

    def select(self, rows):
        return super().select(rows)[::-1]


def test_the_order_in_which_a_scheduler_names_rows_does_not_matter():
    with Rollout([[9], [5], [30]], marking(), Unsorted()) as rollout:
        rollout.until(20)
        for row, trace in enumerate(rollout.traces()):
            assert all(a.row == row and a.episode == a.in_episode for a in trace)


def build(**options):
    policy = options.pop("policy", None) or Marking(6)
    env = options.pop("env", None) or SuspendOnWait(Scripted([[9], [9]]), rng="per_env")
    return ChunkRunner(env, policy, options.pop("scheduler", Cohort()), **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"env": object()}, "drives a holdstep env, got object"),
        ({"policy": object()}, "policy must have a spec"),
        ({"policy": Marking}, "policy must have a spec"),
        ({"policy": Feedback(3)}, r"3 numbers \(its spec's action_dim\).*shape \(6,\)"),
        ({"policy": Marking(6, obs_keys=("images",))}, r"\['images'\].*\['critic', 'policy'\]"),
        ({"scheduler": Cohort}, "must be a Scheduler"),
        ({"scheduler": "cohort"}, "must be a Scheduler"),
        ({"execute": 0}, "execute must be from 1 to the chunk_length of 6 actions, got 0"),
        ({"execute": 7}, "got 7"),
        ({"execute": True}, "got True"),
        ({"execute": 2.0}, "got 2.0"),
        ({"scheduler": Prefetch(6)}, "m must be smaller"),
        ({"scheduler": Prefetch(2), "execute": 2}, "m must be smaller"),
        ({"scheduler": Prefetch(2, mode="discard"), "execute": 5}, "execute=4"),
        ({"scheduler": Prefetch(2, mode="rtc")}, "uses_prefix=False"),
        ({"scheduler": Adaptive(prefetch=Prefetch(6))}, "m must be smaller"),
        ({"seed": 1.5}, "seed must be an integer, got 1.5"),
        ({"seed": None}, "seed must be an integer"),
        ({"timeout_s": 0}, "timeout_s must be None or a number of seconds > 0, got 0"),
        ({"timeout_s": float("nan")}, "got nan"),
        ({"instructions": ["a"]}, "one text, or 2 of them"),
        ({"instructions": [1, 2]}, "one text, or 2 of them"),
        ({"policy": Marking(6, uses_instructions=True)}, "spec asks for some"),
    ],
)
def test_what_does_not_go_together_is_refused_at_construction(options, message):
    with pytest.raises(ConfigError, match=message):
        build(**options)


def test_without_a_wrapper_that_suspends_only_the_baseline_can_run():
    with pytest.raises(ConfigError, match=r"Cohort lets rows wait.*SuspendOnWait"):
        build(env=Scripted([[9]]))
    with build(env=Scripted([[5], [7]]), scheduler=AnyTrigger()) as runner:
        runner.reset()
        assert all(runner.step().active_mask.all() for _ in range(20))
        with pytest.raises(ConfigError, match="Parking rows needs a SuspendOnWait"):
            runner.park([0])
        runner.park([])


def test_the_default_execute_leaves_out_what_prefetching_discards():
    assert build().execute == 6
    assert build(scheduler=Prefetch(2)).execute == 6
    assert build(scheduler=Prefetch(2, mode="discard")).execute == 4
    assert build(scheduler=Adaptive(prefetch=Prefetch(2, mode="discard"))).execute == 4


def test_determinism_is_the_schedulers():
    assert build().determinism == "exact"
    assert build(scheduler=Continuous()).determinism == "exact"
    assert build(scheduler=Adaptive()).determinism == "exact"
    assert build(scheduler=Prefetch(2)).determinism == "delayed"
    early = Prefetch(2, mode="discard", switch="arrival")
    assert build(scheduler=early).determinism == "timing"
    assert build(scheduler=Adaptive(prefetch=Prefetch(2))).determinism == "timing"


def test_the_order_of_calls():
    runner = build()
    for call in (runner.step, lambda: runner.reset_rows([0])):
        with pytest.raises(ResetNeededError, match="Call the runner's reset"):
            call()
    runner.close()
    for call in (runner.step, runner.reset):
        with pytest.raises(ClosedEnvError, match="The runner is closed"):
            call()
