"""A server that speaks GR00T's protocol for any chunked policy."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from holdstep.errors import ConfigError, MalformedMessageError, PolicyError
from holdstep.extras import require
from holdstep.policies.remote.groot_connection import tcp_address
from holdstep.policies.remote.groot_mapping import GrootMapping, language_of, without_time
from holdstep.policies.remote.groot_wire import groot_writer, read_groot
from holdstep.policies.remote.limits import MAX_MESSAGE_BYTES, check_count, check_port
from holdstep.policies.remote.row_block import KEY
from holdstep.policies.remote.serving import (
    ServedPolicy,
    check_token,
    error_text,
    logger,
    token_fits,
    warn_if_open,
)
from holdstep.torch_threads import obey_num_threads

if TYPE_CHECKING:
    import zmq

    from holdstep.policies.chunked.protocol import ChunkedPolicy

_STOP_TIMEOUT_S = 30.0
# A signal that reaches another thread of the process, or comes just before the wait, does not
# interrupt it: Ctrl-C would then be noticed at the next request only.
_LOOK_UP_MS = 200


class GrootServer:
    """Serves a :class:`~holdstep.policies.ChunkedPolicy` as a GR00T policy server would.

    GR00T's own clients can connect, and :class:`GrootPolicy`. One thread answers one request after
    another. What a client sends can't stop it: a message that makes no sense gets an error as its
    answer, one that is too large costs the client its connection.

    Bound to this machine unless told otherwise. Nothing is encrypted: across machines, use a token
    and a tunnel.

    Args:
        policy: what is served; used by the server's thread only, and not closed by it.
        host: the address to listen on.
        port: the port; 0 takes a free one, see :attr:`port`.
        mapping: GR00T's keys for the policy's observation groups and actions. By default each video
            and state key is the name of a group, and the actions are one, ``"action"``.
        api_token: what clients must show; None lets everyone in.
        device: where the policy wants its observations.
        max_message_bytes: larger requests are refused before they are received.
        allow_kill: let clients stop the server, which GR00T's own protocol offers.

    Raises:
        ConfigError: an argument can't be used.
        MissingExtraError: the extra ``groot`` is not installed.

    The address is taken on entering the context, or by :meth:`serve_forever`.
    """

    def __init__(
        self,
        policy: ChunkedPolicy,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        mapping: GrootMapping | None = None,
        api_token: str | None = None,
        device: str | torch.device = "cpu",
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        allow_kill: bool = False,
    ) -> None:
        check_port(port, lowest=0)
        check_token(api_token)
        check_count("max_message_bytes", max_message_bytes)
        self._served = ServedPolicy(policy)
        if mapping is not None and mapping.action_dim != policy.spec.action_dim:
            raise ConfigError(
                f"The mapping's actions are {mapping.action_dim} wide, the policy's "
                f"{policy.spec.action_dim}."
            )
        self._zmq = require("zmq", extra="groot", purpose="GrootServer")
        self.host = host
        self.port = port
        self._mapping = mapping
        self._api_token = api_token
        self._device = torch.device(device)
        self._max_message_bytes = max_message_bytes
        self._allow_kill = allow_kill
        self._writer = groot_writer()
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None
        self._thread: threading.Thread | None = None
        self._killed = False

    def start(self) -> GrootServer:
        """Listen, and answer in a thread.

        Raises:
            ConfigError: it runs already, or the address can't be had.
        """
        socket, control = self._bind()
        self._thread = threading.Thread(
            target=self._serve, args=(socket, control), name="holdstep GrootServer", daemon=True
        )
        self._thread.start()
        return self

    def serve_forever(self, on_listening: Callable[[str, int], object] | None = None) -> None:
        """Listen, and answer in this thread until it is interrupted, or killed by a client.

        Args:
            on_listening: called with host and port once clients can connect.

        Raises:
            ConfigError: as :meth:`start`.
        """
        socket, control = self._bind()
        try:
            if on_listening is not None:
                on_listening(self.host, self.port)
            self._serve(socket, control)
        finally:
            self._release()

    def stop(self) -> None:
        """Stop answering, once the request at hand is answered; may be called twice.

        Raises:
            PolicyError: the policy is still busy with that after 30 s.
        """
        if self._thread is not None and self._thread.is_alive():
            self._stopper.send(b"")
            self._thread.join(_STOP_TIMEOUT_S)
            if self._thread.is_alive():
                raise PolicyError(
                    f"The served policy is busy, {_STOP_TIMEOUT_S:.0f} s after stop()."
                )
        self._thread = None
        self._release()

    def __enter__(self) -> GrootServer:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _bind(self) -> tuple[zmq.Socket[bytes], zmq.Socket[bytes]]:
        zmq = self._zmq
        if self._context is not None:
            raise ConfigError("This server runs already; make another one for another port.")
        warn_if_open(self.host, self._api_token)
        self._context = zmq.Context()
        socket = self._context.socket(zmq.REP)
        socket.linger = 0
        socket.ipv6 = ":" in self.host
        socket.maxmsgsize = self._max_message_bytes
        socket.rcvhwm = 1  # a client has one request under way
        try:
            socket.bind(tcp_address(self.host, self.port or "*"))
        except zmq.ZMQError as error:
            self._release()
            raise ConfigError(
                f"Can't listen on {self.host}:{self.port}: {error}. Another server may run there; "
                "port=0 takes a free port."
            ) from error
        self.port = int(socket.getsockopt_string(zmq.LAST_ENDPOINT).rpartition(":")[2])
        control = self._context.socket(zmq.PAIR)
        control.bind("inproc://stop")
        self._stopper = self._context.socket(zmq.PAIR)
        self._stopper.connect("inproc://stop")
        self._killed = False
        return socket, control

    def _release(self) -> None:
        if self._context is not None:
            self._context.destroy(linger=0)
            self._context = None

    def _serve(self, socket: zmq.Socket[bytes], control: zmq.Socket[bytes]) -> None:
        obey_num_threads()
        zmq = self._zmq
        poller = zmq.Poller()
        poller.register(socket, zmq.POLLIN)
        poller.register(control, zmq.POLLIN)
        while not self._killed:
            ready = dict(poller.poll(_LOOK_UP_MS))
            if control in ready:
                break
            if socket not in ready:
                continue
            reply = self._reply(socket.recv_multipart(copy=False))
            socket.send(reply, copy=False)
        # The reply to a kill is still to be sent; what else there is is dropped.
        socket.close(linger=1000 if self._killed else 0)
        control.close(linger=0)

    def _reply(self, frames: Sequence[zmq.Frame]) -> memoryview:
        """The answer to a request, whatever it is."""
        try:
            if len(frames) != 1:
                raise MalformedMessageError(f"{len(frames)} parts")
            return self._writer.pack(self._answer(read_groot(frames[0].buffer)))
        except MalformedMessageError as error:
            logger.info("Refused a request with %s", error)
            return self._writer.pack({"error": error_text(error)})
        except Exception as error:  # the policy's own, of any kind: the next request may be fine
            logger.exception("A request failed")
            return self._writer.pack({"error": error_text(error)})

    def _answer(self, request: object) -> object:
        if not isinstance(request, dict):
            raise MalformedMessageError("no map")
        if not token_fits(request.get("api_token"), self._api_token):
            return {"error": "Unauthorized: Invalid API token"}
        endpoint = request.get("endpoint", "get_action")
        data = request.get("data") or {}
        if not isinstance(data, dict):
            raise MalformedMessageError("data that are no map")
        if endpoint == "get_action":
            return self._get_action(data)
        if endpoint == "reset":
            self._served.reset(_block(data))
            return {}
        if endpoint == "ping":
            return {"status": "ok", "message": "Server is running"}
        if endpoint == "get_modality_config":
            return self._modality_config()
        if endpoint == "kill":
            if not self._allow_kill:
                return {"error": "This server can't be stopped by its clients"}
            self._killed = True
            return {}
        return {"error": f"Unknown endpoint: {endpoint!s:.100}"}

    def _get_action(self, data: Mapping[str, Any]) -> object:
        observation = data.get("observation")
        if not isinstance(observation, dict):
            raise MalformedMessageError("no observation")
        modalities = [observation.get(name, {}) for name in ("video", "state")]
        if not all(isinstance(values, dict) for values in modalities):
            raise MalformedMessageError("a video or state that is no map")
        if self._mapping is not None:
            obs = self._mapping.obs(observation, self._device)
        else:
            obs = {
                key: without_time(values, self._device)
                for modality in modalities
                for key, values in modality.items()
                if isinstance(values, np.ndarray)
            }
        actions, lengths = self._served.infer(obs, _block(data), language_of(observation))
        by_key = {"action": actions} if self._mapping is None else self._mapping.split(actions)
        return [by_key, {KEY: {"valid_lengths": lengths}}]

    def _modality_config(self) -> dict[str, object]:
        spec, mapping = self._served.policy.spec, self._mapping
        keys: dict[str, Sequence[str]]
        if mapping is None:
            keys = {"state": spec.obs_keys or (), "action": ("action",)}
        else:
            language = () if mapping.language_key is None else (mapping.language_key,)
            keys = {key: [*getattr(mapping, key)] for key in ("video", "state", "action")}
            keys["language"] = language
        return {
            modality: {
                "__ModalityConfig_class__": True,
                "as_json": {
                    "delta_indices": [*range(spec.chunk_length if modality == "action" else 1)],
                    "modality_keys": list(names),
                },
            }
            for modality, names in keys.items()
            if names
        }


def _block(data: Mapping[str, Any]) -> object:
    options = data.get("options")
    return options.get(KEY) if isinstance(options, dict) else None
