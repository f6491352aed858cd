"""How lerobot's interface is used, with policies that record how they are called."""

import sys

import pytest
import torch

from holdstep.errors import CapabilityError, ConfigError, MissingExtraError
from holdstep.policies import LeRobotPolicy
from tests.policies.lerobot.doubles import PolicyDouble, feature, request_of

STATE = "observation.state"
MAPPING = {STATE: "state"}
OBS = {"state": torch.arange(12.0).reshape(4, 3)}


def test_instructions_are_handed_over_as_tasks():
    seen = []

    def preprocessor(batch):
        seen.append(batch.get("task"))
        return batch

    request = request_of([2, 0], OBS, instructions=("open it", "close it"))
    for uses, batching in ((True, "subset"), (True, "pad"), (False, "subset")):
        policy = LeRobotPolicy(
            PolicyDouble(),
            mapping=MAPPING,
            preprocessor=preprocessor,
            uses_instructions=uses,
            batching=batching,
            max_batch=4,
        )
        assert policy.spec.uses_instructions == uses
        policy.infer(request)
    assert seen == [["open it", "close it"], ["close it", "", "open it", ""], None]


def test_real_time_chunking_gets_each_rows_delay_and_leftover():
    """The preprocessor doubles actions, as normalisation would change them."""

    def preprocessor(batch):
        return {key: value * 2 if key == "action" else value for key, value in batch.items()}

    double = PolicyDouble(rtc=True)
    policy = LeRobotPolicy(double, mapping=MAPPING, preprocessor=preprocessor)
    assert policy.spec.uses_prefix
    prefix = torch.tensor([1.0, 10.0, 100.0])[:, None, None].expand(3, 2, 2).clone()
    prefix[0, 1] = torch.nan  # behind its length
    request = request_of(
        range(3),
        OBS,
        prefix=prefix,
        prefix_lengths=torch.tensor([1, 2, 0]),
        delays=torch.tensor([1, 2, 0]),
    )
    actions = policy.infer(request).actions[:, 0, 0]
    state = OBS["state"].sum(dim=1)[:3]
    assert actions.tolist() == (state + torch.tensor([1000 + 4, 2000 + 80, 0.0])).tolist()
    assert [set(keywords) for _, keywords in double.calls] == [
        set(),
        {"inference_delay", "prev_chunk_left_over"},
        {"inference_delay", "prev_chunk_left_over"},
    ]


def test_real_time_chunking_asks_once_where_all_delays_are_equal():
    double = PolicyDouble(rtc=True)
    policy = LeRobotPolicy(double, mapping=MAPPING, batching="pad", max_batch=4)
    request = request_of(
        [1, 3],
        OBS,
        prefix=torch.ones(2, 2, 2),
        prefix_lengths=torch.tensor([2, 2]),
        delays=torch.tensor([2, 2]),
    )
    actions = policy.infer(request).actions[:, 0, 0]
    assert len(double.calls) == 1
    assert actions.tolist() == (OBS["state"].sum(dim=1)[[1, 3]] + 2004).tolist()


def test_without_a_prefix_real_time_chunking_is_plain():
    double = PolicyDouble(rtc=True)
    LeRobotPolicy(double, mapping=MAPPING).infer(request_of([0], OBS))
    assert double.calls[0][1] == {}


def observed(policy, ticks):
    everyone = torch.ones(4, dtype=torch.bool)
    for tick in range(ticks):
        policy.observe({"state": OBS["state"] + tick}, everyone)


def test_rows_forget_what_they_saw_with_their_episode():
    policy = LeRobotPolicy(PolicyDouble(num_frames=2), mapping=MAPPING, num_envs=4)
    observed(policy, 3)
    policy.reset(torch.tensor([1]), torch.tensor([1]))
    now = {"state": torch.zeros(4, 3)}
    policy.observe(now, torch.ones(4, dtype=torch.bool))
    actions = policy.infer(request_of(range(4), now, chunk_id=1)).actions[:, 0, 0]
    expected = (OBS["state"] + 2).sum(dim=1)
    expected[1] = 0.0
    assert actions.tolist() == expected.tolist()


def test_inferences_may_be_all_that_is_looked_at():
    policy = LeRobotPolicy(
        PolicyDouble(num_frames=2), mapping=MAPPING, num_envs=4, frames="inferences"
    )
    policy.infer(request_of([2], OBS))
    now = {"state": torch.zeros(4, 3)}
    actions = policy.infer(request_of([2], now, chunk_id=1)).actions
    assert actions[0, 0, 0] == OBS["state"][2].sum()


def test_a_policy_of_one_observation_needs_no_others():
    policy = LeRobotPolicy(PolicyDouble(), mapping=MAPPING)
    policy.observe(OBS, torch.ones(4, dtype=torch.bool))
    policy.reset(torch.tensor([0]), torch.tensor([1]))
    actions = policy.infer(request_of([3], OBS, chunk_id=5)).actions
    assert actions[0, 0, 0] == OBS["state"][3].sum()


def test_what_a_policy_remembers_of_other_calls_does_not_count():
    double = PolicyDouble()
    policy = LeRobotPolicy(double, mapping=MAPPING, batching="rowwise")
    double.predict_action_chunk({STATE: OBS["state"]})
    actions = policy.infer(request_of(range(4), OBS)).actions[:, 0, 0]
    assert actions.tolist() == OBS["state"].sum(dim=1).tolist()
    assert double.memory == 0.0, "nothing is left behind"


class WithoutQueues(PolicyDouble):
    def reset(self):
        pass


def without_actions():
    double = PolicyDouble()
    double.config.output_features = {"reward": feature(None, 1)}
    return double


def without_a_length():
    double = PolicyDouble()
    del double.config.chunk_size, double.config.n_action_steps
    return double


@pytest.mark.parametrize(
    ("policy", "options", "error", "message"),
    [
        (torch.nn.Linear(1, 1), {}, ConfigError, "Linear"),
        (PolicyDouble(), {"frames": "all"}, ConfigError, "frames"),
        (PolicyDouble(), {"mapping": {}}, ConfigError, "nothing about"),
        (PolicyDouble(num_frames=2), {}, ConfigError, "num_envs"),
        (WithoutQueues(num_frames=2), {"num_envs": 4}, CapabilityError, "no queues"),
        (without_actions(), {}, ConfigError, "output feature 'action'"),
        (without_a_length(), {}, ConfigError, "chunk_length"),
        (PolicyDouble(), {"batching": "pad"}, ConfigError, "max_batch"),
    ],
)
def test_what_does_not_fit_is_refused(policy, options, error, message):
    with pytest.raises(error, match=message):
        LeRobotPolicy(policy, **{"mapping": MAPPING} | options)


def test_a_missing_lerobot_is_said_so(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "lerobot", None)
    with pytest.raises(MissingExtraError, match=r"holdstep\[lerobot\]"):
        LeRobotPolicy.from_pretrained(tmp_path, mapping=MAPPING)
