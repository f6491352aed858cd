"""Which key, button or stick moves what: plain data, for any env."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from holdstep.errors import ConfigError, nearest_names
from holdstep.policies.teleop.devices.bindings import COMMANDS, Move, Toggle


@dataclass(frozen=True, kw_only=True)
class ActionMapping:
    """What a device's inputs mean for an env.

    Attributes:
        action_dim: width of the action, A.
        moves: inputs that move entries while they are held; several may move the same.
        toggles: inputs that switch entries.
        commands: for each input, a :data:`~holdstep.policies.teleop.devices.bindings.Command` or
            several.
        neutral: the action while nothing is pressed, A numbers; zeros by default.
        low: the least value of each entry, or one for all.
        high: the largest; not less than ``low``.

    Raises:
        ConfigError: entries that don't exist, or inputs that are used twice in different ways.

    >>> mapping = ActionMapping.of(
    ...     {
    ...         "action_dim": 2,
    ...         "moves": [{"input": "left", "index": 0, "scale": -1.0}],
    ...         "commands": {"r": "reset", "return": ["success", "reset"]},
    ...     }
    ... )
    >>> mapping.moves[0].scale, mapping.commands["return"]
    (-1.0, ('success', 'reset'))
    """

    action_dim: int
    moves: tuple[Move, ...] = ()
    toggles: tuple[Toggle, ...] = ()
    commands: Mapping[str, str | Sequence[str]] = field(default_factory=dict)
    neutral: Sequence[float] | None = None
    low: float | Sequence[float] = -math.inf
    high: float | Sequence[float] = math.inf

    def __post_init__(self) -> None:
        if isinstance(self.action_dim, bool) or not (
            isinstance(self.action_dim, int) and self.action_dim >= 1
        ):
            raise ConfigError(
                f"action_dim must be an integer of at least 1, got {self.action_dim!r}."
            )
        put = object.__setattr__
        put(self, "moves", tuple(dataclasses.replace(m, input=m.input.lower()) for m in self.moves))
        put(
            self,
            "toggles",
            tuple(dataclasses.replace(t, input=t.input.lower()) for t in self.toggles),
        )
        put(self, "commands", {k.lower(): _commands(k, v) for k, v in self.commands.items()})
        put(
            self, "neutral", self._numbers("neutral", 0.0 if self.neutral is None else self.neutral)
        )
        put(self, "low", self._numbers("low", self.low))
        put(self, "high", self._numbers("high", self.high))
        self._check()

    @classmethod
    def of(cls, data: ActionMapping | Mapping[str, Any]) -> ActionMapping:
        """A mapping from plain data, as a YAML file holds it.

        Args:
            data: this class's attributes; ``moves`` and ``toggles`` are lists of such as well.

        Raises:
            ConfigError: names the entry that can't be used.
        """
        if isinstance(data, ActionMapping):
            return data
        known = dict(_known(cls, data, "mapping"))
        for name, entry_class in (("moves", Move), ("toggles", Toggle)):
            if name in known:
                known[name] = tuple(_entries(name, entry_class, known[name]))
        if "commands" in known and not isinstance(known["commands"], Mapping):
            raise ConfigError(
                f"mapping.commands must be commands by input, got {known['commands']!r}."
            )
        if "action_dim" not in known:
            raise ConfigError("mapping.action_dim is missing: the width of the env's actions.")
        return cls(**known)

    @property
    def inputs(self) -> frozenset[str]:
        """The names of all inputs that mean something."""
        entries: list[Move | Toggle] = [*self.moves, *self.toggles]
        return frozenset([entry.input for entry in entries] + list(self.commands))

    def describe(self) -> list[tuple[str, str]]:
        """The name of each input, and what it does."""
        lines = [
            (move.input, f"action {move.index} {move.scale:+g}" + " per second" * move.integrate)
            for move in self.moves
        ]
        lines += [
            (toggle.input, f"action {toggle.index}: {toggle.off:g} or {toggle.on:g}")
            for toggle in self.toggles
        ]
        return lines + [(name, ", ".join(orders)) for name, orders in self.commands.items()]

    def _numbers(self, name: str, value: float | Sequence[float]) -> tuple[float, ...]:
        try:
            numbers = tuple(float(number) for number in value)  # type: ignore[union-attr]
        except TypeError:
            numbers = (float(value),) * self.action_dim  # type: ignore[arg-type]
        if len(numbers) != self.action_dim:
            raise ConfigError(
                f"{name} has {len(numbers)} numbers, the action has {self.action_dim} entries."
            )
        return numbers

    def _check(self) -> None:
        entries: list[Move | Toggle] = [*self.moves, *self.toggles]
        for entry in entries:
            if entry.index >= self.action_dim:
                raise ConfigError(
                    f"{entry.input!r} moves entry {entry.index} of the action, which has entries "
                    f"0 to {self.action_dim - 1}."
                )
        moving = {move.input for move in self.moves}
        pressing = [toggle.input for toggle in self.toggles] + list(self.commands)
        twice = sorted(name for name in pressing if name in moving or pressing.count(name) > 1)
        if twice:
            raise ConfigError(
                f"The input {twice[0]!r} has two meanings. Let it either move, toggle, or give "
                "commands (a list of them, if it should give several)."
            )
        assert isinstance(self.low, tuple)
        assert isinstance(self.high, tuple)
        for index, (low, high) in enumerate(zip(self.low, self.high, strict=True)):
            if not low <= high:  # also where one is NaN
                raise ConfigError(
                    f"Entry {index} of the action has bounds that leave nothing: low {low:g}, "
                    f"high {high:g}. low must not be greater than high."
                )
        kinds = {(move.index, move.integrate) for move in self.moves}
        switched = {toggle.index for toggle in self.toggles}
        for index in range(self.action_dim):
            if {(index, True), (index, False)} <= kinds or (
                index in switched and {(index, True), (index, False)} & kinds
            ):
                raise ConfigError(
                    f"Entry {index} of the action is moved in two ways. Either all inputs that "
                    "move it integrate, or none does, or one toggles it."
                )


def _commands(name: str, value: str | Sequence[str]) -> tuple[str, ...]:
    orders = (value,) if isinstance(value, str) else tuple(value)
    for order in orders:
        if order not in COMMANDS:
            raise ConfigError(
                f"{name!r} gives the command {order!r}, which does not exist."
                + (nearest_names(str(order), COMMANDS) or f" There are: {', '.join(COMMANDS)}.")
            )
    return orders


def _known(cls: type, data: object, where: str) -> Mapping[str, Any]:
    if not isinstance(data, Mapping):
        raise ConfigError(f"{where} must be settings by name, got {data!r}.")
    names = [entry.name for entry in dataclasses.fields(cls)]
    for name in data:
        if name not in names:
            raise ConfigError(
                f"{where} has no setting {name!r}."
                + (nearest_names(str(name), names) or f" It has: {', '.join(names)}.")
            )
    return data


def _entries(name: str, entry_class: type[Move] | type[Toggle], data: object) -> Iterator[Any]:
    if not isinstance(data, Sequence) or isinstance(data, str):
        raise ConfigError(f"mapping.{name} must be a list, got {data!r}.")
    for position, entry in enumerate(data):
        where = f"mapping.{name}[{position}]"
        if isinstance(entry, entry_class):
            yield entry
            continue
        known = _known(entry_class, entry, where)
        missing = [key for key in ("input", "index") if key not in known]
        if missing:
            raise ConfigError(f"{where}.{missing[0]} is missing.")
        try:
            yield entry_class(**known)
        except (ConfigError, TypeError) as error:
            raise ConfigError(f"{where}: {error}") from error
