"""What goes wrong between a client and a server: killed, hung, late, garbage, restarted."""

import contextlib
import signal
import threading
import time

import numpy as np
import pytest
import torch
import zmq
from websockets.sync.server import serve

from holdstep.errors import (
    RemoteConnectionError,
    RemotePolicyError,
    RemoteProtocolError,
    RemoteRejectedError,
    RemoteTimeoutError,
)
from holdstep.policies.remote import (
    CallLimits,
    GrootPolicy,
    GrootServer,
    OpenPiPolicy,
    OpenPiServer,
)
from tests.policies.remote import strangers
from tests.policies.remote.peers import (
    STATE_GROOT,
    STATE_OPENPI,
    A,
    L,
    SeededPolicy,
    ServerProcess,
    request_of,
)

PROTOCOLS = ("groot", "openpi")


def client(protocol, port, **options):
    limits = {"connect_timeout_s": 5.0, "timeout_s": 5.0, "max_attempts": 1, "backoff_s": 0.01}
    options.setdefault("limits", CallLimits(**limits | options.pop("limit", {})))
    kind, mapping = {
        "groot": (GrootPolicy, STATE_GROOT),
        "openpi": (OpenPiPolicy, STATE_OPENPI),
    }[protocol]
    return contextlib.closing(kind(port=port, mapping=mapping, chunk_length=L, **options))


def asked(num_rows=5, *, slow=False, seed=0):
    request = request_of(num_rows, camera=False, instructions=False, seed=seed)
    if slow:
        request.obs["state"][0, 0] = SeededPolicy.slow_from
    return request


def answers_right(policy, request):
    return torch.equal(policy.infer(request).actions, SeededPolicy().infer(request).actions)


@contextlib.contextmanager
def took(at_least=0.0, at_most=3.0):
    start = time.monotonic()
    yield
    assert at_least <= time.monotonic() - start <= at_most


@pytest.fixture(scope="module", params=PROTOCOLS)
def server(request):
    process = ServerProcess(request.param)
    yield process
    process.kill()


def test_a_server_that_is_killed_hung_and_restarted(server):
    """One story, since processes take long to start."""
    soon = {"timeout_s": 0.4, "connect_timeout_s": 0.4}
    with client(server.protocol, server.port, limit={"timeout_s": 25.0}) as policy:
        assert answers_right(policy, asked())
        # Killed while it infers: known at once, and not only when the time is over.
        threading.Timer(0.3, server.kill).start()
        request = asked(slow=True)
        with took(0.25, 5.0), pytest.raises(RemoteConnectionError) as raised:
            policy.infer(request)
        error = raised.value
        unanswered = request.env_ids.tolist()
        assert list(error.env_ids) == unanswered
        assert (error.host, error.port) == ("127.0.0.1", server.port)
        assert error.endpoint == {"groot": "get_action", "openpi": "infer"}[server.protocol]
        assert (error.attempt, error.max_attempts) == (1, 1)
        for part in (f"127.0.0.1:{server.port}", error.endpoint, str(unanswered), "attempt 1 of 1"):
            assert part in str(error)

    with client(server.protocol, server.port, limit=soon | {"max_attempts": 2}) as policy:
        # Nobody there.
        with took(at_most=3.0), pytest.raises(RemoteConnectionError, match="attempt 2 of 2"):
            policy.infer(asked())
        # There again: the same object goes on.
        server.start()
        assert answers_right(policy, asked(seed=1))
        # Hung: its sockets are open, and nothing comes.
        server.signal(signal.SIGSTOP)
        with took(0.7, 3.0), pytest.raises(RemotePolicyError, match="attempt 2 of 2") as raised:
            policy.infer(asked(seed=2))
        assert raised.value.__notes__ == ["Attempt 1: it did not answer in time."]
        server.signal(signal.SIGCONT)
        for seed in (3, 4, 5):  # what was asked before is answered now, to nobody
            assert answers_right(policy, asked(seed=seed))
        # Slow: it infers for longer than the client waits.
        with took(0.7, 3.0), pytest.raises(RemoteTimeoutError):
            policy.infer(asked(slow=True))
        server.kill()
        server.start()
        policy.reset(torch.tensor([3]), torch.tensor([1]))
        assert answers_right(policy, asked(seed=7))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_connection_that_was_lost_while_nothing_was_asked_is_no_fault(protocol):
    kind = {"groot": GrootServer, "openpi": OpenPiServer}[protocol]
    with kind(SeededPolicy()) as running:
        port = running.port
        policy = client(protocol, port).thing
        assert answers_right(policy, asked())
    time.sleep(0.3)  # until the client's system has heard of it
    with kind(SeededPolicy(), port=port):
        assert answers_right(policy, asked(seed=1))
    time.sleep(0.3)
    with kind(SeededPolicy(), port=port) as running:
        policy.reset(torch.tensor([3]), torch.tensor([1]))
        assert running._served.policy.resets == [([3], [1])]
    policy.close()


