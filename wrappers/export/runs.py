"""Runs of the pipeline's computation: who answers reads, keeps memories and gets writes."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import torch

from holdstep.wrappers.export.proxies.watch import Watch

if TYPE_CHECKING:
    from holdstep.wrappers.export.proxies.owners import Route
    from holdstep.wrappers.export.proxies.writes import Write
    from holdstep.wrappers.export.tensors import MemoryKind

KEPT = "kept:"
INPUT = "input:"
CONST = "const:"
MEMORY = "memory:"
HANDOVER = "handover:"


class Run(Protocol):
    """One run of a :class:`~holdstep.wrappers.export.computation.Computation`."""

    term: str

    @property
    def num_rows(self) -> Any:
        """Rows of this run."""

    def value(self, route: Route) -> torch.Tensor:
        """The value of an attribute of the env."""

    def catch(self, write: Write) -> None:
        """A target that was written."""

    def substitute(self, path: str, tensor: torch.Tensor) -> torch.Tensor:
        """What a term sees in place of a tensor that it keeps."""

    def memory(
        self, name: str, kind: MemoryKind, shape: tuple[int, ...], dtype: torch.dtype
    ) -> torch.Tensor:
        """The value of a memory, ``[N, *shape]``."""

    def remember(self, name: str, value: torch.Tensor) -> None:
        """The value that a memory has in the next step."""

    def shared_constant(self, name: str, value: torch.Tensor) -> torch.Tensor:
        """A tensor that is baked in and the same for all rows."""

    def observed(self, term: str, value: torch.Tensor) -> None:
        """What an observation term's own code returned."""

    def unwatched(self) -> contextlib.AbstractContextManager[None]:
        """Entered while the env's own code computes a live value."""


class DiscoveryRun:
    """A run on the env's live values, in which everything that matters is noted.

    Attributes:
        watch: what tensors are computed from.
        routes: attributes that were read, by connection.
        memories: kind and value at the beginning, by name.
        updates: what memories become, by name.
        writes: targets in the order in which they were written.
        kept: for each path, the tensor that the term really keeps and the copy it got.
        returned: what observation terms returned, by term.
        mutated: connections of inputs that a term changed in place.

    Args:
        num_envs: rows.
        device: where new memories are made.
        cloned: connections of which each reader gets a copy of its own.
    """

    def __init__(self, num_envs: int, device: torch.device, cloned: frozenset[str]) -> None:
        self.watch = Watch()
        self.routes: dict[str, Route] = {}
        self.memories: dict[str, tuple[MemoryKind, torch.Tensor]] = {}
        self.updates: dict[str, torch.Tensor] = {}
        self.writes: list[Write] = []
        self.kept: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
        self.returned: dict[str, torch.Tensor] = {}
        self.num_rows = num_envs
        self._device = device
        self._cloned = cloned
        self._values: dict[str, torch.Tensor] = {}
        self._versions: dict[str, int] = {}
        self._copies: dict[int, torch.Tensor] = {}

    @property
    def term(self) -> str:
        """What is running."""
        return self.watch.term

    @term.setter
    def term(self, name: str) -> None:
        self.watch.term = name

    @property
    def mutated(self) -> dict[str, torch.Tensor]:
        """Values that a term changed in place, by connection."""
        return {
            connection: tensor
            for connection, tensor in self._values.items()
            if tensor._version != self._versions[connection]
        }

    def value(self, route: Route) -> torch.Tensor:
        """A copy of the live value, the same for all readers."""
        name = route.connection
        if name not in self._values:
            self.routes[name] = route
            tensor = route.live().detach().clone()
            self._values[name] = self.watch.declare(tensor, _source(route))
            self._versions[name] = tensor._version
        value = self._values[name]
        if name in self._cloned and not route.is_shared:
            return self.watch.declare(value.clone(), _source(route))
        return value

    def catch(self, write: Write) -> None:
        """Note a target."""
        self.writes.append(write)

    def substitute(self, path: str, tensor: torch.Tensor) -> torch.Tensor:
        """A copy; one for all paths that lead to the same tensor."""
        if id(tensor) not in self._copies:
            with self.unwatched():
                copied = tensor.detach().clone()
            self._copies[id(tensor)] = self.watch.declare(copied, KEPT + path)
        self.kept[path] = (tensor, self._copies[id(tensor)])
        return self._copies[id(tensor)]

    def memory(
        self, name: str, kind: MemoryKind, shape: tuple[int, ...], dtype: torch.dtype
    ) -> torch.Tensor:
        """Zeros, the first time."""
        if name not in self.memories:
            zeros = torch.zeros((self.num_rows, *shape), dtype=dtype, device=self._device)
            self.memories[name] = (kind, self.watch.declare(zeros, MEMORY + name))
        return self.memories[name][1]

    def remember(self, name: str, value: torch.Tensor) -> None:
        """Note what a memory becomes."""
        self.updates[name] = value

    def shared_constant(self, name: str, value: torch.Tensor) -> torch.Tensor:
        """Note a constant."""
        return self.substitute(name, value)

    def observed(self, term: str, value: torch.Tensor) -> None:
        """Note what a term returned."""
        self.returned[term] = value.detach().clone()

    def unwatched(self) -> contextlib.AbstractContextManager[None]:
        """The env's own computations are of no interest."""
        return self.watch.off()


