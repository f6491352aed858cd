"""Episodes made by hand, and whether two are the same."""

from __future__ import annotations

import numpy as np

from holdstep.wrappers.record.episode import Episode

ENV_ARGS = {
    "env_name": "holdstep:PointMass",
    "type": 2,
    "sim_args": {"dt": 0.01, "decimation": 2, "render_interval": 2, "num_envs": 4},
}


def made_episode(
    number=0,
    num_steps=5,
    *,
    ended="terminated",
    success=True,
    final=True,
    image=None,
    attributes=None,
):
    """An episode with one array of every sort, of random content."""
    random = np.random.default_rng(number)
    states = random.normal(size=(num_steps, 7)).astype(np.float32)
    observed = random.normal(size=(num_steps + 1, 4)).astype(np.float32)
    joints = random.normal(size=(num_steps + 1, 3))
    flags = np.zeros((2, num_steps), bool)
    flags[0, -1], flags[1, -1] = ended == "terminated", ended == "truncated"
    arrays = {
        "actions": random.normal(size=(num_steps, 2)).astype(np.float32),
        "rewards": random.normal(size=num_steps).astype(np.float32),
        "terminated": flags[0],
        "truncated": flags[1],
        "obs/policy": observed[:-1],
        "obs/robot/joints": joints[:-1],
        "info/steps": random.integers(0, 1 << 40, num_steps),
        "initial_state/articulation/robot/root_pose": states[:1] + 1,
        "states/articulation/robot/root_pose": states if final else states[:-1],
    }
    if final:
        arrays |= {"final_obs/policy": observed[-1:], "final_obs/robot/joints": joints[-1:]}
    if image is not None:
        frames = random.integers(0, 256, (num_steps + 1, *image), np.uint8)
        arrays["obs/front"] = frames[:-1]
        if final:
            arrays["final_obs/front"] = frames[-1:]
    return Episode(
        f"demo_{number}", num_steps, arrays, ended, success, dict(attributes or {"seed": number})
    )


def assert_same(found, expected, *, name=None):
    """Bit for bit, NaNs and signs of zeros included."""
    assert found.name == (expected.name if name is None else name)
    assert found.num_steps == expected.num_steps
    assert (found.ended, found.success) == (expected.ended, expected.success)
    assert dict(found.attributes) == dict(expected.attributes)
    assert set(found.arrays) == set(expected.arrays)
    for path, array in expected.arrays.items():
        assert_same_array(found.arrays[path], array)


def assert_same_array(found, expected):
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    assert np.ascontiguousarray(found).tobytes() == np.ascontiguousarray(expected).tobytes()
