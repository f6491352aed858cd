"""Targets that action terms hand to the simulator, caught before they reach it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from holdstep.errors import DiscoveryError
from holdstep.wrappers.export.proxies.owners import Owner
from holdstep.wrappers.export.semantics.entry import Semantics

_PREFIXES = ("set_", "write_")


@dataclass(frozen=True)
class Write:
    """One target that was written.

    Attributes:
        owner: the entity.
        method: that was called.
        parameter: which of its parameters took the target.
        term: the action term.
        target: ``[N, ...]``.
        ids: which elements; None for all.
        semantics: what it means; None if no table says so.
        connection: what it is called, where a marker said so; None to be named after the method.
    """

    owner: Owner
    method: str
    parameter: str
    term: str
    target: torch.Tensor
    ids: Any
    semantics: Semantics | None
    connection: str | None = None


def is_write(name: str, semantics: Semantics | None) -> bool:
    """Whether a method of an entity hands targets on."""
    if semantics is not None:
        return semantics.role == "write"
    return name.startswith(_PREFIXES)


def catching(
    owner: Owner,
    name: str,
    method: Callable[..., Any],
    semantics: Semantics | None,
    catch: Callable[[Write], None],
    term: Callable[[], str],
) -> Callable[..., None]:
    """A stand-in for a method that hands its targets to ``catch`` instead of the simulator.

    Args:
        owner: the entity.
        name: of the method.
        method: the entity's own, for its parameters.
        semantics: of the method; None if no table knows it.
        catch: gets each target.
        term: the name of the term that is running.
    """
    signature = inspect.signature(method)

    def caught(*args: Any, **kwargs: Any) -> None:
        given = signature.bind(*args, **kwargs).arguments
        _check_all_rows(given, owner, name, term())
        ids_name = semantics.ids if semantics is not None else _ids_parameter(given)
        values = semantics.values if semantics is not None else ()
        targets = [parameter for parameter in values if parameter in given] or [
            parameter
            for parameter, value in given.items()
            if isinstance(value, torch.Tensor) and parameter != ids_name
        ][:1]
        if not targets:
            raise DiscoveryError(
                f"The action term {term()!r} calls {name}() of {owner.prefix!r} without a tensor "
                "to write, so that nothing can be exported of it. Say what the method takes, with "
                "register_semantics().",
                term=term(),
            )
        for parameter in targets:
            target = given[parameter]
            if target is None:
                continue
            if not isinstance(target, torch.Tensor):
                raise DiscoveryError(
                    f"The action term {term()!r} gives {name}() of {owner.prefix!r} a "
                    f"{type(target).__name__} as {parameter!r}; a tensor is needed.",
                    term=term(),
                )
            ids = given.get(ids_name) if ids_name else None
            # A copy, as the simulator makes one: the term may go on changing its own.
            catch(Write(owner, name, parameter, term(), target.clone(), ids, semantics))

    return caught


def _ids_parameter(given: dict[str, Any]) -> str | None:
    return next((name for name in given if name.endswith("_ids") and name != "env_ids"), None)


def _check_all_rows(given: dict[str, Any], owner: Owner, name: str, term: str) -> None:
    rows = given.get("env_ids")
    if rows is None or (isinstance(rows, slice) and rows == slice(None)):
        return
    raise DiscoveryError(
        f"The action term {term!r} writes only some rows by {name}() of {owner.prefix!r} (it gives "
        "env_ids). An exported model computes every row alike, so that this can't be exported.",
        term=term,
    )
