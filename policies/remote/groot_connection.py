"""One ZMQ connection to a GR00T server, on which nothing can hang."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from holdstep.errors import MalformedMessageError
from holdstep.extras import require
from holdstep.policies.remote.attempts import (
    ConnectionFault,
    ProtocolFault,
    RejectedFault,
    TimeoutFault,
)
from holdstep.policies.remote.groot_wire import groot_writer, read_groot

if TYPE_CHECKING:
    import zmq

    from holdstep.policies.remote.limits import CallLimits

_LONGEST_WAIT_MS = 2**31 - 1


class GrootConnection:
    """Sends a request, waits for its answer, and for no other one.

    A REQ socket that gets no answer can't be used again, and an answer that comes too late would be
    the first thing that its successor on the same connection receives. So after every fault the
    socket is thrown away, and with it whatever is under way. ZMQ reconnects by itself and says
    nothing when a server dies: a monitor socket tells, so that a dead server costs milliseconds and
    not the whole time-out.

    Used by one thread at a time. Owns the buffer that messages are packed into; ZMQ reads from it
    without a copy, so it is used again only when ZMQ says that it is done with it.
    """

    def __init__(self, host: str, port: int, *, limits: CallLimits, api_token: str | None) -> None:
        self._zmq = require("zmq", extra="groot", purpose="GrootPolicy")
        self._writer = groot_writer()
        self._host = host
        self._address = tcp_address(host, port)
        self._limits = limits
        self._api_token = api_token
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None
        self._socket: zmq.Socket[bytes] | None = None
        self._monitor: zmq.Socket[bytes] | None = None
        self._buffer = bytearray()
        self._sent: zmq.MessageTracker | None = None

    def call(self, endpoint: str, data: object, *, timeout_s: float) -> Any:
        """One request, one attempt.

        Args:
            endpoint: what to ask.
            data: its argument; None for endpoints without one.
            timeout_s: from now to the answer [s]; waiting for a connection is part of it.

        Raises:
            Fault: no answer, or none that can be used.
        """
        message: dict[str, object] = {"endpoint": endpoint}
        if data is not None:
            message["data"] = data
        if self._api_token is not None:
            message["api_token"] = self._api_token
        packed = self._writer.pack(message, self._allocate)
        deadline = time.monotonic() + timeout_s
        try:
            self._send(packed, min(self._limits.connect_timeout_s, timeout_s))
            answer = self._receive(deadline)
        except BaseException as error:  # KeyboardInterrupt too: the socket waits for an answer
            self.drop()
            if isinstance(error, self._zmq.ZMQError):
                raise ConnectionFault(f"failed: {error}", "Is it running?") from error
            raise
        if isinstance(answer, Mapping) and "error" in answer:
            raise RejectedFault(
                f"reports an error: {answer['error']!s:.2000}",
                "Its own output says more. Do the mapping's keys and shapes fit its model, "
                "and is the token right?",
            )
        return answer

    def drop(self) -> None:
        """Throw the socket away, with what is under way; the next call makes another one."""
        if self._socket is not None:
            self._socket.disable_monitor()
            self._socket.close(linger=0)
            self._socket = None
        if self._monitor is not None:
            self._monitor.close(linger=0)
            self._monitor = None

    def close(self) -> None:
        """Close; may be called twice."""
        self.drop()
        if self._context is not None:
            self._context.destroy(linger=0)
            self._context = None

    def _allocate(self, size: int) -> memoryview:
        if size > self._limits.max_message_bytes:
            raise ProtocolFault(
                f"was to be sent {size} bytes, more than max_message_bytes="
                f"{self._limits.max_message_bytes}",
                "Set max_batch, resize the images (image_size), or raise the limit on both sides.",
            )
        in_use = self._sent is not None and not self._sent.done
        # Memory that was never touched costs more than the copy into it.
        if in_use or not size <= len(self._buffer) <= 4 * size + 65536:
            self._buffer = bytearray(size)
        return memoryview(self._buffer)[:size]

    def _open(self) -> tuple[zmq.Socket[bytes], zmq.Socket[bytes]]:
        if self._socket is None or self._monitor is None:
            zmq = self._zmq
            if self._context is None:
                self._context = zmq.Context()
            self._socket = self._context.socket(zmq.REQ)
            self._socket.linger = 0
            self._socket.immediate = True  # nothing is queued for a server that is not there
            self._socket.maxmsgsize = self._limits.max_message_bytes
            # Only for a literal address: with it, ZMQ takes a name's IPv6 address alone, and
            # "localhost" would miss a server that listens on IPv4, as GR00T's does.
            self._socket.ipv6 = ":" in self._host
            self._socket.reconnect_ivl = 50
            watched = zmq.EVENT_DISCONNECTED
            self._monitor = self._socket.get_monitor_socket(watched)
            self._socket.connect(self._address)
        return self._socket, self._monitor

    def _send(self, packed: memoryview, timeout_s: float) -> None:
        zmq = self._zmq
        socket, monitor = self._open()
        if not socket.poll(_milliseconds(timeout_s), zmq.POLLOUT):
            raise ConnectionFault(
                f"accepted no connection within {timeout_s:.1f} s",
                "Is it running, at this host and port, and does it speak ZMQ?",
            )
        while monitor.poll(0):  # of an earlier server at this address, while nothing was asked
            monitor.recv_multipart()
        self._sent = socket.send(packed, zmq.NOBLOCK, copy=False, track=True)

    def _receive(self, deadline: float) -> Any:
        zmq = self._zmq
        socket, monitor = self._open()
        poller = zmq.Poller()
        poller.register(socket, zmq.POLLIN)
        poller.register(monitor, zmq.POLLIN)
        ready = dict(poller.poll(_milliseconds(deadline - time.monotonic())))
        # The answer may have come just before the connection was closed.
        if socket not in ready and monitor in ready and not socket.poll(0):
            raise ConnectionFault(
                "closed the connection before it answered",
                "Was it stopped or killed, or is a message larger than its limit, or its answer "
                f"larger than max_message_bytes={self._limits.max_message_bytes}?",
            )
        if not ready:
            raise TimeoutFault(
                "did not answer in time",
                "It may hang or be slow: look at its output, or raise CallLimits.timeout_s and "
                "deadline_s.",
            )
        frame = socket.recv(zmq.NOBLOCK, copy=False)
        if frame.more:
            raise ProtocolFault("answered in several parts", _ADVICE)
        try:
            return read_groot(frame.buffer)
        except MalformedMessageError as error:
            raise ProtocolFault(f"sent a message with {error}", _ADVICE) from error


_ADVICE = "Is it a GR00T server of a version that speaks msgpack?"


def tcp_address(host: str, port: int | str) -> str:
    """ZMQ's name of a TCP address.

    >>> tcp_address("::1", 5555)
    'tcp://[::1]:5555'
    """
    return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"


def _milliseconds(seconds: float) -> int:
    return min(max(0, round(seconds * 1000)), _LONGEST_WAIT_MS)
