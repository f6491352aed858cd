"""Whole runs of teleoperation as YAML files."""

from __future__ import annotations

from holdstep.policies.teleop.config.example import EXAMPLE
from holdstep.policies.teleop.config.reading import parse_run, read_run
from holdstep.policies.teleop.config.run_config import RunConfig

__all__ = ["EXAMPLE", "RunConfig", "parse_run", "read_run"]
