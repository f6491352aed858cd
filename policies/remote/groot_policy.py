"""A GR00T server as a chunked policy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from holdstep.errors import ConfigError, MalformedMessageError
from holdstep.policies.chunked.protocol import ChunkRequest, ChunkResult, ChunkSpec
from holdstep.policies.remote.answers import (
    Answer,
    checked_answer,
    device_of,
    parts_of,
    result_of,
)
from holdstep.policies.remote.attempts import Endpoint, ProtocolFault, RetryClock, attempt
from holdstep.policies.remote.groot_connection import GrootConnection
from holdstep.policies.remote.limits import CallLimits, check_port
from holdstep.policies.remote.row_block import KEY, block_of

if TYPE_CHECKING:
    from holdstep.policies.remote.groot_mapping import GrootMapping

T = TypeVar("T")


class GrootPolicy:
    """Asks a GR00T server for action chunks: NVIDIA's, or holdstep's :class:`GrootServer`.

    Speaks the protocol of Isaac-GR00T's ``PolicyServer`` (N1.6): ZMQ REQ/REP with msgpack. One
    request carries up to ``max_batch`` rows; larger batches are sent in turn. Connects when first
    asked. When it raises, no row of that batch has an answer, nothing is put in its place, and the
    next call starts afresh, with a server that was restarted too.

    Not thread-safe: one thread at a time, as :class:`~holdstep.policies.ChunkRunner` does.

    Args:
        host: the server's name or address.
        port: the server's port.
        mapping: which observation group goes under which key of the model.
        chunk_length: actions per inference, the model's action horizon.
        max_batch: rows in one request; None for all of them.
        api_token: what the server wants to be shown. It is sent in the clear.
        limits: time-outs, attempts and sizes.
        reproducible: whether the model's actions depend on nothing but the row's observation and
            seed, see :class:`~holdstep.policies.ChunkSpec`. GR00T's own server draws its noise from
            a stream that all rows share, so it is not.
        uses_prefix: whether the served policy continues what is still to be executed; GR00T's own
            server does not.
        forward_resets: tell the server about new episodes. GR00T's own policy ignores it; servers
            without the endpoint (N1.5) refuse it.
        clock: time between attempts, for tests.

    Raises:
        ConfigError: an argument can't be used.
        MissingExtraError: the extra ``groot`` is not installed.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 5555,
        *,
        mapping: GrootMapping,
        chunk_length: int,
        max_batch: int | None = None,
        api_token: str | None = None,
        limits: CallLimits | None = None,
        reproducible: bool = False,
        uses_prefix: bool = False,
        forward_resets: bool = True,
        clock: RetryClock | None = None,
    ) -> None:
        check_port(port)
        if not host:
            raise ConfigError("host must be a name or an address, got an empty one.")
        self.host = host
        self.port = port
        self.mapping = mapping
        self.limits = limits or CallLimits()
        self.forward_resets = forward_resets
        self.spec = ChunkSpec(
            chunk_length=chunk_length,
            action_dim=mapping.action_dim,
            obs_keys=mapping.obs_keys,
            max_batch=max_batch,
            uses_instructions=mapping.language_key is not None,
            uses_prefix=uses_prefix,
            reproducible=reproducible,
        )
        self._clock = clock or RetryClock()
        self._connection = GrootConnection(host, port, limits=self.limits, api_token=api_token)

    def infer(self, request: ChunkRequest) -> ChunkResult:
        """The chunks of a request, in its order.

        Returns:
            Actions float32 ``[B, L, A]`` on the device of the observations; ``info["server"]`` is
            what the server said beside them, one entry for each part of the batch.

        Raises:
            RemotePolicyError: there is no usable answer for every row; says which.
            ConfigError: the request lacks what the mapping sends.
        """
        # Without one part's answer none of the request's rows gets its chunk.
        env_ids = request.env_ids.tolist()
        parts = parts_of(request, self.spec.max_batch)
        answers = [self._infer_part(part, env_ids) for part in parts]
        return result_of(answers, self.spec, device=device_of(request))

    def reset(self, env_ids: torch.Tensor, episode_ids: torch.Tensor) -> None:
        """Tell the server that new episodes have begun.

        Raises:
            RemotePolicyError: it did not confirm.
        """
        if self.forward_resets and env_ids.numel():
            block = {"env_ids": env_ids, "episode_ids": episode_ids}
            self._ask("reset", {"options": {KEY: block}}, env_ids.tolist())

    def ping(self) -> bool:
        """Whether the server answers.

        Raises:
            RemotePolicyError: it does not; says why.
        """
        return isinstance(self._ask("ping", None, ()), dict)

    def modality_config(self) -> dict[str, Any]:
        """What the model takes and gives.

        Returns:
            For ``video``, ``state``, ``action`` and ``language``, where the server says so, a map
            with the ``modality_keys`` and ``delta_indices``.

        Raises:
            RemotePolicyError: it does not answer.
        """
        config = self._ask("get_modality_config", None, ())
        return config if isinstance(config, dict) else {}

    def close(self) -> None:
        """Close the connection; may be called twice."""
        self._connection.close()

    def _infer_part(self, part: ChunkRequest, env_ids: Sequence[int]) -> Answer:
        data = {"observation": self.mapping.observation(part), "options": {KEY: block_of(part)}}

        def once(left_s: float) -> Answer:
            reply = self._call("get_action", data, left_s)
            try:
                if not isinstance(reply, list) or len(reply) != 2:
                    raise MalformedMessageError("no pair of actions and info")
                actions = self.mapping.actions(
                    reply[0], num_rows=len(part), chunk_length=self.spec.chunk_length
                )
                return checked_answer(actions, reply[1])
            except MalformedMessageError as error:
                raise ProtocolFault(
                    f"sent an answer with {error}",
                    "Does the mapping fit its model, and chunk_length its action horizon? "
                    "GrootPolicy.modality_config() asks it.",
                ) from error

        return self._attempt("get_action", once, env_ids)

    def _ask(self, name: str, data: object, env_ids: Sequence[int]) -> Any:
        return self._attempt(name, lambda left_s: self._call(name, data, left_s), env_ids)

    def _call(self, name: str, data: object, left_s: float) -> Any:
        return self._connection.call(name, data, timeout_s=min(self.limits.timeout_s, left_s))

    def _attempt(self, name: str, once: Callable[[float], T], env_ids: Sequence[int]) -> T:
        return attempt(
            once,
            endpoint=Endpoint(server="GR00T", host=self.host, port=self.port, name=name),
            env_ids=lambda: env_ids,
            limits=self.limits,
            clock=self._clock,
        )
