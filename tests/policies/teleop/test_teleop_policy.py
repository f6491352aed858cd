"""Sources as a plain policy, without isaacteleop or SDL: the sources here are scripts."""

import pytest
import torch

from holdstep.envs import make
from holdstep.errors import ConfigError, InvalidActionError, PolicyError, SourceError
from holdstep.policies import evaluate
from holdstep.policies.teleop import SOURCES, TeleopPolicy, source_class
from holdstep.wrappers.pipeline.events import ExecutionState, SourceEvents
from holdstep.wrappers.pipeline.source import SourceResult

PAUSED, RUNNING, STOPPED = ExecutionState.PAUSED, ExecutionState.RUNNING, ExecutionState.STOPPED


class Script:
    """Answers with what it was given, one after another, and the last one for ever."""

    uses_obs = False

    def __init__(self, *results, fails=()):
        self.results = list(results)
        self.requests = []
        self.fails = fails
        self.calls = []

    def start(self, env_ids):
        self.calls.append(("start", env_ids))
        if "start" in self.fails:
            raise RuntimeError("no device")

    def compute(self, request):
        self.requests.append(request)
        result = self.results.pop(0) if len(self.results) > 1 else self.results[0]
        return result if isinstance(result, SourceResult) else SourceResult(actions=result)

    def stop(self):
        self.calls.append(("stop",))
        if "stop" in self.fails:
            raise RuntimeError("stuck")


@pytest.fixture
def env():
    return make("holdstep:PointMass", num_envs=3, device="cpu", seed=0)


def action(*values):
    return torch.tensor(values, dtype=torch.float32)


def test_rows_get_the_actions_of_their_sources(env):
    one = Script(action(0.1, 0.2))
    two = Script(torch.tensor([[0.3, 0.4], [0.5, 0.6]]))
    with TeleopPolicy(env, [one, two], groups=[[1], [2, 0]]) as policy:
        obs, _ = env.reset(seed=0)
        actions = policy(obs)
        assert torch.equal(actions, torch.tensor([[0.5, 0.6], [0.1, 0.2], [0.3, 0.4]]))
        env.step(actions)
        kept = actions.clone()
        two.results = [torch.zeros(2, 2)]
        policy(obs)
        assert torch.equal(actions, kept)  # the caller's own
    assert one.calls == [("start", (1,)), ("stop",)]


def test_requests_carry_what_a_source_needs(env):
    class Looking(Script):
        uses_obs = True

    source, blind = Looking(action(0.0, 0.0)), Script(action(0.0, 0.0))
    given = {0: {"a": 1}, 2: {"b": 2}}
    policy = TeleopPolicy(
        env,
        [source, blind],
        groups=[[0, 1], [2]],
        external_inputs=lambda env_ids: given[env_ids[0]],
    )
    obs, _ = env.reset(seed=0)
    for _ in range(3):
        policy(obs)
    assert [request.frame_id for request in source.requests] == [0, 1, 2]
    assert [request.sim_time_s for request in source.requests] == pytest.approx([0.0, 0.05, 0.1])
    assert torch.equal(source.requests[0].obs["policy"], obs["policy"][:2])
    assert blind.requests[0].obs is None
    assert source.requests[0].external_inputs == {"a": 1}
    assert blind.requests[0].external_inputs == {"b": 2}
    assert source.requests[0].real_time_s <= source.requests[2].real_time_s
    policy.close()


def test_resets_of_rows_are_told_once(env):
    one, two = Script(action(0.0, 0.0)), Script(action(0.0, 0.0))
    policy = TeleopPolicy(env, [one, two], groups=[[0, 2], [1]])
    obs, _ = env.reset(seed=0)
    policy.reset(None)
    policy(obs)
    policy.reset(torch.tensor([False, True, False]))
    policy.reset(torch.tensor([False, False, False]))
    policy(obs)
    policy.reset(torch.tensor([False, False, True]))
    policy(obs)
    policy(obs)
    told = [[request.host_events for request in each.requests] for each in (one, two)]
    nothing = SourceEvents()
    assert told[0] == [
        SourceEvents(reset=True, reset_env_ids=(0, 2)),
        nothing,
        SourceEvents(reset=True, reset_env_ids=(2,)),
        nothing,
    ]
    assert told[1] == [
        SourceEvents(reset=True, reset_env_ids=(1,)),
        SourceEvents(reset=True, reset_env_ids=(1,)),
        nothing,
        nothing,
    ]
    policy.close()


