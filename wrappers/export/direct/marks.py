"""What markers said about an env's tensors, over all runs of its code."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from holdstep.errors import DiscoveryError
from holdstep.wrappers.export.connections import INPUT_ROLES, Connection, connection_problem
from holdstep.wrappers.export.proxies.interception import real_class
from holdstep.wrappers.export.proxies.owners import Owner, Route
from holdstep.wrappers.export.semantics.entry import Semantics, const

if TYPE_CHECKING:
    from holdstep.wrappers.export.direct.workflow import DirectWorkflow
    from holdstep.wrappers.export.semantics.entry import QuantityRole


@dataclass(frozen=True)
class MarkedRoute(Route):
    """Where a marked tensor's value comes from in a run.

    Attributes:
        source: the value that the marker is given now, ``[N, ...]``.
    """

    source: Callable[[], torch.Tensor]

    def live(self) -> torch.Tensor:
        """What the env's code hands to the marker now."""
        return self.source()


class Marks:
    """Collects inputs, constants and resets of memories.

    Attributes:
        routes: inputs and constants, by connection or name.
        resets: a row of each memory after a reset, flattened, by name; None for zeros.

    Args:
        env: whose they are.
    """

    def __init__(self, env: DirectWorkflow) -> None:
        self.routes: dict[str, MarkedRoute] = {}
        self.resets: dict[str, tuple[float, ...] | None] = {}
        self._env = env
        self._empty: dict[str, torch.Tensor] = {}  # no rows, for shape, dtype and device
        self._at_hand: dict[str, torch.Tensor] = {}

    def input(
        self, connection: str, tensor: torch.Tensor, meaning: dict[str, Any], term: str
    ) -> MarkedRoute:
        """The route of an input, made when it is first marked.

        Raises:
            DiscoveryError: it is no connection of an input, was marked otherwise elsewhere, or the
                tensor has no row per env.
        """
        parsed = parsed_connection(connection, INPUT_ROLES, "reads", term)
        self._check_tensor(connection, tensor, term)
        owners = list(self._owners_at(parsed))
        semantics = self._semantics("state", meaning, owners, parsed.attribute)
        old = self.routes.get(connection)
        if old is not None:
            if any(meaning.values()) and old.semantics != semantics:
                raise DiscoveryError(
                    f"{connection!r} is marked a second time with another meaning, in {term!r}: "
                    f"{semantics}, before {old.semantics}. Say it once, or the same each time.",
                    term=term,
                )
            return old
        return self._add(
            connection,
            Owner(
                key="markers",
                prefix=f"{parsed.role}:{parsed.target}",
                role="command" if parsed.role == "command" else "state",
                get=lambda: None,
                named_by=tuple(name for owner in owners for name in owner.named_by),
            ),
            semantics,
            is_constant=False,
        )

    def constant(
        self, name: str, tensor: torch.Tensor, nominal: float | None, term: str
    ) -> MarkedRoute:
        """The route of a constant, made when it is first marked."""
        self._check_tensor(name, tensor, term)
        if name in self.routes:
            return self.routes[name]
        owner = Owner(key="markers", prefix=name, role="env", get=lambda: None)
        return self._add(name, owner, const("constant", nominal=nominal), is_constant=True)

    def write_semantics(self, connection: Connection, meaning: dict[str, Any]) -> Semantics:
        """What a target means."""
        owners = list(self._owners_at(connection))
        return self._semantics("write", meaning, owners, connection.attribute)

    def memory(
        self, name: str, tensor: torch.Tensor, reset: float | Sequence[float] | None, term: str
    ) -> None:
        """Note what a memory is after a reset.

        Raises:
            DiscoveryError: the numbers don't fill a row.
        """
        self._check_tensor(f"memory:{name}", tensor, term)
        size = tensor[0].numel()
        if reset is None:
            row: tuple[float, ...] = (0.0,) * size
        elif isinstance(reset, (int, float)):
            row = (float(reset),) * size
        else:
            row = tuple(float(number) for number in reset)
        if len(row) != size:
            raise DiscoveryError(
                f"'memory:{name}' has {size} numbers in a row, its reset in {term!r} {len(row)}.",
                term=term,
            )
        known = self.resets.setdefault(name, row if any(row) else None)
        if reset is not None and known != (row if any(row) else None):
            raise DiscoveryError(
                f"'memory:{name}' is marked with two different resets, the second in {term!r}.",
                term=term,
            )

    def at_hand(self, connection: str, tensor: torch.Tensor) -> None:
        """Until :meth:`gone`, this is the live value."""
        self._at_hand[connection] = tensor

    def gone(self, connection: str) -> None:
        """The live value is to be looked up again."""
        del self._at_hand[connection]

    def zeros(self, connection: str, num_rows: Any) -> torch.Tensor:
        """What stands for a marked tensor on which no result depends (a critic's state)."""
        empty = self._empty[connection]
        return empty.new_zeros((num_rows, *empty.shape[1:]))

    def _add(
        self, connection: str, owner: Owner, semantics: Semantics, *, is_constant: bool
    ) -> MarkedRoute:
        route = MarkedRoute(
            connection,
            owner,
            connection,
            semantics,
            is_constant,
            lambda tensor: tensor,
            lambda: self._live(connection),
        )
        self.routes[connection] = route
        return route

    def _live(self, connection: str) -> torch.Tensor:
        if connection in self._at_hand:
            return self._at_hand[connection]
        return self._env.live.values()[connection]

    def _check_tensor(self, connection: str, tensor: Any, term: str) -> None:
        num_envs = self._env.num_envs
        if not isinstance(tensor, torch.Tensor) or tensor.shape[:1] != (num_envs,):
            got = list(tensor.shape) if isinstance(tensor, torch.Tensor) else type(tensor).__name__
            raise DiscoveryError(
                f"{connection!r} is marked in {term!r} on {got}; a tensor with a row for each of "
                f"the {num_envs} envs is needed.",
                term=term,
            )
        shape = list(tensor.shape[1:])
        known = self._empty.setdefault(connection, tensor.new_empty((0, *shape)))
        if list(known.shape[1:]) != shape:
            raise DiscoveryError(
                f"{connection!r} is marked in {term!r} with rows {shape}, elsewhere with "
                f"{list(known.shape[1:])}. Mark the whole tensor, and index it afterwards.",
                term=term,
            )

    def _owners_at(self, connection: Connection) -> Iterator[Owner]:
        role = "state" if connection.role == "write" else connection.role
        prefix = f"{role}:{connection.target}"
        return (owner for owner in self._env.owners() if owner.prefix == prefix)

    def _semantics(
        self,
        role: QuantityRole,
        meaning: dict[str, Any],
        owners: Sequence[Owner],
        attribute: str | None,
    ) -> Semantics:
        """What a marker says, and of what it leaves out, what a table says."""
        said = {name: value for name, value in meaning.items() if value is not None}
        names = said.pop("element_names", None)
        if names is not None:
            said["elements"] = tuple(names)
        for owner in owners:
            found = self._env.lookup.find(real_class(owner.get()), attribute or "")
            if found is not None:
                return dataclasses.replace(found, **said)
        return Semantics(role, **said)


def parsed_connection(
    connection: str, roles: tuple[str, ...], marker: str, term: str
) -> Connection:
    """A connection that fits a marker.

    Raises:
        DiscoveryError: it is none.
    """
    problem = connection_problem(connection)
    if problem is None and Connection.parse(connection).role not in roles:
        problem = f"{connection!r} must begin with {' or '.join(f'{role}:' for role in roles)}."
    if problem is not None:
        raise DiscoveryError(f"{marker}() in {term!r} can't be meant: {problem}", term=term)
    return Connection.parse(connection)
