"""Views with ``gather=True``: a dense batch, whoever was suspended and for how long."""

import threading
from concurrent.futures import Future

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from holdstep.envs import make
from holdstep.envs.views.gather import GatherSteps
from holdstep.errors import ConfigError, SuspensionError, SuspensionTimeoutError
from holdstep.wrappers import ActionChunkReplay, SuspendOnWait, VectorWrapper, find_wrapper
from tests.envs.views.stand_ins import NUM_ENVS, point_mass, record, steering


class Countdown:
    """A condition that holds at the n-th look."""

    def __init__(self, looks):
        self.looks = looks

    def __call__(self):
        self.looks -= 1
        return self.looks <= 0


class Thinking(VectorWrapper):
    """Suspends some rows right after they advanced, as if their next action took a while."""

    def __init__(self, env, seed=0, share=0.4):
        super().__init__(env)
        self.suspender = find_wrapper(env, SuspendOnWait)
        self.draw = np.random.default_rng(seed)
        self.share = share
        self.num_ticks = 0
        self.num_suspended = 0

    def step(self, actions):
        result = self.env.step(actions)
        self.num_ticks += 1
        # Whoever holds rows resumes its own; those that advanced are suspended by nobody.
        for row in result[4]["active"].nonzero().flatten().tolist():
            if self.draw.random() < self.share:
                self.num_suspended += 1
                looks = int(self.draw.integers(1, 6))
                self.suspender.suspend([row], until=Countdown(looks))
        return result


def stack(seed=0, share=0.4):
    return Thinking(SuspendOnWait(point_mass(), rng="per_env"), seed, share)


@given(st.integers(0, 2**16), st.floats(0.05, 1.0))
@settings(max_examples=12, deadline=None)
def test_each_step_is_one_step_of_each_row(seed, share):
    """All that a step gives is what it gives without suspension, of every row, ends included."""
    plain = SuspendOnWait(point_mass(), rng="per_env")
    first, actions, results = record(plain, seed=3)
    inner = stack(seed, share)
    env = GatherSteps(inner)
    obs, _ = env.reset(seed=3)
    assert all(torch.equal(obs[name], first[name]) for name in obs)
    for action, expected in zip(actions, results, strict=True):
        obs, *flags, info = env.step(action)
        assert info["active"].all()
        for got, wanted in zip(flags, expected[1:4], strict=True):
            assert torch.equal(got, wanted)
        assert all(torch.equal(obs[name], expected[0][name]) for name in obs)
        ended = expected[2] | expected[3]
        if ended.any():
            assert torch.equal(info["_final_obs"], ended)
            for name, value in info["final_obs"].items():
                assert torch.equal(value[ended], expected[4]["final_obs"][name][ended])
        for name in ("success", "_success"):
            assert torch.equal(info[name], expected[4][name])
        assert "num_steps" not in info
    assert inner.num_ticks >= len(actions)


def test_it_took_longer_and_rows_waited():
    inner = stack()
    env = GatherSteps(inner)
    obs, _ = env.reset(seed=0)
    for _ in range(20):
        obs = env.step(steering(obs))[0]
    assert inner.num_suspended > 20
    assert inner.num_ticks > 30
    # Rows that have nothing to wait for are free again after a step.
    assert inner.suspender.suspended_ids < set(range(NUM_ENVS))


def test_a_row_that_has_its_step_does_not_go_on_when_its_own_wait_is_done():
    """Row 0 waits for something shorter than row 1 does, after it has taken its step."""
    inner = SuspendOnWait(make("holdstep:CartPole", num_envs=3, device="cpu", seed=0))

    class Once(VectorWrapper):
        def step(self, actions):
            result = super().step(actions)
            if result[4]["active"][0]:
                inner.suspend([0], until=Countdown(2))
            return result

    env = GatherSteps(Once(inner))
    env.reset()
    inner.suspend([1], until=Countdown(5))
    env.step(torch.zeros(3, 1))
    assert env.episode_length_buf.tolist() == [1, 1, 1]
    assert inner.suspended_ids == set()


def test_a_row_that_still_waits_after_its_step_goes_on_waiting():
    inner = SuspendOnWait(make("holdstep:CartPole", num_envs=2, device="cpu", seed=0))
    env = GatherSteps(inner)
    env.reset()
    env.step(torch.zeros(2, 1))
    decided = Future()
    inner.suspend([1], until=decided)
    threading.Timer(0.05, lambda: decided.set_result(None)).start()
    env.step(torch.zeros(2, 1))  # all that is left to do is to wait for it
    assert decided.done()
    assert env.episode_length_buf.tolist() == [2, 2]


def test_the_action_of_a_row_that_waited_is_the_one_given_for_this_step():
    seen = {}

    class Spy(VectorWrapper):
        def step(self, actions):
            result = super().step(actions)
            for row in result[4]["active"].nonzero().flatten().tolist():
                seen[row] = actions[row].item()
            return result

    inner = SuspendOnWait(make("holdstep:CartPole", num_envs=3, device="cpu", seed=0))
    env = GatherSteps(Spy(inner))
    env.reset()
    inner.suspend([0, 2], until=[Countdown(2), Countdown(4)])
    env.step(torch.tensor([[0.1], [0.2], [0.3]]))
    assert seen == {0: pytest.approx(0.1), 1: pytest.approx(0.2), 2: pytest.approx(0.3)}


