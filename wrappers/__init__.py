"""What can be stacked on an env."""

from holdstep.wrappers.base import VectorWrapper, find_wrapper
from holdstep.wrappers.order import Stage

__all__ = ["Stage", "VectorWrapper", "find_wrapper"]
