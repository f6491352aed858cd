"""A served policy is the policy: the same actions bit for bit, over both protocols."""

import contextlib
import logging
import urllib.request

import numpy as np
import pytest
import torch
import zmq
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.sync.client import connect

from holdstep.errors import ConfigError, RemoteConnectionError, RemoteRejectedError
from holdstep.policies.chunked.protocol import ChunkedPolicy
from holdstep.policies.remote import (
    CallLimits,
    Columns,
    GrootMapping,
    GrootPolicy,
    GrootServer,
    OpenPiMapping,
    OpenPiPolicy,
    OpenPiServer,
    serving,
)
from tests.policies.remote import strangers
from tests.policies.remote.peers import (
    GROOT,
    OPENPI,
    STATE_GROOT,
    STATE_OPENPI,
    A,
    L,
    SeededPolicy,
    request_of,
)

KINDS = {
    "groot": (GrootServer, GrootPolicy, GROOT, STATE_GROOT),
    "openpi": (OpenPiServer, OpenPiPolicy, OPENPI, STATE_OPENPI),
}
protocols = pytest.mark.parametrize("protocol", KINDS)


@contextlib.contextmanager
def connected(protocol, served=None, *, server=None, **options):
    """A served policy, and a client of it."""
    kind, client, mapping, _ = KINDS[protocol]
    served = served or SeededPolicy()
    options = {"mapping": mapping, "chunk_length": L, **options}
    with (
        kind(served, **server or {}) as running,
        contextlib.closing(client(port=running.port, **options)) as policy,
    ):
        yield served, policy


@pytest.fixture(scope="module", params=KINDS)
def pair(request):
    with connected(request.param) as (served, policy):
        yield served, policy


@settings(max_examples=20, deadline=None)
@given(num_rows=st.integers(1, 40), seed=st.integers(0, 1000))
def test_actions_are_those_of_the_served_policy(pair, num_rows, seed):
    request = request_of(num_rows, seed=seed)
    got, expected = pair[1].infer(request), SeededPolicy().infer(request)
    assert torch.equal(got.actions, expected.actions)
    assert torch.equal(got.valid_lengths, expected.valid_lengths)


def test_they_are_chunked_policies(pair):
    policy = pair[1]
    assert isinstance(policy, ChunkedPolicy)
    assert policy.spec.chunk_length == L
    assert policy.spec.action_dim == A
    assert policy.spec.obs_keys == ("camera", "state")
    assert policy.spec.uses_instructions
    assert not policy.spec.reproducible


def test_the_server_sees_the_request_as_it_was(pair):
    served, policy = pair
    served.batches.clear()
    request = request_of(5, seed=3)
    policy.infer(request)
    for name in ("env_ids", "episode_ids", "chunk_ids", "seeds"):
        seen = torch.cat([getattr(batch, name) for batch in served.batches])
        assert torch.equal(seen, getattr(request, name))
        assert seen.dtype == torch.int64
    seen = [text for batch in served.batches for text in batch.instructions]
    assert seen == list(request.instructions)
    for key, values in request.obs.items():
        seen = torch.cat([batch.obs[key] for batch in served.batches])
        assert seen.dtype == values.dtype
        assert torch.equal(seen, values)


def test_resets_name_their_rows(pair):
    served, policy = pair
    served.resets.clear()
    policy.reset(torch.tensor([5, 2]), torch.tensor([3, 9]))
    policy.reset(torch.tensor([], dtype=torch.int64), torch.tensor([], dtype=torch.int64))
    assert served.resets == [([5, 2], [3, 9])]


def test_no_rows_are_no_request(pair):
    served, policy = pair
    served.batches.clear()
    result = policy.infer(request_of(3).rows(0, 0))
    assert result.actions.shape == (0, L, A)
    assert not served.batches


