"""A node's options turned into the arguments of what makes it."""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from holdstep.documents.problems import Problem
from holdstep.errors import nearest_names
from holdstep.policies.teleop.graph.option_values import OptionValues
from holdstep.policies.teleop.session.config import load_teleop


@dataclass(frozen=True)
class _Option:
    """What may be given.

    Attributes:
        kind: its type; Any where that is not said.
        is_required: whether it has to be.
    """

    kind: Any
    is_required: bool


class Options:
    """The options of a class or function: its arguments, and the fields of its configuration.

    An argument that is a dataclass is a configuration. Where there are two of them (one for each
    hand, say), nobody could tell whose a field is: then each is an option itself, a mapping.

    Args:
        make: the class or function.
        without: arguments that are no options.

    Attributes:
        inputs: arguments that take another node's output, and whether they have to be given. Only
            functions have such; a retargeter says itself what its inputs are.
    """

    def __init__(self, make: Callable[..., Any], *, without: Collection[str] = ()) -> None:
        self._make = make
        self.inputs: dict[str, bool] = {}
        self._own: dict[str, _Option] = {}
        selector = load_teleop("retargeting_engine.interface").OutputSelector
        for name, option in _parameters(make).items():
            if selector in _members(option.kind):
                self.inputs[name] = option.is_required
            elif name not in without:
                self._own[name] = option
        self._config: tuple[str, Options, bool] | None = None
        configs = {name: _config_class(option.kind) for name, option in self._own.items()}
        names = [name for name, config in configs.items() if config is not None]
        if len(names) == 1:
            is_required = self._own.pop(names[0]).is_required
            self._config = (names[0], Options(configs[names[0]]), is_required)

    @property
    def names(self) -> list[str]:
        """What can be given."""
        return [*self._own, *(self._config[1].names if self._config else ())]

    def made(self, options: Mapping[str, Any], problems: list[Problem], **more: Any) -> Any:
        """What the class or function makes of options.

        Args:
            options: as a file has them.
            problems: get those that are found, with places inside the options.
            **more: other arguments.

        Returns:
            None if any problem was found.
        """
        num_before = len(problems)
        problems += self._unknown(options)
        arguments = self._arguments(options, problems)
        if len(problems) > num_before:
            return None
        try:
            return self._make(**arguments, **more)
        except Exception as error:  # whatever it has against them
            problems.append(self._problem(error))
            return None

    def _unknown(self, options: Mapping[str, Any]) -> list[Problem]:
        names = self.names
        return [
            Problem(
                (name,),
                f"is no option of {self._make.__name__}."
                + (nearest_names(name, names) or f" There are: {', '.join(names) or 'none'}."),
                at_key=True,
            )
            for name in options
            if name not in names
        ]

    def _arguments(self, options: Mapping[str, Any], problems: list[Problem]) -> dict[str, Any]:
        values = OptionValues(problems)
        arguments = {}
        for name, option in self._own.items():
            if name in options:
                arguments[name] = values.read(option.kind, options[name], (name,))
            elif option.is_required:
                problems.append(Problem((name,), f"is missing: {self._make.__name__} needs it."))
        if self._config is not None:
            argument, config, is_required = self._config
            fields = {name: value for name, value in options.items() if name in config.names}
            if fields or is_required:
                arguments[argument] = config.made(fields, problems)
        return arguments

    def _problem(self, error: Exception) -> Problem:
        """What an error says, at the option with whose name it begins, if it does."""
        message = " ".join(str(error).split())
        if not isinstance(error, ValueError | TypeError):
            return Problem((), f"{type(error).__name__}: {message}")
        first, _, rest = message.partition(" ")
        return Problem((first,), rest) if first in self.names else Problem((), message)


def _parameters(make: Callable[..., Any]) -> dict[str, _Option]:
    hints = _hints(make.__init__ if inspect.isclass(make) else make)
    return {
        name: _Option(hints.get(name, Any), parameter.default is parameter.empty)
        for name, parameter in inspect.signature(make).parameters.items()
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    }


def _hints(function: Any) -> dict[str, Any]:
    """Types of arguments by name; none where they can't be told."""
    # Often imported for type checkers only, by isaacteleop too.
    names = {**vars(load_teleop("deviceio")), **vars(load_teleop("retargeting_engine.interface"))}
    try:
        return typing.get_type_hints(function, localns=names)
    except (NameError, AttributeError, TypeError):
        return {}


def _members(kind: Any) -> tuple[Any, ...]:
    """The types of a union, or the one type."""
    is_union = typing.get_origin(kind) in (types.UnionType, typing.Union)
    return typing.get_args(kind) if is_union else (kind,)


def _config_class(kind: Any) -> Any:
    """The dataclass that an argument is, where it is one; it may be one that can be left out."""
    return next((member for member in _members(kind) if dataclasses.is_dataclass(member)), None)