def actions_of(value, num_rows):
    return np.full((num_rows, L, A), value, np.float32)


@contextlib.contextmanager
def fake_groot(answer):
    """A ROUTER that hands every request to ``answer(number, send)``; ``send`` may be kept."""
    context = zmq.Context()
    socket = context.socket(zmq.ROUTER)
    socket.linger = 0
    port = socket.bind_to_random_port("tcp://127.0.0.1")
    stop = threading.Event()

    def run():
        number = 0
        while not stop.is_set():
            if not socket.poll(20):
                continue
            peer, _, data = socket.recv_multipart()
            message = strangers.groot_message(data)

            def send(*frames, peer=peer):
                socket.send_multipart([peer, b"", *frames])

            answer(number, message, send)
            number += 1

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield port
    finally:
        stop.set()
        thread.join()
        context.destroy(linger=0)


@contextlib.contextmanager
def fake_openpi(answer, metadata=None):
    """A websocket server that hands every request to ``answer(number, message, send)``."""
    numbers = iter(range(1000))

    def connection(socket):
        socket.send(strangers.openpi_bytes({}) if metadata is None else metadata)
        with contextlib.suppress(Exception):
            while True:
                message = strangers.openpi_message(socket.recv())
                answer(next(numbers), message, socket.send)

    with serve(connection, "127.0.0.1", 0, compression=None) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        try:
            yield running.socket.getsockname()[1]
        finally:
            running.shutdown()
            thread.join()


def groot_reply(value, num_rows=5):
    return strangers.groot_bytes([{"action": actions_of(value, num_rows)}, {}])


def openpi_reply(value):
    return strangers.openpi_bytes({"actions": actions_of(value, 1)[0]})


def test_a_late_answer_of_a_groot_server_is_nobodys():
    waiting = []

    def answer(number, message, send):
        waiting.append((number, send))
        if number == 1:  # the second attempt: now both are answered, the first one first
            for earlier, send_earlier in waiting:
                send_earlier(groot_reply(earlier + 0.5))

    limit = {"timeout_s": 0.3, "max_attempts": 2}
    with fake_groot(answer) as port, client("groot", port, limit=limit) as policy:
        assert (policy.infer(asked()).actions == 1.5).all()


def test_a_late_answer_of_an_openpi_server_is_nobodys():
    def answer(number, message, send):
        if number == 0:
            time.sleep(0.6)
        send(openpi_reply(number + 0.5))

    limit = {"timeout_s": 0.3, "max_attempts": 1}
    with fake_openpi(answer) as port, client("openpi", port, limit=limit) as policy:
        with pytest.raises(RemoteTimeoutError):
            policy.infer(asked(1))
        time.sleep(0.5)
        assert (policy.infer(asked(1)).actions == 1.5).all()


def test_an_openpi_answer_that_nobody_asked_for_is_not_taken_for_one():
    def answer(number, message, send):
        send(openpi_reply(number + 0.5))
        if number == 0:
            send(openpi_reply(99.0))

    with fake_openpi(answer) as port, client("openpi", port) as policy:
        assert (policy.infer(asked(1)).actions == 0.5).all()
        time.sleep(0.1)
        assert (policy.infer(asked(1)).actions == 1.5).all()


def test_rows_that_have_their_answer_keep_it():
    """The connection breaks at the third row; only what is missing is asked again."""
    seen = []

    def answer(number, message, send):
        seen.append(float(message["state"][0]))
        if len(seen) == 3:
            raise ConnectionError
        send(openpi_reply(message["state"][0]))

    request = asked(6)
    with fake_openpi(answer) as port, client("openpi", port, limit={"max_attempts": 2}) as policy:
        actions = policy.infer(request).actions
    assert torch.equal(actions[:, 0, 0], request.obs["state"][:, 0])
    first = [float(value) for value in request.obs["state"][:, 0]]
    assert seen[:3] == first[:3]
    assert seen[3:] == first[2:]


def test_the_error_names_only_the_rows_without_an_answer():
    def answer(number, message, send):
        if number == 2:
            raise ConnectionError
        send(openpi_reply(0.0))

    request = asked(6)
    with (
        fake_openpi(answer) as port,
        client("openpi", port) as policy,
        pytest.raises(RemoteConnectionError) as raised,
    ):
        policy.infer(request)
    assert list(raised.value.env_ids) == request.env_ids.tolist()[2:]


