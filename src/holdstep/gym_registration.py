"""Registers the reference envs with Gymnasium."""

from __future__ import annotations

import gymnasium

_ENTRY_POINTS = {
    "holdstep/CartPole-v0": "holdstep.envs.reference.cartpole:CartPole",
    "holdstep/PointMass-v0": "holdstep.envs.reference.point_mass:PointMass",
}


def register() -> None:
    """Make ``gymnasium.make_vec("holdstep/CartPole-v0", num_envs=4)`` work.

    The entry points are strings, so that torch is imported when an env is made, not now.
    """
    for env_id, entry_point in _ENTRY_POINTS.items():
        if env_id not in gymnasium.registry:  # a second registration makes Gymnasium warn
            gymnasium.register(id=env_id, vector_entry_point=entry_point)
