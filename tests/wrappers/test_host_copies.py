"""Tensors of a GPU that is not the current one are handed over when they have arrived."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from holdstep.wrappers import host_copies
from holdstep.wrappers.host_copies import HostCopies


def test_an_event_marks_the_stream_that_copies(monkeypatch):
    """Not that of the current device, which may be done long before."""
    device, streams = torch.device("cuda", 1), []
    event = SimpleNamespace(
        record=lambda stream=None: streams.append(stream),
        query=lambda: True,
        synchronize=lambda: None,
    )
    monkeypatch.setattr(torch.cuda, "Event", lambda: event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda of=None: ("stream of", of))
    monkeypatch.setattr(host_copies, "_pinned_like", torch.empty_like)
    arrived = []
    copies = HostCopies(device)
    copies.hand_over([torch.arange(3)], lambda arrays: arrived.append(arrays[0].tolist()))
    assert streams == [("stream of", device)]
    assert arrived == [[0, 1, 2]]


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_what_another_gpu_than_the_current_one_is_still_at_is_waited_for():
    device, arrived = torch.device("cuda", 1), []
    copies = HostCopies(device)
    assert torch.cuda.current_device() == 0
    for number in range(5):
        with torch.cuda.device(device):
            torch.cuda._sleep(50_000_000)
        tensor = torch.full((1 << 16,), number, device=device)
        copies.hand_over([tensor], lambda arrays: arrived.append(np.unique(arrays[0]).tolist()))
    copies.finish()
    assert arrived == [[number] for number in range(5)]
