"""Frames on their way: ids, ages, what is applied in which step, and by whom rows are driven."""

import threading
import time

import numpy as np
import pytest
import torch

from holdstep.envs import check_vector_env, make
from holdstep.errors import (
    ClosedEnvError,
    ConfigError,
    InvalidActionError,
    ResetNeededError,
    SourceError,
    WrapperOrderError,
)
from holdstep.wrappers import (
    ActionChunkReplay,
    PipelinedActions,
    RecordEpisodes,
    SuspendOnWait,
    find_wrapper,
)
from holdstep.wrappers.pipeline import (
    ExecutionState,
    FunctionSource,
    SourceEvents,
    SourceGroup,
    SourceResult,
)
from tests.wrappers.pipeline.tools import (
    Counted,
    Gate,
    SeenActions,
    Told,
    eventually,
    nothing_left_running,
)


def stack(source, *, num_envs=2, task="CartPole", suspends=False, counted=False, **options):
    env = make(f"holdstep:{task}", num_envs=num_envs, device="cpu", seed=0)
    if suspends:
        env = SuspendOnWait(env)
    if counted:
        env = Counted(env)
    return PipelinedActions(SeenActions(env), source, **options)


def seen(env):
    return find_wrapper(env, SeenActions)


def frames(info):
    return {name: value.tolist() for name, value in info["pipeline"].items()}


@pytest.fixture(autouse=True)
def _nothing_left():
    with nothing_left_running():
        yield


def finished(source, count):
    """Wait until the worker has nothing to do after so many computations."""
    eventually(lambda: len(source.requests) == count)
    time.sleep(0.02)


def test_each_step_applies_the_frame_of_the_one_before():
    source = Told()
    env = stack(source)
    env.reset()
    for step in range(6):
        info = env.step()[4]
        told = frames(info)
        returned = max(step - 1, 0)
        assert told["returned_frame_id"] == [returned] * 2
        assert told["submitted_frame_id"] == [step] * 2
        assert told["returned_age_frames"] == [step - returned] * 2
        assert told["ran_synchronously"] == [step == 0] * 2
        assert told["frame_deadline_miss"] == told["stale"] == [False] * 2
        assert told["dropped_submissions"] == [0, 0]
        assert seen(env).actions[-1].tolist() == [[pytest.approx(returned / 1000)]] * 2
        finished(source, step + 1)
    env.close()
    assert [request.frame_id for request in source.requests] == list(range(6))
    assert source.calls == ["start", "stop"]
    assert len(source.threads) == 1
    assert threading.get_ident() not in source.threads


def test_a_slow_source_misses_and_unstarted_requests_are_replaced():
    gate = Gate()
    source = Told(gate)
    env = stack(source)
    env.reset()
    gate.open()
    env.step()
    ages, dropped = [], []
    for _ in range(5):  # frame 1 is being computed all the while
        info = env.step()[4]["pipeline"]
        eventually(lambda: len(source.requests) == 2)
        ages.append(info["returned_age_frames"][0].item())
        dropped.append(info["dropped_submissions"][0].item())
        assert info["frame_deadline_miss"][0].item() == (ages[-1] > 1)
        assert info["stale"][0].item() == (ages[-1] > 1)
    assert ages == [1, 2, 3, 4, 5]
    assert dropped == [0, 0, 1, 1, 1]
    gate.open(10)
    eventually(lambda: len(source.requests) == 3)
    finished(source, 3)
    info = frames(env.step()[4])
    assert info["returned_frame_id"] == [5, 5]
    assert [request.frame_id for request in source.requests][:3] == [0, 1, 5]
    env.close()


def test_sync_is_what_direct_use_gives():
    def policy(obs):
        return (obs["policy"][:, :1] * 3 + obs["policy"][:, 1:2]).clamp(-1, 1)

    direct = make("holdstep:CartPole", num_envs=3, device="cpu", seed=0)
    env = stack(FunctionSource(policy), num_envs=3, mode="sync")
    obs, _ = direct.reset(seed=5)
    ours, _ = env.reset(seed=5)
    num_ended = 0
    for _ in range(300):
        obs, reward, terminated, truncated, _ = direct.step(policy(obs))
        ours, *rest, info = env.step()
        assert all(torch.equal(ours[name], obs[name]) for name in obs)
        for mine, theirs in zip(rest, (reward, terminated, truncated), strict=True):
            assert torch.equal(mine, theirs)
        assert info["pipeline"]["ran_synchronously"].all()
        assert (info["pipeline"]["returned_age_frames"] == 0).all()
        num_ended += int((terminated | truncated).sum())
    assert num_ended > 2
    env.close()


