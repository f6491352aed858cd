"""Sources of actions, as a file names them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, Literal, TypeAlias

from holdstep.documents.problems import FieldsError, Place, Problem, Tagged
from holdstep.errors import ConfigError, MissingExtraError
from holdstep.policies.teleop.devices.mapping import ActionMapping
from holdstep.policies.teleop.graph.config import GraphConfig
from holdstep.policies.teleop.registry import source_class


@dataclass(frozen=True, kw_only=True)
class DeviceConfig:
    """What all devices take; None is the device's own default.

    Attributes:
        start_paused: wait for the operator to start.
        reclutch: what is held during a pause or reset counts again once it was released.
    """

    start_paused: bool | None = None
    reclutch: bool | None = None

    def options(self) -> dict[str, Any]:
        """Arguments of the device's class."""
        fields = dataclasses.fields(self)
        given = {field.name: getattr(self, field.name) for field in fields}
        return {name: value for name, value in given.items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class _Gamepad:
    """What gamepads take besides.

    Attributes:
        gamepad: its number, from 0.
    """

    gamepad: int | None = None

    def __post_init__(self) -> None:
        if self.gamepad is not None and self.gamepad < 0:
            raise ConfigError(f"gamepad must be a number, 0 or more, got {self.gamepad}.")


@dataclass(frozen=True, kw_only=True)
class KeyboardConfig(DeviceConfig):
    """A keyboard for any env.

    Attributes:
        mapping: what keys mean, as for ``ActionMapping.of``; by default a pair for each entry of
            the env's actions.
    """

    mapping: Any = None

    def __post_init__(self) -> None:
        _check_mapping(self.mapping)


@dataclass(frozen=True, kw_only=True)
class GamepadConfig(DeviceConfig, _Gamepad):
    """A gamepad for any env.

    Attributes:
        mapping: what sticks and buttons mean, as for ``ActionMapping.of``.
    """

    mapping: Any

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mapping is None:
            raise ConfigError("mapping is empty: it says what sticks and buttons mean.")
        _check_mapping(self.mapping)


@dataclass(frozen=True, kw_only=True)
class Se2KeyboardConfig(DeviceConfig):
    """See ``Se2Keyboard``."""

    v_x_sensitivity: float | None = None
    v_y_sensitivity: float | None = None
    omega_z_sensitivity: float | None = None
    commands: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class Se2GamepadConfig(Se2KeyboardConfig, _Gamepad):
    """See ``Se2Gamepad``."""

    dead_zone: float | None = None


@dataclass(frozen=True, kw_only=True)
class Se3KeyboardConfig(DeviceConfig):
    """See ``Se3Keyboard``."""

    pos_sensitivity: float | None = None
    rot_sensitivity: float | None = None
    gripper_term: bool | None = None
    commands: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class Se3GamepadConfig(Se3KeyboardConfig, _Gamepad):
    """See ``Se3Gamepad``."""

    dead_zone: float | None = None


@dataclass(frozen=True, kw_only=True)
class PluginConfig:
    """A plugin of IsaacTeleop; see its ``PluginConfig``."""

    plugin_name: str
    plugin_root_id: str
    search_paths: tuple[str, ...] = ()
    enabled: bool = True
    plugin_args: tuple[str, ...] = ()
    required: bool = False


@dataclass(frozen=True, kw_only=True)
class IsaacTeleopConfig:
    """A session of IsaacTeleop; see ``session_config`` and ``IsaacTeleopSource``.

    Attributes:
        pipeline: the retargeting pipeline and its control pipeline: as a graph, or the
            ``"module:function"`` that builds the one or a pair of both.
        session: live, or the replay of a recording.
        mcap: the recording: replayed, or, live, written.
        output: the pipeline's outputs that are the action, one after another.
        action_dim: the width that actions have to have.
        app_name: what OpenXR is told.
        plugins: started with the session.
        verbose: whether the session prints what it does.
    """

    pipeline: str | GraphConfig
    session: Literal["live", "replay"] = "live"
    mcap: str | None = None
    output: tuple[str, ...] = ("action",)
    action_dim: int | None = None
    app_name: str = "holdstep"
    plugins: tuple[PluginConfig, ...] = ()
    verbose: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.pipeline, str):
            _check_name("pipeline", self.pipeline)
        if self.session == "replay" and self.mcap is None:
            raise ConfigError("mcap is missing: the recording to be replayed.")
        if not self.output:
            raise ConfigError("output is empty: name the pipeline's output that is the action.")


