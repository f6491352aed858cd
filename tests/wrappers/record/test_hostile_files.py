"""Files that are damaged, of another layout, or made to harm: a named error, whatever is read."""

import subprocess
import sys

import h5py
import numpy as np
import pytest

from holdstep.errors import DatasetError
from holdstep.wrappers.record import Dataset
from holdstep.wrappers.record.formats.hdf5 import write_shard
from holdstep.wrappers.record.tools.validate import validate
from tests.wrappers.record.made_episodes import ENV_ARGS, made_episode


@pytest.fixture
def path(tmp_path):
    write_shard(tmp_path / "a.hdf5", [made_episode(0), made_episode(1)], env_args=ENV_ARGS)
    return tmp_path / "a.hdf5"


def read_everything(path):
    with Dataset(path) as dataset:
        for episode in dataset:
            for name in episode.arrays:
                episode.arrays[name]
        assert isinstance(dataset.env_args, dict)
        dataset.shapes()
        return dataset.total_steps


def demo_0(change):
    def changed(file):
        change(file["data/demo_0"])

    return changed


def replaced(name, *args, **kwargs):
    def change(demo):
        del demo[name]
        demo.create_dataset(name, *args, **kwargs)

    return demo_0(change)


def with_attribute(name, value):
    return demo_0(lambda demo: demo.attrs.__setitem__(name, value))


def without_data(file):
    del file["data"]


def data_as_an_array(file):
    del file["data"]
    file["data"] = np.zeros(3)


def episode_as_an_array(file):
    file["data/demo_2"] = np.zeros(3)


def episode_elsewhere(file):
    file["data/demo_2"] = h5py.ExternalLink("other.hdf5", "/data/demo_0")


def array_elsewhere(file):
    file["data/demo_0/obs/other"] = h5py.ExternalLink("other.hdf5", "/data/demo_0/actions")


def soft_link(file):
    file["data/demo_0/obs/other"] = h5py.SoftLink("/data/demo_1/actions")


def circle(file):
    file["data/demo_0/obs/again"] = file["data/demo_0"]


def bomb_of_groups(file):
    group = file["data/demo_0/obs"]
    for _ in range(12):
        below = group.create_group("a")
        for name in "bcdefgh":
            group[name] = below
        group = below


def virtual(file):
    layout = h5py.VirtualLayout((5, 2), "f4")
    layout[:] = h5py.VirtualSource("other.hdf5", "/data/demo_0/actions", (5, 2))
    del file["data/demo_0/actions"]
    file["data/demo_0"].create_virtual_dataset("actions", layout)


def foreign_bytes(file):
    del file["data/demo_0/actions"]
    file["data/demo_0"].create_dataset("actions", (5,), "u1", external=[("/etc/hostname", 0, 5)])


def text_env_args(text):
    return lambda file: file["data"].attrs.__setitem__("env_args", text)