def test_while_the_operator_pauses_the_simulation_stands_still(env):
    paused = SourceResult(actions=None, state=PAUSED, events=SourceEvents(state=PAUSED))
    still = SourceResult(actions=None, state=PAUSED)
    again = SourceResult(actions=action(0.5, 0.5), events=SourceEvents(state=RUNNING))
    source = Script(action(0.1, 0.1), paused, still, still, again)
    slept = []
    policy = TeleopPolicy(env, source, poll_interval_s=0.25, sleep=slept.append)
    obs, _ = env.reset(seed=0)
    policy(obs)
    assert policy.take_events() == {}
    assert policy(obs)[0].tolist() == [0.5, 0.5]
    assert slept == [0.25] * 3
    assert [request.sim_time_s for request in source.requests] == [0.0] + [0.05] * 4
    assert policy.take_events() == {0: SourceEvents(edges=(PAUSED, RUNNING))}
    assert policy.take_events() == {}
    policy.close()


class NoPatienceError(Exception):
    """The policy would wait."""


def wait_no_longer(seconds):
    raise NoPatienceError


def test_an_operator_who_stops_ends_the_call(env):
    not_yet = SourceResult(actions=None, state=STOPPED)
    stops = SourceResult(actions=None, state=STOPPED, events=SourceEvents(state=STOPPED))
    again = SourceResult(actions=action(0.5, 0.5), events=SourceEvents(state=RUNNING))
    slept = []

    def sleep(seconds):
        slept.append(seconds)
        if len(slept) > 2:
            raise NoPatienceError

    source = Script(not_yet, not_yet, action(0.1, 0.1), stops, not_yet, again)
    policy = TeleopPolicy(env, source, sleep=sleep)
    obs, _ = env.reset(seed=0)
    policy(obs)
    assert len(slept) == 2  # it waited for the operator to begin
    for _ in range(2):
        with pytest.raises(PolicyError, match="operator of Script has stopped, after 1 steps"):
            policy(obs)
    assert policy.take_events() == {0: SourceEvents(state=STOPPED)}
    assert policy(obs)[0].tolist() == [0.5, 0.5]
    policy.close()


def test_an_operator_who_stops_ends_an_evaluation(env):
    script = [action(0.0, 0.0)] * 3 + [SourceResult(actions=None, state=STOPPED)]
    with (
        TeleopPolicy(env, Script(*script), sleep=wait_no_longer) as policy,
        pytest.raises(PolicyError, match="has stopped, after 3 steps"),
    ):
        evaluate(env, policy, num_episodes=3, seed=0)


def test_orders_are_kept_for_whoever_steps_without_echoes(env):
    reset = SourceEvents(reset=True, reset_env_ids=(0, 1, 2))
    source = Script(
        SourceResult(actions=action(0.0, 0.0), events=reset),
        SourceResult(actions=action(0.0, 0.0), events=SourceEvents(success=True)),
    )
    policy = TeleopPolicy(env, source)
    obs, _ = env.reset(seed=0)
    policy.reset(None)
    policy(obs)
    assert policy.take_events() == {}  # only said what it was told
    policy(obs)
    assert policy.take_events() == {0: SourceEvents(success=True)}
    policy.close()


def test_orders_of_several_operators_are_kept_apart(env):
    def says(**events):
        return Script(SourceResult(actions=action(0.0, 0.0), events=SourceEvents(**events)))

    sources = {"left": says(reset=True), "right": says(success=False)}
    policy = TeleopPolicy(env, sources, groups={"left": [2, 0], "right": [1]})
    obs, _ = env.reset(seed=0)
    policy.reset(torch.tensor([False, False, True]))
    policy(obs)
    assert policy.take_events() == {
        # All of its own rows, not of all sources; and row 2 began anew because the host said so.
        "left": SourceEvents(reset=True, reset_env_ids=(0,)),
        "right": SourceEvents(success=False),
    }
    policy.close()


