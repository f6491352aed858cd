"""What a wire may cost, checked wherever the tests run."""

import contextlib
import socket

import pytest

from holdstep.policies.remote import GrootPolicy
from holdstep.policies.remote.msgpack_writer import MessageWriter
from tests.benchmarks.remote_wire import (
    CHUNK_LENGTH,
    GROOT,
    move,
    peers,
    plain_bytes,
    request_of,
    turns,
)

pytestmark = pytest.mark.timing

LIMIT = 2.0


@pytest.fixture(scope="module")
def ports():
    with peers("tcp", "groot") as ports:
        yield ports


@pytest.fixture(scope="module")
def bare(ports):
    with socket.create_connection(("127.0.0.1", ports[0])) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield connection


def ratio(bare, port):
    """An inference of 64 rows with two cameras (19 MB), over the same bytes through a bare socket.

    Of the quickest of the turns, since other programs on the machine only make a turn slower.
    """
    request = request_of(64, 224)
    message = plain_bytes(GROOT.observation(request))
    assert len(message) > 19_000_000
    policy = GrootPolicy(port=port, mapping=GROOT, chunk_length=CHUNK_LENGTH)
    with contextlib.closing(policy):
        ways = {"bare": lambda: move(bare, message), "policy": lambda: policy.infer(request)}
        times = turns(ways, 25)
    return min(times["policy"]) / min(times["bare"])


def test_nineteen_megabytes_cost_at_most_twice_a_bare_socket(ports, bare):
    assert ratio(bare, ports[1]) <= LIMIT


def test_a_plain_encoder_would_be_seen(ports, bare, monkeypatch):
    def plain(self, message, allocate=None):
        return memoryview(plain_bytes(message["data"]["observation"]))

    monkeypatch.setattr(MessageWriter, "pack", plain)
    assert ratio(bare, ports[1]) > LIMIT
