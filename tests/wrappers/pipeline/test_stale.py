"""What rows do without a fresh frame, measured where actions reach the env."""

import threading
import time

import pytest
import torch

from holdstep.envs import make
from holdstep.errors import ConfigError, InvalidActionError, SuspensionTimeoutError
from holdstep.wrappers import PipelinedActions, SuspendOnWait, find_wrapper
from holdstep.wrappers.pipeline import (
    ExecutionState,
    FunctionSource,
    SourceEvents,
    SourceResult,
)
from tests.conftest import make_mjlab
from tests.wrappers.pipeline.test_pipelined_actions import frames, seen, stack
from tests.wrappers.pipeline.tools import (
    Counted,
    Gate,
    SeenActions,
    Told,
    eventually,
    nothing_left_running,
)

PAUSED = {"state": ExecutionState.PAUSED}


@pytest.fixture(autouse=True)
def _nothing_left():
    with nothing_left_running():
        yield


def slow(delay_s):
    """Acts as what it sees: how many steps the row has made, and in which episode it is."""

    def plan(obs):
        time.sleep(delay_s)
        return (obs["count"] + 1000 * obs["episode"]).unsqueeze(1)

    return FunctionSource(plan, obs_keys=["count", "episode"])


def measured_step_s(env):
    """How long a step takes here and now, so that sources can be slow in terms of it."""
    env.reset()
    actions = torch.zeros(env.num_envs, 1)
    env.step(actions)
    begin_s = time.monotonic()
    for _ in range(5):
        env.step(actions)
    return max((time.monotonic() - begin_s) / 5, 0.002)


class Applied(SeenActions):
    """Reads off each applied action how old it is, by the env's own counts."""

    def __init__(self, env):
        super().__init__(env)
        self.counted = find_wrapper(env, Counted)
        self.ages = []
        self.wrong_episodes = 0

    def _seen(self, actions, result):
        active = result[4]["active"]
        before = self.counted.count - active.float()
        ended = result[2] | result[3]
        episode = self.counted.episode - ended.float()
        tag = actions[:, 0] - 1000 * episode
        self.wrong_episodes += int((active & ((tag < 0) | (tag >= 1000))).sum())
        self.ages += (before - tag)[active].tolist()
        return super()._seen(actions, result)


def counted_stack(env, sources, **options):
    return PipelinedActions(Applied(Counted(SuspendOnWait(env))), sources, **options)


@pytest.mark.parametrize(
    ("task", "max_age_frames"), [("reference", 0), ("reference", 1), ("reference", 2), ("mjlab", 1)]
)
def test_suspended_rows_never_apply_a_stale_action_and_others_keep_stepping(task, max_age_frames):
    num_envs, num_steps = 6, 60 if task == "reference" else 30
    if task == "reference":
        env = make("holdstep:CartPole", num_envs=num_envs, device="cpu", seed=0)
    else:
        env = make_mjlab("Mjlab-Cartpole-Balance", num_envs=num_envs, seed=0)
    step_s = measured_step_s(env)
    env = counted_stack(
        env,
        [slow(0.0), slow(6 * step_s), slow(18 * step_s)],
        groups=[[5], [0, 2, 4], [3, 1]],
        on_stale="suspend",
        max_age_frames=max_age_frames,
    )
    env.reset()
    clock = torch.full((num_envs,), env.max_episode_length - 4)  # so that episodes end on the way
    env.episode_length_buf = clock.to(env.episode_length_buf.dtype)
    num_active = torch.zeros(num_envs)
    for _ in range(num_steps):
        info = env.step()[4]
        told = info["pipeline"]
        num_active += info["active"]
        # What stands still is what is stale, and the other way round.
        assert torch.equal(~info["active"], told["stale"])
        time.sleep(step_s)
    env.close()
    applied = find_wrapper(env, Applied)
    assert max(applied.ages) <= max_age_frames
    assert min(applied.ages) >= 0
    assert applied.wrong_episodes == 0
    assert find_wrapper(env, Counted).episode.max() > 1  # or resets were not tried
    fast, middle, slowest = num_active[5], num_active[[0, 2, 4]].min(), num_active[[3, 1]].min()
    assert fast > middle > slowest > 0
    assert fast > 0.6 * num_steps or max_age_frames == 0


