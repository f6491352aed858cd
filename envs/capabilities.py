"""What a backend can do, stated before anything is asked of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

FreezeLevel = Literal["skip", "exact", "approximate", "none"]
RngScope = Literal["per_env", "global"]


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """What a backend can do. A request for more is refused, never silently downgraded.

    Attributes:
        freeze: how single rows can be held still while others advance. ``"skip"``: the row is not
            stepped at all; ``"exact"``: it is stepped and put back bit for bit; ``"approximate"``:
            put back except for state hidden inside the physics engine; ``"none"``: not at all.
        rng: ``"per_env"``: a row's random numbers depend on its own seed and step count alone;
            ``"global"``: all rows draw from one stream, so they depend on each other's draws.
        final_obs: ``info["final_obs"]`` holds the observations of ended episodes.
        render: ``render()`` returns frames in the render mode that the env was made with.
        snapshot: the state of single rows can be saved and put back.
        lazy_rendering: images among the observations can be drawn when somebody looks at them;
            False also for a task without images.
        scene_state: where the objects of the scene are can be told and set.
    """

    freeze: FreezeLevel = "none"
    rng: RngScope = "global"
    final_obs: bool = False
    render: bool = False
    snapshot: bool = False
    lazy_rendering: bool = False
    scene_state: bool = False
