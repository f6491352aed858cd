"""What asking a policy over a wire costs beside moving the same bytes through a bare socket.

    python tests/benchmarks/remote_wire.py --num-envs 16 64 256

The peers are processes of their own. Prints one JSON line per measurement.
"""

from __future__ import annotations

import contextlib
import io
import json
import multiprocessing
import socket
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgpack
import numpy as np
import torch
import tyro
import zmq

from holdstep.policies.chunked.protocol import ChunkRequest, ChunkResult, ChunkSpec
from holdstep.policies.remote import (
    GrootMapping,
    GrootPolicy,
    GrootServer,
    OpenPiMapping,
    OpenPiPolicy,
    OpenPiServer,
)
from holdstep.policies.remote.groot_wire import groot_writer
from tests.benchmarks.measure import machine

if TYPE_CHECKING:
    from multiprocessing.queues import Queue

CAMERAS = ("camera/front", "camera/wrist")
CHUNK_LENGTH, ACTION_DIM = 16, 7


@dataclass
class Arguments:
    """What to measure."""

    num_envs: tuple[int, ...] = (16, 64, 256)
    """Rows."""

    image_size: int = 224
    """Edge of the square images; two for each row [pixels]."""

    rounds: int = 25
    """Turns; the median over them counts."""


class QuickPolicy:
    """Answers at once, so that only the wire is measured."""

    spec = ChunkSpec(chunk_length=CHUNK_LENGTH, action_dim=ACTION_DIM)

    def infer(self, request: ChunkRequest) -> ChunkResult:
        """Zeros."""
        return ChunkResult(actions=torch.zeros(len(request), CHUNK_LENGTH, ACTION_DIM))

    def reset(self, env_ids: torch.Tensor, episode_ids: torch.Tensor) -> None:
        """Nothing is remembered."""


def serve(protocol: str, ports: Queue[int]) -> None:
    """A peer: a policy server, or one that takes messages and says that it has them."""
    torch.set_num_threads(1)
    if protocol == "zmq":
        listener = zmq.Context().socket(zmq.REP)
        ports.put(listener.bind_to_random_port("tcp://127.0.0.1"))
        while True:
            listener.recv(copy=False)
            listener.send(b"x")
    elif protocol == "tcp":
        with socket.create_server(("127.0.0.1", 0)) as server:
            ports.put(server.getsockname()[1])
            _take_messages(server.accept()[0])
    else:
        with {"groot": GrootServer, "openpi": OpenPiServer}[protocol](QuickPolicy()) as running:
            ports.put(running.port)
            time.sleep(3600)


def _take_messages(connection: socket.socket) -> None:
    buffer = memoryview(bytearray(0))
    while size := int.from_bytes(connection.recv(8, socket.MSG_WAITALL), "little"):
        if len(buffer) != size:
            buffer = memoryview(bytearray(size))
        connection.recv_into(buffer, size, socket.MSG_WAITALL)
        connection.sendall(b"x")


def move(connection: socket.socket, message: bytes) -> None:
    """Send a message to the ``"tcp"`` peer, and wait until it has it."""
    connection.sendall(len(message).to_bytes(8, "little"))
    connection.sendall(message)
    connection.recv(1)


@contextlib.contextmanager
def peers(*protocols: str) -> Iterator[list[int]]:
    """Ports of peers, each a process of its own."""
    context = multiprocessing.get_context("spawn")
    ports = [context.Queue() for _ in protocols]
    processes = [
        context.Process(target=serve, args=pair, daemon=True)
        for pair in zip(protocols, ports, strict=True)
    ]
    try:
        for process in processes:
            process.start()
        yield [port.get(timeout=120) for port in ports]
    finally:
        for process in processes:
            process.kill()
            process.join()


def request_of(num_envs: int, edge: int) -> ChunkRequest:
    """Rows with two cameras."""
    ids = torch.arange(num_envs)
    obs = {
        key: torch.randint(0, 256, (num_envs, edge, edge, 3), dtype=torch.uint8) for key in CAMERAS
    }
    obs["policy"] = torch.randn(num_envs, 14)
    return ChunkRequest(
        obs=obs,
        env_ids=ids,
        episode_ids=ids,
        chunk_ids=ids,
        seeds=ids,
        instructions=["pick up the cube"] * num_envs,
    )


