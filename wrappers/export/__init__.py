"""Observation terms, policy and action terms traced into one contract and one model."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdstep.wrappers.export.annotate import AnnotateExport
    from holdstep.wrappers.export.contract import Contract
    from holdstep.wrappers.export.contract_file import read_contract, write_contract
    from holdstep.wrappers.export.export import export_policy
    from holdstep.wrappers.export.model_runner import ModelRunner
    from holdstep.wrappers.export.model_runner import load as load_model
    from holdstep.wrappers.export.pipeline import Pipeline, build_pipeline
    from holdstep.wrappers.export.report import ExportReport

__all__ = [
    "AnnotateExport",
    "Contract",
    "ExportReport",
    "ModelRunner",
    "Pipeline",
    "build_pipeline",
    "export_policy",
    "load_model",
    "read_contract",
    "write_contract",
]

# Imported when first asked for: whoever only reads a contract needs neither torch's exporters nor
# a simulator.
_LAZY = {
    "AnnotateExport": ("annotate", "AnnotateExport"),
    "Contract": ("contract", "Contract"),
    "ExportReport": ("report", "ExportReport"),
    "ModelRunner": ("model_runner", "ModelRunner"),
    "Pipeline": ("pipeline", "Pipeline"),
    "build_pipeline": ("pipeline", "build_pipeline"),
    "export_policy": ("export", "export_policy"),
    "load_model": ("model_runner", "load"),
    "read_contract": ("contract_file", "read_contract"),
    "write_contract": ("contract_file", "write_contract"),
}


def __getattr__(name: str) -> object:
    if name in _LAZY:
        module, attribute = _LAZY[name]
        return getattr(importlib.import_module(f"holdstep.wrappers.export.{module}"), attribute)
    raise AttributeError(f"module 'holdstep.wrappers.export' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
