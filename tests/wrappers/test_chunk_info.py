"""The infos of several ticks as one."""

import numpy as np
import pytest
import torch

from holdstep.envs.reference import CartPole, PointMass
from holdstep.wrappers import ActionChunkReplay, Stage, SuspendOnWait, VectorWrapper
from holdstep.wrappers.chunk_info import LogMeans, TickInfos


def mask(*rows, num_envs=3):
    return torch.tensor([row in rows for row in range(num_envs)])


def merged(*ticks, num_envs=3):
    """Ticks are infos with ``"active"``; rows that end are ``ended``."""
    infos = TickInfos(num_envs)
    for info in ticks:
        info = dict(info)
        num_ended = info.pop("ended", 0)
        info.setdefault("active", torch.ones(num_envs, dtype=torch.bool))
        infos.add(info, all_active=bool(info["active"].all()), num_ended=num_ended)
    return infos.result({"policy": torch.full((num_envs, 2), 9.0)})


def test_a_row_has_the_value_of_its_last_active_tick():
    info = merged(
        {"power": torch.tensor([1.0, 2.0, 3.0])},
        {"power": torch.tensor([4.0, 5.0, 6.0]), "active": mask(0, 2)},
        {"power": torch.tensor([7.0, 8.0, 9.0]), "active": mask(2)},
    )
    assert info["power"].tolist() == [4.0, 2.0, 9.0]
    assert "_power" not in info
    assert "active" not in info


def test_an_entry_that_is_missing_in_some_ticks():
    info = merged(
        {"power": torch.tensor([1.0, 2.0, 3.0])},
        {},
        {"late": torch.tensor([[1], [2], [3]]), "active": mask(1)},
    )
    assert info["power"].tolist() == [1.0, 2.0, 3.0]
    assert info["late"].tolist() == [[1], [2], [3]]


def test_entries_of_some_rows_are_merged_with_their_masks():
    info = merged(
        {"success": torch.tensor([True, False, False]), "_success": mask(0)},
        {"success": torch.tensor([False, False, True]), "_success": mask(2)},
        {"success": torch.tensor([False, False, False]), "_success": mask()},
    )
    assert info["success"][[0, 2]].tolist() == [True, True]
    assert info["_success"].tolist() == [True, False, True]


def test_a_mask_counts_only_for_rows_that_advanced():
    """A row that stands still may still show what its last step set."""
    stale = {"x": torch.tensor([5, 5, 5]), "_x": mask(0, 1), "active": mask(1, 2)}
    info = merged({"x": torch.tensor([1, 1, 1]), "_x": mask(0)}, stale)
    assert info["x"][:2].tolist() == [1, 5]
    assert info["_x"].tolist() == [True, True, False]


def test_a_mask_that_comes_and_goes():
    plain, some = {"x": torch.tensor([1, 1, 1])}, {"x": torch.tensor([2, 2, 2]), "_x": mask(1)}
    info = merged(plain, some)
    assert info["x"].tolist() == [1, 2, 1]
    assert "_x" not in info
    info = merged(some, plain)
    assert info["x"].tolist() == [1, 1, 1]
    assert info["_x"].all()
    info = merged(some, plain | {"active": mask(2)})
    assert info["x"][1:].tolist() == [2, 1]
    assert info["_x"].tolist() == [False, True, True]


def test_nested_entries_and_arrays():
    names = np.array(["a", None, "c"], dtype=object)
    other = np.array([None, "B", None], dtype=object)
    info = merged(
        {"deep": {"name": names, "_name": mask(0, 2), "n": torch.tensor([1, 2, 3])}, "note": "x"},
        {
            "deep": {"name": other, "_name": mask(1), "n": torch.tensor([4, 5, 6])},
            "_deep": mask(1, 2),
            "note": "y",
            "active": mask(1),
        },
    )
    assert info["deep"]["name"].tolist() == ["a", "B", "c"]
    assert info["deep"]["_name"].all()
    assert info["deep"]["n"].tolist() == [1, 5, 3]
    assert info["note"] == "y"


def test_infos_of_ticks_are_not_written_to():
    first = {"x": torch.tensor([1, 1, 1]), "deep": {"y": torch.tensor([1, 1, 1])}}
    second = {"x": torch.tensor([2, 2, 2]), "deep": {"y": torch.tensor([2, 2, 2])}}
    info = merged(first, second | {"active": mask(0)})
    assert info["deep"]["y"].tolist() == [2, 1, 1]
    assert first["x"].tolist() == first["deep"]["y"].tolist() == [1, 1, 1]
    assert second["deep"]["y"].tolist() == [2, 2, 2]


def test_a_value_that_changes_its_form_is_the_last_one():
    info = merged(
        {"x": torch.tensor([1, 1, 1]), "y": torch.tensor([1, 1, 1])},
        {"x": torch.tensor([[2], [2], [2]]), "y": [3], "active": mask(0)},
    )
    assert info["x"].tolist() == [[2], [2], [2]]
    assert info["y"] == [3]


def final(value, rows):
    obs = {"policy": torch.full((3, 2), value)}
    return {"final_obs": obs, "_final_obs": rows, "final_info": dict(obs), "_final_info": rows}


def test_final_observations_are_those_of_the_ticks_in_which_rows_ended():
    info = merged(
        final(1.0, mask(1)) | {"ended": 1},
        final(2.0, mask()),
        final(3.0, mask(0)) | {"ended": 1},
        {},
    )
    assert info["final_obs"]["policy"][:, 0].tolist() == [3.0, 1.0, 9.0]  # 9: the row's last
    assert info["_final_obs"].tolist() == [True, True, False]
    assert info["final_info"]["policy"] is info["final_obs"]["policy"]
    assert torch.equal(info["_final_info"], info["_final_obs"])


