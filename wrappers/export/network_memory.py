"""What a network keeps between two calls: found by calling it, taken out of it, put into it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch

from holdstep.errors import ConfigError, DiscoveryError
from holdstep.wrappers.export.network_state import (
    POLICY,
    HiddenState,
    cloned,
    get_attribute,
    may_be_state,
    reset_row,
    set_attribute,
    tensors_of,
    versions_of,
    with_one_more_row,
)


class NetworkMemory:
    """The tensors that a network keeps: a hidden state, a buffer, a plain attribute.

    Args:
        network: whose; a plain callable has none.
    """

    def __init__(self, network: Callable[..., Any]) -> None:
        self._network = network

    def kept(self) -> dict[tuple[str, str], Any]:
        """Tensors, tuples of them, and None (where they will be), by submodule and attribute."""
        found: dict[tuple[str, str], Any] = {}
        for path, module in self._submodules():
            own = {name: value for name, value in vars(module).items() if may_be_state(value)}
            for name, value in (own | dict(module._buffers)).items():
                found[path, name] = value
        return found

    def put_back(self, kept: Mapping[tuple[str, str], Any]) -> None:
        """Make the network keep what it kept."""
        for path, module in self._submodules():
            for name in {**vars(module), **module._buffers}:
                if (path, name) in kept and get_attribute(module, name) is not kept[path, name]:
                    set_attribute(module, name, kept[path, name])

    def set(self, values: Mapping[HiddenState, torch.Tensor]) -> None:
        """Make the network keep ``[N, ...]`` for each of its states."""
        tuples: dict[tuple[str, str], dict[int, torch.Tensor]] = {}
        for state, value in values.items():
            # A copy, since a network may write into what it keeps.
            tensor = value.movedim(0, state.row_dim).clone(memory_format=torch.contiguous_format)
            if state.index is None:
                set_attribute(self._submodule(state.module), state.attribute, tensor)
            else:
                tuples.setdefault((state.module, state.attribute), {})[state.index] = tensor
        for (path, name), parts in tuples.items():
            together = tuple(parts[index] for index in sorted(parts))
            set_attribute(self._submodule(path), name, together)

    def get(self, state: HiddenState) -> torch.Tensor:
        """What the network keeps of a state, ``[N, ...]``."""
        value = get_attribute(self._submodule(state.module), state.attribute)
        tensor: torch.Tensor = value if state.index is None else value[state.index]
        return tensor.movedim(state.row_dim, 0)

    def find(
        self, call: Callable[[Mapping[str, torch.Tensor]], object], obs: Mapping[str, torch.Tensor]
    ) -> tuple[HiddenState, ...]:
        """What a call leaves different; which dimension are the rows is seen with one row more.

        Args:
            call: calls the network.
            obs: observations ``[N, ...]``.

        Raises:
            DiscoveryError: it keeps what isn't one value per row.
        """
        at_reset = self.kept()
        try:
            changed = self._changed_by_call(lambda: call(obs), at_reset)
            if not changed:
                return ()
            changed_by_more = self._changed_by_more_rows(call, _used(obs), changed, at_reset)
        finally:
            self.put_back(at_reset)
        return tuple(
            _state(key, value, changed_by_more[key], at_reset) for key, value in changed.items()
        )

    def _changed_by_more_rows(
        self,
        call: Callable[[Mapping[str, torch.Tensor]], object],
        obs: Mapping[str, torch.Tensor],
        changed: Iterable[tuple[str, str, int | None]],
        at_reset: Mapping[tuple[str, str], Any],
    ) -> dict[tuple[str, str, int | None], torch.Tensor]:
        num_rows = len(next(iter(obs.values()))) if obs else 0
        more = {name: torch.cat([value, value[:1]]) for name, value in obs.items()}
        # What was allocated for N rows before the first call must have room for the other one.
        room = {
            (path, name): with_one_more_row(at_reset.get((path, name)), num_rows)
            for path, name, _ in changed
        }
        try:
            return self._changed_by_call(lambda: call(more), {**at_reset, **room})
        except ConfigError as error:
            kept = ", ".join(repr(f"{path}.{name}".strip(".")) for path, name in room)
            raise DiscoveryError(
                f"The policy was called with {num_rows} rows, and can't be with {num_rows + 1}, "
                f"which would tell where in {kept} the rows are: {error} Export from an env with "
                f"another num_envs, such as {num_rows + 2}; or make such tensors at the first call "
                "after a reset.",
                term=POLICY,
            ) from error

    def _changed_by_call(
        self, call: Callable[[], object], start: Mapping[tuple[str, str], Any]
    ) -> dict[tuple[str, str, int | None], torch.Tensor]:
        """The tensors that a call left different from a copy of what it started with."""
        copies = {key: cloned(value) for key, value in start.items()}
        self.put_back(copies)
        versions = {key: versions_of(value) for key, value in copies.items()}
        call()
        return {
            (*key, index): tensor
            for key, value in self.kept().items()
            if value is not copies.get(key) or versions_of(value) != versions[key]
            for index, tensor in tensors_of(value)
        }

    def _submodules(self) -> Iterator[tuple[str, torch.nn.Module]]:
        if isinstance(self._network, torch.nn.Module):
            yield from self._network.named_modules()

    def _submodule(self, path: str) -> torch.nn.Module:
        assert isinstance(self._network, torch.nn.Module)  # others keep nothing
        return self._network.get_submodule(path)


def _used(obs: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
    computed = getattr(obs, "computed", None)
    return dict(obs) if computed is None else computed()


def _state(
    key: tuple[str, str, int | None],
    value: torch.Tensor,
    more: torch.Tensor,
    at_reset: Mapping[tuple[str, str], Any],
) -> HiddenState:
    path, attribute, index = key
    place = f"{path}.{attribute}".strip(".")
    dims = [
        dim
        for dim, (size, other) in enumerate(zip(value.shape, more.shape, strict=True))
        if size != other
    ]
    if len(dims) != 1:
        raise DiscoveryError(
            f"The policy keeps {place!r} of shape {list(value.shape)} between calls, which is "
            "not one value per row. A model can keep values of single rows only; in "
            "evaluation mode a network should keep nothing else.",
            term=POLICY,
        )
    first = dict(tensors_of(at_reset.get((path, attribute)))).get(index)
    row = dims[0]
    return HiddenState(
        path,
        attribute,
        index,
        row,
        tuple(size for dim, size in enumerate(value.shape) if dim != row),
        value.dtype,
        None if first is None else reset_row(first, row, place),
    )
