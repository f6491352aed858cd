"""Which episodes are kept, and which of them apart from which."""

from __future__ import annotations

from typing import Literal, get_args

from holdstep.errors import ConfigError

SuccessFilter = Literal["all", "succeeded", "failed", "split"]
"""Which episodes are kept: all; only those that succeeded, or that did not; or both, apart.

As in Isaac Lab, an episode of which nothing says whether it succeeded did not.
"""

EPISODES, SUCCEEDED, FAILED = "episodes", "succeeded", "failed"


def check_success_filter(success_filter: str) -> None:
    """Make sure that there is such a filter.

    Raises:
        ConfigError: there is not.
    """
    if success_filter not in get_args(SuccessFilter):
        raise ConfigError(
            f"success_filter must be one of {', '.join(get_args(SuccessFilter))}; "
            f"got {success_filter!r}."
        )


def is_kept(success: bool | None, success_filter: SuccessFilter) -> bool:
    """Whether an episode passes.

    >>> is_kept(None, "succeeded"), is_kept(None, "failed"), is_kept(True, "split")
    (False, True, True)
    """
    if success_filter == SUCCEEDED:
        return success is True
    return success_filter != FAILED or success is not True


def family_of(success: bool | None, success_filter: SuccessFilter) -> str:
    """The shards that an episode goes to."""
    if success_filter != "split":
        return EPISODES
    return SUCCEEDED if success is True else FAILED
