"""Chunks as actions: what is refused, what is passed on, and what is left when a tick fails."""

import gymnasium
import numpy as np
import pytest
import torch

from holdstep.envs import check_vector_env, make
from holdstep.envs.reference import CartPole, PointMass
from holdstep.errors import (
    CapabilityError,
    ClosedEnvError,
    ConfigError,
    HoldstepError,
    InvalidActionError,
    ResetNeededError,
    SuspensionError,
    SuspensionTimeoutError,
    WrapperOrderError,
)
from holdstep.wrappers import (
    ActionChunkReplay,
    RecordTimeline,
    Stage,
    SuspendOnWait,
    VectorWrapper,
)
from tests.wrappers.chunk_tools import Spy, looks
from tests.wrappers.fake_clock import FakeClock


def cartpole(num_envs=3, **kwargs):
    return SuspendOnWait(CartPole(num_envs, seed=0, **kwargs), clock=FakeClock())


def stack(num_envs=3, chunk_length=4, execute=None, gamma=1.0, **kwargs):
    """A replay that was reset, and the wrapper inside that suspends."""
    suspender = cartpole(num_envs, **kwargs)
    env = ActionChunkReplay(suspender, chunk_length, execute, gamma)
    env.reset()
    return env, suspender


class Failing(VectorWrapper):
    """Raises in one of its steps."""

    stage = Stage.RECORD
    num_steps = 0
    fails_at = None
    error = RuntimeError("the simulator broke")

    def step(self, actions):
        self.num_steps += 1
        if self.num_steps == self.fails_at:
            raise self.error
        return self.env.step(actions)


class Drives(VectorWrapper):
    stage = Stage.DRIVE


class Anywhere(VectorWrapper):
    pass


def test_spaces_are_the_envs_as_often_as_a_chunk_is_long():
    suspender = SuspendOnWait(PointMass(3, seed=0))
    env = ActionChunkReplay(suspender, 5, 2)
    inner = suspender.single_action_space
    assert env.single_action_space == gymnasium.spaces.Box(
        np.stack([inner.low] * 5), np.stack([inner.high] * 5), dtype=np.float32
    )
    assert env.single_action_space.shape == (5, 2)
    assert env.action_space.shape == (3, 5, 2)
    assert suspender.action_space.shape == (3, 2)
    assert env.observation_space == suspender.observation_space
    assert (env.chunk_length, env.execute, env.gamma) == (5, 2, 1.0)
    assert env.max_episode_length == suspender.max_episode_length
    assert env.step_dt == suspender.step_dt


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"chunk_length": 0}, "chunk_length must be an integer of at least 1, got 0"),
        ({"chunk_length": 2.0}, "chunk_length must be an integer"),
        ({"chunk_length": True}, "chunk_length must be an integer"),
        ({"chunk_length": 4, "execute": 0}, "execute must be an integer of at least 1, got 0"),
        ({"chunk_length": 4, "execute": 5}, "execute must be at most chunk_length, which is 4"),
        ({"chunk_length": 4, "gamma": 0.0}, r"gamma must be a number in \(0, 1\], got 0.0"),
        ({"chunk_length": 4, "gamma": 1.01}, "gamma must be"),
        ({"chunk_length": 4, "gamma": float("nan")}, "gamma must be"),
        ({"chunk_length": 4, "gamma": "0.9"}, "gamma must be"),
        ({"chunk_length": 4, "gamma": True}, "gamma must be"),
    ],
)
def test_arguments_that_cannot_be_used(arguments, message):
    with pytest.raises(ConfigError, match=message):
        ActionChunkReplay(cartpole(), **arguments)