BAD_ACTIONS = {
    "wrong rows": lambda good: good[:, 1:],
    "wrong length": lambda good: good[:, :, 1:],
    "wrong width": lambda good: good[..., 1:],
    "integers": lambda good: good.astype(np.int64),
    "booleans": lambda good: good.astype(bool),
    "a NaN": lambda good: np.where(np.arange(A) == 1, np.nan, good).astype(np.float32),
    "an infinity": lambda good: np.where(np.arange(A) == 1, -np.inf, good).astype(np.float32),
    "a list": lambda good: good.tolist(),
    "none": lambda good: None,
    "overflow": lambda good: np.full_like(good, 1e39, dtype=np.float64),
}


@pytest.mark.filterwarnings("ignore:overflow encountered")
@pytest.mark.parametrize("name", BAD_ACTIONS)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_actions_that_cannot_be_used_are_refused(protocol, name):
    if protocol == "openpi" and name == "wrong rows":
        pytest.skip("openpi answers row by row")

    def answer(number, message, send):
        good = np.zeros((1, 5, L, A), np.float32)
        if protocol == "groot":
            bad = BAD_ACTIONS[name](good)
            send(strangers.groot_bytes([{"action": None if bad is None else first_of(bad)}, {}]))
        else:
            bad = BAD_ACTIONS[name](good[:, :1])
            send(strangers.openpi_bytes({"actions": None if bad is None else first_of(bad)[0]}))

    fake = {"groot": fake_groot, "openpi": fake_openpi}[protocol]
    with fake(answer) as port, client(protocol, port, limit={"max_attempts": 3}) as policy:
        with pytest.raises(RemoteProtocolError, match="attempt 1 of 3"):
            policy.infer(asked())
        with pytest.raises(RemotePolicyError):  # and it is not stuck
            policy.infer(asked())


def first_of(value):
    return value[0]


@pytest.mark.parametrize(
    "frames",
    [
        [b"\xc1garbage"],
        [b""],
        [b"ERROR"],
        [strangers.groot_bytes({"action": 1})],
        [strangers.groot_bytes([1, 2, 3])],
        [strangers.groot_bytes([[], {}])],
        [groot_reply(0.0), b"more"],
        [groot_reply(0.0)[:-5]],
        [b"\xdd\xff\xff\xff\xff"],
        [strangers.groot_bytes([{"action": actions_of(0, 5)}, {"holdstep": {"valid_lengths": 3}}])],
        [
            strangers.groot_bytes(
                [{"action": actions_of(0, 5)}, {"holdstep": {"valid_lengths": np.zeros(5, "i8")}}]
            )
        ],
    ],
    ids=lambda frames: repr(frames[0][:12]),
)
def test_garbage_from_a_groot_server(frames):
    with (
        fake_groot(lambda n, m, send: send(*frames) if n == 0 else send(groot_reply(2.0))) as port,
        client("groot", port) as policy,
    ):
        with pytest.raises(RemoteProtocolError):
            policy.infer(asked())
        assert (policy.infer(asked()).actions == 2.0).all()


@pytest.mark.parametrize("data", [b"\xc1", b"", b"\x01", openpi_reply(0.0)[:-5]], ids=repr)
def test_garbage_from_an_openpi_server(data):
    def answer(number, message, send):
        send(data if number == 0 else openpi_reply(2.0))

    with fake_openpi(answer) as port, client("openpi", port) as policy:
        with pytest.raises(RemoteProtocolError):
            policy.infer(asked(1))
        assert (policy.infer(asked(1)).actions == 2.0).all()


@pytest.mark.parametrize("metadata", [b"\xc1", b"\x01", b""], ids=repr)
def test_garbage_instead_of_an_openpi_servers_metadata(metadata):
    with (
        fake_openpi(None, metadata) as port,
        client("openpi", port) as policy,
        pytest.raises(RemoteProtocolError, match="began with"),
    ):
        policy.infer(asked(1))


def test_an_error_of_the_server_is_not_asked_again():
    asked_for = []

    def groot(number, message, send):
        asked_for.append(message["endpoint"])
        send(strangers.groot_bytes({"error": "CUDA out of memory"}))

    with (
        fake_groot(groot) as port,
        client("groot", port, limit={"max_attempts": 3}) as policy,
        pytest.raises(RemoteRejectedError, match="CUDA out of memory"),
    ):
        policy.infer(asked())
    assert asked_for == ["get_action"]
    with (
        fake_openpi(lambda n, m, send: send("Traceback: no CUDA")) as port,
        client("openpi", port, limit={"max_attempts": 3}) as policy,
        pytest.raises(RemoteRejectedError, match="no CUDA"),
    ):
        policy.infer(asked())


