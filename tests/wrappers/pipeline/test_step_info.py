"""What a step tells of its frames: noted in the step, made when somebody looks."""

import pickle

import torch

from holdstep.envs import make
from holdstep.envs.lazy_dict import LazyDict
from holdstep.wrappers import PipelinedActions, RecordEpisodes
from holdstep.wrappers.pipeline import ExecutionState, SourceEvents
from tests.wrappers.pipeline.tools import Told


def stack(source, *, num_envs=3, mode="sync", **options):
    env = make("holdstep:CartPole", num_envs=num_envs, device="cpu", seed=0)
    return PipelinedActions(env, source, mode=mode, **options)


def told(info):
    return {name: value.tolist() for name, value in info["pipeline"].items()}


def answer(request):
    """Differs in every respect from step to step."""
    odd = request.frame_id % 2 == 1
    return {
        "state": ExecutionState.RUNNING if odd else ExecutionState.PAUSED,
        "events": SourceEvents(reset=odd, reset_env_ids=(2, 4) if odd else (), success=odd),
    }


def test_steps_are_told_as_they_were_also_when_they_are_looked_at_later():
    groups = [[4, 2], [0]]
    now, later = (
        stack([Told(answer), Told()], num_envs=5, groups=groups, hold_action=torch.zeros(1))
        for _ in range(2)
    )
    at_once, infos = [], []
    for env in (now, later):
        env.reset(seed=3)
    for step in range(8):
        if step == 5:
            now.reset(options={"env_ids": [0]})
            later.reset(options={"env_ids": [0]})
        at_once.append(told(now.step(torch.zeros(5, 1))[4]))
        infos.append(later.step(torch.zeros(5, 1))[4])
    assert all(len(info["pipeline"].pending) == len(info["pipeline"]) for info in infos)
    times = {"returned_age_s", "input_age_s", "compute_duration_s"}
    for expected, info in zip(at_once, infos, strict=True):
        looked_at = told(info)
        assert {name: looked_at[name] for name in looked_at if name not in times} == {
            name: expected[name] for name in expected if name not in times
        }
    assert len({str(step["operator_reset"]) for step in at_once}) == 2
    assert len({str(step["returned_frame_id"]) for step in at_once}) == 8
    now.close()
    later.close()


def test_times_are_those_of_the_step():
    clock = Clock()
    env = stack(Told(lambda request: {"input_time_s": clock.now() - 0.5}), clock=clock)
    env.reset()
    info = env.step()[4]["pipeline"]
    clock.time_s += 100.0
    env.step()
    torch.testing.assert_close(info["input_age_s"], torch.full((3,), 0.5))
    assert info["returned_age_s"].tolist() == [0.0] * 3
    env.close()


class Clock:
    """Stands still."""

    def __init__(self):
        self.time_s = 50.0

    def now(self):
        return self.time_s

    def pause(self, woken, timeout_s):
        woken.wait(timeout_s)


def test_it_is_a_dictionary_like_any_other():
    env = stack(Told())
    env.reset()
    info = env.step()[4]["pipeline"]
    assert isinstance(info, LazyDict)
    assert isinstance(info, dict)
    assert "returned_frame_id" in info
    assert len(info) == len(list(info)) == 17
    assert info["returned_frame_id"].dtype == torch.int64
    assert info["returned_frame_id"] is info["returned_frame_id"]
    assert set(info.pending) == {
        *("returned_age_s", "input_age_s", "compute_duration_s", "ran_synchronously", "stale"),
        *("frame_deadline_miss", "end_of_replay", "operator_discard", "operator_reset"),
        *("host_reset", "worker_exception"),
    }
    copy = pickle.loads(pickle.dumps(info))
    assert type(copy) is dict
    assert all(torch.equal(copy[name], info[name]) for name in info if name != "worker_exception")
    assert env.step_info is info
    env.close()


def test_nothing_is_made_that_nobody_looks_at_and_a_recorder_looks(tmp_path):
    env = stack(Told())
    env.reset()
    assert len(env.step()[4]["pipeline"].pending) == 17
    env.close()
    base = make("holdstep:CartPole", num_envs=3, device="cpu", seed=0)
    recorder = RecordEpisodes(base, tmp_path / "demos", keys=["actions", "teleop"], max_episodes=1)
    env = PipelinedActions(recorder, Told(), mode="sync")
    env.reset()
    assert "returned_frame_id" not in env.step()[4]["pipeline"].pending
    env.close()


def test_rows_of_an_older_episode_are_stale_and_a_frame_is_not_kept_alive():
    source = Told(lambda request: {"context": Large()})
    env = stack(source, mode="pipelined", hold_action=torch.zeros(1))
    env.reset()
    infos = [env.step()[4]["pipeline"]]
    env.reset(options={"env_ids": [1]})
    infos.append(env.step()[4]["pipeline"])
    assert infos[-1]["stale"].tolist() == [False, True, False]
    env.close()
    del env, source
    assert infos[0].pending  # not looked at
    assert Large.alive == 0


class Large:
    """Counts how many there are."""

    alive = 0

    def __init__(self):
        Large.alive += 1

    def __del__(self):
        Large.alive -= 1

    def create_snapshot(self):
        return Large()
