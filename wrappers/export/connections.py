"""Connections: what a tensor of a contract is at the host, in one line of text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, TypeAlias, cast, get_args

from holdstep.errors import ContractError

Role: TypeAlias = Literal[
    "state", "sensor", "command", "env", "write", "action", "obs", "apply", "memory"
]
"""What a connection leads to.

- ``state:<entity>:<property>``: read from an entity, such as ``state:robot:joint_pos``.
- ``sensor:<name>:<property>``: read from a sensor, such as ``sensor:robot/imu_lin_vel:data``.
- ``command:<name>`` or ``command:<name>:<attribute>``: set by who deploys.
- ``env:<name>``: a value of the episode itself, such as ``env:episode_length_buf``.
- ``write:<entity>:<method>`` or ``write:<entity>:<method>:<label>``: a target written to an entity,
  such as ``write:robot:set_joint_position_target``. The label tells two writes apart that call the
  same method for other joints.
- ``action``: what the policy itself returned, before the action terms.
- ``obs:<group>``: an observation group, for debugging.
- ``apply:<name>``: handed from the policy graph to the apply graph of the same control step.
- ``memory:<name>``: kept from one control step to the next.
"""

INPUT_ROLES: tuple[Role, ...] = ("state", "sensor", "command", "env")
OUTPUT_ROLES: tuple[Role, ...] = ("write", "action", "obs", "apply")

# The least and the most parts after the role.
_NUM_PARTS: dict[Role, tuple[int, int]] = {
    "state": (2, 2),
    "sensor": (2, 2),
    "command": (1, 2),
    "env": (1, 1),
    "write": (2, 3),
    "action": (0, 0),
    "obs": (1, 1),
    "apply": (1, 3),
    "memory": (1, 8),
}
_FORMS: dict[Role, str] = {
    "state": "state:<entity>:<property>",
    "sensor": "sensor:<name>:<property>",
    "command": "command:<name>[:<attribute>]",
    "env": "env:<name>",
    "write": "write:<entity>:<method>[:<label>]",
    "action": "action",
    "obs": "obs:<group>",
    "apply": "apply:<name>",
    "memory": "memory:<name>",
}
_PART = re.compile(r"[^\s:\x00-\x1f\x7f](?:[^:\x00-\x1f\x7f]*[^\s:\x00-\x1f\x7f])?")
_MAX_LENGTH = 300


@dataclass(frozen=True)
class Connection:
    """A connection, taken apart.

    Attributes:
        role: its first part.
        parts: the others, such as ``("robot", "joint_pos")``.

    >>> Connection.parse("state:robot:joint_pos").parts
    ('robot', 'joint_pos')
    >>> str(Connection("command", ("twist",)))
    'command:twist'
    """

    role: Role
    parts: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Connection:
        """Take a connection apart.

        Raises:
            ContractError: it has no known role, or not the parts of its role.
        """
        problem = connection_problem(text)
        if problem:
            raise ContractError("A connection can't be read", [problem])
        role, *parts = text.split(":")
        return cls(cast("Role", role), tuple(parts))

    @property
    def target(self) -> str:
        """The entity, sensor, command or group."""
        return self.parts[0] if self.parts else ""

    @property
    def attribute(self) -> str | None:
        """The property, attribute or method."""
        return self.parts[1] if len(self.parts) > 1 else None

    @property
    def label(self) -> str | None:
        """What tells two writes to the same method apart."""
        return self.parts[2] if len(self.parts) > 2 else None

    def __str__(self) -> str:
        return ":".join((self.role, *self.parts))


def connection_problem(text: str) -> str | None:
    """What is wrong with a connection, as a sentence; None if nothing is.

    >>> connection_problem("state:robot")
    "'state:robot' is no connection: it must look like state:<entity>:<property>."
    """
    if len(text) > _MAX_LENGTH:
        return f"a connection has at most {_MAX_LENGTH} characters, this one has {len(text)}."
    role, *parts = text.split(":")
    if role not in get_args(Role):
        return f"{text!r} is no connection: it must begin with one of {', '.join(get_args(Role))}."
    least, most = _NUM_PARTS[cast("Role", role)]
    if not least <= len(parts) <= most or not all(_PART.fullmatch(part) for part in parts):
        return f"{text!r} is no connection: it must look like {_FORMS[cast('Role', role)]}."
    return None


def tensor_name(connection: str) -> str:
    """The name of a connection's tensor inside model files.

    >>> tensor_name("sensor:robot/imu:data")
    'sensor_robot_imu_data'
    """
    return re.sub(r"[^A-Za-z0-9_]", "_", connection)