def test_legal_and_illegal_neighbours(tmp_path):
    def env():
        return CartPole(2, seed=0)

    with pytest.raises(WrapperOrderError, match=r"ActionChunkReplay\(SuspendOnWait\(env\)"):
        ActionChunkReplay(env(), 4)
    with pytest.raises(WrapperOrderError, match="needs a SuspendOnWait"):
        ActionChunkReplay(Spy(env()), 4)
    with pytest.raises(WrapperOrderError, match="only one wrapper can decide the actions"):
        ActionChunkReplay(ActionChunkReplay(SuspendOnWait(env()), 4), 4)
    with pytest.raises(WrapperOrderError, match="only one wrapper can decide the actions"):
        ActionChunkReplay(Drives(SuspendOnWait(env())), 4)
    chunks = ActionChunkReplay(SuspendOnWait(env()), 4)
    for outer in (SuspendOnWait, Spy, Drives):
        with pytest.raises(WrapperOrderError, match=f"{outer.__name__} cannot wrap ActionChunkRep"):
            outer(chunks)
    legal = [
        ActionChunkReplay(RecordTimeline(SuspendOnWait(env()), tmp_path / "1"), 4),
        ActionChunkReplay(SuspendOnWait(RecordTimeline(env(), tmp_path / "2")), 4),
        RecordTimeline(ActionChunkReplay(SuspendOnWait(env()), 4), tmp_path / "3"),
        ActionChunkReplay(SuspendOnWait(env()), 4),
        ActionChunkReplay(Spy(SuspendOnWait(env())), 4),
        ActionChunkReplay(Anywhere(Spy(Anywhere(SuspendOnWait(Anywhere(env()))))), 4),
        Anywhere(ActionChunkReplay(SuspendOnWait(env()), 4)),
    ]
    for one in legal:
        one.reset()
        assert one.step(torch.zeros(2, 4, 1))[4]["num_steps"].tolist() == [4, 4]
        one.close()


@pytest.mark.parametrize("name", ["CartPole", "PointMass"])
@pytest.mark.parametrize(("length", "execute", "gamma"), [(1, None, 1.0), (4, 3, 0.9)])
def test_the_contract_is_kept(name, length, execute, gamma):
    env = make(f"holdstep:{name}", num_envs=4, device="cpu", seed=0)
    report = check_vector_env(ActionChunkReplay(SuspendOnWait(env), length, execute, gamma))
    assert report.num_ended > 0
    (note,) = report.notes  # of the rules, all but the one for adapters were checked
    assert "holding rows was not tried" in note
    assert "has a SuspendOnWait around it" in note


def test_the_contract_is_kept_around_gymnasium_and_with_discrete_actions():
    env = make("gymnasium:CartPole-v1", num_envs=3, device="cpu", seed=0)
    env = ActionChunkReplay(SuspendOnWait(env), 6)
    assert env.single_action_space == gymnasium.spaces.MultiDiscrete([2] * 6)
    report = check_vector_env(env, num_steps=40)
    assert report.num_ended > 0
    with pytest.raises(InvalidActionError, match="must lie in the action space"):
        env.step(torch.full((3, 6), 2))
    env.close()


def test_a_chunk_is_its_actions_one_after_the_other():
    env, _ = stack(2, chunk_length=5, execute=3, gamma=0.5)
    other = CartPole(2, seed=0)
    other.reset()
    chunks = torch.rand(2, 5, 1) * 2 - 1
    for tick in range(3):
        expected = other.step(chunks[:, tick])
    obs, reward, terminated, truncated, info = env.step(chunks)
    assert all(torch.equal(obs[name], expected[0][name]) for name in obs)
    assert reward.tolist() == [1.75, 1.75]
    assert not (terminated | truncated).any()
    assert info["num_steps"].tolist() == [3, 3]
    assert info["active"].all()


def test_the_step_is_over_when_all_rows_have_ended():
    env, suspender = stack(3, chunk_length=8, max_episode_length=20)
    env.episode_length_buf = torch.tensor([18, 17, 19])
    spy = suspender.env.step
    calls = []
    suspender.env.step = lambda actions: calls.append(1) or spy(actions)
    info = env.step(torch.zeros(3, 8, 1))[4]
    assert info["num_steps"].tolist() == [2, 3, 1]
    assert env.episode_length_buf.tolist() == [0, 0, 0]
    assert len(calls) == 1  # of the others, only some rows were stepped


