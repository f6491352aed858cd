"""Snapshots as objects and as files."""

import pytest
import torch

from holdstep.envs import Snapshot
from holdstep.envs.state import snapshot as snapshot_module
from holdstep.envs.state.snapshot import NOT_MADE_YET, check_fits
from holdstep.errors import SnapshotError


def three_rows(**fingerprint):
    return Snapshot(
        rows={"state": torch.arange(6.0).reshape(3, 2), "clock": torch.arange(3)},
        obs={"policy": torch.ones(3, 4)},
        fingerprint={"state": "float32[2]", "clock": "int64[]", **fingerprint},
    )


@pytest.mark.parametrize(
    ("index", "rows"),
    [
        (1, [1]),
        (-1, [2]),
        (slice(0, 2), [0, 1]),
        ([2, 0, 2], [2, 0, 2]),
        (torch.tensor([True, False, True]), [0, 2]),
    ],
)
def test_rows_of_a_snapshot_are_a_snapshot(index, rows):
    whole = three_rows()
    part = whole[index]
    assert len(part) == len(rows)
    assert part.rows["clock"].tolist() == rows
    assert part.rows["state"].tolist() == whole.rows["state"][rows].tolist()
    part.rows["state"].zero_()
    assert whole.rows["state"].sum() == 15  # memory of its own


def test_it_says_what_it_holds_in_one_line():
    assert repr(three_rows()) == "Snapshot(3 rows, 2 slots, 0.1 kB)"


def test_a_file_gives_back_what_was_saved(tmp_path):
    path = three_rows().save(tmp_path / "deep" / "rows.pt")
    assert [file.name for file in path.parent.iterdir()] == ["rows.pt"]
    loaded = Snapshot.load(path)
    assert loaded.fingerprint == three_rows().fingerprint
    for name, rows in three_rows().rows.items():
        assert torch.equal(loaded.rows[name], rows)
        assert loaded.rows[name].dtype == rows.dtype


def test_a_file_that_fails_half_way_leaves_the_old_one(tmp_path, monkeypatch):
    path = three_rows().save(tmp_path / "rows.pt")
    before = path.read_bytes()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(snapshot_module.os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        three_rows().save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_files_that_are_no_snapshots_are_refused(tmp_path):
    with pytest.raises(SnapshotError, match="no file"):
        Snapshot.load(tmp_path / "missing.pt")
    torch.save({"weights": torch.ones(2)}, tmp_path / "model.pt")
    with pytest.raises(SnapshotError, match="no snapshot"):
        Snapshot.load(tmp_path / "model.pt")
    (tmp_path / "torn.pt").write_bytes(three_rows().save(tmp_path / "rows.pt").read_bytes()[:200])
    with pytest.raises(SnapshotError, match="can't be read"):
        Snapshot.load(tmp_path / "torn.pt")
    torch.save({"holdstep_snapshot": 99}, tmp_path / "newer.pt")
    with pytest.raises(SnapshotError, match=r"format 99.*upgrade"):
        Snapshot.load(tmp_path / "newer.pt")


def test_differences_between_tasks_are_listed():
    ours = {"state": "float32[3]", "extra": "bool[]", "clock": "int64[]"}
    with pytest.raises(SnapshotError) as caught:
        check_fits(three_rows(gone="int8[]"), ours, 3)
    message = str(caught.value)
    assert "state: float32[2] in the snapshot, float32[3] here" in message
    assert "extra: not in the snapshot, bool[] here" in message
    assert "gone: int8[] in the snapshot, not here" in message
    assert "clock" not in message


def test_buffers_that_are_not_made_yet_fit():
    check_fits(three_rows(), {"state": NOT_MADE_YET, "clock": "int64[]"}, 3)


def test_as_many_rows_as_there_are():
    with pytest.raises(SnapshotError, match="3 rows, 2 env_ids"):
        check_fits(three_rows(), three_rows().fingerprint, 2)
