"""Random functions of Python and NumPy, whose numbers are not made row by row."""

from __future__ import annotations

import random
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from holdstep.envs.state.random_functions import Original
    from holdstep.envs.state.random_redirect import DrawTarget, Replacement

MODULES: tuple[ModuleType, ...] = (random, np.random)
_STREAMS = (random.Random, np.random.RandomState)
_DRAW_NOTHING = frozenset({"seed", "getstate", "setstate", "get_state", "set_state"})


def noticed_functions(module: ModuleType) -> dict[str, Replacement]:
    """The functions that draw from the module's one stream: they do as ever, and are noticed.

    Simulators call them once for all rows or in a loop over some, so that nothing but their code
    says whose number it is.
    """

    def draw(target: DrawTarget, original: Original, *args: Any, **kwargs: Any) -> Any:
        target.drawn_elsewhere(f"{module.__name__}.{original.__name__}")
        return original(*args, **kwargs)

    return {
        name: draw
        for name, value in vars(module).items()
        if isinstance(getattr(value, "__self__", None), _STREAMS) and name not in _DRAW_NOTHING
    }
