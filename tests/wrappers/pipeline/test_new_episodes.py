"""Where an episode begins: by an operator's reset, and for rows that have no frame of it yet."""

import threading
import time

import pytest
import torch

from holdstep.envs import make
from holdstep.wrappers import PipelinedActions, RecordEpisodes, SuspendOnWait, find_wrapper
from holdstep.wrappers.pipeline import ExecutionState, SourceEvents
from holdstep.wrappers.record import Dataset
from tests.wrappers.pipeline.test_pipelined_actions import frames, seen, stack
from tests.wrappers.pipeline.test_stale import Applied
from tests.wrappers.pipeline.tools import Counted, Gate, Told, eventually, nothing_left_running

PAUSED = {"state": ExecutionState.PAUSED}


@pytest.fixture(autouse=True)
def _nothing_left():
    with nothing_left_running():
        yield


def tagged(delay_s):
    """Acts as it sees, as :class:`Applied` understands it; each fourth answer resets."""

    def answer(request):
        time.sleep(delay_s)
        obs = request.obs
        actions = (obs["count"] + 1000 * obs["episode"]).unsqueeze(1)
        return {"actions": actions, "events": SourceEvents(reset=len(source.requests) % 4 == 0)}

    source = Told(answer, uses_obs=True)
    return source


@pytest.mark.parametrize("suspends", [False, True])
@pytest.mark.parametrize(
    ("mode", "delay_s", "on_stale"),
    [
        ("sync", 0.0, "repeat"),
        ("pipelined", 0.0, "repeat"),
        ("pipelined", 0.006, "repeat"),
        ("pipelined", 0.006, "wait"),
        ("pipelined", 0.006, "hold"),
    ],
)
def test_what_was_seen_before_an_operators_reset_drives_no_later_episode(
    mode, delay_s, on_stale, suspends
):
    env = make("holdstep:CartPole", num_envs=2, device="cpu", seed=0)
    env = Applied(Counted(SuspendOnWait(env) if suspends else env))
    hold = None if on_stale != "hold" else lambda o: (o["count"] + 1000 * o["episode"]).unsqueeze(1)
    source = tagged(delay_s)
    env = PipelinedActions(env, source, mode=mode, on_stale=on_stale, hold_action=hold)
    env.reset()
    resets = []

    def has_been_reset_often():
        resets.append(frames(env.step()[4])["operator_reset"][0])
        return sum(resets) > 3

    eventually(has_been_reset_often)
    for _ in range(5):
        env.step()
    env.close()
    assert find_wrapper(env, Applied).wrong_episodes == 0


def test_what_external_inputs_said_before_an_operators_reset_drives_no_later_episode():
    gate = Gate()

    def answer(request):
        if request.frame_id == 2:
            gate(request)
        value = request.external_inputs["episode"] / 10
        events = SourceEvents(reset=request.frame_id == 2)
        return {"actions": torch.full((2, 1), value), "events": events}

    source = Told(answer)
    env = stack(source, external_inputs=lambda ids: {"episode": len(seen(env).reset_rows)})
    env.reset()
    for _ in range(4):  # frame 2 is under way, and frame 3 waits
        env.step()
        eventually(lambda: source.requests)
        time.sleep(0.01)
    gate.open(10)
    eventually(lambda: len(source.requests) >= 4)
    time.sleep(0.02)
    info = env.step()[4]
    assert frames(info)["operator_reset"] == [True, True]
    assert seen(env).actions[-1][0].item() == pytest.approx(0.2)  # asked for in the new episode
    env.close()


def test_a_source_that_sees_nothing_of_the_env_goes_on_with_the_frame_that_resets():
    env = stack(Told(lambda r: {"events": SourceEvents(reset=r.frame_id == 2)}), mode="sync")
    env.reset()
    told = [frames(env.step()[4]) for _ in range(3)]
    env.close()
    assert told[2]["operator_reset"] == [True, True]
    assert told[2]["returned_frame_id"] == [2, 2]


@pytest.mark.parametrize("suspends", [False, True])
@pytest.mark.parametrize("mode", ["sync", "pipelined"])
def test_a_source_that_resets_in_each_frame_does_not_keep_a_step_for_ever(mode, suspends):
    source = Told(lambda r: {"events": SourceEvents(reset=r.frame_id < 40)}, uses_obs=True)
    env = stack(source, mode=mode, suspends=suspends)
    env.reset()
    done = []

    def step():
        while not env.step()[4]["active"].any():
            done.append(len(source.requests))

    stepping = threading.Thread(target=step, daemon=True)
    stepping.start()
    stepping.join(20)
    assert not stepping.is_alive()
    assert not (mode == "sync" and not done)
    assert source.requests[-1].frame_id >= 40
    env.close()


