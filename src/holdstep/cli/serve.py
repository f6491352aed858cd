"""``holdstep serve``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from holdstep.named import named

if TYPE_CHECKING:
    from holdstep.policies.remote import GrootServer, OpenPiServer

DEMO = "demo"
_PORTS = {"groot": 5555, "openpi": 8000}


@dataclass
class Serve:
    """Serve a chunked policy over GR00T's or openpi's protocol, until Ctrl-C.

    --policy names code of yours, which is imported and called. Nothing is encrypted: to reach the
    server from another machine, prefer an SSH tunnel to --host 0.0.0.0.

    Example: holdstep serve --protocol groot --policy demo
    """

    protocol: Literal["groot", "openpi"] = "groot"
    """groot: ZMQ, as Isaac-GR00T's server. openpi: websocket, as openpi's server."""

    policy: str = DEMO
    """`module:function` that returns a ChunkedPolicy, looked for in the current folder first; or
    `demo`, which steers holdstep:PointMass and needs no model."""

    mapping: str | None = None
    """`module:name` of a GrootMapping or OpenPiMapping, where the wire's keys are not the names of
    the policy's observation groups."""

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 for all of this machine's."""

    port: int | None = None
    """Port; 0 takes a free one. By default 5555 (groot) or 8000 (openpi)."""

    device: str = "cpu"
    """Where the policy wants its observations."""

    token_file: Path | None = None
    """A file with the token that clients must show."""

    token_env: str | None = None
    """The environment variable that holds it. There is no option for the token itself, which
    everyone on the machine could read in the list of processes."""

    max_message_mib: int = 256
    """The largest request [MiB]."""

    allow_kill: bool = False
    """Let clients stop the server (groot only)."""

    def run(self) -> int:
        """Serve."""
        from holdstep.cli.stopping import stops_on_signals

        server = self._server()
        with stops_on_signals():
            try:
                server.serve_forever(on_listening=self._announce)
            except KeyboardInterrupt:
                print("stopped")
        return 0

    def _announce(self, host: str, port: int) -> None:
        # One line that scripts can wait for.
        print(f"{self.protocol}: serving {self.policy} on {host}:{port}, Ctrl-C stops", flush=True)

    def _server(self) -> GrootServer | OpenPiServer:
        from holdstep.errors import ConfigError
        from holdstep.policies.remote import DemoPolicy, GrootServer, OpenPiServer

        token = self._token()
        if self.allow_kill and self.protocol != "groot":
            raise ConfigError("--allow-kill is of --protocol groot; openpi has no such request.")
        if self.max_message_mib < 1:
            raise ConfigError(f"--max-message-mib must be at least 1, got {self.max_message_mib}.")
        policy = DemoPolicy() if self.policy == DEMO else maker(self.policy, "--policy")()
        common: dict[str, Any] = {
            "host": self.host,
            "port": _PORTS[self.protocol] if self.port is None else self.port,
            "mapping": None if self.mapping is None else named(self.mapping, "--mapping"),
            "device": self.device,
            "max_message_bytes": self.max_message_mib * 2**20,
        }
        if self.protocol == "groot":
            return GrootServer(policy, api_token=token, allow_kill=self.allow_kill, **common)
        return OpenPiServer(policy, api_key=token, **common)

    def _token(self) -> str | None:
        import os

        from holdstep.errors import ConfigError

        if self.token_file is not None and self.token_env is not None:
            raise ConfigError("Give --token-file or --token-env, not both.")
        if self.token_file is not None:
            token = self.token_file.read_text(encoding="utf-8").strip()
        elif self.token_env is not None:
            token = os.environ.get(self.token_env, "")
        else:
            return None
        if not token:
            source = self.token_file or f"the environment variable {self.token_env}"
            raise ConfigError(f"There is no token in {source}. Without one, leave the option away.")
        return token


def maker(name: str, option: str) -> Callable[..., Any]:
    """The function or class that ``module:name`` names.

    Args:
        name: as for :func:`named`.
        option: the option that it comes from, for messages.

    Raises:
        ConfigError: as :func:`named`, or it can't be called.
    """
    from holdstep.errors import ConfigError

    found = named(name, option)
    if not callable(found):
        raise ConfigError(
            f"{option} takes a function or class that makes it; {name!r} is a "
            f"{type(found).__name__}."
        )
    return found  # type: ignore[no-any-return]
