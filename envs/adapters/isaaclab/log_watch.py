"""What a call of Isaac Lab has logged, told from what earlier calls have left behind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from holdstep.envs.adapters.isaaclab.plain import owned

if TYPE_CHECKING:
    from holdstep.envs.contract import Info


class LogWatch:
    """Tells whether the backend writes to ``extras["log"]``, which it leaves there otherwise.

    Args:
        extras: the backend's own dictionary, before the call that is watched.
    """

    def __init__(self, extras: Mapping[str, Any]) -> None:
        self._log = extras.get("log")
        # References, not copies: an entry that is replaced is another object, even if equal.
        self._entries = dict(self._log) if isinstance(self._log, Mapping) else {}

    def info_of(self, extras: Mapping[str, Any]) -> Info:
        """A copy of ``extras``, without a log that is older than the call."""
        return {
            key: owned(value) for key, value in extras.items() if key != "log" or self._new(value)
        }

    def _new(self, log: Any) -> bool:
        if log is not self._log or not isinstance(log, Mapping):
            return log is not self._log
        return any(self._entries.get(key, self) is not value for key, value in log.items())
