"""Episodes written to HDF5 files and read back."""

import errno
import os
import subprocess
import sys

import h5py
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp

from holdstep.errors import ConfigError, DatasetError
from holdstep.wrappers.record.episode import Episode
from holdstep.wrappers.record.files import Files
from holdstep.wrappers.record.formats.hdf5 import (
    list_episodes,
    open_shard,
    read_array,
    read_env_args,
    read_episode,
    read_total,
    write_shard,
)
from tests.wrappers.record.made_episodes import (
    ENV_ARGS,
    assert_same,
    assert_same_array,
    made_episode,
)

DTYPES = ["bool", "u1", "i1", "u2", "i2", "f2", "u4", "i4", "f4", "u8", "i8", "f8"]


def read_all(path):
    with open_shard(path) as file:
        return [read_episode(file, entry.name) for entry in list_episodes(file)]


def test_what_is_read_is_what_was_written(tmp_path):
    episodes = [
        made_episode(0, image=(6, 8, 3)),
        made_episode(1, 1, ended="truncated", success=None, image=(6, 8, 3)),
        made_episode(2, 9, ended="reset", success=False, final=False, image=(6, 8, 3)),
    ]
    write_shard(tmp_path / "a.hdf5", episodes, env_args=ENV_ARGS)
    for found, expected in zip(read_all(tmp_path / "a.hdf5"), episodes, strict=True):
        assert_same(found, expected)
    with open_shard(tmp_path / "a.hdf5") as file:
        assert read_env_args(file) == ENV_ARGS
        assert read_total(file) == 5 + 1 + 9


names = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=("Cs",)), min_size=1, max_size=6
).filter(lambda name: name not in (".", ".."))
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@st.composite
def episodes(draw):
    num_steps = draw(st.integers(1, 5))
    paths = draw(st.lists(st.lists(names, min_size=1, max_size=3).map("/".join), max_size=5))
    arrays = {}
    for path in paths:
        if any(f"{other}/".startswith(f"{path}/") or f"{path}/".startswith(f"{other}/")
               for other in arrays):  # fmt: skip
            continue
        shape = (num_steps, *draw(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)))
        # From bytes: NaNs of any payload, and truth values, must come back as they were.
        dtype = np.dtype(draw(st.sampled_from(DTYPES)))
        if dtype.kind == "b":
            arrays[path] = draw(hnp.arrays(bool, shape))
        else:
            size = int(np.prod(shape)) * dtype.itemsize
            content = draw(st.binary(min_size=size, max_size=size))
            arrays[path] = np.frombuffer(content, dtype).reshape(shape)
    reserved = ("num_samples", "success", "ended", "attributes_json")
    attributes = draw(
        st.dictionaries(st.text().filter(lambda name: name not in reserved), plain, max_size=4)
    )
    ended = draw(st.sampled_from(["terminated", "truncated", "reset", "closed"]))
    success = draw(st.sampled_from([None, True, False]))
    return Episode(draw(names), num_steps, arrays, ended, success, attributes)


@settings(max_examples=100, deadline=None)
@given(episodes(), st.sampled_from(["none", "gzip"]))
def test_any_episode_comes_back_bit_for_bit(tmp_path_factory, episode, compression):
    path = tmp_path_factory.mktemp("shards") / "a.hdf5"
    write_shard(path, [episode], env_args={}, compression=compression)
    (found,) = read_all(path)
    assert_same(found, episode)
    path.unlink()


@pytest.mark.parametrize("compression", ["none", "gzip", "lz4", "zstd"])
def test_compressions(tmp_path, compression):
    if compression in ("lz4", "zstd"):
        pytest.importorskip("hdf5plugin", reason="the extra 'compression' is not installed")
    episode = made_episode(0, 300, image=(64, 64, 3))
    episode.arrays["obs/front"][:] = 7  # compresses well
    episode.arrays["obs/policy"][:] = 0.5
    write_shard(tmp_path / "a.hdf5", [episode], env_args={}, compression=compression)
    (found,) = read_all(tmp_path / "a.hdf5")
    assert_same(found, episode)
    size = (tmp_path / "a.hdf5").stat().st_size
    raw = sum(array.nbytes for array in episode.arrays.values())
    assert size < 0.1 * raw if compression != "none" else size < 1.05 * raw + 20_000


