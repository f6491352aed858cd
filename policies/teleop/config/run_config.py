"""A run of teleoperation as plain data: the sections of its file."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Annotated, Any, Literal, TypeAlias

from holdstep.documents.problems import FieldsError, Problem, Tagged
from holdstep.envs.overrides import check_overrides
from holdstep.errors import ConfigError
from holdstep.policies.teleop.config.source_config import (
    FunctionConfig,
    PolicyConfig,
    SourceConfig,
    kind_of,
)
from holdstep.wrappers.pipeline.options import (
    Mode,
    OnError,
    OnStale,
    PipelineOptions,
    WorkerKind,
)
from holdstep.wrappers.pipeline.pacing import Adaptive, Deadline, Immediate
from holdstep.wrappers.record.families import SuccessFilter
from holdstep.wrappers.record.formats.hdf5 import Compression
from holdstep.wrappers.record.quota import Partial, SuccessWhen
from holdstep.wrappers.record.store import Durability

_PACINGS = MappingProxyType({"immediate": Immediate, "deadline": Deadline, "adaptive": Adaptive})
PacingConfig: TypeAlias = Annotated[Any, Tagged("kind", _PACINGS)]


@dataclass(frozen=True, kw_only=True)
class EnvSection:
    """The env.

    Attributes:
        id: as ``make`` takes it.
        num_envs: rows.
        device: such as ``"cuda:0"``; by default a GPU, if there is one.
        seed: of the episodes.
        overrides: settings of the env, by dotted path.
        suspend: how rows are held still, as for ``holdstep record``.
    """

    id: str
    num_envs: int = 1
    device: str | None = None
    seed: int = 0
    overrides: Mapping[str, Any] = field(default_factory=dict)
    suspend: Literal["auto", "skip", "exact", "approximate", "none"] = "auto"

    def __post_init__(self) -> None:
        _check_least("num_envs", self.num_envs, 1)
        try:
            check_overrides(self.overrides)
        except ConfigError as error:
            raise ConfigError(f"overrides cannot be used: {error}") from error


@dataclass(frozen=True, kw_only=True)
class PipelineSection:
    """How sources are run; see :class:`~holdstep.wrappers.PipelinedActions`.

    Attributes:
        external_inputs: ``"module:function"``, called with the ids of a source's rows.
    """

    mode: Mode = "pipelined"
    on_stale: OnStale = "repeat"
    max_age_frames: int = 1
    wait_budget_s: float | None = None
    hold_action: tuple[float, ...] | None = None
    on_error: OnError = "raise"
    max_restarts: int = 3
    stop_timeout_s: float = 5.0
    worker: WorkerKind = "thread"
    external_inputs: str | None = None

    def __post_init__(self) -> None:
        if self.on_stale == "hold" and self.hold_action is None:
            raise ConfigError("on_stale needs hold_action beside hold: an action, as a list.")
        options = self.options()
        options.pop("external_inputs")
        # Only whether there is one matters here; its width is the env's.
        options["hold_action"] = None if self.hold_action is None else _nothing
        PipelineOptions(**options)

    def options(self) -> dict[str, Any]:
        """The fields by name."""
        return {entry.name: getattr(self, entry.name) for entry in dataclasses.fields(self)}


@dataclass(frozen=True, kw_only=True)
class RecorderSection:
    """What is recorded; see :class:`~holdstep.wrappers.RecordEpisodes`.

    Attributes:
        path: a folder, or a file ``*.hdf5``.
        keys: by default observations, actions, rewards, flags, ``teleop``, and states where the env
            can tell them.
        num_episodes: in the dataset at the end; then the run is over.
    """

    path: str
    keys: tuple[str, ...] = ()
    num_episodes: int | None = None
    success: str | None = None
    success_when: SuccessWhen = "end"
    success_filter: SuccessFilter = "all"
    partial: Partial = "keep"
    compression: Compression = "none"
    durability: Durability = "disk"
    attributes: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.path:
            raise ConfigError("path is empty: name a folder, or a file *.hdf5.")
        _check_least("num_episodes", self.num_episodes, 1)


@dataclass(frozen=True, kw_only=True)
class LoopSection:
    """How the env is stepped.

    Attributes:
        realtime: whether a step takes as long as it simulates.
        max_steps: the run is over after so many.
        ends_when_stopped: whether it is over when operators have stopped all their sources.
        show: whether the first row is drawn into the windows of keyboards and gamepads.
    """

    realtime: bool = True
    max_steps: int | None = None
    ends_when_stopped: bool = True
    show: bool = True

    def __post_init__(self) -> None:
        _check_least("max_steps", self.max_steps, 1)


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """A whole run.

    Attributes:
        env: the env.
        source: one source for all rows.
        sources: instead: several, by names of yours.
        groups: the rows of each of them, by the same names; by default one row each, in order.
        pipeline: how sources are run.
        pacing: when a source begins with a frame.
        recorder: what is recorded; nothing, if it is left out.
        loop: how the env is stepped.

    Raises:
        FieldsError: sections that don't go together.
    """

    env: EnvSection
    source: SourceConfig | None = None
    sources: Mapping[str, SourceConfig] | None = None
    groups: Mapping[str, tuple[int, ...]] | None = None
    pipeline: PipelineSection = field(default_factory=PipelineSection)
    pacing: PacingConfig = field(default_factory=Immediate)
    recorder: RecorderSection | None = None
    loop: LoopSection = field(default_factory=LoopSection)

    def __post_init__(self) -> None:
        found = [*_source_problems(self), *_group_problems(self), *_worker_problems(self)]
        if found:
            raise FieldsError("The run can't be made", found)

    @property
    def sources_by_name(self) -> Mapping[str, Any]:
        """The sources' configurations; a single one is named ``"source"``."""
        return {"source": self.source} if self.sources is None else self.sources

    @property
    def rows_by_name(self) -> dict[str, tuple[int, ...]]:
        """The rows of each source."""
        if self.sources is None:
            return {"source": tuple(range(self.env.num_envs))}
        if self.groups is None:
            return {name: (row,) for row, name in enumerate(self.sources)}
        return dict(self.groups)


