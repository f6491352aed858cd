"""Values that are given, row by row or by a function: none outlives what replaced it."""

from __future__ import annotations

import pytest
import torch

from holdstep.envs.deployment.given_inputs import GivenInputs
from holdstep.errors import ConfigError
from holdstep.wrappers.export.contract import TensorSpec

TWIST = "command:twist"


@pytest.fixture
def given():
    spec = TensorSpec.of(TWIST, (3,))
    return GivenInputs([spec], num_envs=2, device=torch.device("cpu"))


def test_values_from_before_a_function_do_not_come_back(given):
    given.set(TWIST, [1.0, 0.0, 0.0])
    given.set(TWIST, lambda: [2.0, 0.0, 0.0])
    given.set(TWIST, [0.5, 0.0, 0.0], env_ids=[0])
    assert given.missing() == ["command:twist: was not set for rows [1]."]
    given.set(TWIST, [0.25, 0.0, 0.0], env_ids=[1])
    assert given.missing() == []
    assert given.read(TWIST)[:, 0].tolist() == [0.5, 0.25]


def test_a_value_for_all_rows_completes_what_some_had(given):
    given.set(TWIST, [0.5, 0.0, 0.0], env_ids=[0])
    given.set(TWIST, [1.0, 0.0, 0.0])
    assert given.missing() == []
    assert given.read(TWIST)[:, 0].tolist() == [1.0, 1.0]


@pytest.mark.parametrize("env_ids", [None, [1]])
@pytest.mark.parametrize("before", [[1.0, 0.0, 0.0], lambda: [1.0, 0.0, 0.0]])
def test_a_refused_value_changes_nothing(given, before, env_ids):
    given.set(TWIST, before)
    with pytest.raises(ConfigError, match="finite"):
        given.set(TWIST, [float("nan"), 0.0, 0.0], env_ids)
    assert given.missing() == []
    assert given.read(TWIST)[:, 0].tolist() == [1.0, 1.0]
