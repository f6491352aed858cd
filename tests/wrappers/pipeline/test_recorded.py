"""In a stack with a recorder: what is recorded of rows that stand still, and operators' marks."""

import time

import pytest
import torch

import holdstep
from holdstep.envs import make
from holdstep.errors import RecordingError
from holdstep.wrappers import PipelinedActions, RecordEpisodes, SuspendOnWait
from holdstep.wrappers.pipeline import ExecutionState, SourceEvents, SourceResult
from holdstep.wrappers.record import Dataset
from tests.wrappers.pipeline.tools import SeenActions, Told, nothing_left_running


@pytest.fixture(autouse=True)
def _nothing_left():
    with nothing_left_running():
        yield


def record(path, sources, num_steps, *, given=None, **options):
    env = make("holdstep:CartPole", num_envs=2, device="cpu", seed=0)
    env = SeenActions(SuspendOnWait(env))
    env = PipelinedActions(
        RecordEpisodes(env, path, writer="thread"), sources, mode="sync", **options
    )
    env.reset()
    for _ in range(num_steps):
        env.step(given)
    env.close()


def recorded(path):
    """By row, the recorded episodes: whether they succeeded, and their frames."""
    found = {}
    for episode in Dataset(path):
        frames = [round(action * 1000) for action in episode.arrays["actions"][:, 0].tolist()]
        found.setdefault(episode.attributes["env_id"], []).append((episode.success, frames))
    return found


def test_paused_ticks_are_not_recorded(tmp_path):
    def answer(request):
        paused = request.frame_id in (1, 2, 5)
        return {"state": ExecutionState.PAUSED if paused else ExecutionState.RUNNING}

    record(tmp_path / "demos", Told(answer), 8)
    assert recorded(tmp_path / "demos") == {row: [(None, [0, 3, 4, 6, 7])] for row in (0, 1)}


def test_ticks_of_a_row_that_waits_alone_are_not_recorded(tmp_path):
    nothing = SourceResult(actions=None)
    held = Told(lambda request: nothing if request.frame_id % 2 else {})
    record(tmp_path / "demos", [held, Told()], 6)
    found = recorded(tmp_path / "demos")
    assert found == {0: [(None, [0, 2, 4])], 1: [(None, [0, 1, 2, 3, 4, 5])]}


def test_operators_marks_and_resets_make_episodes(tmp_path):
    marks = {
        2: SourceEvents(success=True, reset=True),  # of what was done up to frame 1
        4: SourceEvents(reset=True, discard_last=True),  # that is, of frames 2 and 3
        6: SourceEvents(reset=True, success=False),
        8: SourceEvents(discard_last=True),  # of frames 4 and 5
        9: SourceEvents(success=True),
    }
    source = Told(lambda request: {"events": marks.get(request.frame_id, SourceEvents())})
    record(tmp_path / "demos", [source], 11, groups=[[1]], given=torch.zeros(2, 1))
    found = recorded(tmp_path / "demos")
    assert found[1] == [(True, [0, 1]), (True, [6, 7, 8, 9, 10])]
    assert [success for success, _ in found[0]] == [None]  # nobody marked that row


ENTRIES = {
    "frame_id": "returned_frame_id",
    "age_frames": "returned_age_frames",
    "input_age_s": "input_age_s",
    "miss": "frame_deadline_miss",
    "execution_state": "execution_state",
}
KEYS = ["actions", "terminated", "truncated", "teleop"]


def test_what_the_step_said_of_its_actions_is_recorded_bit_for_bit(tmp_path):
    env = SuspendOnWait(make("holdstep:CartPole", num_envs=2, device="cpu", seed=0))
    recorder = RecordEpisodes(env, tmp_path / "demos", keys=KEYS, writer="thread")
    slow = Told(lambda request: time.sleep(0.004) or {})
    env = PipelinedActions(recorder, [Told(), slow], on_stale="suspend", max_age_frames=3)
    env.reset(seed=0)
    told = {row: [] for row in range(2)}
    for _ in range(60):
        *_, info = env.step()
        for row in info["active"].nonzero().flatten().tolist():
            told[row].append({name: info["pipeline"][e][row].item() for name, e in ENTRIES.items()})
    env.close()
    assert 0 < len(told[1]) < len(told[0])
    assert {step["miss"] for step in told[1]} == {False, True}
    for row, steps in told.items():
        mine = [e for e in Dataset(tmp_path / "demos") if e.attributes["env_id"] == row]
        for name in ENTRIES:
            column = [v for e in mine for v in e.arrays[f"teleop/{name}"].tolist()]
            assert column == [step[name] for step in steps], name
        assert all(e.arrays["teleop/miss"].dtype == bool for e in mine)