def test_actions_are_checked_before_any_is_applied():
    env, _ = stack(2, chunk_length=4, execute=2)
    good = torch.zeros(2, 4, 1)
    for actions, message in [
        (torch.zeros(2, 1), r"of shape \(2, 4, 1\).*got \(2, 1\)"),
        (torch.zeros(2, 2, 1), r"of shape \(2, 4, 1\)"),
        (torch.zeros(4, 2, 1), r"of shape \(2, 4, 1\)"),
        (good.double(), "must be torch.float32, got torch.float64"),
        (good.to("meta"), "must be on cpu, got meta"),
        (good.numpy().astype(object), "array of numbers"),
        (good.tolist(), "must be a torch.Tensor on cpu, got list"),
        (None, "got NoneType"),
        (torch.full_like(good, torch.nan), r"rows \[0, 1\] hold NaN"),
        (good.index_put((torch.tensor(1), torch.tensor(1)), torch.tensor(torch.inf)), r"rows \[1"),
    ]:
        with pytest.raises(InvalidActionError, match=message):
            env.step(actions)
        assert env.episode_length_buf.tolist() == [0, 0], message
    # What is not played may be anything, and nothing is changed.
    chunks = good.clone()
    chunks[:, 2:] = torch.nan
    given = chunks.clone()
    env.step(chunks)
    assert torch.equal(chunks.nan_to_num(9), given.nan_to_num(9))
    env.step(good.numpy())
    assert env.episode_length_buf.tolist() == [4, 4]


def test_nothing_keeps_the_learners_graph():
    suspender = cartpole(2)
    spy = Spy(suspender)
    env = ActionChunkReplay(spy, 2)
    env.reset()
    env.step(torch.zeros(2, 2, 1, requires_grad=True))
    assert not any(tick["actions"].requires_grad for tick in spy.ticks)


def test_what_a_step_returns_is_the_callers():
    env, _ = stack(2, chunk_length=3)
    for _ in range(2):
        info = env.step(torch.zeros(2, 3, 1))[4]
        assert info["num_steps"].tolist() == [3, 3]
        assert info["active"].all()
        info["num_steps"].zero_()
        info["active"].zero_()


def test_inference_mode_and_back():
    env, suspender = stack(2, chunk_length=4, gamma=0.9, max_episode_length=6)
    for mode in (True, False, True):
        with torch.inference_mode(mode):
            env.episode_length_buf = torch.tensor([0, 4])
            suspended = env.step(torch.zeros(2, 4, 1))
            assert suspended[4]["num_steps"].tolist() == [4, 2]
    suspender.suspend(0)
    assert env.step(torch.zeros(2, 4, 1))[4]["num_steps"].tolist() == [0, 4]


def test_suspended_rows_stay_suspended():
    env, suspender = stack(3, chunk_length=4, gamma=0.9)
    suspender.suspend([1])
    chunks = torch.zeros(3, 4, 1)
    chunks[1] = torch.nan
    before = env.unwrapped.observe()
    obs, reward, terminated, truncated, info = env.step(chunks)
    assert info["num_steps"].tolist() == [4, 0, 4]
    assert info["active"].tolist() == [True, False, True]
    assert reward[1] == 0
    assert not terminated[1]
    assert not truncated[1]
    assert torch.equal(obs["policy"][1], before["policy"][1])
    assert suspender.suspended.tolist() == [False, True, False]


