"""What is copied between devices is complete when it is read, and a GPU is not waited for."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from holdstep.policies import TorchChunkedPolicy
from holdstep.policies.chunked.transfers import moved, uploaded
from holdstep.policies.lerobot.features import FeatureMapping
from tests.policies.chunked.test_check_result import request_of

CPU = torch.device("cpu")


class Copied(torch.Tensor):
    """Notes which of its copies to the host are not waited for."""

    unfinished: list

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is torch.Tensor.to and kwargs.get("non_blocking"):
            device = kwargs.get("device", args[1] if len(args) > 1 else None)
            if torch.device(device).type == "cpu":
                cls.unfinished.append(args[0])
        return super().__torch_function__(func, types, args, kwargs)


@pytest.fixture
def copied():
    Copied.unfinished = []
    return lambda tensor: tensor.as_subclass(Copied)


def test_a_copy_to_the_host_is_waited_for(copied):
    """A copy to the host that is not waited for arrives after it was read."""
    tensor = copied(torch.zeros(2))
    moved(tensor, CPU, torch.float64)
    assert not Copied.unfinished
    tensor.to("cpu", non_blocking=True)
    assert len(Copied.unfinished) == 1  # it would have been seen


def test_a_network_on_the_host_reads_no_unfinished_copies(copied):
    network = torch.nn.Sequential(torch.nn.Linear(1, 8), torch.nn.Unflatten(1, (4, 2)))
    policy = TorchChunkedPolicy(network, chunk_length=4, action_dim=2, obs_keys="policy")
    request = request_of(3)
    request.obs["policy"] = copied(request.obs["policy"])
    policy.infer(request)
    assert not Copied.unfinished


def test_features_on_the_host_are_no_unfinished_copies(copied):
    feature = SimpleNamespace(shape=(3,), type=SimpleNamespace(value="STATE"))
    mapping = FeatureMapping({"observation.state": feature}, {"observation.state": "policy"})
    features = mapping({"policy": copied(torch.ones(2, 3))}, device=CPU)
    assert features["observation.state"].tolist() == [[1.0] * 3] * 2
    assert not Copied.unfinished


def test_uploads_on_a_cpu_are_no_copies():
    array = np.arange(3)
    tensor = uploaded(array, CPU)
    array[0] = 7
    assert tensor.tolist() == [7, 1, 2]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_what_comes_from_a_busy_gpu_has_arrived():
    numbers = torch.zeros(1 << 20, device="cuda")
    torch.cuda._sleep(100_000_000)
    numbers.fill_(1.0)
    assert moved(numbers, CPU).min() == 1.0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("size", [1000, 100_000])
def test_a_busy_gpu_is_not_waited_for_and_the_arrays_may_be_written_to_at_once(size):
    device = torch.device("cuda", 0)
    arrays = [np.full(size, value) for value in range(20)]
    uploaded(arrays[0], device)  # sets up what is set up once
    torch.cuda.synchronize()
    torch.cuda._sleep(400_000_000)
    slept = torch.cuda.Event()
    slept.record()
    tensors = [uploaded(array, device) for array in arrays]
    assert not slept.query()
    for array in arrays:
        array[:] = -1
    assert [int(tensor[-1]) for tensor in tensors] == list(range(20))
