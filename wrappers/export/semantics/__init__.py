"""What simulators' quantities mean: role, unit, frame, quaternion order, element names."""

from holdstep.wrappers.export.semantics.entry import (
    DERIVED,
    Semantics,
    command,
    const,
    refused,
    state,
    write,
)
from holdstep.wrappers.export.semantics.user import (
    register_semantics,
    registered_semantics,
    unregister_semantics,
)

__all__ = [
    "DERIVED",
    "Semantics",
    "command",
    "const",
    "refused",
    "register_semantics",
    "registered_semantics",
    "state",
    "unregister_semantics",
    "write",
]
