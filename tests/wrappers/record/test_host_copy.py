"""Copies in host memory: nobody else has them, whatever happens to what they were made of."""

import pytest
import torch

from holdstep.errors import RecordingError
from holdstep.wrappers.record.host_copy import HostCopy

needs_gpu = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
DEVICES = ["cpu", pytest.param("cuda", marks=needs_gpu)]


@pytest.mark.parametrize("device", DEVICES)
def test_a_copy_is_of_the_moment_and_nobody_elses(device):
    live = torch.arange(12.0, device=device).reshape(4, 3)
    rows = [torch.tensor([True, False], device=device), torch.tensor([False, False], device=device)]
    copy = HostCopy({"obs": {"policy": live, "half": live.bfloat16()}, "flags": rows})
    live.fill_(-1.0)
    rows[0].fill_(False)
    arrays = copy.arrays()
    assert set(arrays) == {"obs/policy", "obs/half", "flags"}
    assert arrays["obs/policy"].tolist() == torch.arange(12.0).reshape(4, 3).tolist()
    assert arrays["obs/half"].dtype == "float32"
    assert arrays["flags"].tolist() == [[True, False], [False, False]]
    assert copy.tensors()["obs"]["policy"].device.type == "cpu"
    assert copy.num_bytes == 4 * 12 + 4 * 12 + 4


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_copies_from_a_gpu_are_made_beside_it_and_of_the_moment():
    """A canary: the live buffer is overwritten at once, 300 times, behind a long computation."""
    live = torch.zeros(1 << 20, device="cuda")
    busy = torch.rand(4096, 4096, device="cuda")
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        copies = []
        for number in range(300):
            busy = (busy @ busy).clamp_(0, 1)
            live.fill_(float(number))
            copies.append(HostCopy({"live": live}))
            live.fill_(-1.0)
            temporary = torch.full((1 << 20,), -2.0, device="cuda")  # reuses freed memory
            del temporary
            if len(copies) == 10:
                torch.cuda.set_sync_debug_mode("default")
                for index, copy in enumerate(copies):
                    assert bool((copy.arrays()["live"] == number - 9 + index).all())
                copies.clear()
                torch.cuda.set_sync_debug_mode("error")
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_other_things_are_refused():
    with pytest.raises(RecordingError, match="'a/b' is a str"):
        HostCopy({"a": {"b": "text"}})