def test_a_row_that_waits_for_nothing_is_an_error_that_says_so():
    inner = SuspendOnWait(make("holdstep:CartPole", num_envs=3, device="cpu", seed=0))
    env = GatherSteps(inner)
    env.reset()
    inner.suspend([1])
    with pytest.raises(SuspensionError, match="would never end") as caught:
        env.step(torch.zeros(3, 1))
    assert "gather=True" in caught.value.__notes__[0]
    assert inner.suspended_ids == {1}
    inner.resume([1])
    env.step(torch.zeros(3, 1))


def test_a_wait_that_fails_or_takes_too_long_is_raised_and_nobody_stays_held():
    inner = SuspendOnWait(
        make("holdstep:CartPole", num_envs=3, device="cpu", seed=0), wait_timeout_s=0.02
    )
    env = GatherSteps(inner)
    env.reset()
    failed, never = Future(), Future()
    inner.suspend([1], until=never)
    with pytest.raises(SuspensionTimeoutError):
        env.step(torch.zeros(3, 1))
    assert inner.suspended_ids == {1}
    inner.resume([1])
    inner.suspend([1], until=failed)
    threading.Timer(0.01, lambda: failed.set_exception(RuntimeError("no plan"))).start()
    inner.wait_timeout_s = 10.0
    with pytest.raises(SuspensionError, match="no plan"):
        env.step(torch.zeros(3, 1))
    assert inner.suspended_ids == set()
    env.step(torch.zeros(3, 1))


def test_chunks_are_gathered_too():
    inner = SuspendOnWait(make("holdstep:CartPole", num_envs=3, device="cpu", seed=0))
    env = GatherSteps(ActionChunkReplay(inner, 8))
    env.reset()
    env.episode_length_buf = torch.tensor([0, 497, 0])
    inner.suspend([2], until=Countdown(12))  # while the others play, and longer
    _, reward, _, truncated, info = env.step(torch.zeros(3, 8, 1))
    assert info["num_steps"].tolist() == [8, 3, 8]
    assert reward.tolist() == [8, 3, 8]
    assert truncated.tolist() == [False, True, False]
    assert info["active"].all()


def test_a_row_whose_next_answer_comes_amid_the_chunks_of_others_has_played_its_own():
    inner = SuspendOnWait(make("holdstep:PointMass", num_envs=3, device="cpu", seed=0))

    class Asking(VectorWrapper):
        """Row 0 asks for its next chunk at once, and has it when row 1 is at its second action."""

        def step(self, actions):
            result = super().step(actions)
            if result[4]["active"][0]:
                inner.suspend([0], until=lambda: int(inner.episode_length_buf[1]) % 4 == 2)
            return result

    env = GatherSteps(Asking(ActionChunkReplay(inner, chunk_length=4)))
    env.reset()
    for steps in (4, 8):
        inner.suspend([1], until=Countdown(7))
        *_, info = env.step(torch.zeros(3, 4, 2))
        assert info["num_steps"].tolist() == [4, 4, 4]
        assert env.episode_length_buf.tolist() == [steps] * 3
        assert not inner.postponed_ids


VIEWS = {"rsl_rl": "RslRlVecEnv", "stable_baselines3": "Sb3VecEnv", "skrl": "SkrlEnv"}


def view_of(library, env, **options):
    pytest.importorskip(library, reason=f"{library} is not installed")
    import holdstep.envs

    return getattr(holdstep.envs, VIEWS[library])(env, **options)


@pytest.mark.parametrize("library", VIEWS)
def test_gathering_needs_something_that_suspends(library):
    with pytest.raises(ConfigError, match="gather=True"):
        view_of(library, point_mass(), gather=True)


def as_plain(value):
    """Whatever a view gave, in a form that can be compared."""
    if isinstance(value, torch.Tensor):
        return value.tolist()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, dict):
        return {key: as_plain(item) for key, item in value.items() if key != "t"}
    if isinstance(value, tuple | list):
        return [as_plain(item) for item in value]
    return value


@pytest.mark.parametrize("library", VIEWS)
def test_a_view_that_gathers_shows_what_the_env_without_suspension_shows(library):
    torch.manual_seed(0)
    actions = torch.rand(60, NUM_ENVS, 2) * 2 - 1
    shown = []
    for gather in (False, True):
        env = stack() if gather else SuspendOnWait(point_mass(), rng="per_env")
        view = view_of(library, env, gather=gather)
        steps = [view.reset()] if library == "stable_baselines3" else []
        for action in actions:
            if library == "stable_baselines3":
                steps.append(view.step(action.numpy()))
            elif library == "skrl":
                steps.append(view.step(action)[:4])
            else:
                obs, reward, dones, extras = view.step(action)
                assert extras["active"].all()
                steps.append((obs.to_dict(), reward, dones, extras["time_outs"]))
        shown.append(as_plain(steps))
    assert shown[0] == shown[1]


def test_ppo_learns_from_gathered_steps_what_it_learns_without_suspension():
    pytest.importorskip("rsl_rl", reason="the extra 'rsl-rl' is not installed")
    from rsl_rl.runners import OnPolicyRunner

    from holdstep.envs import RslRlVecEnv
    from holdstep.policies.rsl_rl.runner import make_runner
    from holdstep.policies.rsl_rl.task_config import small_ppo

    weights = []
    for gather in (False, True):
        torch.manual_seed(0)
        env = stack() if gather else SuspendOnWait(point_mass(), rng="per_env")
        config = small_ppo(env)
        runner = make_runner(
            RslRlVecEnv(env, gather=gather), config, base=OnPolicyRunner, quiet=True
        )
        runner.learn(3)
        weights.append([*runner.alg.actor.state_dict().values()])
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))
