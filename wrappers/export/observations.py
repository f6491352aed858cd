"""Observation groups, computed as the managers do, with everything they remember made explicit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch

from holdstep.errors import DiscoveryError

if TYPE_CHECKING:
    from holdstep.wrappers.export.tensors import MemoryKind

STARTED = "started"
"""The memory that is 0 in the first step of an episode, and 1 from then on."""


@dataclass(frozen=True)
class TermPlan:
    """An observation term.

    Attributes:
        group: its group.
        name: of the term.
        func: gets the env and ``params``; returns ``[N, ...]``.
        params: of ``func``.
        shape: of one row of what the term adds to its group.
        modifiers: applied to what ``func`` returns, in this order, with their own parameters.
        clip: least and greatest value, or None.
        scale: what the value is multiplied with then, or None.
        sanitize: values that are not finite become 0.
        delay: steps by which it lags, least and most; None for none.
        delay_is_fixed: whether that lag is the same in every step.
        history_length: frames, 0 for none.
        flatten_history: whether frames follow one another in the last dimension.
    """

    group: str
    name: str
    func: Callable[..., torch.Tensor]
    params: Mapping[str, Any]
    shape: tuple[int, ...] = ()
    modifiers: tuple[tuple[Callable[..., torch.Tensor], Mapping[str, Any]], ...] = ()
    clip: tuple[float, float] | None = None
    scale: Any = None
    sanitize: bool = False
    delay: tuple[int, int] | None = None
    delay_is_fixed: bool = True
    history_length: int = 0
    flatten_history: bool = True

    @property
    def path(self) -> str:
        """Group and name, as messages call it."""
        return f"{self.group}/{self.name}"


@dataclass(frozen=True)
class GroupPlan:
    """An observation group.

    Attributes:
        name: of the group.
        terms: in the manager's order.
        concatenate: whether they form one tensor.
        dim: along which dimension, counting the rows'.
    """

    name: str
    terms: tuple[TermPlan, ...]
    concatenate: bool
    dim: int


class ObservationRun(Protocol):
    """What computing observations needs of a run."""

    term: str

    def memory(
        self, name: str, kind: MemoryKind, shape: tuple[int, ...], dtype: torch.dtype
    ) -> torch.Tensor:
        """The value of a memory, ``[N, *shape]``."""

    def remember(self, name: str, value: torch.Tensor) -> None:
        """The value that a memory has in the next step."""

    def shared_constant(self, name: str, value: torch.Tensor) -> torch.Tensor:
        """A tensor that is baked in and the same for all rows."""

    def observed(self, term: str, value: torch.Tensor) -> None:
        """What a term's own code returned."""


class Observations(Mapping[str, torch.Tensor]):
    """Observation groups by name, as the env returns them; each is computed when it is asked for.

    What a policy never asks for is never computed, so that groups for training only (a critic's)
    need not be exportable. Terms of groups that are not concatenated are named ``"group/term"``.

    Attributes:
        is_computing: whether a term is running, or raised.

    Args:
        groups: by name.
        env: the simulator's env object, for the terms.
        run: whose memories and constants are used.
    """

    def __init__(self, groups: Mapping[str, GroupPlan], env: Any, run: ObservationRun) -> None:
        self._groups = groups
        self._env = env
        self._run = run
        self._computed: dict[str, dict[str, torch.Tensor]] = {}
        self.is_computing = False
        self._by_key = {key: group for group in groups.values() for key in _keys(group)}

    @property
    def used_groups(self) -> tuple[str, ...]:
        """The groups that were asked for, in the order in which they were."""
        return tuple(self._computed)

    def computed(self) -> dict[str, torch.Tensor]:
        """What was asked for so far, by name."""
        return {key: value for values in self._computed.values() for key, value in values.items()}

    def __getitem__(self, key: str) -> torch.Tensor:
        group = self._by_key[key]
        if group.name not in self._computed:
            self.is_computing = True  # and stays so if a term raises
            self._computed[group.name] = self._compute(group)
            self.is_computing = False
        return self._computed[group.name][key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_key)

    def __len__(self) -> int:
        return len(self._by_key)

    def _compute(self, group: GroupPlan) -> dict[str, torch.Tensor]:
        before = self._run.term
        values = [self._term(term) for term in group.terms]
        self._run.term = before
        if group.concatenate:
            return {group.name: torch.cat(values, dim=group.dim)}
        return {term.path: value for term, value in zip(group.terms, values, strict=True)}

    def _term(self, term: TermPlan) -> torch.Tensor:
        run = self._run
        run.term = term.path
        value = term.func(self._env, **term.params)
        if not isinstance(value, torch.Tensor):
            raise DiscoveryError(
                f"The observation term {term.path!r} returned a {type(value).__name__}; a tensor "
                "with one row per env is needed.",
                term=term.path,
            )
        run.observed(term.path, value)
        value = value.clone()
        for modifier, params in term.modifiers:
            value = modifier(value, **params)
        if term.clip is not None:
            value = value.clip(min=term.clip[0], max=term.clip[1])
        if term.scale is not None:
            value = value * self._scale(term)
        if term.sanitize:
            value = torch.nan_to_num(value, nan=0.0, posinf=0.0, neginf=0.0)
        if term.delay is not None:
            value = _delayed(run, term, value)
        if term.history_length:
            value = _with_history(run, term, value)
        return value

    def _scale(self, term: TermPlan) -> torch.Tensor | float:
        if isinstance(term.scale, torch.Tensor):
            return self._run.shared_constant(f"obs:{term.path}.scale", term.scale)
        scale: float = term.scale
        return scale


def _keys(group: GroupPlan) -> tuple[str, ...]:
    return (group.name,) if group.concatenate else tuple(term.path for term in group.terms)


def _delayed(run: ObservationRun, term: TermPlan, frame: torch.Tensor) -> torch.Tensor:
    """The frame of some steps ago; the first one of the episode until there are enough."""
    assert term.delay is not None
    if not term.delay_is_fixed:
        raise DiscoveryError(
            f"The observation term {term.path!r} lags by a random number of steps "
            f"({term.delay[0]} to {term.delay[1]}), which imitates a slow sensor. A model can't "
            "draw it: export with delays='off', or set delay_min_lag = delay_max_lag.",
            term=term.path,
        )
    lag = term.delay[1]
    frames = _pushed(run, f"delay:{term.group}:{term.name}", "delay", frame, lag + 1)
    return frames[:, 0]


def _with_history(run: ObservationRun, term: TermPlan, frame: torch.Tensor) -> torch.Tensor:
    """The last frames, oldest first; all the first one where the episode has just begun."""
    name = f"history:{term.group}:{term.name}"
    frames = _pushed(run, name, "history", frame, term.history_length)
    return frames.flatten(1) if term.flatten_history else frames


def _pushed(
    run: ObservationRun, name: str, kind: MemoryKind, frame: torch.Tensor, length: int
) -> torch.Tensor:
    shape = (length, *frame.shape[1:])
    past = run.memory(name, kind, shape, frame.dtype)
    shifted = torch.cat([past[:, 1:], frame.unsqueeze(1)], dim=1)
    # The first frame of an episode stands for all that were before it.
    filled = frame.unsqueeze(1).expand_as(shifted)
    started = run.memory(STARTED, "counter", (1,), torch.float32)
    run.remember(STARTED, torch.ones_like(started))
    is_started = (started > 0.5).reshape(-1, *[1] * (shifted.ndim - 1))
    frames = torch.where(is_started, shifted, filled)
    run.remember(name, frames)
    return frames
