"""Imports of optional dependencies that name the extra to install when they fail."""

from __future__ import annotations

import importlib
from types import ModuleType

from holdstep.errors import MissingExtraError


def require(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Import an optional dependency.

    Args:
        module: dotted name of the module to import.
        extra: the extra of holdstep's package that brings it.
        purpose: what it is needed for, as the start of the error's sentence.

    Returns:
        The imported module.

    Raises:
        MissingExtraError: the module's top-level package is not installed. An installed package
            that fails to import for a reason of its own raises that reason.

    >>> require("json", extra="none", purpose="This doctest").__name__
    'json'
    >>> require("not_a_module", extra="mjlab", purpose="The mjlab backend")
    Traceback (most recent call last):
    ...
    holdstep.errors.MissingExtraError: The mjlab backend needs the package 'not_a_module', ...
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        top_level = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != top_level:
            raise
        raise MissingExtraError(
            f"{purpose} needs the package {top_level!r}, which is not installed. "
            f'Install it with: pip install "holdstep[{extra}]"'
        ) from error
