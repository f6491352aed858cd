"""Summary, validation, merging, plots."""

import dataclasses

import h5py
import numpy as np
import pytest

from holdstep.errors import DatasetError
from holdstep.wrappers.record import Dataset
from holdstep.wrappers.record.formats.hdf5 import write_shard
from holdstep.wrappers.record.tools.merge import merge
from holdstep.wrappers.record.tools.plot import plot_dataset
from holdstep.wrappers.record.tools.summary import summarize
from holdstep.wrappers.record.tools.validate import validate
from tests.wrappers.record.made_episodes import ENV_ARGS, assert_same, made_episode


@pytest.fixture
def write(tmp_path):
    def write(episodes, name="a.hdf5", **env_args):
        write_shard(tmp_path / name, episodes, env_args=ENV_ARGS | env_args)
        return tmp_path / name

    return write


def changed(episode, **arrays):
    """An episode with other arrays; None takes one away, ``__`` stands for ``/``."""
    new = dict(episode.arrays) | {k.replace("__", "/"): v for k, v in arrays.items()}
    return dataclasses.replace(episode, arrays={k: v for k, v in new.items() if v is not None})


def found_in(path):
    return [problem.what for problem in validate(path).problems]


def test_summary(write):
    episodes = [
        made_episode(0, 4),
        made_episode(1, 6, ended="truncated", success=False),
        made_episode(2, 8, success=None),
    ]
    summary = summarize(Dataset(write(episodes)))
    assert summary.lengths.tolist() == [4, 6, 8]
    assert summary.returns == pytest.approx(
        [np.sum(e.arrays["rewards"], dtype=float) for e in episodes]
    )
    assert summary.success.tolist() == [1, 0, -1]
    assert summary.success_rate == 0.5
    assert summary.ended == {"terminated": 2, "truncated": 1}
    assert summary.shapes["obs/robot/joints"] == ((3,), "float64")
    assert summary.num_bytes > 0


def test_nothing_is_wrong(write):
    episodes = [
        made_episode(0, 1, image=(4, 4, 3)),
        made_episode(1, 7, ended="truncated", image=(4, 4, 3)),
        made_episode(2, 7, ended="reset", success=None, final=False, image=(4, 4, 3)),
        made_episode(3, 7, ended="closed", success=False, final=False, image=(4, 4, 3)),
    ]
    validation = validate(write(episodes))
    assert validation.problems == ()
    assert (validation.num_files, validation.num_episodes) == (1, 4)


whole = made_episode(1, 5)
flags = np.zeros(5, bool)
early = flags.copy()
early[[2, 4]] = True
spoiled = whole.arrays["actions"].copy()
spoiled[3, 1] = np.nan


@pytest.mark.parametrize(
    ("episode", "problem"),
    [
        (changed(whole, rewards=np.zeros(4)), "rewards has 4 rows, expected 5"),
        (changed(whole, obs__policy=np.zeros((6, 4), "f4")), "obs/policy has 6 rows, expected 5"),
        (changed(whole, final_obs__policy=np.zeros((2, 4), "f4")), "final_obs/policy has 2 rows"),
        (
            changed(whole, states__articulation__robot__root_pose=np.zeros((3, 7), "f4")),
            "root_pose has 3 rows, expected 5 or 4",
        ),
        (
            changed(whole, final_obs__policy=np.zeros((1, 4))),
            "final_obs/policy is float64 (4,), but obs/... is float32 (4,)",
        ),
        (
            changed(whole, initial_state__articulation__robot__root_pose=np.zeros((1, 13), "f4")),
            "but states/... is float32 (7,)",
        ),
        (changed(whole, actions=None), "it has no actions"),
        (changed(whole, actions=spoiled), "actions is not finite at step 3"),
        (changed(whole, terminated=early), "terminated is set at step 2, before its end"),
        (changed(whole, terminated=flags), "it ended terminated, but terminated is not set"),
        (dataclasses.replace(whole, ended="reset"), "it was cut (reset), but terminated is set"),
        (
            changed(whole, rewards=np.zeros(5)),
            "rewards is float64 (), in the first episode float32",
        ),
        (changed(whole, extra=np.zeros(5)), "it has extra, which the first episode lacks"),
        (changed(whole, obs__policy=None), "it lacks obs/policy, which the first episode has"),
        (dataclasses.replace(whole, name="other"), "its name is not demo_<number>"),
        (dataclasses.replace(whole, num_steps=0, arrays={}), "it has no steps"),
    ],
)
def test_what_is_wrong_is_found(write, episode, problem):
    found = found_in(write([made_episode(0), episode]))
    assert any(problem in what for what in found), found


def test_all_problems_are_listed(write):
    path = write([made_episode(n) for n in range(3)])
    with h5py.File(path, "r+") as file:
        file["data"].attrs["total"] = 7
        file["data/demo_1/rewards"][2] = np.inf
        file["data/demo_2"].attrs["ended"] = "closed"
    problems = validate(path).problems
    assert [(p.where.rpartition(": ")[2], p.what.partition(",")[0]) for p in problems] == [
        ("demo_1", "rewards is not finite at step 2"),
        ("demo_2", "it was cut (closed)"),
        (str(path), "/data says that it has 7 steps; its episodes have 15"),
    ]


