"""A contract's tensors connected to a host's: matched by name, reordered, converted, checked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch

from holdstep.envs.deployment.host import Host, HostEntity, HostValue, NotAtHostError
from holdstep.envs.deployment.matching import match_elements
from holdstep.envs.deployment.quaternions import reordering
from holdstep.envs.deployment.units import same_unit
from holdstep.wrappers.export.connections import Connection
from holdstep.wrappers.export.tensors import TensorSpec

DTYPES = {
    "float16": torch.float16,
    "float32": torch.float32,
    "float64": torch.float64,
    "int8": torch.int8,
    "int16": torch.int16,
    "int32": torch.int32,
    "int64": torch.int64,
    "uint8": torch.uint8,
    "bool": torch.bool,
}

# Parts of vectors, quaternions, poses and wrenches: the contract names them, a host need not.
_COMPONENTS = {"x", "y", "z", "w", "qw", "qx", "qy", "qz"} | {
    f"{prefix}{axis}"
    for prefix in ("angular_", "linear_", "f", "t", "v", "w", "roll", "pitch", "yaw")
    for axis in ("", "x", "y", "z")
}


@dataclass(frozen=True)
class Wire:
    """One tensor of the contract, connected.

    Attributes:
        spec: the contract's.
        connection: at the host; another than the contract's where the user renamed it.
        element_ids: the contract's elements as positions in the host's; None if all are the same.
        columns: the contract's last dimension as positions in the host's, where quaternions are in
            another order; None if they are not.
    """

    spec: TensorSpec
    connection: Connection
    element_ids: tuple[int, ...] | None
    columns: tuple[int, ...] | None


class Wiring:
    """Connects a contract to a host; everything that does not fit is collected, nothing raised.

    Args:
        host: the host.
        renamed: connections at the host, by connections of the contract.
        renamed_elements: joints and bodies at the host, by the contract's names.

    Attributes:
        problems: why it can't run, one sentence each.
        notes: what is different but right, one sentence each.
        wires: what was connected, by the contract's connection.
        contract_names: the contract's entity and element by the host's, of what is written.
    """

    def __init__(
        self,
        host: Host,
        renamed: Mapping[str, str] | None = None,
        renamed_elements: Mapping[str, str] | None = None,
    ) -> None:
        self._host = host
        self._renamed = dict(renamed or {})
        self._renamed_elements = dict(renamed_elements or {})
        self.problems: list[str] = []
        self.notes: list[str] = []
        self.wires: dict[str, Wire] = {}
        self.contract_names: dict[tuple[str, str], tuple[str, str]] = {}

    def reader(self, spec: TensorSpec) -> Callable[[], torch.Tensor]:
        """What reads an input from the host, in the contract's order, shape and dtype.

        It may give a view of the simulator's memory. Of no use once there are problems.
        """
        connection = self._at_host(spec)
        try:
            source = self._host.source(connection)
        except NotAtHostError as error:
            self.problems.append(f"{spec.connection}: {error}")
            return _unreadable
        if source.note is not None:
            self.notes.append(f"{spec.connection}: {source.note}")
        wire = self._wire(spec, source.value, connection, to_host=False)
        read, dtype = source.read, DTYPES[spec.dtype]
        rows = (self._host.num_envs, *source.value.shape)
        device = self._host.device
        elements = _index(wire.element_ids, device)
        columns = _index(wire.columns, device)

        def read_converted() -> torch.Tensor:
            value = read()
            if value.shape != rows:
                raise RuntimeError(
                    f"{wire.connection} was declared as {list(rows)} and is {list(value.shape)}."
                )
            if elements is not None:
                value = value.index_select(1, elements)
            if columns is not None:
                value = value.index_select(-1, columns)
            return value if value.dtype == dtype else value.to(dtype)

        return read_converted

    def writer(self, spec: TensorSpec) -> Callable[[torch.Tensor], None]:
        """What writes an output to the host; of no use once there are problems."""
        connection = self._at_host(spec)
        try:
            target = self._host.target(connection)
        except NotAtHostError as error:
            self.problems.append(f"{spec.connection}: {error}")
            return _unwritable
        wire = self._wire(spec, target.value, connection, to_host=True)
        self._remember_names(wire, target.value)
        write, device = target.write, self._host.device
        elements = _index(wire.element_ids, device)
        columns = _index(wire.columns, device)

        def write_converted(value: torch.Tensor) -> None:
            value = value.to(device)
            write(value if columns is None else value.index_select(-1, columns), elements)

        return write_converted

    def _remember_names(self, wire: Wire, value: HostValue) -> None:
        there = value.element_names or ()
        if wire.element_ids is not None:
            there = tuple(there[index] for index in wire.element_ids)
        entity = Connection.parse(wire.spec.connection).target
        for name, own_name in zip(there, wire.spec.element_names or there, strict=False):
            self.contract_names[wire.connection.target, name] = (entity, own_name)

    def check_renamed(self, specs: Iterable[TensorSpec]) -> None:
        """Note what was renamed, but is not in the contract."""
        specs = list(specs)
        connections = {spec.connection for spec in specs}
        elements = {name for spec in specs for name in spec.element_names or ()}
        for renamed, known in ((self._renamed, connections), (self._renamed_elements, elements)):
            self.problems += [
                f"{name}: was renamed to {renamed[name]!r}, but is not in the contract, which has "
                f"{', '.join(sorted(known))}."
                for name in renamed
                if name not in known
            ]

    def _at_host(self, spec: TensorSpec) -> Connection:
        return Connection.parse(self._renamed.get(spec.connection, spec.connection))

    def _wire(
        self, spec: TensorSpec, value: HostValue, connection: Connection, *, to_host: bool
    ) -> Wire:
        elements = self._elements(spec, value, connection)
        self._check_shape(spec, value, elements)
        self._check_unit(spec, value, elements)
        self._check_frame(spec, value)
        wire = Wire(spec, connection, elements, self._columns(spec, value, to_host=to_host))
        self.wires[spec.connection] = wire
        return wire

    def _elements(
        self, spec: TensorSpec, value: HostValue, connection: Connection
    ) -> tuple[int, ...] | None:
        # The parts of a quaternion or a pose are put in order by what is declared of it, in
        # `_columns`: their names say the same, and would reorder them a second time.
        if spec.quaternion_order and len(spec.shape) == 1:
            return None
        if spec.element_names is None:
            self._check_unnamed(spec, value, connection)
            return None
        if value.element_names is None:
            if not set(spec.element_names) <= _COMPONENTS:
                self.notes.append(
                    f"{spec.connection}: {self._host.name} has no names here, so that its elements "
                    f"are taken in the contract's order: {', '.join(spec.element_names)}."
                )
            return None
        wanted = [self._renamed_elements.get(name, name) for name in spec.element_names]
        match = match_elements(wanted, value.element_names)
        self.problems += [f"{spec.connection}: {problem}" for problem in match.problems]
        if match.extra:
            self.notes.append(
                f"{spec.connection}: {self._host.name} has more, which the policy does not know: "
                f"{', '.join(match.extra)}."
            )
        if match.ids == tuple(range(len(value.element_names))):
            return None
        if not match.problems and not match.extra:
            self.notes.append(f"{spec.connection}: reordered by name.")
        return match.ids

    def _check_unnamed(self, spec: TensorSpec, value: HostValue, connection: Connection) -> None:
        """Joints and bodies are not taken by position: in another order nothing would tell."""
        names = value.element_names or ()
        entity = self._host.entities.get(connection.target, HostEntity())
        has_elements = bool(names) and (
            not set(names) <= _COMPONENTS or names in (entity.joint_names, entity.body_names)
        )
        if len(names) > 1 and has_elements:
            self.problems.append(
                f"{spec.connection}: the contract does not name its elements, {self._host.name} "
                f"has {', '.join(names)}: nothing says whether they are in the same order. Write "
                "element_names into the contract, in the order of the training."
            )

    def _check_unit(
        self, spec: TensorSpec, value: HostValue, elements: tuple[int, ...] | None
    ) -> None:
        if spec.unit is None or value.unit is None:
            return
        there = (value.unit,) if isinstance(value.unit, str) else value.unit
        if elements is not None and len(there) > 1:
            there = tuple(there[index] for index in elements)
        wrong = sorted({unit for unit in there if not same_unit(unit, spec.unit)})
        if wrong:
            self.problems.append(
                f"{spec.connection}: the contract has unit {spec.unit!r}, "
                f"{self._host.name} has {' and '.join(map(repr, wrong))}."
            )

    def _check_frame(self, spec: TensorSpec, value: HostValue) -> None:
        if None in (spec.frame, value.frame) or spec.frame == value.frame:
            return
        sentence = (
            f"{spec.connection}: the contract has frame {spec.frame!r}, "
            f"{self._host.name} has {value.frame!r}."
        )
        if {spec.frame, value.frame} == {"sensor", "body"}:  # a sensor is put on as its maker likes
            self.notes.append(f"{sentence} That is right if the sensor's axes are the body's.")
        else:
            self.problems.append(sentence)

    def _check_shape(
        self, spec: TensorSpec, value: HostValue, elements: tuple[int, ...] | None
    ) -> None:
        there = value.shape
        if elements is not None:
            there = (len(elements), *there[1:])
            if len(elements) != len(spec.element_names or ()):
                return  # names are missing, which is a problem of its own
        if spec.shape != there:
            self.problems.append(
                f"{spec.connection}: the contract has {list(spec.shape)} for each row, "
                f"{self._host.name} has {list(value.shape)}."
            )

    def _columns(
        self, spec: TensorSpec, value: HostValue, *, to_host: bool
    ) -> tuple[int, ...] | None:
        ours, theirs = spec.quaternion_order, value.quaternion_order
        if ours is None and theirs is None:
            return None
        if ours is None or theirs is None:
            who = "the contract" if ours is None else self._host.name
            self.problems.append(
                f"{spec.connection}: {who} does not say in which order its quaternions are."
            )
            return None
        if to_host:
            columns = reordering(spec.shape[-1], ours, theirs)
        else:
            columns = reordering(spec.shape[-1], theirs, ours)
        if columns is not None:
            self.notes.append(f"{spec.connection}: quaternions converted, {theirs} and {ours}.")
        return columns


def _index(positions: tuple[int, ...] | None, device: torch.device) -> torch.Tensor | None:
    return None if positions is None else torch.tensor(positions, device=device)


def _unreadable() -> torch.Tensor:
    raise AssertionError("wiring has problems")


def _unwritable(_: torch.Tensor) -> None:
    raise AssertionError("wiring has problems")
