"""Blocks of the pages that are marked as to be run with Isaac Lab."""

import gymnasium
import pytest

from tests.docs.pages import blocks_for
from tests.docs.running import run_block
from tests.isaaclab.conftest import silenced
from tests.isaaclab.test_recorder import recording_cfg

SMALLER = {
    "adapters": {"num_envs=64": "num_envs=2"},
    "coming_from/isaaclab": {"num_envs=64": "num_envs=2", "cuda:0": "cpu", "zeros(64": "zeros(2"},
    "generation": {"Isaac-Stack-Cube-Franka-v0": "Isaac-Cartpole-v0"},
}
BLOCKS = blocks_for("isaaclab", SMALLER)


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_blocks_run_with_isaac_lab(block, assets, tmp_path, monkeypatch):
    from holdstep.envs import make

    monkeypatch.chdir(tmp_path)
    env_cfg = recording_cfg(tmp_path, None)
    env_cfg.sim.device, env_cfg.scene.num_envs = "cpu", 2
    names = {"make": make, "gymnasium": gymnasium, "env_cfg": env_cfg}
    try:
        with silenced():
            run_block(block, names)
    finally:
        if "env" in names:
            names["env"].close()


def test_there_are_such_blocks():
    assert {block.page for block in BLOCKS} == set(SMALLER)
