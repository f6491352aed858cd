"""What the discovery found out about a pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from holdstep.wrappers.export.proxies.owners import Route
from holdstep.wrappers.export.proxies.watch import Leaf
from holdstep.wrappers.export.tensors import MemoryKind, TensorSpec


@dataclass(frozen=True)
class MemoryPlan:
    """A memory of the module.

    Attributes:
        name: of the memory, without ``memory:``.
        kind: what it remembers.
        path: the tensor of a term that it stands for; None for what only the model keeps.
        shape: of one row.
        dtype: of its entries.
        reset: a row of it after a reset, flattened; None for zeros.
    """

    name: str
    kind: MemoryKind
    path: str | None
    shape: tuple[int, ...]
    dtype: torch.dtype
    reset: tuple[float, ...] | None = None


@dataclass(frozen=True)
class WritePlan:
    """A target of the module, as the n-th write of its phase.

    Attributes:
        spec: the output.
        phase: ``"process"`` or ``"apply"``.
        index: of the write, in the order of its phase.
        term: the action term that writes it.
    """

    spec: TensorSpec
    phase: str
    index: int
    term: str


@dataclass(frozen=True)
class ConstantPlan:
    """A tensor that is baked in.

    Attributes:
        name: path of the term's tensor, or connection of the env's.
        live: the env's own tensor, or a copy of it where the env computes it at each read.
        is_memory_of_env: whether ``live`` is the env's own, so that writing to it is seen there.
        per_row: whether its leading dimension runs over the envs.
        is_used: whether outputs or memories depend on it.
        nominal: what it is where nothing is randomised; None if that isn't known.
    """

    name: str
    live: torch.Tensor
    is_memory_of_env: bool
    per_row: bool
    is_used: bool
    nominal: float | None


@dataclass(frozen=True)
class Plan:
    """What a pipeline reads, keeps, bakes in and writes.

    Attributes:
        routes: attributes of the env that are read, by connection.
        inputs: what the policy graph reads, in the order of the first reads.
        memories: what is kept from one control step to the next.
        writes: targets, in the order in which they are written.
        handovers: paths of terms' tensors that the apply graph gets from the policy graph; empty
            where there is no apply graph.
        apply_inputs: connections that the apply graph reads itself.
        constants: by name.
        leaves: tensors from outside the env that are baked in.
        rewritten: paths that terms write to while they run.
        aliases: paths that lead to the same tensor as another, and that other.
        cloned: connections that some term changes in place.
        groups: observation groups that the policy asks for.
        num_actions: A.
        warnings: what a user should know.
    """

    routes: Mapping[str, Route]
    inputs: tuple[str, ...]
    memories: tuple[MemoryPlan, ...]
    writes: tuple[WritePlan, ...]
    handovers: tuple[str, ...]
    apply_inputs: tuple[str, ...]
    constants: Mapping[str, ConstantPlan]
    leaves: tuple[Leaf, ...]
    rewritten: frozenset[str]
    aliases: Mapping[str, str]
    cloned: frozenset[str]
    groups: tuple[str, ...]
    num_actions: int
    warnings: tuple[str, ...]

    @property
    def has_apply_graph(self) -> bool:
        """Whether terms read the state again before each physics step."""
        return bool(self.apply_inputs)