@protocols
def test_what_is_still_to_be_executed_is_forwarded(protocol):
    with connected(protocol, SeededPolicy(uses_prefix=True), uses_prefix=True) as (served, policy):
        request = request_of(2)
        fields = {name: getattr(request, name) for name in request.__dataclass_fields__}
        fields["prefix"] = torch.randn(2, 3, A)
        fields["prefix_lengths"], fields["delays"] = torch.tensor([3, 1]), torch.tensor([0, 2])
        policy.infer(type(request)(**fields))
        for name in ("prefix", "prefix_lengths", "delays"):
            seen = torch.cat([getattr(batch, name) for batch in served.batches])
            assert torch.equal(seen, fields[name])


@pytest.mark.parametrize(("rows", "max_batch", "sizes"), [(7, 3, [2, 2, 3]), (6, 3, [3, 3])])
def test_large_batches_are_split(rows, max_batch, sizes):
    with connected("groot", max_batch=max_batch) as (served, policy):
        request = request_of(rows)
        result = policy.infer(request)
    assert [len(batch) for batch in served.batches] == sizes
    assert torch.equal(result.actions, SeededPolicy().infer(request).actions)


def test_a_server_splits_what_its_policy_cannot_take():
    with connected("groot", SeededPolicy(max_batch=2)) as (served, policy):
        request = request_of(5)
        result = policy.infer(request)
    assert [len(batch) for batch in served.batches] == [1, 2, 2]
    assert torch.equal(result.actions, SeededPolicy().infer(request).actions)


@pytest.mark.parametrize("num_connections", [1, 3, 8])
def test_rows_come_back_in_order_over_any_number_of_connections(num_connections):
    with connected("openpi", num_connections=num_connections) as (served, policy):
        request = request_of(7)
        result = policy.infer(request)
    assert [len(batch) for batch in served.batches] == [1] * 7
    assert torch.equal(result.actions, SeededPolicy().infer(request).actions)
    assert len(result.info["server"]) == 7
    assert all(info["server_timing"]["infer_ms"] >= 0 for info in result.info["server"])


@protocols
def test_mappings_rename_cut_and_put_together(protocol):
    columns = {"arm": Columns("state", 0, 3), "hand": Columns("state", 3, 5)}
    if protocol == "groot":
        mapping = GrootMapping(
            video={"ego": "camera"}, state=columns, action={"arm": 2, "hand": 1}, language_key="x"
        )
    else:
        mapping = OpenPiMapping(
            images={("images", "top"): "camera"},
            state=columns,
            action_dim=A,
            prompt_key="words",
            actions_key="a",
            channels_first=True,
        )
    with connected(protocol, mapping=mapping, server={"mapping": mapping}) as (served, policy):
        request = request_of(4)
        assert torch.equal(policy.infer(request).actions, SeededPolicy().infer(request).actions)
        assert set(served.batches[0].obs) == {"camera", "state"}


def test_a_server_says_what_it_takes():
    with connected("groot", server={"mapping": GROOT}) as (_, policy):
        assert policy.ping()
        config = policy.modality_config()
    assert config["video"] == {"delta_indices": [0], "modality_keys": ["camera"]}
    assert config["action"] == {"delta_indices": [0, 1, 2, 3], "modality_keys": ["action"]}
    assert config["language"]["modality_keys"] == ["task"]
    with connected("openpi", server={"metadata": {"robot": "arm"}}) as (_, policy):
        assert policy.metadata()["robot"] == "arm"


@protocols
def test_instructions_that_are_missing_are_an_error(protocol):
    with connected(protocol) as (_, policy), pytest.raises(ConfigError, match="instructions"):
        policy.infer(request_of(2, instructions=False))
    mapping = KINDS[protocol][3]
    with (
        connected(protocol, SeededPolicy(uses_instructions=True), mapping=mapping) as (_, policy),
        pytest.raises(RemoteRejectedError, match="no instructions"),
    ):
        policy.infer(request_of(2))


class Moody(SeededPolicy):
    """Fails once, with this text."""

    def __init__(self, text):
        super().__init__()
        self.text = text

    def infer(self, request):
        if len(self.batches) == 0:
            self.batches.append(request)
            raise RuntimeError(self.text)
        return super().infer(request)


