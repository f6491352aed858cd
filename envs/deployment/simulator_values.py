"""What is read and written by name on the objects of mjlab's and Isaac Lab's scenes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from holdstep.envs.deployment.host import HostSource, HostTarget, HostValue, NotAtHostError
from holdstep.envs.deployment.names import method_names, property_names
from holdstep.envs.deployment.units import joint_units
from holdstep.errors import nearest_names
from holdstep.wrappers.export.semantics.entry import Semantics
from holdstep.wrappers.export.semantics.lookup import SemanticsLookup, element_names

if TYPE_CHECKING:
    from holdstep.wrappers.export.connections import Connection


class SimulatorValues:
    """Finds the getters and methods that connections name.

    Args:
        scene: with ``entities`` and ``sensors`` by name.
        semantics: what they mean: units, frames, quaternion orders, element names.
        num_envs: rows.
        host: the host's name, for messages.
        slides: which joints of an entity slide, in the order of its names; None if not known.
        sensor_semantics: what a sensor reads, where its class does not say so; None if not known.
        as_tensor: makes a tensor of what a getter returns.
        write: calls a method with a value and the positions of its elements.
        memory_read: what reads an attribute of an object where the simulator keeps it; None where
            only its getter does.
    """

    def __init__(
        self,
        scene: Any,
        semantics: SemanticsLookup,
        *,
        num_envs: int,
        host: str,
        slides: Callable[[Any], Sequence[bool] | None] = lambda entity: None,
        sensor_semantics: Callable[[Any], Semantics | None] = lambda sensor: None,
        as_tensor: Callable[[Any], torch.Tensor] | None = None,
        write: Callable[[Any, Semantics, torch.Tensor, torch.Tensor | None], None] | None = None,
        memory_read: Callable[[Any, str], Callable[[], torch.Tensor] | None] | None = None,
    ) -> None:
        self._scene = scene
        self._semantics = semantics
        self._num_envs = num_envs
        self._host = host
        self._slides = slides
        self._sensor_semantics = sensor_semantics
        self._as_tensor = as_tensor or _only_tensors
        self._write = write or _call_with_ids
        self._memory_read = memory_read or (lambda owner, attribute: None)

    def source(self, connection: Connection) -> HostSource:
        """What is read at ``state:<entity>:<property>`` or ``sensor:<name>:<property>``."""
        # Isaac Lab's own exports call sensors a state too.
        is_sensor = connection.target not in self._scene.entities and (
            connection.target in self._scene.sensors
        )
        if connection.role == "state" and not is_sensor:
            entity = self._named("entity", self._scene.entities, connection.target)
            return self._source(connection, entity.data, (entity, entity.data))
        if connection.role == "sensor" or is_sensor:
            sensor = self._named("sensor", self._scene.sensors, connection.target)
            otherwise = self._sensor_semantics(sensor)
            if connection.attribute == "data":  # a sensor whose data are one tensor
                return self._source(connection, sensor, (sensor,), otherwise)
            namers = (sensor, sensor.data)
            # Its data may be a new object after each update.
            return self._source(connection, sensor.data, namers, otherwise, lambda: sensor.data)
        raise NotAtHostError(
            f"{self._host} has nothing called {connection.role!r}; set it with "
            f"inputs={{'{connection}': value}}."
        )

    def target(self, connection: Connection) -> HostTarget:
        """What is written at ``write:<entity>:<method>``."""
        entity = self._named("entity", self._scene.entities, connection.target)
        wanted = connection.attribute or ""
        known = [name for name in method_names(wanted) if hasattr(entity, name)]
        method_name = known[0] if known else wanted
        meaning = self._semantics.find(type(entity), method_name) if known else None
        if meaning is None or meaning.role != "write":
            raise NotAtHostError(
                f"{self._host}'s {type(entity).__name__} has no method of targets "
                f"{method_name!r}." + nearest_names(method_name, _methods(entity))
            )
        if len(meaning.values) != 1:
            raise NotAtHostError(
                f"{method_name!r} takes {len(meaning.values)} tensors at once, "
                "which a contract can't give."
            )
        names = element_names(meaning, entity, entity.data)
        if names is None:
            raise NotAtHostError(f"{self._host} has no names for what {method_name!r} moves.")
        method, write = getattr(entity, method_name), self._write
        return HostTarget(
            self._value((len(names),), names, meaning, entity),
            lambda value, ids: write(method, meaning, value, ids),
        )

    def _source(
        self,
        connection: Connection,
        owner: Any,
        namers: tuple[Any, ...],
        otherwise: Semantics | None = None,
        find_owner: Callable[[], Any] | None = None,
    ) -> HostSource:
        wanted = connection.attribute or ""
        known = [name for name in property_names(wanted) if hasattr(type(owner), name)]
        attribute = known[0] if known else wanted
        as_tensor = self._as_tensor
        if attribute.startswith("_"):
            raise NotAtHostError(f"{attribute!r} is {self._host}'s own business.")
        try:
            example = as_tensor(_value_at(owner, attribute))
        except (AttributeError, KeyError, TypeError, NotImplementedError) as error:
            raise NotAtHostError(
                f"{self._host}'s {connection.target!r} gives no {attribute!r} ({error})."
                + nearest_names(attribute, _properties(owner))
            ) from error
        if not example.ndim or example.shape[0] != self._num_envs:
            raise NotAtHostError(
                f"{attribute!r} is {list(example.shape)} at {self._host}, without a row for each "
                f"of the {self._num_envs} envs."
            )
        found = self._semantics.find(type(owner), attribute)
        meaning = found or otherwise or Semantics("state")
        names = element_names(meaning, *namers)
        shape = tuple(example.shape[1:])
        if names is not None and (not shape or len(names) != shape[0]):
            names = None
        owner_now = find_owner or (lambda: owner)
        read = None if find_owner else self._memory_read(owner, attribute)
        return HostSource(
            self._value(shape, names, meaning, namers[0]),
            read or (lambda: as_tensor(_value_at(owner_now(), attribute))),
        )

    def _value(
        self, shape: tuple[int, ...], names: tuple[str, ...] | None, meaning: Semantics, owner: Any
    ) -> HostValue:
        slides = self._slides(owner) if meaning.elements == "joints" else None
        if slides is not None and len(slides) != len(names or ()):
            slides = None
        unit = joint_units(meaning.unit, slides)
        return HostValue(shape, names, unit, meaning.frame, meaning.quaternion_order)

    def _named(self, kind: str, by_name: Mapping[str, Any], name: str) -> Any:
        if name in by_name:
            return by_name[name]
        listed = ", ".join(by_name) or "none"
        raise NotAtHostError(
            f"{self._host} has no {kind} {name!r}; it has {listed}.{nearest_names(name, by_name)}"
        )


def _value_at(owner: Any, path: str) -> Any:
    """An attribute, or an entry of one that is a dictionary, such as ``output.rgb``."""
    attribute, dot, key = path.partition(".")
    value = getattr(owner, attribute)
    return value[key] if dot else value


def _only_tensors(value: Any) -> torch.Tensor:
    if not isinstance(value, torch.Tensor):
        raise TypeError(f"it is a {type(value).__name__}, no tensor")
    return value


def _call_with_ids(
    method: Any, meaning: Semantics, value: torch.Tensor, ids: torch.Tensor | None
) -> None:
    arguments: dict[str, Any] = {meaning.values[0]: value}
    if ids is not None and meaning.ids is not None:
        arguments[meaning.ids] = ids
    method(**arguments)


def _properties(owner: Any) -> list[str]:
    return [name for name in dir(owner) if not name.startswith("_")]


def _methods(entity: Any) -> list[str]:
    return [name for name in dir(entity) if name.startswith(("set_", "write_"))]