def test_ungated_the_same_load_applies_stale_actions():
    env = counted_stack(
        make("holdstep:CartPole", num_envs=2, device="cpu", seed=0), slow(0.02), on_stale="repeat"
    )
    env.reset()
    for _ in range(40):
        env.step()
        time.sleep(0.002)
    env.close()
    assert max(find_wrapper(env, Applied).ages) > 1  # so that the test above sees it if it happens


@pytest.mark.parametrize("on_stale", ["repeat", "wait", "hold", "suspend"])
def test_no_action_of_an_ended_episode_is_applied_to_the_next_one(on_stale):
    env = make("holdstep:CartPole", num_envs=3, device="cpu", seed=0)
    env = counted_stack(
        env,
        [slow(0.001), slow(0.004)],
        groups=[[0, 2], [1]],
        on_stale=on_stale,
        hold_action=lambda obs: (obs["count"] + 1000 * obs["episode"]).unsqueeze(1),
    )
    env.reset()
    for step in range(60):
        if step % 9 == 0:
            clock = torch.tensor([499, 498, 497])
            env.episode_length_buf = clock.to(env.episode_length_buf.dtype)
        if step % 13 == 0:
            env.reset(options={"env_ids": [step % 3]})
        env.step()
    env.close()
    applied = find_wrapper(env, Applied)
    assert applied.wrong_episodes == 0
    assert find_wrapper(env, Counted).episode.min() > 5


def late(gate):
    """Frame 0 at once, frame 1 when the gate opens."""
    return Told(lambda request: gate(request) if request.frame_id else {})


def test_hold_does_the_hold_action_while_frames_are_stale():
    gate = Gate()
    env = stack(late(gate), on_stale="hold", hold_action=torch.tensor([0.5]))
    env.reset()
    for _ in range(4):
        env.step()
    values = [action[0].item() for action in seen(env).actions]
    assert values == [0.0, 0.0, 0.5, 0.5]  # frame 0 is applied while it is fresh
    gate.open(10)
    env.close()


def test_hold_may_be_a_function_of_what_the_rows_see():
    gate = Gate()
    env = stack(
        late(gate),
        on_stale="hold",
        hold_action=lambda obs: obs["count"].unsqueeze(1) / 8,
        counted=True,
    )
    env.reset()
    for _ in range(4):
        env.step()
    assert [action[0].item() for action in seen(env).actions] == [0.0, 0.0, 2 / 8, 3 / 8]
    gate.open(10)
    env.close()
    gate = Gate()
    env = stack(late(gate), on_stale="hold", hold_action=lambda obs: torch.zeros(3))
    env.reset()
    env.step()
    env.step()
    with pytest.raises(InvalidActionError, match=r"\(2, 1\)"):
        env.step()
    gate.open(10)
    env.close()
    with pytest.raises(InvalidActionError):
        stack(Told(), on_stale="hold", hold_action=torch.tensor([torch.nan]))


def test_wait_waits_for_a_fresh_frame():
    gate = Gate()
    env = stack(late(gate), on_stale="wait")
    env.reset()
    env.step()
    env.step()
    gate.entered.acquire(timeout=20)  # with frame 1
    threading.Timer(0.05, gate.open, (1,)).start()
    begin_s = time.monotonic()
    info = env.step()[4]
    assert time.monotonic() - begin_s > 0.03
    assert frames(info)["returned_frame_id"] == [1, 1]
    gate.open(10)
    env.close()


def test_a_frame_of_the_same_step_is_left_for_the_next_one_whoever_else_is_waited_for():
    gate = Gate()
    quick = Told()
    env = stack([quick, late(gate)], on_stale="wait")
    env.reset()
    for step in range(2):
        env.step()
        eventually(lambda step=step: len(quick.requests) > step)
        time.sleep(0.02)
    threading.Timer(0.1, gate.open, (1,)).start()  # by then, the quick one is done
    info = env.step()[4]
    assert frames(info)["submitted_frame_id"] == [2, 2]
    assert frames(info)["returned_frame_id"] == [1, 1]
    gate.open(10)
    env.close()


@pytest.mark.parametrize("on_stale", ["wait", "repeat", "hold"])
def test_a_budget_bounds_the_wait_for_a_fresh_frame(on_stale):
    gate = Gate()
    env = stack(late(gate), on_stale=on_stale, wait_budget_s=0.05, hold_action=torch.tensor([0.5]))
    env.reset()
    env.step()
    env.step()
    gate.entered.acquire(timeout=20)  # with frame 1
    begin_s = time.monotonic()
    info = env.step()[4]
    assert 0.04 < time.monotonic() - begin_s < 2
    assert frames(info)["frame_deadline_miss"] == [True, True]
    expected = 0.5 if on_stale == "hold" else 0.0
    assert seen(env).actions[-1][0].item() == expected
    threading.Timer(0.02, gate.open, (1,)).start()
    assert frames(env.step()[4])["returned_frame_id"] == [1, 1]  # within the budget
    gate.open(10)
    env.close()


