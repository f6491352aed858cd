"""What a deployed policy runs on: a simulator or a robot behind one small interface."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch

from holdstep.wrappers.export.connections import Connection
from holdstep.wrappers.export.contract import Contract
from holdstep.wrappers.export.tensors import QuaternionOrder


class NotAtHostError(LookupError):
    """A host has nothing at a connection; the message says what it has.

    Raised by :meth:`Host.source` and :meth:`Host.target`; wiring collects them.
    """


@dataclass(frozen=True)
class HostValue:
    """What a host's value at a connection is like; None stands for "not known".

    Attributes:
        shape: of one row.
        element_names: names along the first dimension of ``shape``, in the host's order.
        unit: such as ``"rad"``; one for each element where they differ, as joints' do.
        frame: such as ``"world"``.
        quaternion_order: of its quaternions; None if it has none.
    """

    shape: tuple[int, ...]
    element_names: tuple[str, ...] | None = None
    unit: str | tuple[str, ...] | None = None
    frame: str | None = None
    quaternion_order: QuaternionOrder | None = None


@dataclass(frozen=True)
class HostSource:
    """Something that is read.

    Attributes:
        value: what it is like.
        read: the value of all rows now, ``[num_envs, *shape]``; it may be a view of the
            simulator's memory, which is only looked at before the next physics step.
        note: a sentence for the user, if it is not quite what was asked for.
    """

    value: HostValue
    read: Callable[[], torch.Tensor]
    note: str | None = None


@dataclass(frozen=True)
class HostTarget:
    """Something that is written.

    Attributes:
        value: what it is like.
        write: called with ``[num_envs, k, ...]`` and the positions (int64 ``[k]``) of those ``k``
            elements in :attr:`HostValue.element_names`, or None for all in the host's order.
    """

    value: HostValue
    write: Callable[[torch.Tensor, torch.Tensor | None], None]


@dataclass(frozen=True)
class HostEntity:
    """An entity of a host, for messages and for matching.

    Attributes:
        joint_names: in the host's order.
        body_names: in the host's order.
    """

    joint_names: tuple[str, ...] = ()
    body_names: tuple[str, ...] = ()


class Host(Protocol):
    """A simulator or a robot on which :class:`~holdstep.envs.DeploymentEnv` runs a policy.

    A control step is: :meth:`HostSource.read` of every input, :meth:`HostTarget.write` of every
    target, :meth:`step` ``decimation`` times, :meth:`refresh`. Where it waits for its tick of the
    clock, it begins with another :meth:`refresh`, so that what is read is not older than the wait.

    Attributes:
        name: such as ``"mjlab"``.
        num_envs: rows.
        device: where its tensors live.
        physics_dt: [s] how far :meth:`step` advances.
        quaternion_order: of its quaternions.
        entities: what there is, by name.
    """

    name: str
    num_envs: int
    device: torch.device
    physics_dt: float
    quaternion_order: QuaternionOrder

    @property
    def entities(self) -> Mapping[str, HostEntity]:
        """What there is, by name."""
        ...

    def source(self, connection: Connection) -> HostSource:
        """What is read at a connection.

        Raises:
            NotAtHostError: nothing is.
        """
        ...

    def target(self, connection: Connection) -> HostTarget:
        """What is written at a connection.

        Raises:
            NotAtHostError: nothing is.
        """
        ...

    def prepare(self, setup: HostSetup) -> list[str]:
        """Get ready for one policy, once, after all connections were found.

        Returns:
            Problems that keep it from running, one sentence each.
        """
        ...

    def step(self) -> None:
        """Advance one physics step with the targets written last."""
        ...

    def refresh(self) -> None:
        """Bring what is derived from the state (poses, sensors) up to date, to be read."""
        ...

    def reset(self, env_ids: torch.Tensor) -> None:
        """Put rows (int64 ``[k]``) back to where episodes begin; the others are left alone."""
        ...

    def close(self) -> None:
        """Let go of everything; more than once does no harm."""
        ...


@dataclass
class HostSetup:
    """What a host is told about the policy before it runs.

    Attributes:
        contract: of the policy.
        written: the connections at the host that are written, with the positions of the elements in
            the host's order; None for all.
        notes: sentences for the user, which a host may add to: what runs, but not as it was
            trained.
        contract_names: the contract's entity and element by the host's, of what is written: they
            may be called otherwise there.
    """

    contract: Contract
    written: Mapping[Connection, tuple[int, ...] | None]
    notes: list[str]
    contract_names: Mapping[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
