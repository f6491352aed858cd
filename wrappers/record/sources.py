"""Where the value of each recorded column comes from, in a step and after a reset."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch

from holdstep.errors import RecordingError
from holdstep.wrappers.record.keys import INFO, PROCESSED_ACTIONS, STATES, TELEOP

if TYPE_CHECKING:
    from holdstep.envs.contract import TorchVectorEnv
    from holdstep.wrappers.record.columns import Column

Values = Mapping[str, torch.Tensor]
Convert = Callable[[torch.Tensor], torch.Tensor]

_NOTHING: Mapping[str, Any] = MappingProxyType({})


class Frame:
    """All that is known of the rows at one time.

    Args:
        env: the adapter.
        obs: observations by group.
        step: ``"actions"``, ``"rewards"``, ``"terminated"`` and ``"truncated"`` of the step; empty
            after a reset.
        info: of the step.
        states: of the scene; asked of the adapter when they are needed, if they are not given.
        driver: what came with the step from whatever drives the env.
    """

    __slots__ = ("_states", "driver", "env", "info", "obs", "step")

    def __init__(
        self,
        env: TorchVectorEnv,
        obs: Values,
        step: Values = _NOTHING,
        info: Mapping[str, Any] = _NOTHING,
        states: Values | None = None,
        driver: Values = _NOTHING,
    ) -> None:
        self.env = env
        self.obs = obs
        self.step = step
        self.info = info
        self._states = states
        self.driver = driver

    @property
    def states(self) -> Values:
        """States of the scene, by path."""
        if self._states is None:
            self._states = self.env.scene_state()
        return self._states


class ColumnReader:
    """Reads columns from frames, in the form in which they are packed.

    What runs in every step is a few loops over all columns, whatever their kind: a simulator's step
    has just filled the caches with something else, so that each further function costs more by
    being fetched than by what it does.

    Args:
        columns: as :mod:`holdstep.wrappers.record.keys` made them.
        env: the adapter.
        conversion: what makes the form of a column's tensor; None leaves it as it is.
    """

    def __init__(
        self,
        columns: Sequence[Column],
        env: TorchVectorEnv,
        conversion: Callable[[Column], Convert | None],
    ) -> None:
        self._columns = columns
        by_folder: dict[str, list[Column]] = {}
        for column in columns:
            by_folder.setdefault(_folder(column), []).append(column)
        folders = list(by_folder)
        self._sources = [_source_of(folder, found, env) for folder, found in by_folder.items()]
        self._places = [(folders.index(_folder(column)), _name(column)) for column in columns]
        self._forms = [
            (torch.Size((env.num_envs, *column.shape)), getattr(torch, column.dtype))
            for column in columns
        ]
        converted = enumerate(map(conversion, columns))
        self._conversions = [(index, convert) for index, convert in converted if convert]

    def read(self, frame: Frame) -> list[torch.Tensor]:
        """The columns' values, in their order.

        Raises:
            RecordingError: one of them is not what was recorded so far. Without this, a tensor of
                another type would be converted without a word, and one of another shape would be
                packed over its neighbours.
        """
        found = [source(frame) for source in self._sources]
        values = [found[folder][name] for folder, name in self._places]
        if list(map(_form, values)) != self._forms:
            raise self._changed(values)
        for index, convert in self._conversions:
            values[index] = convert(values[index])
        return values

    def _changed(self, values: Sequence[torch.Tensor]) -> RecordingError:
        column, expected, value = next(
            (column, expected, value)
            for column, expected, value in zip(self._columns, self._forms, values, strict=True)
            if _form(value) != expected
        )
        shape, dtype = expected
        return RecordingError(
            f"{column.name!r} was {dtype} {tuple(shape)} when the recording began, and is "
            f"{value.dtype} {tuple(value.shape)} now. Leave it out of keys, or make the env return "
            "it as it did."
        )


_form: Callable[[torch.Tensor], tuple[torch.Size, torch.dtype]] = attrgetter("shape", "dtype")


def _folder(column: Column) -> str:
    """The part of a frame that has it."""
    return PROCESSED_ACTIONS if column.name == PROCESSED_ACTIONS else column.folder


def _name(column: Column) -> str:
    """By which that part has it."""
    return column.name.removeprefix(f"{_folder(column)}/")


def _source_of(
    folder: str, columns: Sequence[Column], env: TorchVectorEnv
) -> Callable[[Frame], Values]:
    if folder == "obs":
        return attrgetter("obs")
    if folder == STATES:
        return attrgetter("states")
    if folder == TELEOP:
        return attrgetter("driver")
    if folder == INFO:
        return _InfoSource(columns, env)
    if folder == PROCESSED_ACTIONS:
        return lambda frame: {PROCESSED_ACTIONS: frame.env.processed_actions()}  # type: ignore[dict-item]
    return attrgetter("step")


class _InfoSource:
    """Entries of a step's info, zero in steps without them; and masks of the rows that have them.

    Args:
        columns: of entries and masks.
        env: the adapter.
    """

    def __init__(self, columns: Sequence[Column], env: TorchVectorEnv) -> None:
        self._device = env.device
        self._on_cpu = env.device.type == "cpu"
        names = [_name(column) for column in columns]
        # Each name with that of its entry: an entry comes with its mask; what has none is one.
        self._names = [(name, name if f"_{name}" in names else name[1:]) for name in names]
        with torch.inference_mode(False):
            self._missing = {
                _name(column): torch.zeros(
                    (env.num_envs, *column.shape),
                    dtype=getattr(torch, column.dtype),
                    device=env.device,
                )
                for column in columns
            }
            self._whole = torch.ones(env.num_envs, dtype=torch.bool, device=env.device)

    def __call__(self, frame: Frame) -> Values:
        info, values = frame.info, self._missing.copy()
        for name, entry in self._names:
            if entry in info:
                value = info.get(name, self._whole)
                # as_tensor would take 4 us to say that it is there already.
                if not (isinstance(value, torch.Tensor) and (self._on_cpu or value.is_cuda)):
                    value = torch.as_tensor(value, device=self._device)
                values[name] = value
        return values