def test_if_all_rows_are_suspended_the_step_waits():
    gate = Gate()
    env = stack(Told(gate), suspends=True, on_stale="suspend")
    env.reset()
    threading.Timer(0.05, gate.open, (1,)).start()
    info = env.step()[4]
    assert info["active"].all()
    assert frames(info)["returned_frame_id"] == [0, 0]
    gate.open(10)
    env.close()


def test_the_wait_of_suspended_rows_is_bounded_as_everywhere():
    gate = Gate()
    env = make("holdstep:CartPole", num_envs=2, device="cpu", seed=0)
    env = SuspendOnWait(env, wait_timeout_s=0.05)
    env = PipelinedActions(env, Told(gate), on_stale="suspend")
    env.reset()
    with pytest.raises(SuspensionTimeoutError, match=r"\[0, 1\] stand still"):
        env.step()
    gate.open(10)
    assert env.step()[4]["active"].all()
    env.close()


def test_a_paused_source_suspends_its_rows_only():
    source = Told(lambda request: PAUSED if 1 < request.frame_id < 4 else {})
    env = stack([source, Told()], suspends=True, mode="sync")
    env.reset()
    states, active = [], []
    for _ in range(6):
        info = env.step()[4]
        states.append(frames(info)["execution_state"][0])
        active.append(info["active"].tolist())
    assert states == [2, 2, 1, 1, 2, 2]
    assert [row for row, _ in active] == [True, True, False, False, True, True]
    assert all(row for _, row in active)
    env.close()


@pytest.mark.parametrize("mode", ["sync", "pipelined"])
def test_if_all_rows_are_paused_steps_return_without_a_step(mode):
    pause = threading.Event()
    source = Told(lambda request: PAUSED if pause.is_set() else {})
    env = stack(source, suspends=True, mode=mode)
    env.reset()
    before = env.step()[0]
    pause.set()
    while (result := env.step())[4]["active"].any():
        before = result[0]
    for _ in range(3):
        obs, reward, terminated, truncated, info = result
        assert frames(info)["execution_state"] == [1, 1]
        assert not info["active"].any()
        assert all(torch.equal(obs[name], before[name]) for name in before)
        obs["policy"].fill_(3.0)  # they are the caller's
        assert not torch.stack((reward != 0, terminated, truncated)).any()
        assert reward.dtype == torch.float32
        result = env.step()
    pause.clear()
    eventually(lambda: bool(env.step()[4]["active"].all()))
    env.close()


def test_an_operator_may_reset_while_all_rows_are_paused():
    source = Told(
        lambda r: {"events": SourceEvents(reset=r.frame_id == 3)} | (PAUSED if r.frame_id else {})
    )
    env = stack(source, suspends=True, mode="sync", counted=True)
    env.reset()
    env.step()
    episodes = [env.step()[0]["episode"].tolist() for _ in range(4)]
    assert episodes == [[1, 1], [1, 1], [2, 2], [2, 2]]
    env.close()


def test_rows_put_into_other_states_begin_anew_for_their_source():
    source = Told(uses_obs=True)
    env = stack(source, mode="sync")
    env.reset()
    env.step()
    state = env.scene_state()
    obs = env.set_scene_state({name: value[:1] for name, value in state.items()}, [1])
    env.step()
    env.close()
    assert source.requests[1].host_events == SourceEvents(reset=True, reset_env_ids=(1,))
    assert torch.equal(source.requests[1].obs["policy"], obs["policy"])


def test_rows_that_somebody_else_suspended_stay_so():
    env = stack(Told(lambda request: PAUSED if request.frame_id == 1 else {}), suspends=True,
                mode="sync", num_envs=3)  # fmt: skip
    env.reset()
    suspender = find_wrapper(env, SuspendOnWait)
    suspender.suspend([1])
    for expected in ([True, False, True], [False] * 3, [True, False, True]):
        assert env.step()[4]["active"].tolist() == expected
    suspender.resume([1])
    assert env.step()[4]["active"].all()
    env.close()