def _source_problems(run: RunConfig) -> Iterator[Problem]:
    if run.source is None and not run.sources:
        yield Problem(("source",), "is missing: what drives the env.")
    if run.source is not None and run.sources is not None:
        yield Problem(("sources",), "is there beside source; give one of them.")
    for name, source in (run.sources or {}).items():
        if isinstance(source, PolicyConfig):
            yield Problem(
                ("sources", name), "a policy drives all rows: give it as source, not among several."
            )


def _group_problems(run: RunConfig) -> Iterator[Problem]:
    if run.groups is None:
        if run.sources and len(run.sources) != run.env.num_envs:
            yield Problem(
                ("sources",),
                f"has {len(run.sources)} entries for {run.env.num_envs} rows; say by groups which "
                "rows are whose.",
            )
        return
    if run.sources is None:
        yield Problem(("groups",), "is of no use without sources.")
        return
    for name in run.sources.keys() - run.groups.keys():
        yield Problem(("groups", name), "is missing: the rows of that source.")
    owners: dict[int, str] = {}
    for name, rows in run.groups.items():
        if name not in run.sources:
            yield Problem(("groups", name), f"is no source; there are {', '.join(run.sources)}.")
        if not rows:
            yield Problem(("groups", name), "has no rows.")
        for index, row in enumerate(rows):
            place = ("groups", name, index)
            if not 0 <= row < run.env.num_envs:
                yield Problem(place, f"must be a row, 0 to {run.env.num_envs - 1}, got {row}.")
            elif row in owners:
                yield Problem(place, f"row {row} is driven by {owners[row]!r} already.")
            owners.setdefault(row, name)
    undriven = sorted(set(range(run.env.num_envs)) - owners.keys())
    if undriven:
        yield Problem(("groups",), f"leaves rows {undriven} without a source.")


def _worker_problems(run: RunConfig) -> Iterator[Problem]:
    if run.pipeline.worker != "process":
        return
    for name, source in run.sources_by_name.items():
        if source is not None and not isinstance(source, FunctionConfig):
            yield Problem(
                ("pipeline", "worker"),
                f"process is for sources of kind function; {name} is {kind_of(source)}.",
            )


def _check_least(name: str, value: float | None, least: float) -> None:
    if value is not None and not least <= value < math.inf:
        raise ConfigError(f"{name} must be at least {least}, got {value}.")


def _nothing(_: Any) -> Any:
    """Stands for an action."""
