"""Watching what tensors are computed from, and what leaves them for Python."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

Sources: TypeAlias = frozenset[str]
_NOTHING: Sources = frozenset()
RANDOM = "random:"
LEAF = "leaf:"

# Values that leave tensors for Python: a tracer records what they were, not how they came about.
_HOST_READS = {
    "item": ".item()",
    "tolist": ".tolist()",
    "numpy": ".numpy()",
    "__array__": "numpy conversion",
    "is_nonzero": "torch.is_nonzero()",
    "__bool__": "truth value (if, while, and, or, assert)",
    "__int__": "int()",
    "__float__": "float()",
    "__complex__": "complex()",
    "__index__": "use as an index or size",
    "__contains__": "the operator 'in'",
    "equal": "torch.equal()",
    "allclose": "torch.allclose()",
}
# Results whose very shape depends on values: one element more or less in the next step.
_SHAPE_READS = {"nonzero", "argwhere", "masked_select", "unique", "unique_consecutive", "bincount"}
_RANDOM = {
    "rand",
    "randn",
    "randint",
    "rand_like",
    "randn_like",
    "randint_like",
    "randperm",
    "normal",
    "normal_",
    "uniform_",
    "random_",
    "exponential_",
    "cauchy_",
    "log_normal_",
    "geometric_",
    "bernoulli",
    "bernoulli_",
    "multinomial",
    "poisson",
}
_IN_PLACE_OPERATORS = {
    f"__i{operator}__"
    for operator in ("add", "sub", "mul", "div", "truediv", "floordiv", "mod", "pow", "matmul")
} | {f"__i{operator}__" for operator in ("and", "or", "xor", "lshift", "rshift")}
_HERE = str(Path(__file__).parent)
_TORCH = str(Path(torch.__file__).parent)


@dataclass(frozen=True)
class HostRead:
    """A value that left tensors for Python, or was drawn at random.

    Attributes:
        term: what was running, such as ``"actor/joint_pos"``.
        how: what was done.
        sources: what the value was computed from.
        where: file and line.
    """

    term: str
    how: str
    sources: Sources
    where: str

    def __str__(self) -> str:
        return f"{self.term}: {self.how} at {self.where}"


@dataclass(frozen=True)
class Leaf:
    """A tensor that was used, and that nothing had declared.

    Attributes:
        name: unique among the leaves of a watch.
        tensor: the tensor.
        term: what was running.
        where: file and line of its first use.
    """

    name: str
    tensor: torch.Tensor
    term: str
    where: str


class Watch(TorchFunctionMode):
    """Follows, call by call of torch, which declared tensors each tensor was computed from.

    Tensors that share memory share their sources, so that what is written through a view is known
    of its base. Overwriting all of a tensor in place forgets what it was.

    Attributes:
        term: what is running; whoever runs terms sets it.
        host_reads: values that left for Python, in order.
        random_draws: random numbers that were drawn, by source.
        leaves: undeclared tensors by name, in the order of their first use.
    """

    def __init__(self) -> None:
        super().__init__()
        self.term = ""
        self.host_reads: list[HostRead] = []
        self.random_draws: dict[str, HostRead] = {}
        self.leaves: dict[str, Leaf] = {}
        self._mutations: dict[int, tuple[str, str]] = {}
        self._sources: dict[int, Sources] = {}
        self._kept: list[torch.UntypedStorage] = []  # an address is used again once it is free
        self._off = 0

    @contextlib.contextmanager
    def off(self) -> Iterator[None]:
        """Watch nothing in a ``with`` block."""
        self._off += 1
        try:
            yield
        finally:
            self._off -= 1

    def declare(self, tensor: torch.Tensor, *sources: str) -> torch.Tensor:
        """Say what a tensor is.

        Args:
            tensor: from outside, with memory of its own.
            *sources: its names; none for what is no concern, such as a weight.

        Returns:
            The tensor.
        """
        self._set(tensor, frozenset(sources))
        return tensor

    def sources(self, tensor: torch.Tensor) -> Sources:
        """What a tensor was computed from, by the names it was declared with."""
        return self._sources.get(_memory(tensor), _NOTHING)

    def mutation(self, tensor: torch.Tensor) -> tuple[str, str]:
        """Who first changed a tensor in place, and where."""
        return self._mutations.get(_memory(tensor), ("a term", "an unknown place"))

    def knows(self, tensor: torch.Tensor) -> bool:
        """Whether a tensor was declared or computed under this watch."""
        return _memory(tensor) in self._sources

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Call ``func`` and note what it did."""
        kwargs = kwargs or {}
        if self._off:
            return func(*args, **kwargs)
        name = getattr(func, "__name__", "")
        given = _tensors((args, kwargs))
        result = func(*args, **kwargs)
        with self.off():  # what is asked about tensors here is no term's doing
            self._note(name, args, kwargs, given, result)
        return result

    def _note(
        self,
        name: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        given: list[torch.Tensor],
        result: Any,
    ) -> None:
        drawn = self._drawn(name)
        if name in _HOST_READS or _has_size_by_values(name, args, kwargs):
            sources = self._union(given)
            if sources:
                how = _HOST_READS.get(name, f"a result whose size depends on values ({name})")
                self.host_reads.append(HostRead(self.term, how, sources, _where()))
        results = _tensors(result)
        mutated = self._mutated(name, args, kwargs)
        if not results and not mutated:
            return
        for target in mutated:
            self._mutations.setdefault(_memory(target), (self.term, _where()))
            others = [tensor for tensor in given if tensor is not target]
            if drawn or _overwrites(name, args, target):
                self._set(target, self._union(others) | drawn)
            else:
                self._set(target, self._union(given))
        if not mutated:
            sources = self._union(given) | drawn
            for tensor in results:
                # A view has its base's memory, and with it its base's sources.
                if not self.knows(tensor):
                    self._set(tensor, sources)

    def _drawn(self, name: str) -> Sources:
        """The source of what a call draws at random; nothing if it draws nothing."""
        if name not in _RANDOM:
            return _NOTHING
        source = f"{RANDOM}{len(self.random_draws)}"
        draw = HostRead(self.term, f"draws {name}()", frozenset((source,)), _where())
        self.random_draws[source] = draw
        return draw.sources

    def _mutated(
        self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> list[torch.Tensor]:
        if "out" in kwargs:
            return _tensors(kwargs["out"])
        in_place = name == "__setitem__" or (
            name.endswith("_") and not name.startswith("__") and not name.endswith("__")
        )
        in_place |= name in _IN_PLACE_OPERATORS
        if in_place and args and isinstance(args[0], torch.Tensor):
            return [args[0]]
        return []

    def _union(self, tensors: list[torch.Tensor]) -> Sources:
        found: set[str] = set()
        for tensor in tensors:
            if not self.knows(tensor):
                self._add_leaf(tensor)
            found |= self.sources(tensor)
        return frozenset(found)

    def _add_leaf(self, tensor: torch.Tensor) -> None:
        name = f"{LEAF}{len(self.leaves)}"
        self.leaves[name] = Leaf(name, tensor, self.term, _where())
        self._set(tensor, frozenset((name,)))

    def _set(self, tensor: torch.Tensor, sources: Sources) -> None:
        self._sources[_memory(tensor)] = sources
        self._kept.append(tensor.untyped_storage())


def _memory(tensor: torch.Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _tensors(tree: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def _has_size_by_values(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    if name == "where":
        return len(args) + len(kwargs) == 1  # the condition alone: where it holds
    if name == "repeat_interleave":
        repeats = args[1] if len(args) > 1 else kwargs.get("repeats", args[0] if args else None)
        return isinstance(repeats, torch.Tensor) and kwargs.get("output_size") is None
    if name == "__getitem__" and len(args) == 2:
        return any(index.dtype in (torch.bool, torch.uint8) for index in _tensors(args[1]))
    return name in _SHAPE_READS


def _overwrites(name: str, args: tuple[Any, ...], target: torch.Tensor) -> bool:
    """Whether an in-place call leaves nothing of what its target's memory held."""
    if target.untyped_storage().nbytes() != target.numel() * target.element_size():
        return False
    if name == "__setitem__":
        index = args[1]
        return index is Ellipsis or (isinstance(index, slice) and index == slice(None))
    return name in ("copy_", "zero_", "fill_")


def _where() -> str:
    frame = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith((_HERE, _TORCH)):
        frame = frame.f_back  # type: ignore[assignment]
    if frame is None:
        return "an unknown place"
    return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
