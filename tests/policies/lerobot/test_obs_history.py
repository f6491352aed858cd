"""The last observations of each row."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from holdstep.policies import LeRobotPolicy
from holdstep.policies.lerobot.history import ObsHistory
from tests.policies.lerobot.doubles import PolicyDouble, request_of

NUM_ENVS = 3
rows = st.lists(st.integers(0, NUM_ENVS - 1), unique=True, max_size=NUM_ENVS)


@settings(max_examples=150, deadline=None)
@given(
    num_frames=st.integers(1, 4),
    events=st.lists(
        st.tuples(st.sampled_from(["record", "append", "reset"]), rows), min_size=1, max_size=30
    ),
)
def test_equals_a_list_per_row(num_frames, events):
    history = ObsHistory(NUM_ENVS, num_frames)
    seen = [[] for _ in range(NUM_ENVS)]
    for tick, (kind, env_ids) in enumerate([*events, ("append", list(range(NUM_ENVS)))]):
        ids = torch.tensor(env_ids, dtype=torch.int64)
        value = 10.0 * tick + torch.arange(NUM_ENVS).float()
        obs = {"state": value.unsqueeze(1), "image": value.to(torch.uint8)[:, None, None]}
        if kind == "reset":
            history.reset(ids)
            for row in env_ids:
                seen[row] = []
            continue
        if kind == "record":
            for row in env_ids:
                seen[row].append(value[row].item())
            mask = torch.zeros(NUM_ENVS, dtype=torch.bool)
            mask[ids] = True
            history.record(obs, mask)
            continue
        assert history.empty_mask(ids).tolist() == [not seen[row] for row in env_ids]
        for row in env_ids:
            seen[row].append(value[row].item())
        history.append({key: part[ids] for key, part in obs.items()}, ids)
        frames = history.frames(ids)
        assert frames["state"].shape == (len(env_ids), num_frames, 1)
        assert frames["image"].dtype == torch.uint8
        for row, newest in zip(env_ids, frames["state"].squeeze(-1).tolist(), strict=True):
            filled = [seen[row][0]] * num_frames + seen[row]
            assert newest == filled[-num_frames:]
            assert frames["image"][env_ids.index(row)].flatten().tolist() == [
                int(x) % 256 for x in newest
            ]


def test_frames_belong_to_the_caller():
    history = ObsHistory(1, 2)
    obs = {"state": torch.ones(1, 1)}
    history.append(obs, torch.tensor([0]))
    obs["state"].zero_()
    first = history.frames(torch.tensor([0]))
    history.append({"state": torch.full((1, 1), 5.0)}, torch.tensor([0]))
    assert first["state"].flatten().tolist() == [1.0, 1.0]


def test_what_is_recorded_in_inference_mode_can_be_used_outside():
    history = ObsHistory(1, 2)
    with torch.inference_mode():
        history.record({"state": torch.ones(1, 1)}, torch.tensor([True]))
    history.append({"state": torch.zeros(1, 1)}, torch.tensor([0]))
    frames = history.frames(torch.tensor([0]))
    assert frames["state"].flatten().tolist() == [1.0, 0.0]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_frames_on_a_gpu():
    policy = LeRobotPolicy(
        PolicyDouble(num_frames=2).to("cuda"), mapping={"observation.state": "state"}, num_envs=4
    )
    first = {"state": torch.ones(4, 3, device="cuda")}
    policy.infer(request_of([2], first))
    now, mask = {"state": torch.zeros(4, 3, device="cuda")}, torch.ones(4, device="cuda") > 0
    torch.cuda.set_sync_debug_mode("error")
    try:
        policy.observe(now, mask)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    actions = policy.infer(request_of([0, 2], now)).actions[:, 0, 0]
    assert actions.tolist() == [0.0, 3.0]