READ = """
import sys
if sys.argv[2] == "without":
    sys.modules["hdf5plugin"] = None
from holdstep.wrappers.record import Dataset
arrays = Dataset(sys.argv[1])[0].arrays
print(arrays["obs/policy"].shape, arrays["initial_state/articulation/robot/root_pose"].shape)
"""


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
def test_what_reading_needs(tmp_path, compression):
    """In processes that have not compressed anything before."""
    pytest.importorskip("hdf5plugin", reason="the extra 'compression' is not installed")
    path = tmp_path / "a.hdf5"
    write_shard(path, [made_episode(0, 300)], env_args={}, compression=compression)
    for plugin in ("with", "without"):
        command = [sys.executable, "-c", READ, str(path), plugin]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if plugin == "with":
            assert done.stdout == "(300, 4) (1, 7)\n", done.stderr
        else:
            assert "MissingExtraError" in done.stderr
            assert 'pip install "holdstep[compression]"' in done.stderr


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_images_are_one_frame_a_chunk(tmp_path, compression):
    if compression == "zstd":
        pytest.importorskip("hdf5plugin", reason="the extra 'compression' is not installed")
    episode = made_episode(0, 20, image=(64, 64, 3))
    write_shard(tmp_path / "a.hdf5", [episode], env_args={}, compression=compression)
    with h5py.File(tmp_path / "a.hdf5") as file:
        assert file["data/demo_0/obs/front"].chunks == (1, 64, 64, 3)
        # Shorter than a chunk would be, they are one.
        assert file["data/demo_0/obs/robot/joints"].chunks in (None, (20, 3))


def test_a_part_of_an_array(tmp_path):
    episode = made_episode(0, 30, image=(64, 64, 3))
    write_shard(tmp_path / "a.hdf5", [episode], env_args={}, compression="gzip")
    with open_shard(tmp_path / "a.hdf5") as file:
        for path, (start, stop) in {
            "obs/front": (7, 8),
            "rewards": (3, 30),
            "actions": (28, 99),
        }.items():
            part = read_array(file, "demo_0", path, start=start, stop=stop)
            assert_same_array(part, episode.arrays[path][start:stop])
        assert read_array(file, "demo_0", "actions", start=40, stop=50).shape == (0, 2)


@pytest.mark.parametrize(
    "value",
    [
        *(None, True, False, 0, -1, 1 << 40, 1 << 63, -(1 << 70), 0.1, -0.0, 1e300),
        *("", "a\0b", "\0", "ä", "\ud800", [], [1, None], {"a": {"b": [0.5]}}),
    ],
)
def test_attributes(tmp_path, value):
    episode = made_episode(0, attributes={"it": value, "other": 1})
    write_shard(tmp_path / "a.hdf5", [episode], env_args={})
    (found,) = read_all(tmp_path / "a.hdf5")
    assert dict(found.attributes) == {"it": value, "other": 1}
    assert type(found.attributes["it"]) is type(value)
    assert str(found.attributes["it"]) == str(value)  # -0.0, and 1 is not True
    if isinstance(value, bool | float) or (isinstance(value, int) and abs(value) < 1 << 62):
        with h5py.File(tmp_path / "a.hdf5") as file:  # where other programs find it
            assert file["data/demo_0"].attrs["it"] == value


def test_others_find_what_they_look_for(tmp_path):
    """Plain h5py, as Isaac Lab and robomimic use it."""
    write_shard(
        tmp_path / "a.hdf5", [made_episode(0), made_episode(1, success=None)], env_args=ENV_ARGS
    )
    with h5py.File(tmp_path / "a.hdf5") as file:
        assert file.attrs["format_version"] == 1
        assert file["data"].attrs["total"] == 10
        demo = file["data/demo_0"]
        assert demo.attrs["num_samples"] == 5
        assert demo.attrs["success"] is np.True_
        assert demo.attrs["seed"] == 0
        assert "success" not in file["data/demo_1"].attrs
        assert demo["terminated"].dtype == bool
        assert isinstance(file["data"].attrs["env_args"], str)