def test_sync_runs_in_the_stepping_thread_and_passes_values_as_they_are():
    context, inputs = object(), {"what": object()}
    source = Told(lambda request: {"context": context})
    env = stack(source, mode="sync", external_inputs=inputs)
    env.reset()
    env.step()
    assert source.threads == {threading.get_ident()}
    assert source.requests[0].external_inputs is inputs
    assert env.last_context[0] is context
    env.close()


def test_requests_carry_what_the_rows_see_and_copies_of_the_inputs():
    target = np.zeros(2)
    source = Told(uses_obs=True)
    groups = [[3, 1]]
    env = stack(
        [source], num_envs=4, groups=groups, external_inputs=lambda ids: {"t": target, "ids": ids}
    )
    obs, _ = env.reset()
    expected = obs["policy"][[3, 1]].clone()
    obs["policy"].fill_(7.0)  # the caller may write to what it was given
    env.step(torch.zeros(4, 1))
    target[0] = 1.0
    request = source.requests[0]
    assert torch.equal(request.obs["policy"], expected)
    assert request.env_ids == (3, 1)
    assert request.external_inputs["t"].tolist() == [0.0, 0.0]
    assert request.external_inputs["ids"] == (3, 1)
    assert request.sim_time_s == 0
    env.step(torch.zeros(4, 1))
    eventually(lambda: len(source.requests) == 2)
    assert source.requests[1].sim_time_s == pytest.approx(env.step_dt)
    env.close()


def test_only_the_named_observations_are_given():
    given = []
    source = FunctionSource(
        lambda obs: given.append(set(obs)) or torch.zeros(1), obs_keys=["count"]
    )
    env = stack(source, counted=True)
    env.reset()
    env.step()
    env.close()
    assert given[0] == {"count"}


def test_rows_of_several_sources_get_their_own_actions():
    def constant(value):
        return FunctionSource(lambda: torch.full((1,), value), uses_obs=False)

    sources = {
        "left": SourceGroup(source=constant(0.25), env_ids=[4, 0]),
        "right": SourceGroup(source=constant(-0.5), env_ids=[2]),
    }
    env = stack(sources, num_envs=5)
    env.reset()
    given = torch.arange(5.0).reshape(5, 1) / 10
    given[4] = torch.nan  # of a row that has a source
    info = env.step(given)[4]
    expected = torch.tensor([[0.25], [0.1], [-0.5], [0.3], [0.25]])
    torch.testing.assert_close(seen(env).actions[-1], expected)
    assert frames(info)["returned_frame_id"] == [0, -1, 0, -1, 0]
    assert frames(info)["execution_state"] == [2] * 5
    with pytest.raises(InvalidActionError, match="no source"):
        env.step()
    with pytest.raises(InvalidActionError, match=r"shape \(5, 1\)"):
        env.step(torch.zeros(4, 1))
    env.step(np.zeros((5, 1), dtype=np.float32))
    env.close()


def test_sources_of_all_rows_in_any_order():
    groups = [[2, 0], [1]]
    sources = [
        FunctionSource(lambda: torch.tensor([[0.2], [0.0]]), uses_obs=False),
        FunctionSource(lambda: torch.tensor([[0.1]]), uses_obs=False),
    ]
    env = stack(sources, num_envs=3, groups=groups)
    env.reset()
    env.step()
    torch.testing.assert_close(seen(env).actions[-1], torch.tensor([[0.0], [0.1], [0.2]]))
    env.close()