@dataclass(frozen=True, kw_only=True)
class FunctionConfig:
    """A source of your own.

    Attributes:
        function: ``"module:function"``; called without arguments, it returns an ``ActionSource``.
    """

    function: str

    def __post_init__(self) -> None:
        _check_name("function", self.function)


@dataclass(frozen=True, kw_only=True)
class PolicyConfig:
    """A policy that drives rows from beside the env.

    Attributes:
        policy: ``"zero"``, ``"random"``, or ``"module:function"``, called with the env.
    """

    policy: str

    def __post_init__(self) -> None:
        if self.policy not in ("zero", "random"):
            _check_name("policy", self.policy, "zero, random or ")


SOURCE_KINDS: Mapping[str, type] = MappingProxyType(
    {
        "keyboard": KeyboardConfig,
        "gamepad": GamepadConfig,
        "se2_keyboard": Se2KeyboardConfig,
        "se2_gamepad": Se2GamepadConfig,
        "se3_keyboard": Se3KeyboardConfig,
        "se3_gamepad": Se3GamepadConfig,
        "isaacteleop": IsaacTeleopConfig,
        "function": FunctionConfig,
        "policy": PolicyConfig,
    }
)
"""The classes by ``kind``."""

SourceConfig: TypeAlias = Annotated[Any, Tagged("kind", SOURCE_KINDS)]


def kind_of(source: Any) -> str:
    """The ``kind`` of a source's configuration."""
    return next(kind for kind, cls in SOURCE_KINDS.items() if cls is type(source))


def check_device(source: Any) -> Iterator[Problem]:
    """What a device has against its configuration, which it is made from for a try.

    Nothing is opened. A device whose packages are not installed can't be asked; that is no mistake
    of the file's.
    """
    if not isinstance(source, DeviceConfig) or getattr(source, "mapping", source) is None:
        return
    try:
        source_class(kind_of(source))(**source.options())
    except MissingExtraError:
        return
    except ConfigError as error:
        yield Problem(_place_in(source.options(), str(error)), str(error))


def _check_mapping(mapping: Any) -> None:
    if mapping is None:
        return
    if not isinstance(mapping, Mapping):
        raise ConfigError(f"mapping must be a mapping, got {mapping!r}.")
    try:
        ActionMapping.of(mapping)
    except ConfigError as error:
        if str(error).startswith("mapping"):
            raise
        problem = Problem(_place_in({"mapping": mapping}, str(error)), str(error))
        raise FieldsError("The mapping can't be used", [problem]) from error


def _place_in(options: Mapping[str, Any], message: str) -> Place:
    """The entry of a device's options that a message names, by the input that it is for."""
    mapping = options.get("mapping", {})
    for name in ("moves", "toggles"):
        for index, entry in enumerate(mapping.get(name) or ()):
            if isinstance(entry, Mapping) and repr(entry.get("input")) in message:
                return ("mapping", name, index)
    inside = ("mapping",) if "mapping" in options else ()
    commands = mapping.get("commands", options.get("commands"))
    for key in commands if isinstance(commands, Mapping) else ():
        if repr(key) in message:
            return (*inside, "commands", key)
    return inside


def _check_name(field: str, name: str, others: str = "") -> None:
    module, colon, path = name.partition(":")
    if not (module and colon and path):
        raise ConfigError(
            f"{field} must be {others}module:name, such as my_sources:make, got {name!r}."
        )
