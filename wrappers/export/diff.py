"""What differs between two contracts, and whom it concerns."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from holdstep.documents.problems import Place, place_text, shown
from holdstep.wrappers.export.contract import Contract

Concern: TypeAlias = Literal["host", "behaviour", "information"]
"""Whom a difference concerns.

- ``"host"``: what is read or written; a host that ran A may be unable to run B, or run it wrongly.
- ``"behaviour"``: what is inside the model: the same host runs both, and the robot moves otherwise.
- ``"information"``: how and with what it was exported.
"""


@dataclass(frozen=True)
class Difference:
    """One difference between contracts A and B.

    Attributes:
        place: where, such as ``inputs[state:robot:joint_pos].unit``.
        kind: whether B has more, less or something else there.
        before: the value in A; None if there is none.
        after: the value in B; None if there is none.
        concern: whom it concerns.
    """

    place: str
    kind: Literal["added", "removed", "changed"]
    before: Any
    after: Any
    concern: Concern

    def __str__(self) -> str:
        if self.kind == "added":
            return f"+ {self.place}"
        if self.kind == "removed":
            return f"- {self.place}"
        return f"~ {self.place}: {shown(self.before)} -> {shown(self.after)}"


_CONCERNS: dict[str, Concern] = {
    "step_dt": "host",
    "physics_dt": "host",
    "decimation": "host",
    "inputs": "host",
    "outputs": "host",
    "apply_inputs": "host",
    "apply_outputs": "host",
    "actuators": "host",
    "memories": "behaviour",
    "constants": "behaviour",
    "observation_terms": "behaviour",
    "action_terms": "behaviour",
    "models": "behaviour",
}

# By what the entries of a list are recognised in both contracts. Names inside model files are not
# among them: a renamed tensor is the same one to a host.
_IDENTITIES: dict[str, Callable[[Any], str]] = {
    "inputs": lambda spec: spec.connection,
    "outputs": lambda spec: spec.connection,
    "apply_inputs": lambda spec: spec.connection,
    "apply_outputs": lambda spec: spec.connection,
    "memories": lambda memory: memory.spec.connection,
    "actuators": lambda actuator: f"{actuator.entity}: {', '.join(actuator.joint_names)}",
    "constants": lambda constant: f"{constant.source}: {constant.name}",
    "observation_terms": lambda term: f"{term.group}/{term.name}",
    "action_terms": lambda term: term.name,
    "models": lambda model: model.file,
    "checks": lambda check: check.name,
}


def diff_contracts(a: Contract, b: Contract) -> tuple[Difference, ...]:
    """What differs between two contracts.

    Entries are matched by what they mean (connection, term, file), not by their position. A list
    that has the same entries in another order is one difference, since models take their inputs in
    the contract's order.

    Returns:
        The differences, those that concern hosts first; empty if there are none.
    """
    found: list[Difference] = []
    for field in dataclasses.fields(Contract):
        concern = _CONCERNS.get(field.name, "information")
        before, after = getattr(a, field.name), getattr(b, field.name)
        if field.name in _IDENTITIES:
            identity = _IDENTITIES[field.name]
            found += _list_differences(field.name, before, after, identity, concern)
        else:
            found += _value_differences((field.name,), before, after, concern)
    order = ("host", "behaviour", "information")
    return tuple(sorted(found, key=lambda difference: order.index(difference.concern)))


def _list_differences(
    name: str,
    before: tuple[Any, ...],
    after: tuple[Any, ...],
    identity: Callable[[Any], str],
    concern: Concern,
) -> Iterator[Difference]:
    old, new = _by_identity(before, identity), _by_identity(after, identity)
    for key, entry in old.items():
        if key in new:
            yield from _value_differences((name, key), entry, new[key], concern)
        else:
            yield Difference(_text((name, key)), "removed", entry, None, concern)
    for key, entry in new.items():
        if key not in old:
            yield Difference(_text((name, key)), "added", None, entry, concern)
    if old.keys() == new.keys() and list(old) != list(new):
        yield Difference(f"{name} (order)", "changed", list(old), list(new), "information")


def _by_identity(entries: tuple[Any, ...], identity: Callable[[Any], str]) -> dict[str, Any]:
    by_identity: dict[str, Any] = {}
    for entry in entries:
        key, number = identity(entry), 2
        while key in by_identity:  # constants may share a name
            key, number = f"{identity(entry)} ({number})", number + 1
        by_identity[key] = entry
    return by_identity


def _value_differences(
    place: Place, before: Any, after: Any, concern: Concern
) -> Iterator[Difference]:
    if dataclasses.is_dataclass(before) and dataclasses.is_dataclass(after):
        for field in dataclasses.fields(before):
            name = field.name
            yield from _value_differences(
                (*place, name), getattr(before, name), getattr(after, name), concern
            )
    elif isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in {**before, **after}:
            if key not in after:
                yield Difference(_text((*place, key)), "removed", before[key], None, concern)
            elif key not in before:
                yield Difference(_text((*place, key)), "added", None, after[key], concern)
            else:
                yield from _value_differences((*place, key), before[key], after[key], concern)
    elif before != after:
        yield Difference(_text(place), "changed", before, after, concern)


def _text(place: Place) -> str:
    """A place; entries of lists are in brackets, by their identity.

    >>> _text(("inputs", "state:robot:joint_pos", "unit"))
    'inputs[state:robot:joint_pos].unit'
    """
    if place[0] in _IDENTITIES and len(place) > 1:
        rest = place_text(place[2:])
        return f"{place[0]}[{place[1]}]{'.' if rest else ''}{rest}"
    return place_text(place)