@protocols
def test_an_error_of_the_policy_reaches_the_client_and_the_server_goes_on(protocol, caplog):
    with connected(protocol, Moody("out of memory")) as (_, policy):
        with pytest.raises(RemoteRejectedError, match=r"RuntimeError: out of memory"):
            policy.infer(request_of(2))
        assert policy.infer(request_of(2)).actions.shape == (2, L, A)
    assert "A request failed" in caplog.text
    assert "Traceback" in caplog.text


@protocols
def test_an_error_that_is_no_utf_8_reaches_the_client_too(protocol, monkeypatch):
    # Test runners can't report such a log either.
    monkeypatch.setattr(serving.logger, "disabled", True)
    with (
        connected(protocol, Moody("out of \ud800 memory")) as (_, policy),
        pytest.raises(RemoteRejectedError, match=r"RuntimeError: out of . memory"),
    ):
        policy.infer(request_of(2))


@protocols
def test_a_policy_that_returns_another_shape_is_an_error(protocol):
    class Short(SeededPolicy):
        def infer(self, request):
            result = super().infer(request)
            return type(result)(actions=result.actions[:, :2])

    with (
        connected(protocol, Short()) as (_, policy),
        pytest.raises(RemoteRejectedError, match=r"PolicyError.*\[\d, 2, 3\].*\[\d, 4, 3\]"),
    ):
        policy.infer(request_of(2))


@protocols
def test_only_who_has_the_token_is_served(protocol):
    name = {"groot": "api_token", "openpi": "api_key"}[protocol]
    limits = CallLimits(max_attempts=2, connect_timeout_s=2)
    with connected(protocol, server={name: "sesame"}, limits=limits, **{name: "sesame"}) as pair:
        pair[1].infer(request_of(2))
        client, mapping = KINDS[protocol][1:3]
        for token in (None, "", "Sesame", "sesame1", "sésame"):
            wrong = client(
                port=pair[1].port, mapping=mapping, chunk_length=L, limits=limits, **{name: token}
            )
            with contextlib.closing(wrong), pytest.raises(RemoteRejectedError, match=r"oken|401"):
                wrong.infer(request_of(2))
        num_served = sum(len(batch) for batch in pair[0].batches)
    assert num_served == 2


@protocols
@pytest.mark.parametrize("token", ["", " x", "x ", "ü", "a\nb", 5], ids=repr)
def test_tokens_that_would_not_come_through_are_refused(protocol, token):
    name = {"groot": "api_token", "openpi": "api_key"}[protocol]
    with pytest.raises(ConfigError, match="token must"):
        KINDS[protocol][0](SeededPolicy(), **{name: token})


@protocols
def test_servers_listen_on_this_machine_only_and_warn_otherwise(protocol, caplog):
    server = KINDS[protocol][0]
    caplog.set_level(logging.WARNING)
    with server(SeededPolicy()) as running:
        assert running.host == "127.0.0.1"
    assert not caplog.records
    token = {"groot": "api_token", "openpi": "api_key"}[protocol]
    with server(SeededPolicy(), "0.0.0.0", **{token: "x"}):
        pass
    assert not caplog.records
    with server(SeededPolicy(), "0.0.0.0"):
        pass
    assert "listens on 0.0.0.0 without a token" in caplog.text


@protocols
def test_a_port_that_is_taken_is_an_error(protocol):
    server = KINDS[protocol][0]
    with server(SeededPolicy()) as running:
        with pytest.raises(ConfigError, match="runs already"):
            running.start()
        second = server(SeededPolicy(), port=running.port)
        with pytest.raises(ConfigError, match="Can't listen"):
            second.start()
        with pytest.raises(ConfigError, match="Can't listen"):
            second.serve_forever()
    running.stop()
    with second as again:  # free by now
        assert again.port == running.port


def test_only_a_server_that_allows_it_is_killed():
    def ask(socket, endpoint):
        socket.send(strangers.groot_bytes({"endpoint": endpoint}))
        return strangers.groot_message(socket.recv())

    for allowed in (False, True):
        with (
            GrootServer(SeededPolicy(), allow_kill=allowed) as server,
            zmq.Context() as context,
            context.socket(zmq.REQ) as socket,
        ):
            socket.rcvtimeo, socket.linger = 3000, 0
            socket.connect(f"tcp://127.0.0.1:{server.port}")
            reply = ask(socket, "kill")
            if allowed:
                assert "error" not in reply
                server._thread.join(3)
                assert not server._thread.is_alive()
            else:
                assert "can't be stopped" in reply["error"]
                assert ask(socket, "ping")["status"] == "ok"