def test_a_source_may_use_its_buffers_again():
    buffer = torch.zeros(2, 1)
    context = {"pose": np.zeros(1)}
    gate = Gate()

    def answer(request):
        buffer.fill_(request.frame_id / 10)
        context["pose"][0] = request.frame_id
        if request.frame_id:
            gate(request)
        return SourceResult(actions=buffer, context=context)

    source = Told(answer)
    env = stack(source)
    env.reset()
    env.step()
    env.step()
    eventually(lambda: len(source.requests) == 2)  # in frame 1, which has written to both
    eventually(lambda: buffer[0].item() > 0)
    env.step()
    assert seen(env).actions[-1].tolist() == [[0.0], [0.0]]
    assert env.last_context[0]["pose"].tolist() == [0.0]
    env.last_context[0]["pose"][0] = 5.0
    assert env.last_context[0]["pose"].tolist() == [0.0]
    gate.open(5)
    env.close()


def test_contexts_belong_to_the_frames_that_are_applied():
    source = Told(lambda request: {"context": request.frame_id})
    env = stack({"arm": source})
    env.reset()
    for step in range(4):
        info = env.step()[4]
        assert env.last_context == {"arm": info["pipeline"]["returned_frame_id"][0].item()}
        finished(source, step + 1)
    env.close()


def test_a_lossless_source_loses_no_frame_whatever_the_timing():
    def run(delay_s):
        source = Told(lambda request: time.sleep(delay_s) or {})
        source.lossless = True
        env = stack(source)
        env.reset()
        for _ in range(12):
            info = env.step()[4]
            assert info["pipeline"]["ran_synchronously"].all()
        env.close()
        return [request.frame_id for request in source.requests], [
            action[0].item() for action in seen(env).actions
        ]

    assert run(0.0) == run(0.004)
    assert run(0.0)[0] == list(range(12))


def test_a_replay_ends():
    def answer(request):
        return {"end_of_replay": request.frame_id == 2}

    source = Told(answer)
    source.lossless = True
    env = stack(source, suspends=True)
    env.reset()
    ends = []
    for _ in range(5):
        info = env.step()[4]
        ends.append((info["pipeline"]["end_of_replay"].all().item(), info["active"].all().item()))
    # The last frame has actions, which are applied; then rows stand still, and nobody is asked.
    assert ends == [(False, True), (False, True), (True, True), (True, False), (True, False)]
    assert len(source.requests) == 3
    env.reset()  # of which it is told: it may begin again
    env.step()
    assert source.requests[3].host_events.reset
    env.close()


def test_results_carry_their_times():
    source = Told(lambda request: time.sleep(0.01) or {"input_time_s": time.monotonic()})
    env = stack(source)
    env.reset()
    info = env.step()[4]["pipeline"]
    assert 0.009 < info["compute_duration_s"][0] < 1
    assert 0 < info["input_age_s"][0] < info["compute_duration_s"][0]
    assert info["returned_age_s"][0] > info["compute_duration_s"][0]
    env.close()
    source = Told(lambda request: time.sleep(0.01) or {})
    env = stack(source)
    env.reset()
    info = env.step()[4]["pipeline"]
    assert info["input_age_s"][0] >= info["compute_duration_s"][0]  # since it began
    env.close()


def test_the_caller_owns_what_it_gets():
    env = stack(Told(), mode="sync")
    env.reset()
    first = env.step()[4]["pipeline"]
    before = first["returned_frame_id"].clone()
    env.step()
    assert torch.equal(first["returned_frame_id"], before)
    actions = seen(env).actions[0]
    actions.fill_(9.0)
    env.close()


def test_it_keeps_the_contract():
    # Of one row's actions it takes no notice; the checker's bad actions are bad in all of them.
    source = FunctionSource(lambda: torch.zeros(1), uses_obs=False)
    env = make("holdstep:CartPole", num_envs=3, device="cpu", seed=0)
    env = PipelinedActions(SuspendOnWait(env), [source], groups=[[1]], mode="sync")
    check_vector_env(env)
    env.close()


