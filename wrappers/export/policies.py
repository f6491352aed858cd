"""The policy inside an exported pipeline: any network, with its memory made explicit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from holdstep.errors import ConfigError, DiscoveryError
from holdstep.wrappers.export.network_state import (
    POLICY,
    HiddenState,
    cloned,
    copied_network,
    get_attribute,
    may_be_state,
    reset_row,
    set_attribute,
    tensors_of,
    versions_of,
)

__all__ = ["POLICY", "HiddenState", "PolicyNetwork"]


class PolicyNetwork(torch.nn.Module):
    """A policy as a function of observations and of its own memory.

    Works on a copy of the network, in evaluation mode and without gradients, so that the caller's
    own is never touched. What a call changes in the copy (a hidden state, a buffer) is found by
    comparing before and after, and becomes a memory.

    Attributes:
        network: the copy, or a plain callable.
        states: what it keeps between calls.

    Args:
        policy: a ``torch.nn.Module``, a :class:`~holdstep.policies.RslRlPolicy` (or anything with
            an ``actor`` and ``clip_actions``), or a callable without memory. Gets observations by
            group, ``[N, ...]`` each, and returns actions ``[N, A]``.
        obs_keys: with one name, the network gets that group's tensor; with several, a dictionary of
            those; None for a mapping of all, of which what it looks at is computed.

    Raises:
        ConfigError: the policy isn't callable, or can't be copied.
    """

    def __init__(self, policy: Any, *, obs_keys: str | Sequence[str] | None = None) -> None:
        super().__init__()
        network = getattr(policy, "actor", policy)
        if not callable(network):
            raise ConfigError(
                "The policy must be a torch.nn.Module, an RslRlPolicy or a callable, got "
                f"{type(policy).__name__}."
            )
        self.network: Any = copied_network(network)
        self.states: tuple[HiddenState, ...] = ()
        self._clip: float | None = getattr(policy, "clip_actions", None)
        self._keys = obs_keys

    @property
    def is_module(self) -> bool:
        """Whether the network is a ``torch.nn.Module``."""
        return isinstance(self.network, torch.nn.Module)

    def forward(
        self, obs: Mapping[str, torch.Tensor], hidden: Mapping[str, torch.Tensor]
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Actions ``[N, A]``, and what the network keeps until the next call, by name.

        Args:
            obs: observation groups by name.
            hidden: a value ``[N, ...]`` for each of :attr:`states`.
        """
        before = self._kept()
        try:
            self._set({state: hidden[state.name] for state in self.states})
            actions = self._call(obs)
            updates = {state.name: self._get(state) for state in self.states}
        finally:
            self._put_back(before)
        if self._clip is not None:
            actions = actions.clamp(-self._clip, self._clip)
        return actions, updates

    def live_call(self, obs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Actions ``[N, A]``, as the policy itself gives them: it keeps what it keeps."""
        actions = self._call(obs)
        return actions if self._clip is None else actions.clamp(-self._clip, self._clip)

    def live_reset(self, done_mask: torch.Tensor | None) -> None:
        """The policy itself forgets rows (bool ``[N]``; None for all)."""
        reset = getattr(self.network, "reset", None)
        if callable(reset):
            reset(done_mask)

    def find_states(self, obs: Mapping[str, torch.Tensor]) -> None:
        """Find out what the network keeps, and what a reset makes of it.

        Args:
            obs: observations ``[N, ...]`` that it can be called with.

        Raises:
            DiscoveryError: it keeps what isn't one value per row.
        """
        if not self.is_module:
            return
        at_reset = self._kept()
        changed = self._changed_by_call(obs, at_reset)
        if not changed:
            return
        more = {name: torch.cat([value, value[:1]]) for name, value in _used(obs).items()}
        changed_by_more = self._changed_by_call(more, at_reset)
        self.states = tuple(
            self._state(key, value, changed_by_more[key], at_reset)
            for key, value in changed.items()
        )

    def _call(self, obs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        given: Any = obs
        if isinstance(self._keys, str):
            given = obs[self._keys]
        elif self._keys is not None:
            given = {key: obs[key] for key in self._keys}
        try:
            actions = self.network(given)
        except TypeError as error:
            if given is not obs:
                raise
            raise ConfigError(
                f"The policy could not be called with observations by group ({error}). If it takes "
                f"one tensor, name the group: obs_keys={next(iter(obs), 'policy')!r}."
            ) from error
        if not isinstance(actions, torch.Tensor) or actions.ndim != 2:
            got = list(actions.shape) if isinstance(actions, torch.Tensor) else type(actions)
            raise DiscoveryError(f"The policy must return actions [N, A], got {got}.", term=POLICY)
        return actions

    def _submodules(self) -> Iterator[tuple[str, torch.nn.Module]]:
        if self.is_module:
            yield from self.network.named_modules()

    def _kept(self) -> dict[tuple[str, str], Any]:
        """Tensors, tuples of them, and None (where they will be), by submodule and attribute."""
        found: dict[tuple[str, str], Any] = {}
        for path, module in self._submodules():
            own = {name: value for name, value in vars(module).items() if may_be_state(value)}
            for name, value in (own | dict(module._buffers)).items():
                found[path, name] = value
        return found

    def _put_back(self, kept: Mapping[tuple[str, str], Any]) -> None:
        for path, module in self._submodules():
            for name in {**vars(module), **module._buffers}:
                if (path, name) in kept and get_attribute(module, name) is not kept[path, name]:
                    set_attribute(module, name, kept[path, name])

    def _changed_by_call(
        self, obs: Mapping[str, torch.Tensor], at_reset: Mapping[tuple[str, str], Any]
    ) -> dict[tuple[str, str, int | None], torch.Tensor]:
        """The tensors that a call left different, with a copy of what was there before put back."""
        copies = {key: cloned(value) for key, value in at_reset.items()}
        self._put_back(copies)
        versions = {key: versions_of(value) for key, value in copies.items()}
        try:
            self._call(obs)
            after = self._kept()
            return {
                (*key, index): tensor
                for key, value in after.items()
                if value is not copies.get(key) or versions_of(value) != versions[key]
                for index, tensor in tensors_of(value)
            }
        finally:
            self._put_back(at_reset)

    def _state(
        self,
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

    def _set(self, values: Mapping[HiddenState, torch.Tensor]) -> None:
        tuples: dict[tuple[str, str], dict[int, torch.Tensor]] = {}
        for state, value in values.items():
            tensor = value.movedim(0, state.row_dim).contiguous()
            if state.index is None:
                set_attribute(self.network.get_submodule(state.module), state.attribute, tensor)
            else:
                tuples.setdefault((state.module, state.attribute), {})[state.index] = tensor
        for (path, name), parts in tuples.items():
            together = tuple(parts[index] for index in sorted(parts))
            set_attribute(self.network.get_submodule(path), name, together)

    def _get(self, state: HiddenState) -> torch.Tensor:
        value = get_attribute(self.network.get_submodule(state.module), state.attribute)
        tensor: torch.Tensor = value if state.index is None else value[state.index]
        return tensor.movedim(state.row_dim, 0)


def _used(obs: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
    computed = getattr(obs, "computed", None)
    return dict(obs) if computed is None else computed()