@pytest.mark.parametrize("on_stale", ["repeat", "wait"])
@pytest.mark.parametrize("hold", [False, True])
def test_a_row_without_a_frame_of_its_episode_does_not_keep_the_others_waiting(on_stale, hold):
    gate = Gate()
    late = Told(lambda r: gate(r) if r.frame_id else {})
    options = {"hold_action": torch.tensor([0.25])} if hold else {"suspends": True}
    budget = 0.0 if on_stale == "wait" else None
    env = stack([Told(), late], on_stale=on_stale, wait_budget_s=budget, **options)
    env.reset()
    env.step()
    env.reset(options={"env_ids": [1]})
    for _ in range(3):
        active = env.step()[4]["active"].tolist()
        assert active == [True, hold]
        if hold:
            assert seen(env).actions[-1][1].item() == 0.25
    gate.open(20)
    eventually(lambda: bool(env.step()[4]["active"].all()))
    env.close()


def test_a_mark_after_a_reset_is_of_the_next_episode(tmp_path):
    gate = Gate()
    marks = {1: {"success": True, "reset": True}, 2: {"success": False}}

    def answer(request):
        if request.frame_id in marks:
            gate(request)
        return {"events": SourceEvents(**marks.get(request.frame_id, {}))}

    env = make("holdstep:CartPole", num_envs=1, device="cpu", seed=0)
    env = RecordEpisodes(env, tmp_path / "data")
    source = Told(answer)
    env = PipelinedActions(env, source)
    env.reset()
    for _ in range(3):  # frame 1 is under way, and frame 2 waits
        env.step()
        eventually(lambda: source.requests)
        time.sleep(0.01)
    gate.open(2)  # both are finished between two steps
    eventually(lambda: len(source.requests) >= 3)
    time.sleep(0.05)
    env.step()
    env.step()
    env.close()
    with Dataset(tmp_path / "data") as dataset:
        episodes = sorted(dataset, key=lambda episode: episode.attributes["episode_id"])
        assert [episode.success for episode in episodes] == [True, False]


@pytest.mark.parametrize("mode", ["sync", "pipelined"])
def test_a_row_that_is_to_stand_still_does_so_when_what_the_user_waited_for_is_done(mode):
    ready = threading.Event()
    source = Told(lambda r: PAUSED if r.frame_id else {})
    env = stack([Told(), source], suspends=True, mode=mode)
    env.reset()
    env.step()
    if mode == "pipelined":
        env.step()
    eventually(lambda: len(source.requests) > (mode == "pipelined"))
    time.sleep(0.02)
    find_wrapper(env, SuspendOnWait).suspend([1], until=ready.is_set)
    for step in range(4):
        if step == 2:
            ready.set()
        assert env.step()[4]["active"].tolist() == [True, False]
        time.sleep(0.01)
    env.close()


def put_back(suspender, begin):
    suspender.restore(begin, [1, 2])


def forked(suspender, begin):
    suspender.fork(0, [1, 2])


@pytest.mark.parametrize("put", [put_back, forked])
def test_rows_put_into_other_states_get_no_action_that_was_chosen_for_the_old_ones(put):
    gate = Gate()
    source = Told(gate, uses_obs=True)
    env = stack(source, num_envs=4, suspends=True, on_stale="suspend", max_age_frames=1000)
    suspender = find_wrapper(env, SuspendOnWait)
    env.reset()
    begin = suspender.snapshot([1, 2])
    gate.open(2)
    for _ in range(3):
        env.step()
    put(suspender, begin)
    now = env.reset(options={"env_ids": []})[0]["policy"]
    active = env.step()[4]["active"].tolist()
    assert active[1:3] == [False, False]  # nothing is there yet that knows of it
    gate.open(10)

    def advance():
        return env.step()[4]["active"][1]

    eventually(advance)
    told = [r for r in source.requests if r.host_events.reset and r.host_events.reset_env_ids]
    assert [request.host_events.reset_env_ids for request in told] == [(1, 2)]
    assert torch.equal(told[0].obs["policy"][1:3], now[1:3])
    first = next(i for i, mask in enumerate(seen(env).active) if i > 2 and mask[1])
    assert seen(env).actions[first][1].item() > (told[0].frame_id - 0.5) / 1000
    env.close()


def test_a_reset_of_all_rows_after_a_restore_is_told_once():
    source = Told()
    env = stack(source, num_envs=3, suspends=True, mode="sync")
    suspender = find_wrapper(env, SuspendOnWait)
    env.reset()
    env.step()
    suspender.restore(suspender.snapshot([0]), [2])
    env.reset()
    assert frames(env.step()[4])["host_reset"] == [True] * 3
    assert not any(frames(env.step()[4])["host_reset"])
    suspender.restore(suspender.snapshot([0]), [2])
    assert frames(env.step()[4])["host_reset"] == [False, False, True]
    assert not any(frames(env.step()[4])["host_reset"])
    env.close()