def test_steps_before_a_reset_and_after_close_are_refused():
    env = stack(Told())
    with pytest.raises(ResetNeededError):
        env.step()
    env.reset()
    env.close()
    env.close()
    with pytest.raises(ClosedEnvError):
        env.step()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "async"}, "mode must be one of 'pipelined', 'sync'"),
        ({"on_stale": "drop"}, "on_stale"),
        ({"on_error": "ignore"}, "on_error"),
        ({"worker": "fiber"}, "worker"),
        ({"max_age_frames": -1}, "max_age_frames"),
        ({"max_age_frames": 1.5}, "max_age_frames"),
        ({"max_restarts": True}, "max_restarts"),
        ({"wait_budget_s": -1.0}, "wait_budget_s"),
        ({"stop_timeout_s": float("nan")}, "stop_timeout_s"),
        ({"on_stale": "hold"}, "needs hold_action"),
        ({"pacing": 0.015}, "pacing"),
        ({"external_inputs": 3}, "external_inputs"),
        ({"groups": [[0], [1]]}, "groups must have the rows of each source"),
        ({"groups": [[]]}, "no rows"),
        ({"worker": "process"}, "function without arguments"),
    ],
)
def test_what_cannot_be_meant_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        stack(Told(), **options)


def test_sources_that_cannot_be_meant_are_refused():
    source = Told()
    with pytest.raises(ConfigError, match=r"start\(env_ids\), compute\(request\) and stop"):
        stack(lambda obs: obs)
    with pytest.raises(ConfigError, match="There are 3 sources for 2 rows"):
        stack([Told(), Told(), Told()])
    with pytest.raises(ConfigError, match="same object"):
        stack([source, source])
    with pytest.raises(ConfigError, match=r"Rows \[1\] are driven by"):
        stack([Told(), Told()], groups=[[0, 1], [1]])
    with pytest.raises(ConfigError, match="in one way"):
        stack([SourceGroup(source=source, env_ids=[0]), Told()])
    with pytest.raises(ConfigError, match="no source"):
        stack([])
    with pytest.raises(ConfigError, match="groups"):
        stack({"a": Told(), "b": Told()}, groups={"a": [0], "c": [1]})
    with pytest.raises(ConfigError, match="fn must be callable"):
        FunctionSource(3)
    with pytest.raises(ConfigError, match="obs_keys"):
        FunctionSource(print, uses_obs=False, obs_keys=["policy"])


def test_orders_that_would_be_wrong_are_refused(tmp_path):
    env = make("holdstep:CartPole", num_envs=2, device="cpu")
    with pytest.raises(WrapperOrderError, match="needs a SuspendOnWait"):
        PipelinedActions(env, Told(), on_stale="suspend")
    with pytest.raises(WrapperOrderError, match='on_error="suspend"'):
        PipelinedActions(env, Told(), on_error="suspend")
    inner = PipelinedActions(SuspendOnWait(env), Told())
    with pytest.raises(WrapperOrderError):
        ActionChunkReplay(inner, 4)
    with pytest.raises(WrapperOrderError):
        RecordEpisodes(inner, tmp_path)


def test_a_pause_of_the_host_reaches_the_source_once():
    source = Told()
    env = stack(source)
    env.reset()
    env.tell(SourceEvents(state=ExecutionState.PAUSED))
    env.tell(SourceEvents(state=ExecutionState.RUNNING), source=0)
    for step in range(3):
        env.step()
        finished(source, step + 1)
    env.close()
    assert source.requests[0].host_events.edges == (ExecutionState.PAUSED, ExecutionState.RUNNING)
    assert not any(request.host_events for request in source.requests[1:])
    with pytest.raises(ConfigError, match="no source 'arm'"):
        env.tell(SourceEvents(reset=True), source="arm")


def test_a_source_that_gives_nothing_and_cannot_be_held_is_an_error():
    env = stack(Told(lambda request: {"actions": None, "state": ExecutionState.STOPPED}))
    env.reset()
    with pytest.raises(SourceError, match="Put a SuspendOnWait into the stack"):
        env.step()
    env.close()


def test_without_suspension_a_paused_source_repeats_its_last_running_action():
    paused = {"state": ExecutionState.PAUSED}
    source = Told(lambda request: paused if request.frame_id > 1 else {})
    env = stack(source, mode="sync")
    env.reset()
    for _ in range(4):
        env.step()
    assert [action[0].item() for action in seen(env).actions] == [
        pytest.approx(value) for value in (0.0, 0.001, 0.001, 0.001)
    ]
    env.close()
