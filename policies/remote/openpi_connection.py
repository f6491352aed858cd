"""One websocket connection to an openpi server, on which answers can't be mistaken."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from holdstep.errors import MalformedMessageError
from holdstep.extras import require
from holdstep.policies.remote.attempts import (
    ConnectionFault,
    ProtocolFault,
    RejectedFault,
    TimeoutFault,
)
from holdstep.policies.remote.openpi_wire import read_openpi

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

    from holdstep.policies.remote.limits import CallLimits

_IN_FLIGHT = 2
"""Requests sent ahead, so that the server has the next one when it has answered one."""
_ADVICE = "Is it an openpi policy server?"


class OpenPiConnection:
    """Sends observations, and takes their answers in the same order.

    The protocol has no request ids: whatever comes first is taken for the answer to what was sent
    first. So after every fault the connection is closed, and with it go late answers; and a frame
    that nobody asked for is a fault.

    Used within one event loop.
    """

    def __init__(self, uri: str, *, limits: CallLimits, api_key: str | None) -> None:
        self._client = require("websockets.asyncio.client", extra="openpi", purpose="OpenPiPolicy")
        self._errors = require("websockets.exceptions", extra="openpi", purpose="OpenPiPolicy")
        self._uri = uri
        self._limits = limits
        self._headers = {"Authorization": f"Api-Key {api_key}"} if api_key is not None else None
        self._socket: ClientConnection | None = None
        self.metadata: dict[Any, Any] = {}

    async def ensure_open(self, timeout_s: float) -> None:
        """Connect, and take the server's metadata, unless that is done and still holds.

        Raises:
            Fault: no server, or none of this kind.
        """
        if self._socket is not None:
            if await self._is_silent(self._socket):
                return
            self.drop()
        timeout_s = min(timeout_s, self._limits.connect_timeout_s)
        try:
            async with asyncio.timeout(timeout_s):
                self._socket = await self._connect()
                self.metadata = _metadata(await self._socket.recv())
        except BaseException as error:
            self.drop()
            if isinstance(error, TimeoutError):
                raise ConnectionFault(
                    f"accepted no connection within {timeout_s:.1f} s",
                    "Is it running, at this host and port?",
                ) from error
            if isinstance(error, self._errors.InvalidStatus):
                status = error.response.status_code
                raise RejectedFault(
                    f"refused the connection with HTTP status {status}",
                    "Is the token right?" if status in (401, 403) else _ADVICE,
                ) from error
            if isinstance(error, OSError | EOFError | self._errors.WebSocketException):
                reason = f"can't be reached ({type(error).__name__}: {error})"
                raise ConnectionFault(reason, "Is it running, at this host and port?") from error
            raise

    async def exchange(
        self,
        num_frames: int,
        frame: Callable[[int], memoryview],
        on_answer: Callable[[int, Any], None],
        *,
        timeout_s: float,
    ) -> None:
        """Send frames and take their answers.

        Args:
            num_frames: how many.
            frame: packs one; called just before it is sent.
            on_answer: gets the index of a frame and its answer; raises
                :class:`MalformedMessageError` for one that can't be used.
            timeout_s: for each answer [s].

        Raises:
            Fault: an answer did not come or can't be used; those before it have been handed out.
        """
        socket, num_sent = self._socket, 0
        assert socket is not None, "ensure_open() comes first"
        try:
            for index in range(num_frames):
                async with asyncio.timeout(timeout_s):
                    while num_sent < min(index + _IN_FLIGHT, num_frames):
                        await socket.send(frame(num_sent))
                        num_sent += 1
                    answer = await socket.recv()
                on_answer(index, _read(answer))
        except BaseException as error:  # a cancellation too: answers are still to come
            self.drop()
            if isinstance(error, TimeoutError):
                raise TimeoutFault(
                    "did not answer in time",
                    "It may hang or be slow: look at its output, or raise CallLimits.timeout_s and "
                    "deadline_s.",
                ) from error
            if isinstance(error, MalformedMessageError):
                raise ProtocolFault(
                    f"sent an answer with {error}",
                    "Does the mapping fit its model, and chunk_length its action horizon?",
                ) from error
            if isinstance(error, OSError | self._errors.ConnectionClosed):
                raise ConnectionFault(
                    f"closed the connection before it answered ({error})",
                    "Was it stopped or killed, or is a message larger than its limit, or its "
                    f"answer larger than max_message_bytes={self._limits.max_message_bytes}?",
                ) from error
            raise

    def drop(self) -> None:
        """Cut the connection, with what is under way; there is no waiting for the other side."""
        if self._socket is not None:
            self._socket.transport.abort()
            self._socket = None

    async def close(self) -> None:
        """Say goodbye; may be called twice."""
        if self._socket is not None:
            socket, self._socket = self._socket, None
            await socket.close()

    async def _connect(self) -> ClientConnection:
        connection: ClientConnection = await self._client.connect(
            self._uri,
            additional_headers=self._headers,
            compression=None,  # images hardly shrink, and a small frame stays a small message
            max_size=self._limits.max_message_bytes,
            open_timeout=None,
            close_timeout=1,
            ping_interval=None,  # a server that infers answers none; deadlines bound the wait
            proxy=None,
        )
        return connection

    async def _is_silent(self, socket: ClientConnection) -> bool:
        """Whether the connection holds, and nothing came that was not asked for."""
        unasked = asyncio.ensure_future(socket.recv())
        await asyncio.sleep(0)
        if unasked.cancel():
            try:
                await unasked
            except asyncio.CancelledError:
                return True
            except self._errors.ConnectionClosed:
                return False
            return False
        unasked.exception()  # or asyncio complains that nobody looked
        return False


def _read(answer: str | bytes) -> Any:
    """An answer; a text is what openpi's server sends when it failed."""
    if isinstance(answer, str):
        raise RejectedFault(
            f"reports an error: {answer:.2000}",
            "Its own output says more. Do the mapping's keys and shapes fit its model?",
        )
    return read_openpi(memoryview(answer))


def _metadata(answer: str | bytes) -> dict[Any, Any]:
    try:
        metadata = _read(answer)
    except MalformedMessageError as error:
        raise ProtocolFault(f"began with {error}", _ADVICE) from error
    if not isinstance(metadata, dict):
        raise ProtocolFault("began with something else than its metadata", _ADVICE)
    return metadata
