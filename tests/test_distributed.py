"""Which of several processes this is, and how they meet."""

import os
import socket
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from holdstep.distributed import (
    Rank,
    agreed,
    gathered,
    init_process_group,
    job_name,
    process_group,
)
from holdstep.errors import ConfigError
from tests.launch_ranks import run_ranks

VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


@pytest.fixture(autouse=True)
def _outside_of_torchrun(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def test_what_torchrun_says():
    assert Rank.of_environment({}) == Rank(0, 1, 0, 0)
    variables = {"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}
    assert Rank.of_environment(variables) == Rank(3, 8, 1)
    variables["TORCHELASTIC_RESTART_COUNT"] = "2"
    assert Rank.of_environment(variables).num_restarts == 2
    assert [Rank(number, 2).is_first for number in range(2)] == [True, False]


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"RANK": "x"}, "RANK must be an integer, got 'x'"),
        ({"WORLD_SIZE": "2.0"}, "WORLD_SIZE must be an integer"),
        ({"RANK": "2", "WORLD_SIZE": "2"}, "got RANK=2 and WORLD_SIZE=2"),
        ({"RANK": "1"}, "got RANK=1 and WORLD_SIZE=1"),
        ({"RANK": "-1", "WORLD_SIZE": "2"}, "RANK=-1"),
        ({"LOCAL_RANK": "-1"}, "count from 0"),
    ],
)
def test_what_can_not_be_is_refused(variables, message):
    with pytest.raises(ConfigError, match=message):
        Rank.of_environment(variables)


@given(st.integers(0, 100), st.integers(1, 9))
def test_each_thing_is_one_ranks(count, world_size):
    shares = [Rank(number, world_size).numbers(count) for number in range(world_size)]
    assert sorted(thing for share in shares for thing in share) == list(range(count))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_no_two_ranks_runs_or_times_have_a_seed_in_common():
    ranks = [Rank(number, 5) for number in range(5)]
    # Neighbours, as in a study of several seeds; and what a run has come to.
    seeds = [
        rank.seed(seed, *so_far)
        for rank in ranks
        for seed in range(40, 50)
        for so_far in ([], [0], [7], [1, 7], [2, 7])
    ]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert Rank(0, 5).seed(42) == Rank().seed(42) == 42
    assert Rank(1, 5).seed(42) == Rank(1, 2).seed(42), "more ranks change nothing for these"


@pytest.mark.parametrize(
    ("num_gpus", "local_number", "named", "expected"),
    [
        (0, 0, None, None),
        (0, 1, "cpu", "cpu"),
        (0, 1, "cuda", "cuda"),  # making the env says that there is none
        (2, 0, None, "cuda:0"),
        (2, 1, None, "cuda:1"),
        (2, 1, "cuda", "cuda:1"),
        (2, 1, "cuda:0", "cuda:0"),
        (2, 5, "cpu", "cpu"),
    ],
)
def test_devices(monkeypatch, num_gpus, local_number, named, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: num_gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: num_gpus)
    assert Rank(local_number, 6, local_number).device(named) == expected


@pytest.mark.parametrize("named", [None, "cuda"])
def test_more_ranks_than_gpus(monkeypatch, named):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ConfigError, match=r"finds 2 GPU.*--nproc-per-node 2.*--device cpu"):
        Rank(2, 3, 2).device(named)


def test_the_job_is_the_same_after_a_restart_and_no_other_one():
    assert job_name({}) is None
    assert job_name({"TORCHELASTIC_RUN_ID": "nightly-7"}) == "nightly-7"
    # As torchrun says where no id was given: its own process is all that there is to go by.
    assert job_name({"TORCHELASTIC_RUN_ID": "none"}) == f"{socket.gethostname()}:{os.getppid()}"


def test_one_process_needs_nobody():
    with process_group(Rank()):
        assert not torch.distributed.is_initialized()
        assert gathered("a") == ["a"]
        assert agreed("b") == "b"


@pytest.mark.parametrize("missing", ["MASTER_ADDR", "MASTER_PORT"])
def test_a_place_to_meet_is_needed(monkeypatch, missing):
    for name in {"MASTER_ADDR", "MASTER_PORT"} - {missing}:
        monkeypatch.setenv(name, "1")
    with pytest.raises(ConfigError, match=f"2 processes are to meet, and {missing} do not say"):
        init_process_group(Rank(0, 2))


def test_nccl_needs_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"finds none here.*backend='gloo'"):
        init_process_group(Rank(0, 2), backend="nccl")


def meet_again_and_again(_):
    """Groups one after the other; the first rank is late for each, and the other one early."""
    rank = Rank.of_environment()
    said = []
    for time in range(12):
        with process_group(rank):
            with process_group(rank):  # there is one: it is used, and left alone
                said.append(gathered((rank.number, time)))
            said.append(agreed(f"{rank.number} says {time}"))
        assert not torch.distributed.is_initialized()
    return said


def test_ranks_meet_again_and_again():
    """A group must not look for the others where those of the one before it were."""
    first, second = run_ranks("tests.test_distributed:meet_again_and_again", 2, "-")
    assert first == second
    assert first[::2] == [[[0, time], [1, time]] for time in range(12)]
    assert first[1::2] == [f"0 says {time}" for time in range(12)]


def test_importing_it_imports_no_torch():
    code = "import holdstep.wrappers.record.ranks, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
