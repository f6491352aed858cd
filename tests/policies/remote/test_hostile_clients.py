"""Servers against clients that mean no good: an error for them, service for everybody else."""

import contextlib
import socket
import time

import numpy as np
import pytest
import torch
import zmq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from holdstep.policies.remote import GrootPolicy, GrootServer, OpenPiPolicy, OpenPiServer
from tests.policies.remote import strangers
from tests.policies.remote.peers import STATE_GROOT, STATE_OPENPI, L, SeededPolicy, request_of
from tests.policies.remote.test_wire import HOSTILE, HOSTILE_GROOT, HOSTILE_NPY, HOSTILE_OPENPI

LIMIT = 4_000_000


class NeverSlow(SeededPolicy):
    slow_from = float("inf")  # a fuzzed state can be anything


@pytest.fixture(scope="module")
def groot():
    with GrootServer(NeverSlow(), max_message_bytes=LIMIT) as server:
        policy = GrootPolicy(port=server.port, mapping=STATE_GROOT, chunk_length=L)
        with contextlib.closing(policy):
            yield server, policy


@pytest.fixture(scope="module")
def openpi():
    with OpenPiServer(NeverSlow(), max_message_bytes=LIMIT) as server:
        policy = OpenPiPolicy(port=server.port, mapping=STATE_OPENPI, chunk_length=L)
        with contextlib.closing(policy):
            yield server, policy


def serves_well(policy):
    request = request_of(3, camera=False, instructions=False)
    return torch.equal(policy.infer(request).actions, SeededPolicy().infer(request).actions)


@contextlib.contextmanager
def stranger(port):
    with zmq.Context() as context, context.socket(zmq.REQ) as peer:
        peer.rcvtimeo, peer.linger = 5000, 0
        peer.connect(f"tcp://127.0.0.1:{port}")
        yield peer


def groot_request(**data):
    return strangers.groot_bytes({"endpoint": "get_action", "data": data})


STATE = np.zeros((2, 1, 5), np.float32)
BLOCKS = {
    "no map": [1],
    "other rows": {"env_ids": np.arange(3)},
    "floats": {"env_ids": np.zeros(2)},
    "negative": {"env_ids": np.array([-1, 2])},
    "a list": {"env_ids": [0, 1]},
    "seeds below zero": {"env_ids": np.arange(2), "seeds": np.array([-5, 1])},
    "a prefix of another type": {"env_ids": np.arange(2), "prefix": np.zeros((2, 1, 3))},
}
GROOT_REQUESTS = {
    **HOSTILE,
    **HOSTILE_GROOT,
    **{
        f"npy: {name}": strangers.groot_bytes(
            {"endpoint": "get_action", "data": {"__ndarray_class__": True, "as_npy": data}}
        )
        for name, data in HOSTILE_NPY.items()
    },
    "no map": strangers.groot_bytes([1, 2]),
    "unknown endpoint": strangers.groot_bytes({"endpoint": "__init__"}),
    "endpoint that is a map": strangers.groot_bytes({"endpoint": {"a": 1}}),
    "no data": strangers.groot_bytes({"endpoint": "get_action"}),
    "data that are a list": strangers.groot_bytes({"endpoint": "get_action", "data": [1]}),
    "no observation": groot_request(options=None),
    "video that is an array": groot_request(observation={"video": STATE}),
    "rows that differ": groot_request(
        observation={"state": {"state": STATE, "other": STATE[:1]}},
    ),
    "no rows": groot_request(observation={"state": {"state": STATE[:0]}}),
    "a scalar": groot_request(
        observation={"state": {"state": np.float32(1)[()] + STATE[0, 0, :1]}}
    ),
    "language that is text": groot_request(
        observation={"state": {"state": STATE}, "language": {"task": "pick"}}
    ),
    "language of numbers": groot_request(
        observation={"state": {"state": STATE}, "language": {"task": [[1], [2]]}}
    ),
    "language of other rows": groot_request(
        observation={"state": {"state": STATE}, "language": {"task": [["a"]] * 3}}
    ),
    **{
        f"rows: {name}": groot_request(
            observation={"state": {"state": STATE}}, options={"holdstep": block}
        )
        for name, block in BLOCKS.items()
    },
    "reset of nothing": strangers.groot_bytes(
        {"endpoint": "reset", "data": {"options": {"holdstep": {}}}}
    ),
    "reset of other episodes": strangers.groot_bytes(
        {
            "endpoint": "reset",
            "data": {
                "options": {"holdstep": {"env_ids": np.arange(2), "episode_ids": np.arange(3)}}
            },
        }
    ),
}


