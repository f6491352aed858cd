"""Tensors that an env's code uses without a marker, though a model can't know them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch

from holdstep.errors import DiscoveryError
from holdstep.wrappers.export.policies import POLICY
from holdstep.wrappers.export.runs import KEPT, MEMORY, DiscoveryRun

Places = Callable[[Iterable[str]], dict[str, str]]
"""Where tensors of the env are used, by path."""

_CLOCKS = frozenset(("env.episode_length_buf", "env._episode_length"))


def unmarked_error(
    run: DiscoveryRun, needed: frozenset[str], rewritten: frozenset[str], places: Places
) -> DiscoveryError | None:
    """The error for what results depend on, though it has no marker and differs between rows.

    That a tensor is the same for all rows now does not say that it always is; whether it changes
    when the env moves is what the purity check finds out.

    Args:
        run: that was observed.
        needed: sources that results depend on.
        rewritten: paths of the env's tensors that its code writes to.
        places: where tensors are used.

    Returns:
        The error, which lists all by where they are used; None if there are none.
    """
    problems = [
        *_unmarked(run, needed, rewritten, places),
        *_foreign(run),
        *_forgotten(run, needed),
    ]
    if not problems:
        return None
    lines = "\n".join(f"  - {line}" for _, line in problems)
    return DiscoveryError(
        f"The env uses tensors that no marker explains ({len(problems)} found):\n{lines}",
        term=problems[0][0],
    )


def _unmarked(
    run: DiscoveryRun, needed: frozenset[str], rewritten: frozenset[str], places: Places
) -> Iterator[tuple[str, str]]:
    names: dict[int, list[str]] = {}
    for path, (live, _) in run.kept.items():
        names.setdefault(id(live), []).append(path)
    used = [paths for paths in names.values() if any(KEPT + path in needed for path in paths)]
    where = places(path for paths in used for path in paths)
    for paths in used:
        live, place = run.kept[paths[0]][0], where[paths[0]]
        name = f"{' = '.join(paths)} {list(live.shape)}, used in {place},"
        if any(KEPT + path in needed and path in rewritten for path in paths):
            yield (
                _term(place),
                f"{name} is what the env kept since the step before: read it through "
                "recalls('memory:<name>', ...), and give its next value to "
                "remembers('memory:<name>', ...).",
            )
        elif not _CLOCKS.isdisjoint(paths):
            yield (
                _term(place),
                f"{name} counts steps: read it through reads('env:episode_length_buf', ...).",
            )
        elif _differs_between_rows(live, run.num_rows):
            yield (
                _term(place),
                f"{name} differs between rows: read it through "
                "reads('state:<entity>:<property>', ...) or reads('command:<name>', ...); or "
                "through constant('<name>', ...) if it never changes.",
            )


def _foreign(run: DiscoveryRun) -> Iterator[tuple[str, str]]:
    """Tensors with a row per env that are not even the env's own."""
    for leaf in run.watch.leaves.values():
        if leaf.term != POLICY and _has_rows(leaf.tensor, run.num_rows):
            yield (
                leaf.term,
                f"a tensor {list(leaf.tensor.shape)} that is no attribute of the env, used at "
                f"{leaf.where}: read it through reads('state:<entity>:<property>', ...). If it has "
                f"{run.num_rows} rows by chance, export from an env with another num_envs.",
            )


def _forgotten(run: DiscoveryRun, needed: frozenset[str]) -> Iterator[tuple[str, str]]:
    for name in run.memories:
        if MEMORY + name in needed and name not in run.updates:
            yield (
                "",
                f"'memory:{name}' is recalled, but never remembered in _get_observations() or "
                f"_pre_physics_step(): give its next value to remembers('memory:{name}', ...).",
            )


def _has_rows(tensor: torch.Tensor, num_rows: int) -> bool:
    """Whether a tensor has a row per env; lists of joints may be as long by chance."""
    if num_rows == 1 or tensor.ndim == 0 or tensor.shape[0] != num_rows:
        return False
    is_integer = not tensor.dtype.is_floating_point and tensor.dtype != torch.bool
    return not (tensor.ndim == 1 and is_integer)


def _differs_between_rows(tensor: torch.Tensor, num_rows: int) -> bool:
    return _has_rows(tensor, num_rows) and not torch.equal(tensor, tensor[:1].expand_as(tensor))


def _term(place: str) -> str:
    """The function of the last of some places."""
    return place.split(" and ")[-1].split(" ")[0]
