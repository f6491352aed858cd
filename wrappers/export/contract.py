"""What an exported policy reads, keeps and writes: the contract between a model and its host.

The model is a pure function::

    (*inputs, *memories) -> (*outputs, *memory updates)

Every tensor has a leading dimension, the rows (envs or robots), which the shapes here leave out.
:mod:`holdstep.wrappers.export.contract_file` writes a contract as ``contract.yaml`` and reads it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from holdstep.documents.problems import Problem
from holdstep.wrappers.export.checked import Checked
from holdstep.wrappers.export.contract_parts import (
    ActionTerm,
    Actuator,
    ActuatorKind,
    Check,
    Constant,
    ModelFile,
    ObservationTerm,
)
from holdstep.wrappers.export.contract_rules import contract_problems
from holdstep.wrappers.export.tensors import DType, Memory, MemoryKind, QuaternionOrder, TensorSpec

__all__ = [
    "CONTRACT_VERSION",
    "ActionTerm",
    "Actuator",
    "ActuatorKind",
    "Check",
    "Constant",
    "Contract",
    "DType",
    "Memory",
    "MemoryKind",
    "ModelFile",
    "ObservationTerm",
    "QuaternionOrder",
    "TensorSpec",
]

CONTRACT_VERSION = 1
"""Version of the contract that this holdstep writes, and the newest that it reads."""


@dataclass(frozen=True)
class Contract(Checked):
    """Everything a host must know to run an exported policy.

    The model takes :attr:`inputs` then :attr:`memories`, and returns :attr:`outputs` then one
    update for each memory, in that order. Where action terms read the state again before every
    physics step, a second graph takes :attr:`apply_inputs` and returns :attr:`apply_outputs`: an
    apply input whose connection is one of :attr:`outputs` or :attr:`memories` has the value that
    the policy graph gave it in this control step; all others are read from the host anew.

    Attributes:
        version: :data:`CONTRACT_VERSION`.
        task: id of the env that was exported.
        simulator: what it ran on, such as ``"mjlab"``.
        created_with: versions of the packages that took part, by name.
        step_dt: [s] one control step; the policy runs every so often.
        physics_dt: [s] one physics step.
        decimation: physics steps in a control step.
        traced_num_envs: rows at the export.
        inputs: what the policy graph reads.
        memories: what it keeps.
        outputs: what it computes.
        apply_inputs: what the apply graph reads; empty without one.
        apply_outputs: what the apply graph writes; empty without one.
        actuators: how targets became torques.
        constants: what is baked in.
        observation_terms: which terms are inside.
        action_terms: which terms are inside.
        models: the files; empty until a backend has written some.
        checks: how the validation at the export went.
    """

    version: int
    task: str
    simulator: str
    created_with: Mapping[str, str]
    step_dt: float
    physics_dt: float
    decimation: int
    traced_num_envs: int
    inputs: tuple[TensorSpec, ...]
    memories: tuple[Memory, ...]
    outputs: tuple[TensorSpec, ...]
    apply_inputs: tuple[TensorSpec, ...] = ()
    apply_outputs: tuple[TensorSpec, ...] = ()
    actuators: tuple[Actuator, ...] = ()
    constants: tuple[Constant, ...] = ()
    observation_terms: tuple[ObservationTerm, ...] = ()
    action_terms: tuple[ActionTerm, ...] = ()
    models: tuple[ModelFile, ...] = ()
    checks: tuple[Check, ...] = ()

    @property
    def writes(self) -> tuple[TensorSpec, ...]:
        """The outputs of both graphs that are written to the host."""
        both = (*self.outputs, *self.apply_outputs)
        return tuple(spec for spec in both if spec.connection.startswith("write:"))

    @property
    def has_apply_graph(self) -> bool:
        """Whether a second graph runs before every physics step."""
        return bool(self.apply_outputs)

    def _problems(self) -> Iterator[Problem]:
        if self.version != CONTRACT_VERSION:
            yield Problem(("version",), f"must be {CONTRACT_VERSION}, got {self.version}.")
        yield from contract_problems(self)
