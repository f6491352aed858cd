"""A server that speaks openpi's protocol for any chunked policy."""

from __future__ import annotations

import asyncio
import http
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import TYPE_CHECKING, Any

import torch

from holdstep.errors import ConfigError, MalformedMessageError, PolicyError
from holdstep.extras import require
from holdstep.policies.remote.limits import MAX_MESSAGE_BYTES, check_count, check_port
from holdstep.policies.remote.openpi_mapping import OpenPiMapping, obs_by_path, prompt_of
from holdstep.policies.remote.openpi_wire import openpi_writer, read_openpi
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
    from websockets.asyncio.server import ServerConnection
    from websockets.http11 import Request, Response

    from holdstep.policies.chunked.protocol import ChunkedPolicy

_STOP_TIMEOUT_S = 30.0
_SCHEME = "Api-Key "


class OpenPiServer:
    """Serves a :class:`~holdstep.policies.ChunkedPolicy` as an openpi policy server would.

    openpi's own clients can connect, and :class:`OpenPiPolicy`. ``GET /healthz`` answers ``OK``.
    Connections are served beside each other, the policy is asked by one thread, one row at a time.
    What a client sends can't stop it: a message that makes no sense gets a text that says so, and
    the connection is closed, as openpi does.

    Bound to this machine unless told otherwise. Nothing is encrypted: across machines, use a token
    and a tunnel.

    Args:
        policy: what is served; used by one thread only, and not closed by the server.
        host: the address to listen on.
        port: the port; 0 takes a free one, see :attr:`port`.
        mapping: openpi's keys for the policy's observation groups and actions. By default each
            array is a group, named by its path, such as ``"images/cam_high"``.
        api_key: what clients must show as ``Authorization: Api-Key ...``; None lets everyone in.
        device: where the policy wants its observations.
        metadata: what clients are told when they connect.
        max_message_bytes: larger requests are refused, at the cost of the connection.

    Raises:
        ConfigError: an argument can't be used.
        MissingExtraError: the extra ``openpi`` is not installed.

    The address is taken on entering the context, or by :meth:`serve_forever`.
    """

    def __init__(
        self,
        policy: ChunkedPolicy,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        mapping: OpenPiMapping | None = None,
        api_key: str | None = None,
        device: str | torch.device = "cpu",
        metadata: Mapping[str, Any] | None = None,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
    ) -> None:
        check_port(port, lowest=0)
        check_token(api_key)
        check_count("max_message_bytes", max_message_bytes)
        self._served = ServedPolicy(policy)
        spec = policy.spec
        if mapping is not None and mapping.action_dim != spec.action_dim:
            raise ConfigError(
                f"The mapping's actions are {mapping.action_dim} wide, the policy's "
                f"{spec.action_dim}."
            )
        self._websockets = require(
            "websockets.asyncio.server", extra="openpi", purpose="OpenPiServer"
        )
        self._errors = require("websockets.exceptions", extra="openpi", purpose="OpenPiServer")
        self.host = host
        self.port = port
        self._mapping = mapping
        self._api_key = api_key
        self._device = torch.device(device)
        self._max_message_bytes = max_message_bytes
        self._writer = openpi_writer()
        # Packed here: later on, the writer is the worker thread's.
        what_it_is = {"chunk_length": spec.chunk_length, "action_dim": spec.action_dim}
        self._greeting = self._writer.pack({**(metadata or {}), KEY: what_it_is})
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._idle: set[ServerConnection] = set()  # those that are asked nothing now

    def start(self) -> OpenPiServer:
        """Listen, and answer in a thread.

        Raises:
            ConfigError: it runs already, or the address can't be had.
        """
        if self._thread is not None:
            raise ConfigError("This server runs already; make another one for another port.")
        started: Future[None] = Future()

        def run() -> None:
            try:
                asyncio.run(self._serve(started))
            except BaseException as error:
                if started.done():
                    raise
                started.set_exception(error)

        self._thread = threading.Thread(target=run, name="holdstep OpenPiServer", daemon=True)
        self._thread.start()
        try:
            started.result()
        except BaseException:
            self._thread = None
            raise
        return self

    def serve_forever(self, on_listening: Callable[[str, int], object] | None = None) -> None:
        """Listen, and answer in this thread until it is interrupted.

        Args:
            on_listening: called with host and port once clients can connect.

        Raises:
            ConfigError: as :meth:`start`.
        """
        started: Future[None] = Future()
        if on_listening is not None:
            started.add_done_callback(lambda _: on_listening(self.host, self.port))
        asyncio.run(self._serve(started))

    def stop(self) -> None:
        """Stop answering, once the request at hand is answered; may be called twice.

        Raises:
            PolicyError: the policy is still busy with that after 30 s.
        """
        if self._thread is None:
            return
        if self._loop is not None and self._stopping is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(_STOP_TIMEOUT_S)
        if self._thread.is_alive():
            raise PolicyError(f"The policy is still busy {_STOP_TIMEOUT_S:.0f} s after stop().")
        self._thread = None

    def __enter__(self) -> OpenPiServer:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    async def _serve(self, started: Future[None]) -> None:
        warn_if_open(self.host, self._api_key)
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        try:
            server = await self._websockets.serve(
                self._connection,
                None if self.host == "*" else self.host,
                self.port,
                compression=None,  # so that no small frame becomes a large message
                max_size=self._max_message_bytes,
                max_queue=2,
                close_timeout=1,
                process_request=self._before_handshake,
                origins=[None],  # browsers name one: no web page may ask what only this machine may
            )
        except OSError as error:
            raise ConfigError(
                f"Can't listen on {self.host}:{self.port}: {error}. Another server may run there; "
                "port=0 takes a free port."
            ) from error
        self.port = server.sockets[0].getsockname()[1]
        # One thread, since a policy is asked by one; not the loop's, which answers pings meanwhile.
        self._worker = ThreadPoolExecutor(
            1, thread_name_prefix="holdstep policy", initializer=obey_num_threads
        )
        try:
            started.set_result(None)
            await self._stopping.wait()
        finally:
            server.close(close_connections=False)
            for connection in list(self._idle):
                await connection.close(1001)
            await server.wait_closed()  # for those that are waiting for an answer
            self._worker.shutdown()

    async def _connection(self, connection: ServerConnection) -> None:
        """One client, until it goes, sends what makes no sense, or the server is stopped."""
        assert self._stopping is not None
        try:
            await connection.send(self._greeting)
            while not self._stopping.is_set():
                self._idle.add(connection)
                try:
                    message = await connection.recv()
                finally:
                    self._idle.discard(connection)
                try:
                    reply = await self._ask(message)
                except Exception as error:  # the policy's own, of any kind
                    if isinstance(error, MalformedMessageError):
                        logger.info("Refused a request with %s", error)
                    else:
                        logger.exception("A request failed")
                    await connection.send(error_text(error))
                    await connection.close(1011, "Internal server error, see the frame before")
                    return
                await connection.send(reply)
        except self._errors.ConnectionClosed:
            return

    async def _ask(self, message: str | bytes) -> memoryview:
        assert self._loop is not None
        return await self._loop.run_in_executor(self._worker, self._answer, message)

    def _before_handshake(self, connection: ServerConnection, request: Request) -> Response | None:
        if request.path == "/healthz":
            return connection.respond(http.HTTPStatus.OK, "OK\n")
        # What a header holds twice is refused by get(), with the connection.
        given = request.headers.get("Authorization", "")
        token = given.removeprefix(_SCHEME) if given.startswith(_SCHEME) else None
        if not token_fits(token, self._api_key):
            return connection.respond(http.HTTPStatus.UNAUTHORIZED, "Wrong or missing API key\n")
        return None

    def _answer(self, message: str | bytes) -> memoryview:
        if isinstance(message, str):
            raise MalformedMessageError("text instead of msgpack")
        observation = read_openpi(memoryview(message))
        if not isinstance(observation, dict):
            raise MalformedMessageError("no map")
        block = observation.pop(KEY, None)
        if isinstance(block, dict) and "reset" in block:
            self._served.reset(block["reset"])
            return self._writer.pack({KEY: "reset"})
        started = time.perf_counter()
        if self._mapping is None:
            obs = obs_by_path(observation, self._device)
            instructions = prompt_of(observation, "prompt")
        else:
            obs = self._mapping.obs(observation, self._device)
            instructions = prompt_of(observation, self._mapping.prompt_key)
        actions, lengths = self._served.infer(obs, block, instructions)
        key = "actions" if self._mapping is None else self._mapping.actions_key
        return self._writer.pack(
            {
                key: actions[0],
                "server_timing": {"infer_ms": (time.perf_counter() - started) * 1000},
                KEY: {"valid_lengths": lengths},
            }
        )
