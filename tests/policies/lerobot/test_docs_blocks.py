"""Blocks of the pages that are marked as to be run with lerobot, on a checkpoint of ACT."""

import gymnasium
import numpy as np
import pytest
import torch

from holdstep.envs import make
from holdstep.policies import ChunkRunner
from holdstep.wrappers import SuspendOnWait
from tests.docs.pages import blocks_for
from tests.docs.running import run_block
from tests.policies.lerobot.doubles import STATE, TOP, act_config

IMAGE = (32, 48, 3)
WIDTHS = {"actor": 5, "joint_pos": 3, "gripper": 2}
CHECKPOINTS = ("runs/act", "outputs/train/act_lift/checkpoints/last/pretrained_model")

SMALLER = {
    "coming_from/lerobot": {
        "mjlab:Mjlab-Lift-Cube-Yam-Rgb": f"gymnasium:{__name__}:Arm-v0",
        "num_envs=64": "num_envs=2, device='cpu'",
        "num_episodes=200": "num_episodes=3",
    },
    "local_policies": {'device="cuda:0"': 'device="cpu"'},
}
BLOCKS = blocks_for("lerobot", SMALLER)


class Arm(gymnasium.Env):
    """An arm with a camera, as mjlab's task has it, of which nothing but the shapes is real."""

    def __init__(self):
        spaces = {
            name: gymnasium.spaces.Box(-1, 1, (width,), np.float32)
            for name, width in WIDTHS.items()
        }
        for name in ("camera", "top_camera"):
            spaces[name] = gymnasium.spaces.Box(0, 255, IMAGE, np.uint8)
        self.observation_space = gymnasium.spaces.Dict(spaces)
        self.action_space = gymnasium.spaces.Box(-1, 1, (4,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.num_steps = 0
        return self.observation_space.sample(), {"success": False}

    def step(self, action):
        self.num_steps += 1
        return self.observation_space.sample(), 0.0, self.num_steps == 6, False, {"success": True}


gymnasium.register("Arm-v0", Arm)


@pytest.fixture
def _checkpoints(lerobot, tmp_path):
    """A policy with random weights, where the pages have trained ones."""
    from lerobot.policies.act.modeling_act import ACTPolicy
    from lerobot.policies.factory import make_pre_post_processors

    config = act_config(4, 4, IMAGE, n_action_steps=4)
    one = {"mean": torch.zeros(()), "std": torch.ones(())}
    stats = dict.fromkeys((*config.input_features, "action"), one)
    for path in CHECKPOINTS:
        for part in (ACTPolicy(config), *make_pre_post_processors(config, dataset_stats=stats)):
            part.save_pretrained(tmp_path / path)


@pytest.mark.parametrize("block", BLOCKS, ids=str)
@pytest.mark.usefixtures("_checkpoints")
def test_blocks_run_with_lerobot(block, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {
        "env": SuspendOnWait(make(f"gymnasium:{__name__}:Arm-v0", num_envs=2, device="cpu")),
        "ChunkRunner": ChunkRunner,
        "batch": {
            STATE: torch.zeros(2, 5),
            TOP: torch.zeros(2, IMAGE[2], *IMAGE[:2]),
        },
    }
    run_block(block, names)
    if "action" in names:
        assert names["action"].shape == (2, 4)
    if "runner" in names:
        names["runner"].reset(seed=0)
        assert names["runner"].step().active_mask.all()
    if "success_rate" in block.text:
        assert capsys.readouterr().out.splitlines()[-1] == "1.0"  # lerobot says something first


def test_there_are_such_blocks():
    assert {block.page for block in BLOCKS} == set(SMALLER)
