import pytest
import torch

from holdstep.envs import canonical_device
from holdstep.errors import ConfigError


@pytest.mark.parametrize("device", ["cpu", "cpu:0", torch.device("cpu", 0)])
def test_the_cpu_has_no_index(device):
    assert canonical_device(device) == torch.zeros(1).device


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("gpu", "not a torch device"),
        ("meta", "run on CPUs and CUDA GPUs"),
        ("mps", "run on CPUs and CUDA GPUs"),
        (torch.device("meta"), "run on CPUs and CUDA GPUs"),
        (0, "a string or torch.device"),
        (None, "a string or torch.device"),
    ],
)
def test_what_no_env_runs_on_is_refused(device, message):
    with pytest.raises(ConfigError, match=message):
        canonical_device(device)


def test_a_gpu_has_the_index_of_one_that_is_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    assert canonical_device("cuda") == torch.device("cuda", 1)
    assert canonical_device("cuda:0") == torch.device("cuda", 0)
    with pytest.raises(ConfigError, match="'cuda:2' was asked for, but torch finds 2"):
        canonical_device("cuda:2")