def plain_bytes(observation: dict[str, Any]) -> bytes:
    """The same message as ``msgpack`` and ``np.save`` make it."""

    def encoded(value: Any) -> Any:
        file = io.BytesIO()
        np.save(file, value.numpy(), allow_pickle=False)
        return {"__ndarray_class__": True, "as_npy": file.getvalue()}

    message = {"endpoint": "get_action", "data": {"observation": observation, "options": None}}
    packed: bytes = msgpack.packb(message, default=encoded)
    return packed


GROOT = GrootMapping(
    video={"front": CAMERAS[0], "wrist": CAMERAS[1]},
    state={"arm": "policy"},
    action={"action": ACTION_DIM},
    language_key="task",
)
OPENPI = OpenPiMapping(
    images={"image": CAMERAS[0], "wrist_image": CAMERAS[1]},
    state={"state": "policy"},
    action_dim=ACTION_DIM,
)


def measure(num_envs: int, arguments: Arguments) -> list[dict[str, Any]]:
    """All measurements for a number of rows; the ways take turns."""
    request = request_of(num_envs, arguments.image_size)
    message = bytes(groot_writer().pack({"data": GROOT.observation(request)}))
    with contextlib.ExitStack() as stack:
        ports = stack.enter_context(peers("zmq", "tcp", "groot", "openpi"))
        context = stack.enter_context(zmq.Context())
        bare, plain = (stack.enter_context(context.socket(zmq.REQ)) for _ in range(2))
        bare.connect(f"tcp://127.0.0.1:{ports[0]}")
        plain.connect(f"tcp://127.0.0.1:{ports[2]}")
        tcp = stack.enter_context(socket.create_connection(("127.0.0.1", ports[1])))
        tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        groot = GrootPolicy(port=ports[2], mapping=GROOT, chunk_length=CHUNK_LENGTH)
        openpi = OpenPiPolicy(port=ports[3], mapping=OPENPI, chunk_length=CHUNK_LENGTH)
        stack.callback(groot.close)
        stack.callback(openpi.close)

        def over_zmq() -> None:
            bare.send(message, copy=False)
            bare.recv()

        def plainly_encoded() -> None:
            plain.send(plain_bytes(GROOT.observation(request)))
            plain.recv()

        ways: dict[str, Callable[[], object]] = {
            "bare ZMQ socket": over_zmq,
            "bare TCP socket": lambda: move(tcp, message),
            "GrootPolicy": lambda: groot.infer(request),
            "msgpack + np.save over ZMQ": plainly_encoded,
            "OpenPiPolicy": lambda: openpi.infer(request),
        }
        taken = turns(ways, arguments.rounds)
    times = {way: statistics.median(values) for way, values in taken.items()}
    return [
        {
            "benchmark": "remote policies",
            "what": way,
            "num_envs": num_envs,
            "megabytes": round(len(message) / 1e6, 1),
            "ms": round(times[way] * 1e3, 2),
            "ratio_zmq": round(times[way] / times["bare ZMQ socket"], 2),
            "ratio_tcp": round(times[way] / times["bare TCP socket"], 2),
            **machine(torch.device("cpu")),
        }
        for way in ways
    ]


def turns(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Times [s] of each way, all taking turns."""
    times: dict[str, list[float]] = {way: [] for way in ways}
    for turn in range(rounds + 3):
        for way, once in ways.items():
            start = time.perf_counter()
            once()
            if turn >= 3:  # the first ones touch new memory
                times[way].append(time.perf_counter() - start)
    return times


def main(arguments: Arguments) -> list[dict[str, Any]]:
    """Measure and print."""
    lines = []
    for num_envs in arguments.num_envs:
        for line in measure(num_envs, arguments):
            print(json.dumps(line), flush=True)
            lines.append(line)
    return lines


if __name__ == "__main__":
    main(tyro.cli(Arguments))
    sys.stdout.flush()