def test_groots_own_way_of_asking():
    """A request as NVIDIA's client writes it: another encoder, no rows, no options."""
    state = np.arange(10, dtype=np.float32).reshape(2, 1, 5)
    video = np.full((2, 1, 6, 8, 3), 7, np.uint8)
    observation = {
        "video": {"camera": video},
        "state": {"state": state},
        "language": {"task": [["pick"], ["place it"]]},
    }
    request = {
        "endpoint": "get_action",
        "data": {"observation": observation, "options": None},
    }
    with GrootServer(SeededPolicy()) as server, zmq.Context() as context:
        with context.socket(zmq.REQ) as socket:
            socket.rcvtimeo, socket.linger = 3000, 0
            socket.connect(f"tcp://127.0.0.1:{server.port}")
            for message in (request, {"endpoint": "reset", "data": {"options": None}}, request):
                socket.send(strangers.groot_bytes(message))
                reply = strangers.groot_message(socket.recv())
            socket.send(strangers.groot_bytes({"endpoint": "get_modality_config"}))
            assert strangers.groot_message(socket.recv())["action"][0] == "modality"
        action, _ = reply
        (batch, _) = server._served.policy.batches
    assert action["action"].shape == (2, L, A)
    assert action["action"].dtype == np.float32
    assert batch.instructions == ("pick", "place it")
    assert batch.env_ids.tolist() == [0, 1]
    assert batch.seeds.tolist() == [0, 1]
    assert torch.equal(batch.obs["state"], torch.from_numpy(state[:, 0]))
    assert torch.equal(batch.obs["camera"], torch.from_numpy(video[:, 0]))


def test_openpis_own_way_of_asking():
    """A request as openpi's client writes it, and its health check."""
    observation = {
        "state": np.arange(5, dtype=np.float32),
        "camera": np.full((6, 8, 3), 7, np.uint8),
        "prompt": "pick",
    }
    with OpenPiServer(SeededPolicy()) as server:
        url = f"http://127.0.0.1:{server.port}/healthz"
        with urllib.request.urlopen(url, timeout=3) as health:
            assert health.status == 200
            assert health.read() == b"OK\n"
        with connect(f"ws://127.0.0.1:{server.port}", compression=None, proxy=None) as socket:
            assert isinstance(strangers.openpi_message(socket.recv(3)), dict)
            socket.send(strangers.openpi_bytes(observation))
            reply = strangers.openpi_message(socket.recv(3))
        (batch,) = server._served.policy.batches
    assert reply["actions"].shape == (L, A)
    assert batch.instructions == ("pick",)
    assert torch.equal(batch.obs["state"][0], torch.from_numpy(observation["state"]))


@protocols
@pytest.mark.parametrize("port", [0, -1, 65536, True, "5555"])
def test_ports_are_checked(protocol, port):
    client, mapping = KINDS[protocol][1:3]
    with pytest.raises(ConfigError, match="port must be"):
        client(port=port, mapping=mapping, chunk_length=L)


@protocols
def test_closing_twice_and_going_on_after_it(protocol):
    with connected(protocol) as (_, policy):
        policy.infer(request_of(2))
        policy.close()
        policy.close()
        policy.infer(request_of(2))


@protocols
def test_a_closed_server_is_gone(protocol):
    limits = CallLimits(connect_timeout_s=0.2, max_attempts=1)
    with connected(protocol, limits=limits) as (_, policy):
        policy.infer(request_of(2))
        port = policy.port
    client, mapping = KINDS[protocol][1:3]
    with (
        contextlib.closing(
            client(port=port, mapping=mapping, chunk_length=L, limits=limits)
        ) as late,
        pytest.raises(RemoteConnectionError),
    ):
        late.infer(request_of(2))
