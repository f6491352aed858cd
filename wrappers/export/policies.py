"""The policy inside an exported pipeline: any network, with its memory made explicit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from holdstep.errors import ConfigError, DiscoveryError, HoldstepError, nearest_names
from holdstep.wrappers.export.network_memory import NetworkMemory
from holdstep.wrappers.export.network_state import POLICY, HiddenState, can_forget, copied_network

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
        self._memory = NetworkMemory(self.network)
        self._clip: float | None = getattr(policy, "clip_actions", None)
        self._keys = obs_keys

    def forward(
        self, obs: Mapping[str, torch.Tensor], hidden: Mapping[str, torch.Tensor]
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Actions ``[N, A]``, and what the network keeps until the next call, by name.

        Args:
            obs: observation groups by name.
            hidden: a value ``[N, ...]`` for each of :attr:`states`.
        """
        before = self._memory.kept()
        try:
            self._memory.set({state: hidden[state.name] for state in self.states})
            actions = self._call(obs)
            updates = {state.name: self._memory.get(state) for state in self.states}
        finally:
            self._memory.put_back(before)
        if self._clip is not None:
            actions = actions.clamp(-self._clip, self._clip)
        return actions, updates

    def live_call(self, obs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Actions ``[N, A]``, as the policy itself gives them: it keeps what it keeps."""
        actions = self._call(obs)
        return actions if self._clip is None else actions.clamp(-self._clip, self._clip)

    def live_reset(self, done_mask: torch.Tensor | None) -> None:
        """The policy itself forgets rows (bool ``[N]``; None for all)."""
        if can_forget(self.network):
            self.network.reset(done_mask)

    def find_states(self, obs: Mapping[str, torch.Tensor]) -> None:
        """Find out what the network keeps, and what a reset makes of it.

        Args:
            obs: observations ``[N, ...]`` that it can be called with.

        Raises:
            ConfigError: it can't be called with them.
            DiscoveryError: it keeps what isn't one value per row, or can't forget it.
        """
        if isinstance(self.network, torch.nn.Module):
            self.states = self._memory.find(self._call, obs)
        if self.states and not can_forget(self.network):
            kept = ", ".join(repr(state.name) for state in self.states)
            raise DiscoveryError(
                f"The policy keeps {kept} between calls, and nothing tells it that an episode "
                "ended: give it a method reset(dones), with a bool for each row, or None for all "
                "(also by default).",
                term=POLICY,
            )

    def _call(self, obs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        given = self._given(obs)
        try:
            actions = self.network(given)
        except HoldstepError:
            raise
        except Exception as error:  # it is somebody else's code
            if getattr(obs, "is_computing", False):
                raise  # of a term's own, which the policy only looked at
            raise ConfigError(self._not_callable(given, error)) from error
        if not isinstance(actions, torch.Tensor) or actions.ndim != 2:
            got = list(actions.shape) if isinstance(actions, torch.Tensor) else type(actions)
            raise DiscoveryError(f"The policy must return actions [N, A], got {got}.", term=POLICY)
        return actions

    def _given(self, obs: Mapping[str, torch.Tensor]) -> Any:
        if self._keys is None:
            return obs
        keys = (self._keys,) if isinstance(self._keys, str) else tuple(self._keys)
        unknown = [key for key in keys if key not in set(obs)]
        if unknown:
            raise ConfigError(
                f"obs_keys names no observations of the env: {', '.join(unknown)}; there are "
                f"{', '.join(obs)}.{nearest_names(unknown[0], obs)}"
            )
        return obs[self._keys] if isinstance(self._keys, str) else {key: obs[key] for key in keys}

    def _not_callable(self, given: Any, error: Exception) -> str:
        if self._keys is None:
            first = next(iter(given), "policy")
            what = "observations by group"
            hint = f" If it takes one tensor, name the group: obs_keys={first!r}."
        elif isinstance(self._keys, str):
            what, hint = f"{self._keys!r}, {list(given.shape)} of {given.dtype}", ""
        else:
            what, hint = f"a dictionary of {', '.join(given)} (obs_keys)", ""
        return (
            f"The policy could not be called with {what} ({type(error).__name__}: {error}).{hint}"
        )