HOSTILE = {
    "no group of episodes": (without_data, "no group /data"),
    "data is an array": (data_as_an_array, "no group /data"),
    "an episode is an array": (episode_as_an_array, "/data/demo_2 is no group"),
    "an episode in another file": (episode_elsewhere, "demo_2 is a link to elsewhere"),
    "an array in another file": (array_elsewhere, "'obs/other' is a link to elsewhere"),
    "a soft link": (soft_link, "'obs/other' is a link to elsewhere"),
    "a group in itself": (circle, "more than 16 deep"),
    "a bomb of groups": (bomb_of_groups, "more than 10000 parts"),
    "a virtual array": (virtual, "has its data in other files"),
    "bytes of another file": (foreign_bytes, "has its data in other files"),
    "more than memory": (
        replaced("actions", (1 << 45,), "f4", chunks=(1 << 20,)),
        "more than the memory of this machine",
    ),
    "more than the file": (
        replaced("actions", (1 << 26, 2), "f4"),
        r"claims to be float32 \(67108864, 2\), of which the file holds 0 bytes",
    ),
    "more than its chunks": (
        replaced("actions", (1 << 20, 2), "f4", chunks=(1024, 2), compression="gzip"),
        "in 0 of 1024 chunks",
    ),
    "huge chunks": (
        replaced("actions", (1 << 30,), "u1", chunks=(1 << 30,), compression="gzip"),
        "in 0 of 1 chunks",
    ),
    "text": (replaced("actions", data=["a", "b", "c", "d", "e"]), "has arrays of numbers"),
    "a compound": (replaced("actions", data=np.zeros(5, "f4,i4")), "has arrays of numbers"),
    "no axis": (replaced("actions", data=3.0), "has arrays of numbers"),
    "no space": (replaced("actions", data=h5py.Empty("f4")), "has arrays of numbers"),
    "negative length": (with_attribute("num_samples", -1), "num_samples is -1"),
    "length in words": (with_attribute("num_samples", "five"), "num_samples is 'five'"),
    "several lengths": (with_attribute("num_samples", [5, 5]), "num_samples is"),
    "an unknown end": (with_attribute("ended", "exploded"), "it ended 'exploded'"),
    "an end in numbers": (with_attribute("ended", [1, 2]), "it ended"),
    "attributes that are no JSON": (with_attribute("attributes_json", "{"), "can't be read"),
    "attributes that are no object": (with_attribute("attributes_json", "[]"), "no JSON object"),
    "attributes in numbers": (with_attribute("attributes_json", 3), "can't be read"),
    "env_args that are no JSON": (text_env_args("{'a'"), "env_args can't be read"),
    "env_args that are a list": (text_env_args("[1]"), "env_args can't be read"),
    "env_args in depth": (text_env_args("[" * 100_000), "env_args can't be read"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file(path, name):
    change, message = HOSTILE[name]
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(DatasetError, match=message):
        read_everything(path)
    assert any("a.hdf5" in problem.where for problem in validate(path).problems)


def test_the_file_itself_is_fine(path):
    assert read_everything(path) == 10
    assert validate(path).problems == ()


@pytest.mark.parametrize("content", [b"", b"no HDF5 at all", b"\x89HDF\r\n\x1a\n" + 500 * b"\0"])
def test_no_hdf5(tmp_path, content):
    (tmp_path / "a.hdf5").write_bytes(content)
    with pytest.raises(DatasetError, match=r"a\.hdf5 can't be read: .*damaged, or no file"):
        Dataset(tmp_path / "a.hdf5")
    (problem,) = validate(tmp_path / "a.hdf5").problems
    assert "can't be read" in problem.what


def test_a_file_of_isaac_lab_that_is_cut_off(path):
    whole = path.read_bytes()
    for share in (0.1, 0.5, 0.9, 0.999):
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(DatasetError):
            read_everything(path)


FUZZ = """
import random, sys
from pathlib import Path
from holdstep.errors import DatasetError
from tests.wrappers.record.test_hostile_files import read_everything
path, seed = Path(sys.argv[1]), int(sys.argv[2])
whole, outcomes = path.read_bytes(), []
for number in range(150):
    chance = random.Random(f"{seed}/{number}")
    damaged = bytearray(whole)
    for _ in range(chance.choice([1, 1, 4, 64])):
        damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
    path.write_bytes(damaged)
    print(number, flush=True)
    try:
        read_everything(path)
        outcomes.append("read")
    except DatasetError:
        outcomes.append("refused")
print(outcomes.count("read"), outcomes.count("refused"))
"""


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_random_damage_gives_a_dataset_error_or_nothing(tmp_path, compression):
    """In a process of its own: what is tested is that it survives."""
    write_shard(
        tmp_path / "a.hdf5",
        [made_episode(0), made_episode(1)],
        env_args=ENV_ARGS,
        compression=compression,
    )
    command = [sys.executable, "-c", FUZZ, str(tmp_path / "a.hdf5"), "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout[-200:] + done.stderr[-3000:]
    read, refused = map(int, done.stdout.splitlines()[-1].split())
    assert read + refused == 150
    assert refused > 20