def _source(route: Route) -> str:
    return (CONST if route.is_constant else INPUT) + route.connection


class ModuleRun:
    """A run on given tensors; nothing of the env's is looked at but names and sizes.

    Attributes:
        term: what is running.
        updates: what memories become, by name.
        writes: targets in the order in which they were written.

    Args:
        num_rows: of all given tensors.
        inputs: by connection.
        memories: by name.
        constants: what is baked in: tensors by path or connection, and whether their rows are
            those of the envs.
        kept: tensors that terms keep from before this graph, by path.
        rewritten: paths that terms write to.
        aliases: paths that lead to the same tensor as another, and that other.
        cloned: connections of which each reader gets a copy of its own.
    """

    def __init__(
        self,
        num_rows: Any,
        *,
        inputs: Mapping[str, torch.Tensor],
        memories: Mapping[str, torch.Tensor],
        constants: Mapping[str, tuple[torch.Tensor, bool]],
        kept: Mapping[str, torch.Tensor],
        rewritten: frozenset[str],
        aliases: Mapping[str, str],
        cloned: frozenset[str],
    ) -> None:
        self.term = ""
        self.updates: dict[str, torch.Tensor] = {}
        self.writes: list[Write] = []
        self.returned: dict[str, torch.Tensor] = {}
        self.num_rows = num_rows
        self._inputs = inputs
        self._memories = memories
        self._constants = constants
        self._kept = kept
        self._rewritten = rewritten
        self._aliases = aliases
        self._cloned = cloned
        self._given: dict[str, torch.Tensor] = {}

    def value(self, route: Route) -> torch.Tensor:
        """The given value."""
        name = route.connection
        if route.is_constant:
            return self._constant(name)
        value = self._inputs[name]
        if name not in self._cloned:
            return value
        if not route.is_shared:
            return value.clone()
        if name not in self._given:
            self._given[name] = value.clone()
        return self._given[name]

    def supplies(self, route: Route) -> bool:
        """Whether there is a value for an attribute."""
        return route.is_constant or route.connection in self._inputs

    def keeps(self, name: str) -> bool:
        """Whether there is a value for a memory."""
        return name in self._memories

    def catch(self, write: Write) -> None:
        """Note a target."""
        self.writes.append(write)

    def substitute(self, path: str, tensor: torch.Tensor) -> torch.Tensor:
        """A memory, what an earlier graph handed over, or a constant."""
        path = self._aliases.get(path, path)
        if path not in self._given:
            given = self._kept.get(path)
            if given is None and path not in self._constants:
                given = _poison(tensor)
            value = self._constant(path) if given is None else given
            self._given[path] = value.clone() if path in self._rewritten else value
        return self._given[path]

    def memory(
        self, name: str, kind: MemoryKind, shape: tuple[int, ...], dtype: torch.dtype
    ) -> torch.Tensor:
        """The given value; zeros for what no result depends on."""
        given = self._memories.get(name)
        if given is not None:
            return given
        other = next(iter((self._inputs or self._memories).values()))
        return other.new_zeros((self.num_rows, *shape), dtype=dtype)

    def remember(self, name: str, value: torch.Tensor) -> None:
        """Note what a memory becomes."""
        self.updates[name] = value

    def shared_constant(self, name: str, value: torch.Tensor) -> torch.Tensor:
        """What was baked in."""
        return self._constant(name)

    def observed(self, term: str, value: torch.Tensor) -> None:
        """Note what a term returned."""
        self.returned[term] = value

    def unwatched(self) -> contextlib.AbstractContextManager[None]:
        """Nothing is watched anyway."""
        return contextlib.nullcontext()

    def _constant(self, name: str) -> torch.Tensor:
        value, per_row = self._constants[name]
        return value.expand(self.num_rows, *value.shape[1:]) if per_row else value


def _poison(tensor: torch.Tensor) -> torch.Tensor:
    """For what a term has made since the discovery: results that need it come out wrong at once.

    The env's own value would go into the model instead, and no check could tell.
    """
    return torch.full_like(tensor, math.nan if tensor.is_floating_point() else 0)