def test_answers_larger_than_the_limit_are_not_received():
    limit = {"max_message_bytes": 10_000}
    huge = [{"action": np.zeros(10_000, np.float32)}, {}]
    with (
        fake_groot(lambda n, m, send: send(strangers.groot_bytes(huge))) as port,
        client("groot", port, limit=limit) as policy,
        took(),
        pytest.raises(RemoteConnectionError, match="max_message_bytes=10000"),
    ):
        policy.infer(asked())
    with (
        fake_openpi(lambda n, m, send: send(strangers.openpi_bytes(huge))) as port,
        client("openpi", port, limit=limit) as policy,
        took(),
        pytest.raises(RemoteConnectionError, match="max_message_bytes=10000"),
    ):
        policy.infer(asked())


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_requests_larger_than_the_limit_are_not_sent(protocol):
    fake = {"groot": fake_groot, "openpi": fake_openpi}[protocol]
    sent = []
    limit = {"max_message_bytes": 50}
    with (
        fake(lambda *call: sent.append(call)) as port,
        client(protocol, port, limit=limit) as policy,
        pytest.raises(RemoteProtocolError, match="more than max_message_bytes=50"),
    ):
        policy.infer(asked())
    assert not sent


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_server_of_another_kind_is_an_error_and_no_hang(protocol):
    other = {"groot": "openpi", "openpi": "groot"}[protocol]
    fake = {"groot": fake_groot, "openpi": fake_openpi}[other]
    limit = {"connect_timeout_s": 0.5, "timeout_s": 0.5}
    with (
        fake(lambda *_: None) as port,
        client(protocol, port, limit=limit) as policy,
        took(),
        pytest.raises((RemoteConnectionError, RemoteTimeoutError)),
    ):
        policy.infer(asked())


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_interrupted_call_leaves_nothing_behind(protocol):
    """Ctrl-C while it waits: the next call must not get the answer of this one."""
    fake = {"groot": fake_groot, "openpi": fake_openpi}[protocol]
    reply = {"groot": lambda value: groot_reply(value, 1), "openpi": openpi_reply}[protocol]

    def answer(number, message, send):
        if number == 0:
            signal.raise_signal(signal.SIGINT)
            time.sleep(0.3)
        send(reply(number + 0.5))

    with fake(answer) as port, client(protocol, port) as policy:
        with pytest.raises(KeyboardInterrupt):
            policy.infer(asked(1))
        time.sleep(0.4)
        assert (policy.infer(asked(1)).actions == 1.5).all()


def test_memory_that_zmq_still_reads_is_not_written_to():
    with client("groot", 9) as policy:
        connection = policy._connection
        first = connection._allocate(100_000)
        first[:] = b"1" * 100_000
        connection._sent = type("Tracker", (), {"done": False})()
        connection._allocate(100_000)[:] = b"2" * 100_000
        assert bytes(first[:3]) == b"111"
        connection._sent.done = True
        third = connection._allocate(100_000)
        assert bytes(third[:3]) == b"222"


def test_localhost_is_the_ipv4_address_that_servers_listen_on(monkeypatch):
    """A name's IPv6 address is not tried: nobody would be there."""
    seen = []
    original = zmq.Socket.connect

    def connect(self, address):
        seen.append((address, self.ipv6))
        return original(self, address)

    monkeypatch.setattr(zmq.Socket, "connect", connect)
    with GrootServer(SeededPolicy()) as running:
        for host in ("localhost", "127.0.0.1"):
            with client("groot", running.port, host=host) as policy:
                assert answers_right(policy, asked())
    assert [ipv6 for address, ipv6 in seen if address.startswith("tcp")] == [0, 0]


def test_a_part_without_an_answer_leaves_all_rows_without():
    """The second of three parts fails: no row of the request has got its chunk."""

    class Second(SeededPolicy):
        def infer(self, request):
            if self.batches:
                raise RuntimeError("out of memory")
            return super().infer(request)

    with GrootServer(Second()) as running:
        limits = CallLimits(max_attempts=1)
        with client("groot", running.port, max_batch=2, limits=limits) as policy:
            request = asked(5)
            with pytest.raises(RemoteRejectedError, match="out of memory") as caught:
                policy.infer(request)
    assert caught.value.env_ids == tuple(request.env_ids.tolist())


def test_an_openpi_server_that_is_stopped_answers_first():
    class Slow(SeededPolicy):
        def infer(self, request):
            entered.set()
            time.sleep(0.3)
            return super().infer(request)

    entered = threading.Event()
    running = OpenPiServer(Slow()).start()
    with client("openpi", running.port) as idle, client("openpi", running.port) as policy:
        idle.metadata()  # connects
        stopping = threading.Thread(target=lambda: (entered.wait(5), running.stop()))
        stopping.start()
        with took(at_most=3.0):
            assert answers_right(policy, asked(1))
            stopping.join(5)
        assert not stopping.is_alive()
