"""Markers in a run: inputs and memories in the place of tensors, targets caught."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch

from holdstep.errors import DiscoveryError
from holdstep.wrappers.export.direct.marks import Marks, parsed_connection
from holdstep.wrappers.export.proxies.owners import Owner, Route
from holdstep.wrappers.export.proxies.writes import Write
from holdstep.wrappers.export.runs import DiscoveryRun, ModuleRun

if TYPE_CHECKING:
    from holdstep.envs.contract import Obs
    from holdstep.wrappers.export.tensors import MemoryKind


class MarkedAnswers:
    """Stands between an env's code and one run of it.

    Attributes:
        obs: the observations of this run; None until they are computed.

    Args:
        marks: of the env.
        run: the run.
    """

    def __init__(self, marks: Marks, run: DiscoveryRun | ModuleRun) -> None:
        self.obs: Obs | None = None
        self._marks = marks
        self._run = run
        self._updates: dict[str, torch.Tensor] = {}
        self._marked: list[Write] = []  # not seen at an entity yet
        self._is_applying = False

    @property
    def term(self) -> str:
        """What is running."""
        return self._run.term

    @term.setter
    def term(self, name: str) -> None:
        self._run.term = name

    @property
    def num_rows(self) -> Any:
        """Rows of the run."""
        return self._run.num_rows

    @contextlib.contextmanager
    def applying(self) -> Iterator[None]:
        """Marks are those of ``_apply_action()``, which runs several times, in a ``with`` block."""
        before, self._is_applying = self._is_applying, True
        try:
            yield
        finally:
            self._is_applying = before

    def value(self, route: Route) -> torch.Tensor:
        """The value of an attribute of the env's objects."""
        run = self._run
        if isinstance(run, ModuleRun) and not run.supplies(route):
            # No result depends on it (a critic's state), so that no host has to supply it.
            live = route.live()
            return live.new_zeros((run.num_rows, *live.shape[1:]))
        return run.value(route)

    def catch(self, write: Write) -> None:
        """A target at an entity; one that a marker had announced is known already."""
        for index, marked in enumerate(self._marked):
            if marked.owner.prefix == write.owner.prefix and write.method.startswith(marked.method):
                del self._marked[index]
                self._replace(marked, write)
                return
        self._run.catch(write)

    def read(self, connection: str, tensor: torch.Tensor, **meaning: Any) -> torch.Tensor:
        """The input."""
        run, marks = self._run, self._marks
        if not isinstance(run, DiscoveryRun):
            route = marks.routes.get(connection)
            if route is None:
                raise DiscoveryError(
                    f"{run.term!r} reads {connection!r}, which it did not read when the pipeline "
                    "was discovered: what it reads depends on values, and a model can't decide "
                    "that. Use torch.where() instead of if.",
                    term=run.term,
                )
            return self._marked_value(route)
        route = marks.input(connection, tensor, meaning, run.term)
        return self._first_value(run, route, tensor)

    def fix(self, name: str, tensor: torch.Tensor, nominal: float | None) -> torch.Tensor:
        """What is baked in."""
        run = self._run
        if not isinstance(run, DiscoveryRun):
            return run.value(self._marks.routes[name])
        return self._first_value(run, self._marks.constant(name, tensor, nominal, run.term), tensor)

    def write(self, connection: str, tensor: torch.Tensor, **meaning: Any) -> torch.Tensor:
        """Catch a target."""
        run = self._run
        parsed = parsed_connection(connection, ("write",), "writes", run.term)
        owner = Owner("markers", f"state:{parsed.target}", "state", lambda: None)
        semantics = self._marks.write_semantics(parsed, meaning)
        method = parsed.attribute or ""
        write = Write(
            owner, method, "", run.term, tensor.clone(), None, semantics, connection=connection
        )
        run.catch(write)
        self._marked.append(write)
        return tensor

    def recall(
        self,
        connection: str,
        tensor: torch.Tensor,
        reset: float | Sequence[float] | None,
        kind: MemoryKind,
    ) -> torch.Tensor:
        """The memory, or what it was given in this run."""
        run = self._run
        name = self._memory_name(connection, "recalls")
        if name in self._updates:
            return self._updates[name].clone()
        if isinstance(run, ModuleRun):
            if not run.keeps(name):  # no result depends on it
                return self._marks.zeros(connection, run.num_rows)
            return run.memory(name, kind, (), torch.float32).clone()
        self._marks.memory(name, tensor, reset, run.term)
        # A copy: the env's code may go on to write to what it gets.
        return run.memory(name, kind, tuple(tensor.shape[1:]), tensor.dtype).clone()

    def remember(self, connection: str, tensor: torch.Tensor) -> torch.Tensor:
        """Note what a memory becomes."""
        name = self._memory_name(connection, "remembers")
        self._updates[name] = update = tensor.clone()
        self._run.remember(name, update)
        return tensor

    def _first_value(self, run: DiscoveryRun, route: Route, tensor: torch.Tensor) -> torch.Tensor:
        name = route.connection
        is_known = name in run.routes and name not in run.mutated
        self._marks.at_hand(name, tensor)
        try:
            with run.unwatched():
                value = run.value(route)
                if is_known and not _same(value, tensor):
                    raise DiscoveryError(
                        f"{run.term!r} marks {name!r} on a tensor with other values than where it "
                        "was read before: one connection is one quantity. Give the other a name "
                        "of its own.",
                        term=run.term,
                    )
        finally:
            self._marks.gone(name)
        return value

    def _marked_value(self, route: Route) -> torch.Tensor:
        run = self._run
        if isinstance(run, ModuleRun) and not run.supplies(route):
            return self._marks.zeros(route.connection, run.num_rows)
        return run.value(route)

    def _memory_name(self, connection: str, marker: str) -> str:
        parsed_connection(connection, ("memory",), marker, self.term)
        if self._is_applying:
            raise DiscoveryError(
                f"{marker}({connection!r}) is in _apply_action(), which runs before each physics "
                "step, while a memory is given on once per control step. Put it into "
                "_pre_physics_step(), and keep the result as an attribute of the env.",
                term=self.term,
            )
        return connection.removeprefix("memory:")

    def _replace(self, marked: Write, caught: Write) -> None:
        """An entity knows which joints a target is for; a marker how it is called."""
        known, said = caught.semantics, marked.semantics
        if known is not None and said is not None and said.elements is not None:
            known = dataclasses.replace(known, elements=said.elements)
        index = next(i for i, write in enumerate(self._run.writes) if write is marked)
        names_all = said is not None and isinstance(said.elements, tuple)
        self._run.writes[index] = dataclasses.replace(
            caught,
            ids=None if names_all else caught.ids,
            semantics=known or said,
            connection=marked.connection,
        )


def _same(first: torch.Tensor, second: torch.Tensor) -> bool:
    return first.shape == second.shape and torch.equal(
        first.nan_to_num(nan=0.125), second.nan_to_num(nan=0.125)
    )