def test_episodes_are_in_the_order_of_their_numbers(tmp_path):
    numbers = [10, 2, 0, 11, 1]
    write_shard(tmp_path / "a.hdf5", [made_episode(n) for n in numbers], env_args={})
    with open_shard(tmp_path / "a.hdf5") as file:
        assert [e.name for e in list_episodes(file)] == [f"demo_{n}" for n in sorted(numbers)]


def test_many_episodes_and_the_same_bytes_each_time(tmp_path):
    for name in "ab":
        episodes = (made_episode(n, 1 + n % 3) for n in range(120))
        write_shard(tmp_path / name, episodes, env_args=ENV_ARGS)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert len(read_all(tmp_path / "a")) == 120


def test_poses_in_the_order_wxyz_are_not_marked_as_xyzw(tmp_path):
    write_shard(tmp_path / "a.hdf5", [made_episode()], env_args=ENV_ARGS | {"quaternion": "wxyz"})
    with h5py.File(tmp_path / "a.hdf5") as file:
        assert "format_version" not in file.attrs


def test_what_exists_is_not_written_over(tmp_path):
    write_shard(tmp_path / "a.hdf5", [made_episode()], env_args={})
    before = (tmp_path / "a.hdf5").read_bytes()
    with pytest.raises(FileExistsError):
        write_shard(tmp_path / "a.hdf5", [made_episode()], env_args={})
    assert (tmp_path / "a.hdf5").read_bytes() == before


def with_arrays(**arrays):
    return Episode("demo_0", 2, {path.replace("__", "/"): a for path, a in arrays.items()})


def test_hdf5_never_finds_a_full_disk(tmp_path):
    """It would take the process down; so there is room for all that it writes, or an error."""

    class Measured(Files):
        room = 0

        def reserve(self, path, num_bytes):
            assert path.stat().st_size <= max(self.room, 4096)
            self.room = num_bytes
            super().reserve(path, num_bytes)

    class Full(Files):
        def reserve(self, path, num_bytes):
            if num_bytes > 100_000:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    episodes = [made_episode(n, 300) for n in range(3)]
    files, path = Measured(), tmp_path / "a.hdf5"
    masks = {"all": [episode.name for episode in episodes]}
    write_shard(path, episodes, env_args=ENV_ARGS, masks=masks, files=files)
    size = path.stat().st_size
    assert size <= files.room
    with h5py.File(path) as file:  # what was too much is cut off again
        assert size == file.id.get_filesize()
        assert list(file["mask/all"]) == [b"demo_0", b"demo_1", b"demo_2"]
    with pytest.raises(OSError, match="No space left"):
        write_shard(tmp_path / "b.hdf5", episodes, env_args=ENV_ARGS, files=Full())


@pytest.mark.parametrize(
    ("episodes", "message"),
    [
        ([made_episode(0), made_episode(0)], "Two episodes are named 'demo_0'"),
        ([Episode("a/b", 1, {})], "no name in a file"),
        ([Episode("demo_0", 1, {}, attributes={"success": 1})], r"attributes \['success'\]"),
        ([Episode("demo_0", 1, {}, attributes={"a": {1, 2}})], "set"),
        ([with_arrays(obs=np.zeros(2), obs__a=np.zeros(2))], "arrays below that name"),
        ([with_arrays(**{"obs/../x": np.zeros(2)})], "no path in a file"),
        ([with_arrays(text=np.array(["a", "b"]))], "can be written"),
        ([with_arrays(one=np.array(1.0))], "with time as their first axis"),
        ([with_arrays(c=np.zeros(2, complex))], "complex128"),
    ],
)
def test_what_could_not_be_read_back_is_refused(tmp_path, episodes, message):
    with pytest.raises(DatasetError, match=message):
        write_shard(tmp_path / "a.hdf5", episodes, env_args={})


def test_an_unknown_compression_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="none, lz4, zstd, gzip; got 'lzo'"):
        write_shard(tmp_path / "a.hdf5", [], env_args={}, compression="lzo")
    assert not (tmp_path / "a.hdf5").exists()
