"""How long a remote policy is waited for, how often it is asked again, and how much it may say."""

from __future__ import annotations

import math
from dataclasses import dataclass

from holdstep.errors import ConfigError

MAX_MESSAGE_BYTES = 256 * 1024 * 1024
"""256 rows with two 224x224 cameras are 77 MB."""


@dataclass(frozen=True, kw_only=True)
class CallLimits:
    """Bounds of one request to a remote policy. Nothing waits longer.

    A lost connection and a time-out are tried again; an error that the server reports and an answer
    that makes no sense are not, since the same question would be answered the same way.

    Attributes:
        connect_timeout_s: until the server has accepted a connection [s], for each attempt.
        timeout_s: from sending a request to its answer [s], for each attempt. The first inference
            of a server that compiles its model can take much longer than the others.
        deadline_s: for one request with all its attempts and the pauses between them [s]. A batch
            that is sent as k requests one after another has k times that.
        max_attempts: how often one request is sent at most.
        backoff_s: the pause before the second attempt [s]; it doubles with each further one.
        max_message_bytes: the largest message that is sent or accepted.

    >>> CallLimits(timeout_s=2.0).max_attempts
    3
    """

    connect_timeout_s: float = 5.0
    timeout_s: float = 20.0
    deadline_s: float = 60.0
    max_attempts: int = 3
    backoff_s: float = 0.25
    max_message_bytes: int = MAX_MESSAGE_BYTES

    def __post_init__(self) -> None:
        for name in ("connect_timeout_s", "timeout_s", "deadline_s"):
            value = getattr(self, name)
            if not _is_number(value) or not 0 < value < math.inf:
                raise ConfigError(f"CallLimits.{name} must be seconds > 0, got {value!r}.")
        if not _is_number(self.backoff_s) or not 0 <= self.backoff_s < math.inf:
            raise ConfigError(f"CallLimits.backoff_s must be seconds >= 0, got {self.backoff_s!r}.")
        for name in ("max_attempts", "max_message_bytes"):
            check_count(f"CallLimits.{name}", getattr(self, name))


def check_count(name: str, value: object) -> None:
    """Refuse what is no integer of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"{name} must be an integer >= 1, got {value!r}.")


def check_port(port: object, *, lowest: int = 1) -> None:
    """Refuse what is no TCP port."""
    if isinstance(port, bool) or not isinstance(port, int) or not lowest <= port <= 65535:
        raise ConfigError(f"port must be an integer from {lowest} to 65535, got {port!r}.")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
