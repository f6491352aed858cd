"""The folder of one training run: its settings, its metrics, its checkpoints."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from holdstep.errors import CheckpointError

if TYPE_CHECKING:
    from holdstep.policies.rsl_rl.runner import Iteration

_PACKAGES = ("holdstep", "torch", "gymnasium", "rsl-rl-lib", "mjlab", "mujoco-warp", "isaaclab")


@dataclass(frozen=True)
class RunDir:
    """Paths of a run, and what is written there.

    Layout: ``params/run.yaml`` (env id, seed, overrides, versions), ``params/agent.yaml`` (the
    runner's configuration), ``metrics.jsonl`` (a line per iteration), ``model_*.pt``, and
    tensorboard's events.

    Attributes:
        path: the folder.
    """

    path: Path

    @classmethod
    def create(cls, root: str | Path, experiment: str, run_name: str = "") -> RunDir:
        """A new folder, named after the time, under ``root/experiment``."""
        stamp = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
        base = Path(root) / experiment / (f"{stamp}_{run_name}" if run_name else stamp)
        path, attempt = base, 1
        while True:
            try:
                (path / "params").mkdir(parents=True)
            except FileExistsError:
                attempt += 1
                path = base.with_name(f"{base.name}-{attempt}")
            else:
                return cls(path)

    @classmethod
    def of_checkpoint(cls, checkpoint: str | Path) -> RunDir:
        """The run that a checkpoint lies in."""
        return cls(Path(checkpoint).parent)

    def write_params(self, run: Mapping[str, Any], agent: Mapping[str, Any]) -> None:
        """Write the settings of the run, with the versions of what it ran on."""
        with_versions = dict(run) | {"versions": _versions()}
        for name, settings in (("run", with_versions), ("agent", agent)):
            text = yaml.safe_dump(_plain(settings), sort_keys=False)
            (self.path / "params" / f"{name}.yaml").write_text(text, encoding="utf-8")

    def read_env_id(self) -> str | None:
        """The id of the env that the run was trained on; None when it doesn't say."""
        run = self._read_params("run")
        return None if run is None else run.get("env_id")

    def read_agent(self) -> dict[str, Any] | None:
        """The runner's configuration that the run was trained with; None when it has none."""
        return self._read_params("agent")

    def _read_params(self, name: str) -> dict[str, Any] | None:
        file = self.path / "params" / f"{name}.yaml"
        if not file.is_file():
            return None
        loaded = yaml.safe_load(file.read_text(encoding="utf-8"))
        if not isinstance(loaded, dict):
            raise CheckpointError(f"{file} holds no settings; it should be a mapping.")
        return loaded

    def append_metrics(self, iteration: Iteration) -> None:
        """Append one iteration's line, so that a killed run keeps all before it."""
        line = asdict(iteration) | {"steps_per_s": round(iteration.steps_per_s, 1)}
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def read_metrics(self) -> list[dict[str, Any]]:
        """All iterations' lines."""
        file = self.path / "metrics.jsonl"
        if not file.is_file():
            return []
        return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _plain(value: Any) -> Any:
    """Settings as YAML's own types; what has none is written as its name."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return getattr(value, "__qualname__", None) or str(value)
