"""Things of the user's, by the names that they have in Python."""

from __future__ import annotations

import importlib
import sys
from operator import attrgetter
from typing import Any

from holdstep.errors import ConfigError


def named(name: str, option: str) -> Any:
    """What ``module:name`` names, with the current folder in the search path.

    Args:
        name: such as ``"my_policies:make"``; the part behind the colon may have dots.
        option: the option that it comes from, for messages.

    Raises:
        ConfigError: it is not of this form, or there is no such thing.
    """
    module_name, colon, path = name.partition(":")
    if not (module_name and colon and path):
        raise ConfigError(f"{option} takes module:name, such as my_policies:make; got {name!r}.")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise ConfigError(
            f"{option}: there is no module {module_name!r}, here or among what is installed."
        ) from error
    try:
        return attrgetter(path)(module)
    except AttributeError as error:
        raise ConfigError(f"{option}: the module {module_name!r} has no {path!r}.") from error