@pytest.mark.parametrize("name", GROOT_REQUESTS)
def test_a_groot_server_answers_nonsense_with_an_error(groot, name):
    server, policy = groot
    with stranger(server.port) as peer:
        peer.send(GROOT_REQUESTS[name])
        reply = strangers.groot_message(peer.recv())
        assert set(reply) == {"error"}
        assert len(reply["error"]) < 500
        assert "Traceback" not in reply["error"]
        peer.send(strangers.groot_bytes({"endpoint": "ping"}))
        assert strangers.groot_message(peer.recv())["status"] == "ok"
    assert serves_well(policy)


def test_a_groot_server_survives_several_parts_and_no_envelope(groot):
    server, policy = groot
    with stranger(server.port) as peer:
        peer.send_multipart([b"a", b"b"])
        assert "2 parts" in strangers.groot_message(peer.recv())["error"]
    with zmq.Context() as context, context.socket(zmq.DEALER) as peer:
        peer.linger = 0
        peer.connect(f"tcp://127.0.0.1:{server.port}")
        for frames in ([b"x"], [b"", b""], [b"", b"a", b"b"], [b"a", b"b", b"", b"c"]):
            peer.send_multipart(frames)
        time.sleep(0.1)
        assert serves_well(policy)


def test_a_groot_server_takes_no_message_above_its_limit(groot):
    server, policy = groot
    with stranger(server.port) as peer:
        peer.rcvtimeo = 500
        peer.send(b"\xc4" + b"x" * LIMIT)
        with pytest.raises(zmq.Again):
            peer.recv()
    assert serves_well(policy)


@pytest.mark.parametrize(
    "data", [b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 5000, b"\x00", b""], ids=repr
)
def test_servers_survive_raw_bytes(groot, openpi, data):
    for server, policy in (groot, openpi):
        with socket.create_connection(("127.0.0.1", server.port), timeout=3) as peer:
            peer.sendall(data)
        assert serves_well(policy)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_a_groot_server_survives_fuzzed_requests(groot, data):
    server, _ = groot
    options = {"holdstep": {"env_ids": np.arange(2)}}
    packed = bytearray(groot_request(observation={"state": {"state": STATE}}, options=options))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(packed) - 1))
        packed[place : place + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=4))
    with stranger(server.port) as peer:
        peer.send(bytes(packed))
        strangers.groot_message(peer.recv())


def observation(**changes):
    return strangers.openpi_bytes({"state": np.zeros(5, np.float32)} | changes)


OPENPI_REQUESTS = {
    **HOSTILE,
    **HOSTILE_OPENPI,
    "text": "hello",
    "no map": strangers.openpi_bytes([1]),
    "nothing": strangers.openpi_bytes({}),
    "prompt that is a number": observation(prompt=3),
    "another state": observation(state=np.zeros((), np.float32)),
    "rows: no map": observation(holdstep=[1]),
    "rows: two": observation(holdstep={"env_ids": np.arange(2)}),
    "reset of nothing": strangers.openpi_bytes({"holdstep": {"reset": {}}}),
    "reset of text": strangers.openpi_bytes({"holdstep": {"reset": "all"}}),
}


@pytest.mark.parametrize("name", OPENPI_REQUESTS)
def test_an_openpi_server_answers_nonsense_with_a_text(openpi, name):
    server, policy = openpi
    with connect(f"ws://127.0.0.1:{server.port}", proxy=None, compression=None) as peer:
        peer.recv(5)
        peer.send(OPENPI_REQUESTS[name])
        reply = peer.recv(5)
        assert isinstance(reply, str)
        assert len(reply) < 500
        assert "Traceback" not in reply
        with pytest.raises(ConnectionClosed) as closed:
            peer.recv(5)
        assert closed.value.rcvd.code == 1011
    assert serves_well(policy)


def test_an_openpi_server_takes_no_message_above_its_limit(openpi):
    server, policy = openpi
    with connect(f"ws://127.0.0.1:{server.port}", proxy=None, compression=None) as peer:
        peer.recv(5)
        with contextlib.suppress(ConnectionClosed):
            peer.send(b"x" * (LIMIT + 1))
        with pytest.raises(ConnectionClosed) as closed:
            peer.recv(5)
        assert closed.value.rcvd is None or closed.value.rcvd.code == 1009
    assert serves_well(policy)


def test_a_client_that_sends_and_goes_costs_nobody_else(groot, openpi):
    for _ in range(3):
        with stranger(groot[0].port) as peer:
            peer.send(groot_request(observation={"state": {"state": STATE}}))
        with connect(f"ws://127.0.0.1:{openpi[0].port}", proxy=None) as peer:
            peer.recv(5)
            peer.send(observation())
            peer.socket.close()
    assert serves_well(groot[1])
    assert serves_well(openpi[1])
