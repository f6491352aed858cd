"""The folder of one training run: its settings, its metrics, its checkpoints."""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
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
        """A new folder, named after the time, under ``root/experiment``.

        In both names, what is awkward in a path (a slash, a colon, a space) becomes ``_``.
        """
        stamp = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
        name = f"{stamp}_{_path_part(run_name)}" if run_name else stamp
        base = cls.experiment(root, experiment) / name
        path, attempt = base, 1
        while True:
            try:
                (path / "params").mkdir(parents=True)
            except FileExistsError:
                attempt += 1
                path = base.with_name(f"{base.name}-{attempt}")
            else:
                return cls(path)

    @staticmethod
    def experiment(root: str | Path, experiment: str) -> Path:
        """The folder that an experiment's runs are in."""
        return Path(root) / (_path_part(experiment) or "experiment")

    @classmethod
    def of_checkpoint(cls, checkpoint: str | Path) -> RunDir:
        """The run that a checkpoint lies in."""
        return cls(Path(checkpoint).parent)

    def write_params(self, run: Mapping[str, Any], agent: Mapping[str, Any]) -> None:
        """Write the settings of the run, with the versions of what it ran on."""
        with_versions = dict(run) | {"versions": _versions()}
        for name, settings in (("run", with_versions), ("agent", agent)):
            text = yaml.safe_dump(as_plain(settings), sort_keys=False)
            (self.path / "params" / f"{name}.yaml").write_text(text, encoding="utf-8")

    def read_run(self) -> dict[str, Any] | None:
        """The settings of the run, with the versions of what it ran on; None when it has none."""
        return self._read_params("run")

    def read_env_id(self) -> str | None:
        """The id of the env that the run was trained on; None when it doesn't say."""
        run = self.read_run()
        return None if run is None else run.get("env_id")

    def read_agent(self) -> dict[str, Any] | None:
        """The runner's configuration that the run was trained with; None when it has none."""
        return self._read_params("agent")

    def _read_params(self, name: str) -> dict[str, Any] | None:
        file = self.path / "params" / f"{name}.yaml"
        if not file.is_file():
            return None
        try:
            loaded = yaml.safe_load(file.read_text(encoding="utf-8"))
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            reason = " ".join(str(error).split())
            raise CheckpointError(f"{file} is no YAML, or is damaged: {reason}") from error
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

    def cut_metrics(self, iteration: int) -> None:
        """Drop the lines of an iteration and of those after it, which are to be done once more."""
        file = self.path / "metrics.jsonl"
        if not file.is_file():
            return
        kept = [
            line
            for line in file.read_text(encoding="utf-8").splitlines(keepends=True)
            # Without its end, it was being written when the process was killed.
            if line.endswith("\n") and json.loads(line)["index"] < iteration
        ]
        draft = file.with_name(f"{file.name}.tmp")
        draft.write_text("".join(kept), encoding="utf-8")
        os.replace(draft, file)


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _path_part(name: str) -> str:
    return re.sub(r"[^\w.-]+", "_", name).strip(".")


def as_plain(value: Any) -> Any:
    """Settings as YAML's own types; classes and functions as ``module:qualname``.

    >>> as_plain({"class_name": dict, "init_std": np.float32(0.5), "hidden_dims": (64, 64)})
    {'class_name': 'builtins:dict', 'init_std': 0.5, 'hidden_dims': [64, 64]}
    """
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): as_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_plain(item) for item in value]
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)  # an enum's member is a str, too, but YAML has no such type
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    qualname = getattr(value, "__qualname__", None)
    return str(value) if qualname is None else f"{value.__module__}:{qualname}"
