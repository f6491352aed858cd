"""What produces actions."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdstep.policies.rsl_rl import RslRlPolicy

__all__ = ["RslRlPolicy"]


def __getattr__(name: str) -> object:
    if name == "RslRlPolicy":
        from holdstep.policies.rsl_rl import RslRlPolicy

        return RslRlPolicy
    raise AttributeError(f"module 'holdstep.policies' has no attribute {name!r}")
