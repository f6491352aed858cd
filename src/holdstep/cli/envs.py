"""``holdstep envs``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro


@dataclass
class Envs:
    """List the ids of all envs that can be made here.

    Example: holdstep envs mjlab --match velocity
    """

    backend: Annotated[str | None, tyro.conf.Positional] = None
    """Only this backend: holdstep, gymnasium, mjlab or isaaclab."""

    match: str | None = None
    """Only ids that contain this, whatever the case."""

    def run(self) -> int:
        """Print one id per line, and on standard error what is not installed."""
        import sys

        from holdstep.cli.quiet import quiet_simulators
        from holdstep.envs.registry import BACKENDS, list_envs
        from holdstep.errors import (
            BackendUnavailableError,
            ConfigError,
            MissingExtraError,
            nearest_names,
        )

        if self.backend is not None and self.backend not in BACKENDS:
            raise ConfigError(
                f"There is no backend {self.backend!r}.{nearest_names(self.backend, BACKENDS)} "
                f"Backends: {', '.join(BACKENDS)}."
            )
        for prefix in [self.backend] if self.backend else BACKENDS:
            try:
                with quiet_simulators():
                    ids = list_envs(prefix)
            except (MissingExtraError, BackendUnavailableError) as error:
                if self.backend:
                    raise
                print(f"# {prefix}: {error}", file=sys.stderr)
                continue
            for env_id in ids:
                if self.match is None or self.match.lower() in env_id.lower():
                    print(env_id)
        return 0
