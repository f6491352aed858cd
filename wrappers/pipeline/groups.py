"""Which source drives which rows."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch

from holdstep.envs.env_ids import EnvIds, canonical_env_ids
from holdstep.errors import ConfigError
from holdstep.wrappers.pipeline.process_source import ProcessSource
from holdstep.wrappers.pipeline.source import ActionSource
from holdstep.wrappers.waits import shortened

AnySource: TypeAlias = "ActionSource | Callable[[], ActionSource]"
"""A source; with ``worker="process"``, a function that makes one in its process."""


@dataclass(frozen=True, kw_only=True)
class SourceGroup:
    """A source and the rows that it drives.

    Attributes:
        source: makes their actions.
        env_ids: the rows, in the order in which the source gives actions; ids or a bool mask.
    """

    source: AnySource
    env_ids: EnvIds


@dataclass(frozen=True, kw_only=True)
class RowsOfSource:
    """A group whose rows are known to be right.

    Attributes:
        key: under which a user finds it: of the mapping, or the position in the list.
        source: as it is run.
        env_ids: the rows.
    """

    key: Hashable
    source: ActionSource
    env_ids: tuple[int, ...]

    @property
    def name(self) -> str:
        """For messages."""
        own = type(self.source).__repr__ is not object.__repr__
        kind = repr(self.source) if own else type(self.source).__name__
        return f"{kind} ({self.key!r})" if isinstance(self.key, str) else kind


Sources: TypeAlias = (
    "AnySource | Sequence[AnySource | SourceGroup] | Mapping[Hashable, AnySource | SourceGroup]"
)


def grouped(
    sources: Sources,
    groups: Sequence[EnvIds] | Mapping[Any, EnvIds] | None,
    *,
    num_envs: int,
    in_process: bool,
) -> list[RowsOfSource]:
    """The sources with their rows.

    Args:
        sources: one for all rows; a list of N, one for each; or several with their rows, as
            ``SourceGroup`` or by ``groups``.
        groups: rows of the sources, in the same order or by the same keys.
        num_envs: N.
        in_process: sources are given by factories, and run in processes of their own.

    Raises:
        ConfigError: sources or rows that can't be meant.
        InvalidEnvIdsError: ids that can't be.
    """
    entries = _entries(sources, groups, num_envs)
    found = []
    owners: dict[int, Hashable] = {}
    seen: set[int] = set()
    for key, source, env_ids in entries:
        ids = canonical_env_ids(env_ids, num_envs=num_envs, device=torch.device("cpu"))
        rows = tuple(ids.tolist())
        if not rows:
            raise ConfigError(f"Source {key!r} has no rows to drive.")
        twice = [row for row in rows if row in owners]
        if twice:
            raise ConfigError(
                f"Rows {shortened(twice)} are driven by source {key!r} and by source "
                f"{owners[twice[0]]!r}. Each row can have one."
            )
        owners.update(dict.fromkeys(rows, key))
        if not in_process and id(source) in seen:
            raise ConfigError(
                f"Source {key!r} is the same object as another one. Two workers can't share it: "
                "give each group its own, or one group all the rows."
            )
        seen.add(id(source))
        checked = _checked(key, source, in_process=in_process)
        found.append(RowsOfSource(key=key, source=checked, env_ids=rows))
    return found


def _entries(
    sources: Sources, groups: Sequence[EnvIds] | Mapping[Any, EnvIds] | None, num_envs: int
) -> list[tuple[Hashable, Any, EnvIds]]:
    given: dict[Hashable, Any]
    if isinstance(sources, Mapping):
        given = dict(sources)
    elif isinstance(sources, list | tuple):
        given = dict(enumerate(sources))
    else:
        given = {0: sources}
    if not given:
        raise ConfigError("There is no source.")
    if any(isinstance(source, SourceGroup) for source in given.values()):
        wrong = [key for key, source in given.items() if not isinstance(source, SourceGroup)]
        if wrong or groups is not None:
            raise ConfigError(
                "Give the rows of all sources in one way: each as a SourceGroup, or all of them "
                f"by groups=. {f'Sources {wrong} are no SourceGroup.' if wrong else ''}"
            )
        return [(key, group.source, group.env_ids) for key, group in given.items()]
    if groups is not None:
        rows: dict[Any, EnvIds] = (
            dict(groups) if isinstance(groups, Mapping) else dict(zip(given, groups, strict=False))
        )
        if rows.keys() != given.keys() or len(groups) != len(given):
            what = list(groups) if isinstance(groups, Mapping) else f"{len(groups)} of them"
            raise ConfigError(
                "groups must have the rows of each source, in the same order or by the same keys. "
                f"The sources are {list(given)}; got {what}."
            )
        return [(key, source, rows[key]) for key, source in given.items()]
    if len(given) == 1:
        return [(key, source, list(range(num_envs))) for key, source in given.items()]
    if len(given) != num_envs:
        raise ConfigError(
            f"There are {len(given)} sources for {num_envs} rows. Give one for all rows, one for "
            "each, or say by groups= which rows are whose."
        )
    return [(key, source, [row]) for row, (key, source) in enumerate(given.items())]


def _checked(key: Hashable, source: Any, *, in_process: bool) -> ActionSource:
    if in_process:
        is_object = not isinstance(source, type) and hasattr(source, "compute")
        if is_object or not callable(source):
            raise ConfigError(
                f'With worker="process", source {key!r} must be a function without arguments that '
                "makes it in its process (a class, or functools.partial(MySource, ...)); got "
                f"{source!r}."
            )
        return ProcessSource(source)
    methods = [getattr(source, name, None) for name in ("start", "compute", "stop")]
    if isinstance(source, type) or not all(map(callable, methods)):
        raise ConfigError(
            f"Source {key!r} must have start(env_ids), compute(request) and stop(), as an "
            f"ActionSource has; got {source!r}. A function that returns actions becomes one by "
            "FunctionSource(fn)."
        )
    checked: ActionSource = source
    return checked
