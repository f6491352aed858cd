"""Where the value of each recorded column comes from, in a step and after a reset."""

from __future__ import annotations

import itertools
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

    Columns are looked up where a frame has them, in one loop: it runs in every step, in caches that
    a simulator's step has just filled with something else.

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
        self._folders = []
        for folder, members in itertools.groupby(columns, _folder):
            found = list(members)
            expected = [
                (
                    column.name.removeprefix(f"{folder}/"),
                    torch.Size((env.num_envs, *column.shape)),
                    getattr(torch, column.dtype),
                    conversion(column),
                )
                for column in found
            ]
            self._folders.append((_source_of(folder, found, env), expected, folder))

    def read(self, frame: Frame) -> list[torch.Tensor]:
        """The columns' values, in their order.

        Raises:
            RecordingError: one of them is not what was recorded so far. Without this, a tensor of
                another type would be converted without a word, and one of another shape would be
                packed over its neighbours.
        """
        values = []
        for source, expected, folder in self._folders:
            found = source(frame)
            for name, shape, dtype, convert in expected:
                value = found[name]
                if value.shape != shape or value.dtype is not dtype:
                    raise _changed(folder, name, shape, dtype, value)
                values.append(value if convert is None else convert(value))
        return values


def _folder(column: Column) -> str:
    """The part of a frame that has it."""
    return PROCESSED_ACTIONS if column.name == PROCESSED_ACTIONS else column.folder


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
        with torch.inference_mode(False):
            self._missing = {
                column.name.removeprefix("info/"): torch.zeros(
                    (env.num_envs, *column.shape),
                    dtype=getattr(torch, column.dtype),
                    device=env.device,
                )
                for column in columns
            }
            self._whole = torch.ones(env.num_envs, dtype=torch.bool, device=env.device)

    def __call__(self, frame: Frame) -> Values:
        info = frame.info
        return {name: self._value(name, info) for name in self._missing}

    def _value(self, name: str, info: Mapping[str, Any]) -> torch.Tensor:
        found = info.get(name)
        if found is None:
            has_entry = name.startswith("_") and name[1:] in info
            return self._whole if has_entry else self._missing[name]
        if name.startswith("_") and name[1:] not in info:
            return self._missing[name]
        if isinstance(found, torch.Tensor) and found.device == self._device:
            return found  # as_tensor would take 4 us to say the same
        return torch.as_tensor(found, device=self._device)


def _changed(
    folder: str, name: str, shape: torch.Size, dtype: torch.dtype, value: torch.Tensor
) -> RecordingError:
    path = name if folder in ("", PROCESSED_ACTIONS) else f"{folder}/{name}"
    return RecordingError(
        f"{path!r} was {dtype} {tuple(shape)} when the recording began, and is {value.dtype} "
        f"{tuple(value.shape)} now. Leave it out of keys, or make the env return it as it did."
    )