def test_a_row_whose_wait_is_done_meanwhile_plays_its_chunk_from_the_start():
    suspender = cartpole(3)
    spy = Spy(suspender)
    env = ActionChunkReplay(spy, 4, gamma=0.5)
    env.reset()
    suspender.suspend(1, until=looks(3))
    chunks = torch.rand(3, 4, 1) * 2 - 1
    _, reward, _, _, info = env.step(chunks)
    # Ticks 1 to 4 of rows 0 and 2; row 1 joins in tick 3, and they stand still in 5 and 6.
    active = [tick["active"].tolist() for tick in spy.ticks]
    assert active == [[True, False, True]] * 2 + [[True] * 3] * 2 + [[False, True, False]] * 2
    for row in range(3):
        played = torch.stack([action for _, action in spy.applied(row)])
        assert torch.equal(played, chunks[row])
    assert reward.tolist() == [1.875] * 3
    assert info["num_steps"].tolist() == [4, 4, 4]
    assert not suspender.suspended.any()


def test_what_is_wrong_with_a_late_row_is_noticed_when_it_is_applied():
    env, suspender = stack(2, chunk_length=4)
    suspender.suspend(1, until=looks(2))
    chunks = torch.zeros(2, 4, 1)
    chunks[1] = torch.nan
    with pytest.raises(InvalidActionError, match=r"rows \[1\]") as caught:
        env.step(chunks)
    assert "In tick 2 of a step of ActionChunkReplay" in caught.value.__notes__[0]
    assert not suspender.suspended.any()
    assert env.episode_length_buf.tolist() == [1, 0]


def test_resume_finished_before_a_step_gives_fresh_chunks():
    env, suspender = stack(2, chunk_length=3)
    done = []
    suspender.suspend(0, until=lambda: bool(done))
    env.step(torch.zeros(2, 3, 1))
    done.append(True)
    assert suspender.resume_finished().tolist() == [0]
    assert env.step(torch.zeros(2, 3, 1))[4]["num_steps"].tolist() == [3, 3]


@pytest.mark.parametrize("error", [RuntimeError("the simulator broke"), KeyboardInterrupt()])
def test_a_tick_that_raises_leaves_no_row_suspended(error):
    suspender = cartpole(3, max_episode_length=20)
    failing = Failing(suspender)
    failing.error = error
    env = ActionChunkReplay(failing, 8)
    env.reset()
    suspender.suspend([2])
    env.episode_length_buf = torch.tensor([18, 0, 0])  # row 0 is held from tick 3 on
    failing.fails_at = 4
    with pytest.raises(type(error)) as caught:
        env.step(torch.zeros(3, 8, 1))
    assert caught.value is error
    assert error.__notes__ == [
        "In tick 4 of a step of ActionChunkReplay, which was broken off: the rewards of the ticks "
        "before it are lost."
    ]
    assert suspender.suspended.tolist() == [False, False, True]  # the user's own
    assert env.episode_length_buf.tolist() == [0, 3, 0]
    # The next step starts with new chunks.
    assert env.step(torch.zeros(3, 8, 1))[4]["num_steps"].tolist() == [8, 8, 0]
    assert suspender.suspended.tolist() == [False, False, True]


def test_time_is_up_while_every_row_waits():
    suspender = SuspendOnWait(CartPole(2, seed=0), wait_timeout_s=1.0, clock=FakeClock())
    env = ActionChunkReplay(suspender, 4)
    env.reset()
    done = []
    suspender.suspend([0, 1], until=lambda: bool(done))
    with pytest.raises(SuspensionTimeoutError) as caught:
        env.step(torch.zeros(2, 4, 1))
    assert "In tick 1 of" in caught.value.__notes__[0]
    assert suspender.suspended.tolist() == [True, True]  # they still wait
    done.append(True)
    assert env.step(torch.zeros(2, 4, 1))[4]["num_steps"].tolist() == [4, 4]


