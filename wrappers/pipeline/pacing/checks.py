"""Checks of a pacing's options."""

from __future__ import annotations

import math

from holdstep.errors import ConfigError


def check_number(
    name: str, value: object, *, above: float = -math.inf, least: float = -math.inf, most: float
) -> None:
    """Refuse what is not a finite number between bounds.

    Args:
        name: of the option.
        value: what was given.
        above: the value must be above this.
        least: and at least this.
        most: and at most this; ``math.inf`` for any finite number.

    Raises:
        ConfigError: it is none.

    >>> check_number("share", 0.5, above=0, most=1)
    >>> check_number("share", 0, above=0, most=1)
    Traceback (most recent call last):
    holdstep.errors.ConfigError: share must be a number above 0 and at most 1, got 0.
    """
    number = math.nan if isinstance(value, bool) or not isinstance(value, int | float) else value
    if math.isfinite(number) and above < number <= most and least <= number:
        return
    bounds = [f"above {above:g}"] if above > -math.inf else []
    bounds += [f"at least {least:g}"] if least > -math.inf else []
    bounds += [f"at most {most:g}"] if most < math.inf else []
    raise ConfigError(f"{name} must be a number {' and '.join(bounds)}, got {value!r}.")


def check_count(name: str, value: object, *, least: int) -> None:
    """Refuse what is not an integer of at least ``least``.

    Raises:
        ConfigError: it is none.

    >>> check_count("window", 2.5, least=1)
    Traceback (most recent call last):
    holdstep.errors.ConfigError: window must be an integer >= 1, got 2.5.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(f"{name} must be an integer >= {least}, got {value!r}.")