def test_lost_tracking_repeats_the_last_action(env):
    lost = SourceResult(actions=None)
    source = Script(lost, action(0.3, 0.3), lost)
    policy = TeleopPolicy(env, source, idle_action=[0.1, -0.1])
    obs, _ = env.reset(seed=0)
    seen = [policy(obs)[0].tolist() for _ in range(3)]
    assert seen == [pytest.approx([0.1, -0.1]), pytest.approx([0.3, 0.3]), pytest.approx([0.3] * 2)]
    policy.close()


def test_the_last_action_of_an_episode_is_not_repeated_in_the_next(env):
    lost = SourceResult(actions=None)
    one, two = Script(action(0.3, 0.3), lost), Script(action(0.5, 0.5), lost)
    policy = TeleopPolicy(env, [one, two], groups=[[0, 2], [1]], idle_action=[0.1, -0.1])
    obs, _ = env.reset(seed=0)
    policy.reset(None)
    policy(obs)
    policy.reset(torch.tensor([False, False, True]))
    idle = pytest.approx([0.1, -0.1])
    assert policy(obs).tolist() == [pytest.approx([0.3, 0.3]), pytest.approx([0.5, 0.5]), idle]
    policy.reset(None)
    assert policy(obs).tolist() == [idle, idle, idle]
    policy.close()


def test_the_end_of_a_replay_is_an_error_after_its_last_action(env):
    last = SourceResult(actions=action(0.2, 0.2), end_of_replay=True)
    over = SourceResult(actions=None, end_of_replay=True)
    policy = TeleopPolicy(env, Script(last, over))
    obs, _ = env.reset(seed=0)
    assert policy(obs)[0].tolist() == pytest.approx([0.2, 0.2])
    with pytest.raises(PolicyError, match=r"replay of Script has ended, after 1 steps"):
        policy(obs)
    policy.close()


def test_actions_that_the_env_can_not_take(env):
    with TeleopPolicy(env, Script(action(0.0, 0.0, 0.0))) as policy:
        obs, _ = env.reset(seed=0)
        with pytest.raises(InvalidActionError):
            policy(obs)


@pytest.mark.parametrize("wrong", [SourceResult(actions=None, state="RUNNING"), "nothing"])
def test_answers_that_can_not_be(env, wrong):
    source = Script(None)
    source.compute = lambda request: wrong
    with TeleopPolicy(env, source, sleep=wait_no_longer) as policy:
        obs, _ = env.reset(seed=0)
        with pytest.raises(SourceError):
            policy(obs)


def test_a_width_that_does_not_fit_is_refused_before_anything_is_opened(env):
    source = Script(action(0.0))
    source.action_dim = 7
    with pytest.raises(ConfigError, match=r"Script have 7 entries.*shape \(2,\)"):
        TeleopPolicy(env, source)
    assert source.calls == []


def test_when_a_source_can_not_be_started_the_others_are_stopped(env):
    sources = [Script(action(0.0, 0.0)), Script(action(0.0, 0.0), fails=("start",)), Script(None)]
    with pytest.raises(RuntimeError, match="no device"):
        TeleopPolicy(env, sources)
    assert [[call[0] for call in source.calls] for source in sources] == [
        ["start", "stop"],
        ["start", "stop"],
        [],
    ]


def test_all_sources_are_stopped_also_if_one_fails_to(env):
    sources = [Script(action(0.0, 0.0), fails=("stop",) if row == 1 else ()) for row in range(3)]
    policy = TeleopPolicy(env, sources)
    with pytest.raises(RuntimeError, match="stuck"):
        policy.close()
    assert all(source.calls[-1] == ("stop",) for source in sources)
    policy.close()
    assert all(len(source.calls) == 2 for source in sources)


def test_it_is_evaluated_like_any_policy(env):
    with TeleopPolicy(env, Script(action(0.0, 0.0))) as policy:
        result = evaluate(env, policy, num_episodes=3, seed=0)
    assert len(result.episodes) == 3


def test_names_of_sources():
    for name in SOURCES:
        assert all(callable(getattr(source_class(name), part)) for part in ("start", "compute"))
    with pytest.raises(ConfigError, match="Did you mean: keyboard"):
        source_class("keybord")