def test_a_wait_that_fails_in_the_middle():
    env, suspender = stack(3, chunk_length=6, max_episode_length=20)
    env.episode_length_buf = torch.tensor([19, 0, 0])
    count = []

    def fails():
        count.append(1)
        if len(count) == 3:
            raise OSError("no planner")
        return False

    suspender.suspend(2, until=fails)
    with pytest.raises(SuspensionError, match="no planner") as caught:
        env.step(torch.zeros(3, 6, 1))
    assert "In tick 3 of" in caught.value.__notes__[0]
    assert not suspender.suspended.any()
    assert env.episode_length_buf.tolist() == [0, 2, 0]
    assert env.step(torch.zeros(3, 6, 1))[4]["num_steps"].tolist() == [6, 6, 6]


def test_a_condition_that_resumes_other_rows_is_told_so():
    """Otherwise an action of the old episode would be applied in the new one, tick after tick."""
    env, suspender = stack(3, chunk_length=6, max_episode_length=20)
    env.episode_length_buf = torch.tensor([19, 0, 0])
    count = []

    def meddles():
        count.append(1)
        if len(count) == 3:
            suspender.resume(0)
        return False

    suspender.suspend(2, until=meddles)
    with pytest.raises(SuspensionError, match=r"Rows \[0\] advanced after their") as caught:
        env.step(torch.zeros(3, 6, 1))
    assert "In tick 3 of" in caught.value.__notes__[0]
    assert suspender.suspended.tolist() == [False, False, True]


def test_closing_in_the_middle_says_what_was_wrong_first():
    suspender = cartpole(2, max_episode_length=20)

    class Closing(Failing):
        def step(self, actions):
            if self.num_steps == 2:
                suspender.close()
            return super().step(actions)

    env = ActionChunkReplay(Closing(suspender), 6)
    env.reset()
    env.episode_length_buf = torch.tensor([19, 0])
    with pytest.raises(ClosedEnvError) as caught:
        env.step(torch.zeros(2, 6, 1))
    assert "In tick 3" in caught.value.__notes__[0]


def test_steps_before_reset_and_after_close():
    env = ActionChunkReplay(cartpole(2), 4)
    with pytest.raises(ResetNeededError):
        env.step(torch.zeros(2, 4, 1))
    env.reset()
    env.close()
    with pytest.raises(HoldstepError):
        env.step(torch.zeros(2, 4, 1))


def test_resets_pass_through():
    env, suspender = stack(3, chunk_length=4)
    env.step(torch.zeros(3, 4, 1))
    before = env.unwrapped.observe()
    obs, _ = env.reset(options={"env_ids": [1]})
    assert env.episode_length_buf.tolist() == [4, 0, 4]
    assert torch.equal(obs["policy"][[0, 2]], before["policy"][[0, 2]])
    env.step(torch.zeros(3, 4, 1))
    assert env.episode_length_buf.tolist() == [8, 4, 8]
    suspender.suspend(0)
    first = env.reset(seed=7)[0]
    assert not suspender.suspended.any()
    assert torch.equal(first["policy"], env.reset(seed=7)[0]["policy"])


def test_it_is_not_stepped_in_part():
    env, _ = stack(2)
    with pytest.raises(CapabilityError, match="ActionChunkReplay changes step"):
        env.step_masked(torch.zeros(2, 4, 1), torch.ones(2, dtype=torch.bool))


def test_what_a_step_returned_is_not_written_to_by_the_next():
    env, suspender = stack(3, chunk_length=4, gamma=0.9, max_episode_length=6)
    env.episode_length_buf = torch.tensor([0, 1, 4])
    returned = []
    for number in range(6):
        if number == 3:
            suspender.suspend(0, until=looks(2))
        obs, *flags, info = env.step(torch.zeros(3, 4, 1))
        tensors = [*obs.values(), *flags, info["active"], info["num_steps"]]
        tensors += [info["_final_obs"], *info["final_obs"].values()]
        returned += [(tensor, tensor.clone()) for tensor in tensors]
        storages = [tensor.untyped_storage().data_ptr() for tensor, _ in returned]
        assert len(set(storages)) == len(storages)
    assert all(torch.equal(tensor, copy) for tensor, copy in returned)
