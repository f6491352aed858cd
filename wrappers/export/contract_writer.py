"""A contract as YAML text for people: ordered, commented, without what has its default."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import yaml

from holdstep.wrappers.export.contract import Contract

_HEADER = """\
# What an exported policy reads, keeps and writes. Written by holdstep; `holdstep contract show`
# prints it as tables, `holdstep deploy` runs it. Shapes are those of one row (env, robot).
"""

_COMMENTS = {
    "version": "of this file's format",
    "step_dt": "the clock, in seconds: the policy runs once per step_dt = physics_dt * decimation",
    "inputs": "read from the host before each control step, in the order the model takes them",
    "memories": "kept from one control step to the next, and reset with the row",
    "outputs": "computed in each control step; write:... goes to the host",
    "apply_inputs": "read before every physics step by the second graph",
    "apply_outputs": "written before every physics step by the second graph",
    "actuators": "how targets became torques where the policy was trained",
    "constants": "baked into the model; varies: true was randomised per env, one value is inside",
    "observation_terms": "inside the model: for people, not for hosts",
    "action_terms": "inside the model: for people, not for hosts",
    "models": "the files, next to this one",
    "checks": "how the validation went at the export",
}


class _Dumper(yaml.SafeDumper):
    """Lists of scalars on one line, everything else in block style, no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _represent_list(dumper: yaml.SafeDumper, data: list[Any]) -> yaml.Node:
    scalars = not any(isinstance(entry, list | dict) for entry in data)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=scalars)


_Dumper.add_representer(list, _represent_list)


def contract_text(contract: Contract) -> str:
    """The content of ``contract.yaml``."""
    text = _HEADER
    for field in dataclasses.fields(contract):
        value = getattr(contract, field.name)
        if field.name not in _REQUIRED and not value:
            continue
        if field.name in _COMMENTS:
            text += f"\n# {_COMMENTS[field.name]}\n"
        text += yaml.dump(
            {field.name: _plain(value)},
            Dumper=_Dumper,
            sort_keys=False,
            default_flow_style=False,
            allow_unicode=True,
            width=100,
        )
    return text


_REQUIRED = {
    field.name for field in dataclasses.fields(Contract) if field.default is dataclasses.MISSING
}


def _plain(value: Any) -> Any:
    """A value as lists and dictionaries, without fields that have their defaults."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        plain = {}
        for field in dataclasses.fields(value):
            entry = getattr(value, field.name)
            if not _is_default(field, entry):
                plain[field.name] = _plain(entry)
        return plain
    if isinstance(value, tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    return value


def _is_default(field: dataclasses.Field[Any], value: Any) -> bool:
    if field.default_factory is not dataclasses.MISSING:
        return bool(value == field.default_factory())
    return field.default is not dataclasses.MISSING and bool(value == field.default)