def test_damaged_arrays_are_all_found(write):
    path = write([made_episode(0), made_episode(1)])
    with h5py.File(path, "r+") as file:
        for name in ("actions", "rewards"):
            del file[f"data/demo_1/{name}"]
            file["data/demo_1"].create_dataset(name, (5,), "f4")  # never written
    found = found_in(path)
    assert len(found) == 2
    assert all("of which the file holds 0 bytes" in what for what in found)


def test_merging(tmp_path, write):
    sources = [
        Dataset(write([made_episode(0), made_episode(5, 3)])),
        Dataset(write([made_episode(0, 7), made_episode(1, final=False)], "b.hdf5")),
    ]
    out = merge(sources, tmp_path / "new" / "c.hdf5", compression="gzip")
    merged = Dataset(out)
    expected = [episode for source in sources for episode in source]
    for number, (found, episode) in enumerate(zip(merged, expected, strict=True)):
        assert_same(found, episode, name=f"demo_{number}")
    assert merged.env_args == ENV_ARGS
    assert validate(out).problems == ()


def test_merging_never_truncates(tmp_path, write):
    sources = [Dataset(write([made_episode(0)]))]
    (tmp_path / "out.hdf5").write_text("something precious")
    with pytest.raises(DatasetError, match="nothing is ever written over"):
        merge(sources, tmp_path / "out.hdf5")
    assert (tmp_path / "out.hdf5").read_text() == "something precious"


def test_appending(tmp_path, write):
    first, second = write([made_episode(0)]), write([made_episode(0, 9)], "b.hdf5")
    inode = first.stat().st_ino
    merge([Dataset(second)], first, append=True)
    merged = Dataset(first)
    assert first.stat().st_ino != inode  # replaced at once, not written into
    assert_same(merged[0], made_episode(0))
    assert_same(merged[1], made_episode(0, 9), name="demo_1")
    with pytest.raises(DatasetError, match="There is no file"):
        merge([merged], tmp_path / "nothing.hdf5", append=True)


def test_a_failed_merge_leaves_nothing(tmp_path, write):
    good, bad = write([made_episode(0)]), write([made_episode(0), made_episode(1)], "b.hdf5")
    with h5py.File(bad, "r+") as file:
        file["data/demo_1"].attrs["ended"] = "exploded"  # which shows when all others are written
    before = good.read_bytes()
    names = {p.name for p in tmp_path.iterdir()}
    for out, append in ((tmp_path / "c.hdf5", False), (good, True)):
        with pytest.raises(DatasetError, match="exploded"):
            merge([Dataset(good), Dataset(bad)], out, append=append)
    assert {p.name for p in tmp_path.iterdir()} == names
    assert good.read_bytes() == before


def test_only_what_goes_together_is_merged(tmp_path, write):
    one = Dataset(write([made_episode(0)]))
    other_env = Dataset(write([made_episode(0)], "b.hdf5", env_name="holdstep:CartPole"))
    other_order = Dataset(write([made_episode(0)], "c.hdf5", quaternion="wxyz"))
    other_arrays = Dataset(
        write([changed(made_episode(0), rewards=np.zeros(5), info__steps=None)], "d.hdf5")
    )
    out = tmp_path / "out.hdf5"
    for other, message in (
        (other_env, "env_name 'holdstep:CartPole'"),
        (other_order, "quaternion 'wxyz'"),
        (other_arrays, r"info/steps is missing\n.*rewards is float64 \(\), not float32 \(\)"),
    ):
        with pytest.raises(DatasetError, match=message):
            merge([one, other], out)
    with pytest.raises(DatasetError, match=r"ends in \.hdf5"):
        merge([one], tmp_path / "out")
    with pytest.raises(DatasetError, match="None of the datasets has any episodes"):
        merge([Dataset(write([], "e.hdf5"))], out)
    assert not out.exists()


@pytest.mark.parametrize("success", [True, None])
def test_a_picture(tmp_path, write, success):
    pytest.importorskip("matplotlib", reason="the extra 'plot' is not installed")
    episodes = [made_episode(n, 3 + n, success=success) for n in range(4)]
    out = plot_dataset(Dataset(write(episodes)), tmp_path / "pictures" / "a.png")
    assert out.read_bytes().startswith(b"\x89PNG")


def test_a_picture_of_what_has_little(tmp_path, write):
    pytest.importorskip("matplotlib", reason="the extra 'plot' is not installed")
    bare = dataclasses.replace(made_episode(0), arrays={"obs/policy": np.zeros((5, 2))})
    assert plot_dataset(Dataset(write([bare])), tmp_path / "a.png").exists()
    with pytest.raises(DatasetError, match="nothing to draw"):
        plot_dataset(Dataset(write([], "b.hdf5")), tmp_path / "b.png")
    with pytest.raises(DatasetError, match=r"must end in \.png"):
        plot_dataset(Dataset(write([bare], "c.hdf5")), tmp_path / "c.jpg")
