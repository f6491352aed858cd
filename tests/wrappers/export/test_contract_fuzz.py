"""Contracts that someone or something damaged: an error with its line, and nothing else."""

from __future__ import annotations

import contextlib

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from holdstep.errors import ContractError
from holdstep.wrappers.export.contract import Contract
from holdstep.wrappers.export.contract_file import parse_contract
from holdstep.wrappers.export.contract_writer import contract_text
from tests.wrappers.export.contracts import contract_of

TEXT = contract_text(contract_of())
PLAIN = yaml.safe_load(TEXT)

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["wxyz", "state:robot:joint_pos", "memory:x", "../x", "1e-5", "float32"])
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


def only_contract_errors(content: bytes) -> None:
    with contextlib.suppress(ContractError):
        assert isinstance(parse_contract(content), Contract)


@given(st.binary(max_size=200))
@settings(max_examples=80, deadline=None)
def test_any_bytes(content):
    only_contract_errors(content)


@given(st.text(max_size=200))
@settings(max_examples=80, deadline=None)
def test_any_text(text):
    only_contract_errors(text.encode("utf-8", "surrogatepass"))


@given(st.data())
@settings(max_examples=80, deadline=None)
def test_any_part_replaced_by_anything(data):
    plain = yaml.safe_load(TEXT)
    node = plain
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        key = data.draw(st.sampled_from(keys))
        if isinstance(node[key], dict | list) and node[key] and data.draw(st.booleans()):
            node = node[key]
            continue
        if data.draw(st.booleans()):
            del node[key]
        else:
            node[key] = data.draw(values)
        break
    only_contract_errors(yaml.safe_dump(plain).encode("utf-8", "surrogatepass"))


@given(st.integers(0, len(TEXT) - 1), st.integers(0, 40), st.text(max_size=6))
@settings(max_examples=100, deadline=None)
def test_any_characters_cut_out_or_put_in(start, length, inserted):
    damaged = TEXT[:start] + inserted + TEXT[start + length :]
    only_contract_errors(damaged.encode("utf-8", "surrogatepass"))


@given(values)
@settings(max_examples=50, deadline=None)
def test_any_yaml(value):
    only_contract_errors(yaml.safe_dump(value).encode("utf-8", "surrogatepass"))
