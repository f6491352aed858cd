"""Answers for the attributes of an env's objects: declared inputs, constants, caught writes."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Protocol

import torch

from holdstep.errors import DiscoveryError
from holdstep.wrappers.export.proxies.interception import Interception, real_attribute, real_class
from holdstep.wrappers.export.proxies.owners import Owner, Route, unwrapped
from holdstep.wrappers.export.proxies.writes import Write, catching, is_write

if TYPE_CHECKING:
    from holdstep.wrappers.export.semantics.entry import Semantics
    from holdstep.wrappers.export.semantics.lookup import SemanticsLookup

_ROW_COUNTS = {"num_envs", "num_instances"}


class Answers(Protocol):
    """A run: who gives the values, and gets the writes."""

    term: str

    @property
    def num_rows(self) -> Any:
        """Rows of this run; a tracer's number in a trace."""

    def value(self, route: Route) -> torch.Tensor:
        """The value of an attribute."""

    def catch(self, write: Write) -> None:
        """A target that was written."""


class Reads:
    """The reader of intercepted objects, for as many runs as there are.

    What an attribute leads to is found out at its first read and kept, so that later runs need not
    look at live values.

    Attributes:
        routes: by object and attribute; None for attributes that answer for themselves.

    Args:
        owners: the objects.
        lookup: what attributes mean.
        num_envs: rows of the env: tensors with this leading dimension are taken for its state.
    """

    def __init__(self, owners: Collection[Owner], lookup: SemanticsLookup, num_envs: int) -> None:
        self.routes: dict[tuple[str, str], Route | None] = {}
        self._lookup = lookup
        self._num_envs = num_envs
        self._listed = tuple(owners)
        self._owners: dict[int, Owner] = {}
        self._templates: dict[tuple[str, str], Any] = {}
        self._interception = Interception(self)
        self._answers: Answers | None = None
        self._parts: list[Any] = []  # alive while their ids are looked up
        self._unwatched: Callable[[], contextlib.AbstractContextManager[None]]
        self._closed = False

    def close(self) -> None:
        """From now on, an attribute that was never read before is an error."""
        self._closed = True

    @contextlib.contextmanager
    def answered_by(
        self,
        answers: Answers,
        *,
        unwatched: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext,
    ) -> Iterator[None]:
        """Attributes are answered by a run, in a ``with`` block.

        Args:
            answers: the run.
            unwatched: entered whenever the env's own code computes a live value.
        """
        objects = [owner.get() for owner in self._listed]
        self._owners = {id(obj): owner for obj, owner in zip(objects, self._listed, strict=True)}
        self._answers, self._unwatched = answers, unwatched
        try:
            with self._interception.of(objects):
                yield
        finally:
            self._owners, self._answers, self._parts = {}, None, []

    @contextlib.contextmanager
    def live(self) -> Iterator[None]:
        """The env answers for itself, in a ``with`` block."""
        with self._interception.paused(), self._unwatched():
            yield

    def read(self, obj: Any, name: str) -> Any:
        """What ``obj.name`` is in this run."""
        owner, answers = self._owners[id(obj)], self._answers
        assert answers is not None
        if name in _ROW_COUNTS:
            return answers.num_rows
        key = (owner.key, name)
        if key not in self.routes:
            self.routes[key] = self._classify(owner, obj, name)
        route = self.routes[key]
        if route is not None:
            with self.live():
                value = answers.value(route)
            return route.wrap(value)
        if name in owner.contains:
            return self._part(owner, obj, name)
        value = real_attribute(obj, name)
        if owner.takes_writes and callable(value):
            semantics = self._lookup.find(real_class(obj), name)
            if is_write(name, semantics):
                return catching(owner, name, value, semantics, answers.catch, lambda: answers.term)
        if type(value) is dict and any(self._is_per_row(entry) for entry in value.values()):
            find = partial(self._item_semantics, real_class(obj), name)
            return _Items(self, self._items_owner(owner, name), find, value)
        return value

    def read_item(
        self, owner: Owner, name: str, value: Any, find: Callable[[str], Semantics | None]
    ) -> Any:
        """What an entry of a dictionary is in this run; the same as an attribute."""
        if not self._is_per_row(value):
            return value
        answers = self._answers
        assert answers is not None
        key = (owner.key, name)
        if key not in self.routes:
            self._check_open(owner, name)
            _, wrap = unwrapped(value)
            self.routes[key] = Route(owner.connection(name), owner, name, find(name), False, wrap)
        route = self.routes[key]
        assert route is not None
        with self.live():
            tensor = answers.value(route)
        return route.wrap(tensor)

    def assign(self, obj: Any, name: str, value: Any) -> None:
        """Refuses: a run must leave the env as it is."""
        owner, answers = self._owners[id(obj)], self._answers
        assert answers is not None
        raise DiscoveryError(
            f"{answers.term!r} sets {owner.key}.{name}, which changes the env; an exported model "
            "can't. Keep the value in the term itself (a class with an attribute): it becomes a "
            "memory of the model.",
            term=answers.term,
        )

    def _classify(self, owner: Owner, obj: Any, name: str) -> Route | None:
        cls = real_class(obj)
        semantics = self._lookup.find(cls, name)
        if semantics is not None and semantics.role in ("derived", "write"):
            return None
        if semantics is not None and semantics.role == "refused":
            assert self._answers is not None
            raise DiscoveryError(
                f"{self._answers.term!r} reads {owner.key}.{name}, which can't be exported: "
                f"{semantics.reason}",
                term=self._answers.term,
            )
        if name in owner.contains and not isinstance(self._live_value(obj, name), torch.Tensor):
            return None
        value = self._live_value(obj, name)
        if not self._is_per_row(value):
            # The same for all rows: it is used as it is, and shows up among the constants.
            return None
        _, wrap = unwrapped(value)
        meaning = semantics or owner.default
        is_constant = meaning is not None and meaning.role == "const"
        self._check_open(owner, name)
        return Route(owner.connection(name), owner, name, meaning, is_constant, wrap)

    def _is_per_row(self, value: Any) -> bool:
        tensor, _ = unwrapped(value)
        return tensor is not None and tensor.ndim > 0 and tensor.shape[0] == self._num_envs

    def _items_owner(self, owner: Owner, name: str) -> Owner:
        """A dictionary of tensors (a camera's ``output``, a command's ``metrics``)."""
        return Owner(
            key=f"{owner.key}.{name}",
            prefix=f"{owner.prefix}:{name.lstrip('_')}.",
            role=owner.role,
            get=lambda: SimpleNamespace(**getattr(owner.get(), name)),
        )

    def _item_semantics(self, cls: type, attribute: str, name: str) -> Semantics | None:
        """What tables say of an entry: ``"output.rgb"`` for ``_output["rgb"]``."""
        return self._lookup.find(cls, f"{attribute.lstrip('_')}.{name}")

    def _live_value(self, obj: Any, name: str) -> Any:
        with self.live():
            return getattr(obj, name)

    def _check_open(self, owner: Owner, name: str) -> None:
        if not self._closed:
            return
        assert self._answers is not None
        raise DiscoveryError(
            f"{self._answers.term!r} reads {owner.connection(name)!r}, which it did not read when "
            "the pipeline was discovered: what it reads depends on values, and a model can't "
            "decide that. Use torch.where() instead of if.",
            term=self._answers.term,
        )

    def _part(self, owner: Owner, obj: Any, name: str) -> Any:
        """A copy of an object that the simulator makes anew in every step, intercepted as well."""
        part_owner = Owner(
            key=f"{owner.key}.{name}",
            prefix=owner.prefix,
            role=owner.role,
            get=lambda: getattr(owner.get(), name),
            named_by=owner.named_by,
            default=owner.default,
        )
        key = (owner.key, name)
        if key not in self._templates:
            self._templates[key] = copy.copy(self._live_value(obj, name))
        # Not the live one: to compute it inside a trace would put a tracer's tensors into the env.
        part = copy.copy(self._templates[key])
        self._owners[id(part)] = part_owner
        self._interception.add(part)
        self._parts.append(part)
        return part


class _Items(Mapping[str, Any]):
    """A dictionary of an env's object, whose tensors are answered by the run."""

    def __init__(
        self,
        reads: Reads,
        owner: Owner,
        find: Callable[[str], Semantics | None],
        values: Mapping[str, Any],
    ) -> None:
        self._reads = reads
        self._owner = owner
        self._find = find
        self._values = values

    def __getitem__(self, key: str) -> Any:
        return self._reads.read_item(self._owner, key, self._values[key], self._find)

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)
