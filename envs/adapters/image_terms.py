"""Which observation terms are images, and which of these may be computed later or never."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import FunctionType
from typing import TYPE_CHECKING, Any

import torch

from holdstep.errors import StaleImageError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

LAZY = "lazy"
"""What is said of an image that is drawn on request."""

_READERS = (
    "reward_manager",
    "termination_manager",
    "curriculum_manager",
    "metrics_manager",
    "command_manager",
)
"""Managers whose terms may look at a camera. Events and actions rather move one; should one of
them look all the same, it is noticed when it does."""


@dataclass(frozen=True, kw_only=True)
class ImageTerm:
    """An observation term that looks at cameras.

    Attributes:
        group: its group's name.
        term: its own name.
        key: the name under which envs return it, of the group or ``"group/term"``.
        cameras: names of the sensors.
        why_eager: why it can't be computed later or never; None if it can.
    """

    group: str
    term: str
    key: str
    cameras: frozenset[str]
    why_eager: str | None


def find_image_terms(
    env: Any, watched: Callable[[], AbstractContextManager[set[str]]]
) -> list[ImageTerm]:
    """Compute every observation term, and see which ones look at a camera.

    Noise, histories and delays are not touched; what the terms themselves change has to be put back
    by the caller.

    Args:
        env: a manager-based env of mjlab or Isaac Lab.
        watched: inside the context, the set collects the names of the cameras that are looked at.
    """
    manager = env.observation_manager
    found = []
    for group, names in manager._group_obs_term_names.items():
        is_joined = manager._group_obs_concatenate[group]
        cfgs = manager._group_obs_term_cfgs[group]
        for name, cfg in zip(names, cfgs, strict=True):
            generators = _states_of_generators(env.device)
            with watched() as cameras:
                value = cfg.func(env, **cfg.params).clone()
            if not cameras:
                continue
            drew = not _are_equal(generators, _states_of_generators(env.device))
            again = cfg.func(env, **cfg.params)
            is_pure = not drew and torch.equal(value.nan_to_num(), again.nan_to_num())
            why_eager = _why_eager(cfg, manager.cfg, group)
            if why_eager is None and not is_pure:
                why_eager = "the term gives another result when it is computed again"
            found.append(
                ImageTerm(
                    group=group,
                    term=name,
                    key=group if is_joined else f"{group}/{name}",
                    cameras=frozenset(cameras),
                    why_eager=why_eager,
                )
            )
    return found


def with_all_reasons(
    terms: list[ImageTerm], manager: Any, *, draws_all_at_once: bool
) -> list[ImageTerm]:
    """Terms that can't wait keep others from waiting.

    Args:
        terms: with the reasons that are their own.
        manager: the observation manager.
        draws_all_at_once: the backend draws all cameras or none.
    """
    eager = {(term.group, term.term): term for term in terms if term.why_eager is not None}
    needed = frozenset[str]().union(*(term.cameras for term in eager.values()))
    lazy = [term for term in terms if term.why_eager is None]
    lazy_names = {(term.group, term.term) for term in lazy}
    for term in lazy:
        others = [
            name
            for name in manager._group_obs_term_names[term.group]
            if manager._group_obs_concatenate[term.group] and (term.group, name) not in lazy_names
        ]
        if others:
            why = f"it is concatenated with {others[0]!r}, which is computed at each tick"
            if (term.group, others[0]) in eager:
                why += f" ({eager[term.group, others[0]].why_eager})"
        elif term.cameras & needed or (draws_all_at_once and needed):
            first = next(iter(eager.values()))
            why = f"cameras are drawn at each tick for {first.key!r} ({first.why_eager})"
        else:
            continue
        changed = [replace(t, why_eager=why) if t is term else t for t in terms]
        return with_all_reasons(changed, manager, draws_all_at_once=draws_all_at_once)
    return terms


def reasons_for_all(env: Any, cameras: Iterable[str]) -> Iterator[str]:
    """Why no image may wait: somebody else looks at a camera at each tick, or may do so."""
    if getattr(getattr(env, "recorder_manager", None), "active_terms", ()):
        yield "the task's recorders may look at it at each tick"
    names = set(cameras)
    for manager_name in _READERS:
        for cfg in _term_cfgs(getattr(env, manager_name, None)):
            for name in sorted(names & _named_in(cfg)):
                yield f"a term of the {manager_name} looks at the camera {name!r}"


class NoDraws:
    """Sees to it that what is computed later draws no random number, for there is no right one.

    Args:
        device: whose generator is watched, and the CPU's.
    """

    def __init__(self, device: torch.device | str) -> None:
        self._device = device
        self._before: list[torch.Tensor] = []

    def __enter__(self) -> None:
        self._before = _states_of_generators(self._device)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None and not _are_equal(self._before, _states_of_generators(self._device)):
            raise StaleImageError(
                "An image term drew random numbers while it was computed on request, so that all "
                "later numbers are others than they would have been. Draw them in a noise model of "
                "the term, which holdstep knows to compute at each tick, or leave lazy rendering "
                "off."
            )


def _why_eager(cfg: Any, groups: Any, group: str) -> str | None:
    group_cfg = groups[group] if isinstance(groups, Mapping) else getattr(groups, group)
    if cfg.noise is not None:
        return "noise is drawn for it at each tick"
    if cfg.history_length > 0:
        return "each tick's image goes into its history"
    if getattr(cfg, "delay_max_lag", 0) > 0:
        return "each tick's image goes into its delay"
    if getattr(cfg, "modifiers", None):
        return "its modifiers may keep something from each tick"
    if getattr(group_cfg, "nan_policy", "disabled") in ("warn", "error"):
        return "NaNs are reported at each tick"
    if not isinstance(cfg.func, FunctionType):
        return "its term is an object, which may keep something from each tick"
    return None


def _term_cfgs(manager: Any) -> Iterator[Any]:
    yield from getattr(manager, "_term_cfgs", ())
    terms = getattr(manager, "_terms", None)
    if isinstance(terms, Mapping):
        yield from (term.cfg for term in terms.values())


def _named_in(cfg: Any) -> set[str]:
    """The names that a term's configuration has at its top level, or in ``params``."""
    values = [*vars(cfg).values(), *(getattr(cfg, "params", None) or {}).values()]
    names = [value if isinstance(value, str) else getattr(value, "name", None) for value in values]
    return {name for name in names if isinstance(name, str)}


def _states_of_generators(device: torch.device | str) -> list[torch.Tensor]:
    states = [torch.get_rng_state()]
    if torch.device(device).type == "cuda":
        states.append(torch.cuda.get_rng_state(device))
    return states


def _are_equal(first: list[torch.Tensor], second: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
