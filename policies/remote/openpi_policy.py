"""An openpi server as a chunked policy."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from holdstep.errors import ConfigError, MalformedMessageError
from holdstep.policies.chunked.protocol import ChunkRequest, ChunkResult, ChunkSpec
from holdstep.policies.remote.answers import Answer, checked_answer, device_of, result_of
from holdstep.policies.remote.attempts import (
    Endpoint,
    ProtocolFault,
    RetryClock,
    TimeoutFault,
    attempt,
)
from holdstep.policies.remote.event_loop import EventLoopThread
from holdstep.policies.remote.limits import CallLimits, check_count, check_port
from holdstep.policies.remote.openpi_connection import OpenPiConnection
from holdstep.policies.remote.openpi_wire import openpi_writer
from holdstep.policies.remote.row_block import KEY, block_of

if TYPE_CHECKING:
    from holdstep.policies.remote.openpi_mapping import OpenPiMapping


class OpenPiPolicy:
    """Asks an openpi server for action chunks: openpi's own, or holdstep's :class:`OpenPiServer`.

    Speaks the protocol of openpi's ``WebsocketPolicyServer``, which takes one observation per
    request: the rows of a batch are sent one after another, the next one before the last one is
    answered, over ``num_connections`` connections at once. Connects when first asked. Rows that
    have their answer keep it when another row must be asked again. When it raises, nothing is put
    in the place of what is missing, and the next call starts afresh, with a server that was
    restarted too.

    Not thread-safe: one thread at a time, as :class:`~holdstep.policies.ChunkRunner` does. Has a
    thread of its own for the connections, which ends with :meth:`close`.

    Args:
        host: the server's name or address.
        port: the server's port.
        mapping: which observation group goes under which key of the policy.
        chunk_length: actions per inference, the model's action horizon.
        num_connections: connections among which the rows of a batch are divided. openpi's own
            server infers for one at a time; several help behind a load balancer.
        api_key: what the server wants to be shown. It is sent in the clear.
        limits: time-outs, attempts and sizes; for each row's request.
        reproducible: whether the policy's actions depend on nothing but the row's observation and
            seed, see :class:`~holdstep.policies.ChunkSpec`. openpi's own server draws its noise
            from one stream, so it is not.
        uses_prefix: whether the served policy continues what is still to be executed; openpi's own
            server does not.
        clock: time between attempts, for tests.

    Raises:
        ConfigError: an argument can't be used.
        MissingExtraError: the extra ``openpi`` is not installed.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 8000,
        *,
        mapping: OpenPiMapping,
        chunk_length: int,
        num_connections: int = 1,
        api_key: str | None = None,
        limits: CallLimits | None = None,
        reproducible: bool = False,
        uses_prefix: bool = False,
        clock: RetryClock | None = None,
    ) -> None:
        check_port(port)
        check_count("num_connections", num_connections)
        if not host:
            raise ConfigError("host must be a name or an address, got an empty one.")
        self.host = host
        self.port = port
        self.mapping = mapping
        self.limits = limits or CallLimits()
        self.spec = ChunkSpec(
            chunk_length=chunk_length,
            action_dim=mapping.action_dim,
            obs_keys=mapping.obs_keys,
            uses_instructions=mapping.prompt_key is not None,
            uses_prefix=uses_prefix,
            reproducible=reproducible,
        )
        self._clock = clock or RetryClock()
        self._writer = openpi_writer()
        uri = f"ws://[{host}]:{port}" if ":" in host else f"ws://{host}:{port}"
        self._connections = [
            OpenPiConnection(uri, limits=self.limits, api_key=api_key)
            for _ in range(num_connections)
        ]
        self._loop: EventLoopThread | None = None

    def infer(self, request: ChunkRequest) -> ChunkResult:
        """The chunks of a request, in its order.

        Returns:
            Actions float32 ``[B, L, A]`` on the device of the observations; ``info["server"]`` is
            each row's whole answer but for the actions.

        Raises:
            RemotePolicyError: there is no usable answer for every row; says which have none.
            ConfigError: the request lacks what the mapping sends.
        """
        rows = self.mapping.observations(request)
        env_ids = request.env_ids.tolist()
        answers: dict[int, Answer] = {}

        def frame(row: int, metadata: Mapping[Any, Any]) -> memoryview:
            if KEY not in metadata:
                return self._pack(rows[row])
            return self._pack({**rows[row], KEY: block_of(request.rows(row, row + 1))})

        def on_answer(row: int, answer: Any) -> None:
            actions = self.mapping.actions(answer, chunk_length=self.spec.chunk_length)
            info = {key: value for key, value in answer.items() if key != self.mapping.actions_key}
            answers[row] = checked_answer(actions, info)

        def unanswered() -> list[int]:
            return [row for row in range(len(rows)) if row not in answers]

        self._attempt(
            "infer",
            lambda left_s: self._ask(unanswered(), frame, on_answer, left_s),
            env_ids=lambda: [env_ids[row] for row in unanswered()],
            num_in_turn=max(1, -(-len(rows) // len(self._connections))),
        )
        in_order = [answers[row] for row in range(len(rows))]
        return result_of(in_order, self.spec, device=device_of(request))

    def reset(self, env_ids: torch.Tensor, episode_ids: torch.Tensor) -> None:
        """Tell the server that new episodes have begun, if it is one of holdstep's.

        openpi's protocol has no such request, and its policies remember nothing.

        Raises:
            RemotePolicyError: it did not confirm.
        """
        if not env_ids.numel() or KEY not in self.metadata():
            return
        message = {KEY: {"reset": {"env_ids": env_ids, "episode_ids": episode_ids}}}

        def on_answer(_: int, answer: Any) -> None:
            if not isinstance(answer, dict) or KEY not in answer:
                raise MalformedMessageError("no confirmation of a reset")

        self._attempt(
            "reset",
            lambda left_s: self._ask([0], lambda *_: self._pack(message), on_answer, left_s),
            env_ids=env_ids.tolist,
        )

    def metadata(self) -> dict[Any, Any]:
        """What the server says of itself when one connects.

        Raises:
            RemotePolicyError: it can't be reached.
        """
        connection = self._connections[0]
        self._attempt("metadata", connection.ensure_open, env_ids=list)
        return connection.metadata

    def close(self) -> None:
        """Close the connections; may be called twice."""
        if self._loop is not None:
            for connection in self._connections:
                self._loop.run(connection.close())
            self._loop.close()
            self._loop = None

    async def _ask(
        self,
        rows: Sequence[int],
        frame: Callable[[int, Mapping[Any, Any]], memoryview],
        on_answer: Callable[[int, Any], None],
        left_s: float,
    ) -> None:
        """Divide rows among the connections, and wait for all of them."""

        async def share(connection: OpenPiConnection, part: Sequence[int]) -> None:
            await connection.ensure_open(left_s)
            await connection.exchange(
                len(part),
                lambda index: frame(part[index], connection.metadata),
                lambda index, answer: on_answer(part[index], answer),
                timeout_s=min(self.limits.timeout_s, left_s),
            )

        num = len(self._connections)
        parts = [(self._connections[i], rows[i::num]) for i in range(num) if rows[i::num]]
        ended = await asyncio.gather(*(share(*part) for part in parts), return_exceptions=True)
        errors = [error for error in ended if error is not None]
        # What another attempt can't mend comes first.
        for error in sorted(errors, key=lambda error: getattr(error, "retry", False)):
            raise error

    def _attempt(
        self,
        name: str,
        once: Callable[[float], Coroutine[Any, Any, None]],
        *,
        env_ids: Callable[[], Sequence[int]],
        num_in_turn: int = 1,
    ) -> None:
        loop = self._loop = self._loop or EventLoopThread("holdstep OpenPiPolicy")

        async def in_time(left_s: float) -> None:
            try:
                async with asyncio.timeout(left_s):
                    await once(left_s)
            except TimeoutError as error:
                raise TimeoutFault(
                    "did not answer in time", "Raise CallLimits.deadline_s if it is only slow."
                ) from error

        attempt(
            lambda left_s: loop.run(in_time(left_s)),
            endpoint=Endpoint(server="openpi", host=self.host, port=self.port, name=name),
            env_ids=env_ids,
            limits=self.limits,
            clock=self._clock,
            num_in_turn=num_in_turn,
        )

    def _pack(self, message: object) -> memoryview:
        packed = self._writer.pack(message)
        if len(packed) > self.limits.max_message_bytes:
            raise ProtocolFault(
                f"was to be sent {len(packed)} bytes, more than max_message_bytes="
                f"{self.limits.max_message_bytes}",
                "Resize the images (image_size), or raise the limit on both sides.",
            )
        return packed
