"""Observations of some rows are recorded right, however it is known which rows are meant."""

import pytest
import torch

from holdstep.wrappers import RecordEpisodes
from holdstep.wrappers.record import picked_rows
from holdstep.wrappers.record.dataset import Dataset
from tests.conftest import make_mjlab
from tests.wrappers.record.scripted_env import CloningRecorder, Script, ScriptedEnv, read_by_id

GROUPS = {"policy": ("float32", (3,)), "n": ("int64", ()), "image": ("uint8", (2, 2, 3)),
          "half": ("float16", (2,)), "one": ("float32", ())}  # fmt: skip
ENDS = [([], []), ([1], []), ([2, 0], [4]), ([0, 1, 2, 3, 4], []), ([], []), ([], [3, 4])]


class TellingEnv(ScriptedEnv):
    """Tells which rows have ended, in an order of its own."""

    asked = 0

    def step_masked(self, actions, active_mask):
        result = super().step_masked(actions, active_mask)
        self.told = result[4].get("_final_obs")
        return result

    def ended_env_ids(self, mask):
        if mask is not self.told:
            return None
        self.asked += 1
        return mask.nonzero().squeeze(1).flip(0)


@pytest.mark.parametrize("rows", ["looked at", "by column", "told", "not known"])
@pytest.mark.parametrize("num_envs", [5, 1])
def test_episodes_are_read_back_however_their_ends_are_known(tmp_path, monkeypatch, rows, num_envs):
    ends = [tuple([row for row in side if row < num_envs] for side in step) for step in ENDS]
    script = Script(groups=GROUPS, num_envs=num_envs, ends=ends, states=True)
    inner = TellingEnv(script) if rows == "told" else ScriptedEnv(script)
    cloning = CloningRecorder(inner, states=True)
    keys = ["obs", "actions", "rewards", "terminated", "truncated", "states"]
    if rows == "by column":
        monkeypatch.setattr(picked_rows, "_SMALL_BYTES", 0)
    env = RecordEpisodes(cloning, tmp_path / "demos", keys=keys, writer="thread", durability="os",
                         max_queue_bytes=1 << 13)  # fmt: skip
    env.reset(seed=1)
    monkeypatch.setattr(env._recording, "_looks", rows in ("looked at", "by column"))
    for step in range(60):
        env.step(torch.randn(num_envs, 2))
        if step % 20 == 5:
            ids = [4, 0, 2] if num_envs == 5 else [0]
            env.reset(options={"env_ids": torch.tensor(ids)})
        if step % 20 == 9:
            env.reset(options={"env_ids": list(reversed(range(num_envs)))})
    env.close()
    cloning.stop()
    assert read_by_id(Dataset(env.path)) == cloning.by_id()
    assert rows != "told" or inner.asked >= 20


@pytest.mark.parametrize("looks", [True, False])
def test_an_end_that_a_mask_leaves_out_has_no_last_observation(tmp_path, monkeypatch, looks):
    class Forgetful(ScriptedEnv):
        def step_masked(self, actions, active_mask):
            result = super().step_masked(actions, active_mask)
            result[4]["_final_obs"] = result[4]["_final_obs"] & torch.tensor([True, False])
            return result

    env = RecordEpisodes(Forgetful(Script(ends=[([0, 1], [])])), tmp_path / "demos",
                         writer="thread", durability="os")  # fmt: skip
    env.reset()
    monkeypatch.setattr(env._recording, "_looks", looks)
    env.step(torch.zeros(2, 2))
    env.close()
    found = {e.attributes["env_id"]: "final_obs/policy" in e.arrays for e in Dataset(env.path)}
    assert found == {0: True, 1: False}


def test_many_small_resets_take_no_room_for_all_rows(tmp_path):
    env = RecordEpisodes(
        ScriptedEnv(Script(num_envs=500)), tmp_path / "demos", writer="thread", durability="os"
    )
    env.reset()
    env.step(torch.zeros(500, 2))
    before = env.stats().queued_bytes
    for row in range(20):
        env.reset(options={"env_ids": [row]})
    assert env.stats().queued_bytes - before < 4096
    env.close()
    assert env.stats().cut == 500


def test_a_simulator_tells_which_rows_have_ended():
    env = make_mjlab("Mjlab-Cartpole-Balance", num_envs=4)
    env.reset(seed=0)
    env.episode_length_buf = torch.tensor([0, env.max_episode_length - 1, 0, 10**6])
    *_, info = env.step(torch.zeros(4, *env.single_action_space.shape))
    mask = info["_final_obs"]
    assert env.ended_env_ids(mask).tolist() == mask.nonzero().flatten().tolist() == [1, 3]
    assert env.ended_env_ids(mask.clone()) is None
    env.step(torch.zeros(4, *env.single_action_space.shape))
    assert env.ended_env_ids(mask) is None
    env.close()


def test_nothing_waits_for_a_mask_that_cannot_be_looked_at(tmp_path, monkeypatch):
    env = RecordEpisodes(ScriptedEnv(Script(ends=[([0], [])])), tmp_path / "demos",
                         writer="thread", durability="os")  # fmt: skip
    env.reset()
    monkeypatch.setattr(env._recording, "_looks", False)
    result = env.env.step(torch.zeros(2, 2))
    looked = []
    for name in ("nonzero", "any", "item", "tolist", "__int__", "__bool__"):
        monkeypatch.setattr(torch.Tensor, name, lambda self, name=name: looked.append(name))
    monkeypatch.setattr(env.env, "step", lambda actions: result)
    env.step(torch.zeros(2, 2))
    assert not looked
    monkeypatch.undo()
    env.close()