def test_where_no_row_ended_they_are_what_the_env_gives():
    info = merged(final(1.0, mask()), final(2.0, mask()))
    assert info["final_obs"]["policy"][:, 0].tolist() == [2.0] * 3
    assert not info["_final_obs"].any()
    assert merged({}, {}) == {}


def test_final_info_without_final_observations():
    def ends(value, rows):
        infos = {"r": torch.tensor([value] * 3), "_r": rows}
        return {"final_info": infos, "_final_info": rows, "ended": 1}

    info = merged(ends(1.0, mask(0)), ends(2.0, mask(2)), {})
    assert info["final_info"]["r"][[0, 2]].tolist() == [1.0, 2.0]
    assert info["final_info"]["_r"].tolist() == [True, False, True]
    assert info["_final_info"].tolist() == [True, False, True]
    assert "final_obs" not in info


def test_a_log_is_the_mean_over_the_rows_that_ended():
    log = LogMeans()
    log.add({"return": torch.tensor(10.0), "level": 1.0, "step": 3}, 0)
    log.add({"return": torch.tensor(20.0), "level": 2.0}, 1)
    log.add({"return": torch.tensor(40.0), "level": 5.0}, 3)
    log.add({"return": torch.tensor(torch.nan), "level": 99.0}, 0)  # the mean of no rows
    result = log.result()
    assert result["return"].item() == pytest.approx(35.0)
    assert result["level"] == pytest.approx(4.25)
    assert result["step"] == 3  # logged only where no row ended


def test_a_log_without_ends_and_of_no_numbers_has_its_last_values():
    log = LogMeans()
    log.add({"level": 1.0, "names": ["a"], "flag": True, "rows": torch.ones(3)}, 2)
    log.add({"level": 1.0, "names": ["b"], "flag": False, "rows": torch.zeros(3)}, 2)
    log.add({"names": ["c"]}, 0)
    result = log.result()
    assert result["level"] == 1.0
    assert result["names"] == ["c"]
    assert result["flag"] is False
    assert result["rows"].tolist() == [0.0] * 3
    log = LogMeans()
    log.add({"level": 1.0}, 0)
    log.add({"level": 2.0}, 0)
    assert log.result() == {"level": 2.0}


def test_a_number_that_is_logged_once_stays_as_it_is():
    log = LogMeans()
    log.add({"x": 0.1}, 3)
    assert log.result()["x"] == 0.1
    log.add({"x": 0.1}, 4)
    assert log.result()["x"] == 0.1


class Logs(VectorWrapper):
    """Logs as mjlab does: means over the rows that ended, in ticks in which rows ended."""

    stage = Stage.RECORD

    def step(self, actions):
        obs, reward, terminated, truncated, info = self.env.step(actions)
        ended = terminated | truncated
        if ended.any():
            rows = ended.nonzero().flatten().float()
            info["log"] = {"row": rows.mean(), "rows": rows.sum()}
        return obs, reward, terminated, truncated, info


def test_a_log_through_the_stack():
    env = ActionChunkReplay(Logs(SuspendOnWait(CartPole(6, seed=0, max_episode_length=20))), 4)
    env.reset()
    env.episode_length_buf = torch.tensor([17, 17, 18, 0, 0, 19])
    info = env.step(torch.zeros(6, 4, 1))[4]
    assert info["log"]["row"].item() == pytest.approx((0 + 1 + 2 + 5) / 4)
    assert "log" not in env.step(torch.zeros(6, 4, 1))[4]


class Ticks(VectorWrapper):
    """Says in which step of the env it is, for every row, and keeps all that it returned."""

    stage = Stage.RECORD
    num_ticks = 0

    def __init__(self, env):
        super().__init__(env)
        self.returned = []

    def step(self, actions):
        result = self.env.step(actions)
        self.num_ticks += 1
        result[4]["tick"] = torch.full((self.num_envs,), self.num_ticks)
        tensors = [*result[0].values(), *result[1:4], result[4]["tick"], result[4]["active"]]
        self.returned += [(tensor, tensor.clone()) for tensor in tensors]
        return result


def test_entries_of_all_rows_through_the_stack():
    ticks = Ticks(SuspendOnWait(PointMass(3, seed=0, max_episode_length=20)))
    env = ActionChunkReplay(ticks, 4, gamma=0.9)
    env.reset()
    env.episode_length_buf = torch.tensor([18, 0, 19])
    info = env.step(torch.ones(3, 4, 2))[4]
    assert info["tick"].tolist() == [2, 4, 1]
    assert info["_final_obs"].tolist() == [True, False, True]
    # Whoever is inside may still look at what it returned, as a recorder does.
    assert all(torch.equal(tensor, copy) for tensor, copy in ticks.returned)


def test_success_through_the_stack():
    """PointMass says in the tick in which a row ends whether it was a success."""
    env = PointMass(4, seed=0, max_episode_length=30)
    chunks = ActionChunkReplay(SuspendOnWait(env), 5)
    chunks.reset()
    state = env.row_buffers["state"]
    state[0, :4], state[1, :4] = 0.0, 0.0
    state[0, 4:] = torch.tensor([0.06, 0.0])  # reached on the way
    state[1, 4:] = torch.tensor([0.9, 0.9])
    chunks.episode_length_buf = torch.tensor([0, 28, 0, 0])
    actions = torch.zeros(4, 5, 2)
    actions[0, :, 0] = 1.0
    _, _, terminated, truncated, info = chunks.step(actions)
    assert terminated[0]
    assert truncated[1]
    assert info["_success"].tolist() == (terminated | truncated).tolist()
    assert info["success"][:2].tolist() == [True, False]
