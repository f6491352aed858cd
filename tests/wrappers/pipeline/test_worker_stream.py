"""Memory of a GPU that crosses between the streams of a worker and of the env, without a GPU."""

from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch

from holdstep.wrappers.pipeline.worker_stream import WorkerStream, nothing


class OnGpu(torch.Tensor):
    """Says that it is, and notes which streams use it."""

    is_cuda = True

    def record_stream(self, stream):
        self.streams = [*getattr(self, "streams", []), stream]


@dataclass
class Pose:
    position: torch.Tensor
    name: str = "hand"


def values():
    tensors = [torch.zeros(1).as_subclass(OnGpu) for _ in range(5)]
    obs = {"policy": tensors[0]}
    inputs = {"poses": [Pose(tensors[1]), (tensors[2], {"deep": tensors[3]})], "gain": 2.0}
    return tensors, (obs, inputs, None, {tensors[4]}, torch.zeros(1))


@pytest.fixture
def stream(monkeypatch):
    order = []
    event = SimpleNamespace(record=lambda stream: order.append(("record", stream)))
    monkeypatch.setattr(torch.cuda, "Event", lambda: event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: "host")
    worker = WorkerStream(torch.device("cpu"))
    worker._stream = SimpleNamespace(device="gpu", wait_event=lambda e: order.append("wait"))
    worker.order = order
    return worker


def test_what_a_worker_is_handed_is_kept_until_its_stream_has_read_it(stream):
    tensors, value = values()
    take_over = stream.hand_over(value)
    assert stream.order == [("record", "host")]
    assert not any(hasattr(tensor, "streams") for tensor in tensors)
    take_over()
    assert stream.order == [("record", "host"), "wait"]
    assert all(tensor.streams == [stream._stream] for tensor in tensors)


def test_what_a_worker_has_made_is_kept_until_the_hosts_stream_has_read_it(stream):
    tensors, value = values()
    stream.taken(value)
    assert all(tensor.streams == ["host"] for tensor in tensors)


def test_on_a_cpu_there_is_nothing_to_do():
    stream = WorkerStream(torch.device("cpu"))
    tensors, value = values()
    assert stream.hand_over(value) is nothing
    stream.taken(value)
    assert not any(hasattr(tensor, "streams") for tensor in tensors)