def test_waiting_for_a_frame_also_notices_rows_of_somebody_else():
    gate = Gate()
    env = stack([Told(gate)], groups=[[0]], suspends=True, on_stale="suspend")
    env.reset()
    ready = threading.Event()
    find_wrapper(env, SuspendOnWait).suspend([1], until=ready.is_set)
    threading.Timer(0.03, ready.set).start()
    assert env.step(torch.zeros(2, 1))[4]["active"].tolist() == [False, True]
    gate.open(10)
    env.close()


def test_an_operator_resets_only_the_rows_of_its_source_once():
    source = Told(lambda r: {"events": SourceEvents(reset=r.frame_id == 2)})
    other = Told(uses_obs=True)
    env = stack([source, other], groups=[[0, 2], [1]], num_envs=3, counted=True)
    env.reset()
    told = []
    for step in range(7):
        info = env.step()[4]
        told.append(frames(info)["operator_reset"])
        assert bool(env.operator_events) == any(told[-1])
        eventually(lambda step=step: len(source.requests) > step and len(other.requests) > step)
        time.sleep(0.01)
    env.close()
    assert sum(any(rows) for rows in told) == 1
    assert [True, False, True] in told
    assert seen(env).reset_rows == [None, [0, 2]]
    # It is the operator's own: no source is told that the env was reset.
    assert not any(request.host_events for request in source.requests + other.requests)


def test_a_reset_of_the_host_is_told_once_and_its_echo_does_not_reset_again():
    def answer(request):
        return {"events": request.host_events}  # as a session does that is told of it

    source = Told(answer)
    env = stack(source, num_envs=3)
    env.reset()
    env.step()
    env.reset(options={"env_ids": [1]})
    env.episode_length_buf = torch.tensor([499, 0, 0])
    told = []
    for _ in range(6):
        info = env.step()[4]
        told.append(frames(info)["host_reset"])
        assert not info["pipeline"]["operator_reset"].any()
    env.close()
    resets = [r.host_events.reset_env_ids for r in source.requests if r.host_events.reset]
    assert sorted(row for ids in resets for row in ids) == [0, 1]
    assert [sum(column) for column in zip(*told, strict=True)] == [1, 1, 0]
    assert seen(env).num_resets == 2  # the two of the host


def test_the_first_reset_is_no_event_and_one_of_all_rows_names_none():
    source = Told()
    env = stack(source, mode="sync")
    env.reset()
    env.reset()
    env.step()
    env.reset()
    env.step()
    env.close()
    first, second = source.requests
    assert not first.host_events
    assert second.host_events == SourceEvents(reset=True)


def test_a_source_cannot_reset_rows_of_others():
    events = SourceEvents(reset=True, reset_env_ids=(1,))
    env = stack([Told(lambda request: {"events": events}), Told()], mode="sync")
    env.reset()
    with pytest.raises(Exception, match=r"resets rows \[1\], which it does not drive"):
        env.step()
    env.close()


def test_an_operator_may_reset_single_rows():
    events = SourceEvents(reset=True, reset_env_ids=(2,))
    source = Told(lambda r: {"events": events} if r.frame_id == 0 else {})
    env = stack(source, num_envs=3, mode="sync")
    env.reset()
    assert frames(env.step()[4])["operator_reset"] == [False, False, True]
    assert seen(env).reset_rows == [None, [2]]
    env.close()


def test_success_and_discard_are_told_without_a_recorder_too():
    source = Told(
        lambda r: {
            "events": SourceEvents(
                success=[None, True, False][r.frame_id % 3], discard_last=r.frame_id == 3
            )
        }
    )
    env = stack(source, mode="sync")
    env.reset()
    told = [frames(env.step()[4]) for _ in range(4)]
    assert [step["operator_success"][0] for step in told] == [-1, 1, 0, -1]
    assert [step["operator_discard"][0] for step in told] == [False, False, False, True]
    env.close()


def test_a_missing_observation_is_named():
    env = stack(FunctionSource(lambda obs: torch.zeros(1), obs_keys=["camera"]))
    with pytest.raises(ConfigError, match="camera"):
        env.reset()
    env.close()


def test_frames_without_actions_hold_the_row():
    source = Told(lambda r: SourceResult(actions=None) if r.frame_id == 1 else {})
    env = stack([source, Told()], suspends=True, mode="sync")
    env.reset()
    assert [env.step()[4]["active"].tolist() for _ in range(3)] == [
        [True, True], [False, True], [True, True],
    ]  # fmt: skip
    env.close()