def test_only_what_is_asked_for_is_recorded(tmp_path):
    env = make("holdstep:CartPole", num_envs=2, device="cpu", seed=0)
    env = RecordEpisodes(env, tmp_path / "demos", keys=["actions", "teleop/miss"], writer="thread")
    env = PipelinedActions(env, Told(), mode="sync")
    env.reset()
    env.step()
    env.close()
    for episode in Dataset(tmp_path / "demos"):
        assert set(episode.arrays) == {"actions", "teleop/miss"}


def test_a_driver_of_ones_own_tells_what_it_likes(tmp_path):
    env = make("holdstep:CartPole", num_envs=2, device="cpu", seed=0)
    env = RecordEpisodes(env, tmp_path / "demos", keys=["actions", "teleop"], writer="thread")
    env.reset()
    for step in range(3):
        env.accompany({"confidence": torch.tensor([[step, 0.5], [step, 1.5]])})
        env.step(torch.zeros(2, 1))
    with pytest.raises(RecordingError, match="nothing told them for this step"):
        env.step(torch.zeros(2, 1))  # what was told is of one step
    env.close()
    first = Dataset(tmp_path / "demos")[0].arrays["teleop/confidence"]
    assert first.tolist() == [[0.0, 0.5], [1.0, 0.5], [2.0, 0.5]]


def test_without_anybody_who_tells_nothing_is_stepped(tmp_path):
    seen = SeenActions(make("holdstep:CartPole", num_envs=2, device="cpu", seed=0))
    env = RecordEpisodes(seen, tmp_path / "demos", keys=["teleop"], writer="thread")
    env.reset()
    with pytest.raises(RecordingError, match="through PipelinedActions"):
        env.step(torch.zeros(2, 1))
    assert seen.actions == []
    env.close()


def test_stats_add_up_what_the_steps_said():
    env = SuspendOnWait(make("holdstep:CartPole", num_envs=3, device="cpu", seed=0))
    slow = Told(lambda request: time.sleep(0.003) or {})
    env = PipelinedActions(env, [Told(), slow], groups=[[0], [1, 2]], on_stale="suspend")
    env.reset()
    sums = dict.fromkeys(("misses", "dropped", "ages", "input_ages", "held"), 0.0)
    frames, taken = set(), 0
    given = torch.zeros(3, 1)
    for _ in range(50):
        *_, info = env.step(given)
        told = info["pipeline"]
        for row in (0, 1):  # one of each source
            sums["misses"] += told["frame_deadline_miss"][row].item()
            sums["dropped"] += told["dropped_submissions"][row].item()
            sums["ages"] += told["returned_age_frames"][row].item()
            sums["input_ages"] += told["input_age_s"][row].item()
            frames.add((row, told["returned_frame_id"][row].item()))
            taken += told["returned_frame_id"][row].item() >= 0
        sums["held"] += (~info["active"]).sum().item()
    stats = env.stats()
    assert (stats.num_steps, stats.num_frames) == (50, len({id_ for id_ in frames if id_[1] >= 0}))
    assert (stats.misses, stats.dropped_submissions) == (sums["misses"], sums["dropped"])
    assert stats.dropped_submissions > 0
    assert stats.miss_share == sums["misses"] / taken
    assert stats.mean_age_frames == sums["ages"] / taken
    assert stats.mean_input_age_s == pytest.approx(sums["input_ages"] / taken, abs=1e-3)
    assert stats.suspended_share == pytest.approx(sums["held"] / 150)
    assert stats.suspended_share > 0.2
    assert stats.mean_compute_s > 0
    assert holdstep.stats(env).scalars()["PipelinedActions/misses"] == sums["misses"]
    env.close()


def test_stats_count_rows_that_stand_still_all_together():
    paused = Told(lambda request: {"state": ExecutionState(1 + (request.frame_id < 5))})
    env = SuspendOnWait(make("holdstep:CartPole", num_envs=2, device="cpu", seed=0))
    env = PipelinedActions(env, paused, mode="sync")
    env.reset()
    for _ in range(8):
        env.step()
    assert env.stats().suspended_share == 3 / 8
    assert (env.stats().num_steps, env.stats().misses) == (8, 0)
    env.close()
