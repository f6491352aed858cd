"""What both reference servers share: asking the policy, and who may connect."""

from __future__ import annotations

import hmac
import ipaddress
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from holdstep.errors import ConfigError, MalformedMessageError, PolicyError
from holdstep.policies.chunked.protocol import ChunkedPolicy
from holdstep.policies.remote.answers import parts_of
from holdstep.policies.remote.row_block import request_from, reset_rows

if TYPE_CHECKING:
    from holdstep.envs.contract import Obs

logger = logging.getLogger("holdstep.policies.remote")


class ServedPolicy:
    """A policy that is asked by one thread, with what came over a wire.

    Args:
        policy: any chunked policy.

    Raises:
        ConfigError: it is none.
    """

    def __init__(self, policy: ChunkedPolicy) -> None:
        if not isinstance(policy, ChunkedPolicy):
            raise ConfigError(
                f"A server needs a ChunkedPolicy (spec, infer, reset), got {policy!r:.100}."
            )
        self.policy = policy
        self._num_served = 0

    def infer(
        self, obs: Obs, block: object, instructions: Sequence[str]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Actions float32 ``[B, L, A]`` and valid lengths int64 ``[B]``.

        Raises:
            MalformedMessageError: what came is no request.
            PolicyError: what the policy returned is no answer to it.
        """
        spec = self.policy.spec
        missing = [key for key in spec.obs_keys or () if key not in obs]
        if missing:
            raise MalformedMessageError(f"no observations {missing}; there are {sorted(obs)}")
        if spec.uses_instructions and not instructions:
            raise MalformedMessageError("no instructions, which this policy needs")
        request = request_from(obs, block, instructions=instructions, first_seed=self._num_served)
        self._num_served += len(request)
        actions, lengths = [], []
        for part in parts_of(request, spec.max_batch):
            result = self.policy.infer(part)
            expected = (len(part), spec.chunk_length, spec.action_dim)
            if tuple(result.actions.shape) != expected:
                raise PolicyError(
                    f"The served policy returned actions {list(result.actions.shape)}, where its "
                    f"spec and the request say {list(expected)}."
                )
            actions.append(result.actions.detach().to("cpu", torch.float32).numpy())
            lengths.append(
                np.full(len(part), spec.chunk_length)
                if result.valid_lengths is None
                else result.valid_lengths.detach().to("cpu", torch.int64).numpy()
            )
        return np.concatenate(actions), np.concatenate(lengths)

    def reset(self, block: object) -> None:
        """Tell the policy of new episodes; a client that names no rows starts none.

        Raises:
            MalformedMessageError: rows that can't be meant.
        """
        if block is not None:
            self.policy.reset(*reset_rows(block))


def error_text(error: Exception) -> str:
    """What a client is told of an error: no traceback, which would show it the server's files."""
    if isinstance(error, MalformedMessageError):
        text = f"The request holds {error}"
    else:
        text = f"{type(error).__name__}: {error}"
    return text[:2000].encode("utf-8", "replace").decode()


def token_fits(given: object, expected: str | None) -> bool:
    """Whether a client may go on; takes as long for a nearly right token as for a wrong one."""
    if expected is None:
        return True
    return isinstance(given, str) and hmac.compare_digest(
        given.encode("utf-8", "surrogateescape"), expected.encode()
    )


def check_token(token: str | None) -> None:
    """Refuse a token that does not come through every protocol as it is."""
    if token is None:
        return
    if not isinstance(token, str) or not token.isascii() or not token.isprintable():
        raise ConfigError("A token must be a string of printable ASCII characters, or None.")
    if not token or token != token.strip():
        raise ConfigError("A token must not be empty, begin with a space, or end with one.")


def warn_if_open(host: str, token: str | None) -> None:
    """Say so if anyone on the network can ask the policy."""
    if not is_loopback(host) and token is None:
        logger.warning(
            "This policy server listens on %s without a token: anyone who reaches this machine can "
            "use it. Give it a token, or listen on 127.0.0.1 and connect through an SSH tunnel.",
            host,
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address.

    >>> is_loopback("127.0.0.1"), is_loopback("0.0.0.0"), is_loopback("*")
    (True, False, False)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
