"""Joints and bodies of a contract found at a host, by name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from holdstep.errors import nearest_names


@dataclass(frozen=True)
class Match:
    """How a contract's elements were found.

    Attributes:
        ids: their positions in the host's; without those that were not found.
        extra: the host's elements that the contract does not have.
        problems: what is missing or ambiguous, one sentence each.
    """

    ids: tuple[int, ...]
    extra: tuple[str, ...]
    problems: tuple[str, ...]


def match_elements(wanted: Sequence[str], there: Sequence[str]) -> Match:
    """Find elements by name.

    A name that the host does not have is looked for as the last part of a longer one, such as
    ``hip`` as ``left/hip`` or ``robot/hip``; if several end so, it is ambiguous.

    Args:
        wanted: the contract's names.
        there: the host's names.

    >>> match_elements(["hip", "knee"], ["knee", "hip", "ankle"]).ids
    (1, 0)
    >>> match_elements(["hip"], ["left/hip", "right/hip"]).problems
    ("'hip' is ambiguous: left/hip, right/hip.",)
    """
    counts = Counter(there)
    positions = {name: index for index, name in enumerate(there)}
    ids: list[int] = []
    missing: list[str] = []
    problems: list[str] = []
    for name in wanted:
        if counts[name] == 1:
            ids.append(positions[name])
            continue
        endings = [other for other in there if other.rpartition("/")[2] == name.rpartition("/")[2]]
        found = [other for other in endings if _ends_with(other, name) or _ends_with(name, other)]
        if counts[name] > 1 or len(found) > 1:
            problems.append(f"{name!r} is ambiguous: {', '.join(found)}.")
        elif found:
            ids.append(positions[found[0]])
        else:
            missing.append(name)
    used = Counter(ids)
    for position, count in used.items():
        if count > 1:
            problems.append(f"{there[position]!r} stands for {count} of the contract's names.")
    extra = tuple(name for index, name in enumerate(there) if index not in used)
    if missing:
        hint = nearest_names(missing[0], extra) if len(missing) == 1 else ""
        listed = f" Left over there: {', '.join(extra)}." if extra else ""
        problems.append(f"missing at the host: {', '.join(missing)}.{hint}{listed}")
    return Match(tuple(ids), extra, tuple(problems))


def _ends_with(longer: str, shorter: str) -> bool:
    """Whether a name with folders ends with another one."""
    return longer == shorter or longer.endswith(f"/{shorter}")
