"""A recording of something else is refused when the recorder is made, where that can be known."""

import gymnasium
import numpy as np
import pytest
import torch

from holdstep.envs import make
from holdstep.errors import ConfigError, RecordingError
from holdstep.wrappers import RecordEpisodes, VectorWrapper
from holdstep.wrappers.record.dataset import Dataset

FAST = {"writer": "thread", "durability": "os"}


def point_mass(num_envs=2):
    return make("holdstep:PointMass", num_envs=num_envs, device="cpu", seed=0)


def record(path, **options):
    env = RecordEpisodes(point_mass(), path, **FAST, **options)
    env.reset()
    env.step(torch.zeros(2, 2))
    env.close()
    return len(Dataset(path))


class OtherObs(VectorWrapper):
    """Says that its observations are of another form."""

    def __init__(self, env, space):
        super().__init__(env)
        self.single_observation_space = gymnasium.spaces.Dict(space)


BOX = gymnasium.spaces.Box
OTHERS = [
    ({"policy": BOX(-1, 1, (9,), np.float32)}, r"'obs/policy' is float32 .* and float32 \(9,\)"),
    ({"policy": BOX(-1, 1, (4,), np.float64)}, r"'obs/policy' is float32 .* and float64 "),
    ({"critic": BOX(-1, 1, (4,), np.float32)}, "'obs/policy' is only in what is there"),
]


@pytest.mark.parametrize(("space", "message"), OTHERS)
@pytest.mark.parametrize("keys", [None, ["obs", "actions"]])
def test_other_observations(tmp_path, space, message, keys):
    record(tmp_path / "demos", keys=keys)
    with pytest.raises(ConfigError, match=message):
        RecordEpisodes(OtherObs(point_mass(), space), tmp_path / "demos", keys=keys, **FAST)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keys": ["obs"]}, "'actions' is only in what is there"),
        ({"keys": ["obs", "actions", "rewards"]}, "'rewards' is only in the new one"),
        ({"keys": ["obs", "actions"], "attributes": {"operator": "x"}}, "'operator'"),
        ({"keys": ["obs", "actions"], "success_filter": "split"}, "success_filter"),
    ],
)
def test_other_options(tmp_path, options, message):
    record(tmp_path / "demos", keys=["obs", "actions"])
    with pytest.raises(ConfigError, match=message):
        RecordEpisodes(point_mass(), tmp_path / "demos", **FAST, **options)


def test_another_env(tmp_path):
    record(tmp_path / "demos")
    other = make("holdstep:CartPole", num_envs=2, device="cpu", seed=0)
    with pytest.raises(ConfigError, match="the env is"):
        RecordEpisodes(other, tmp_path / "demos", **FAST)


@pytest.mark.parametrize("keys", [None, ["obs", "act*", "states"], ["*"]])
def test_the_same_is_gone_on_with(tmp_path, keys):
    assert record(tmp_path / "demos", keys=keys) == 2
    assert record(tmp_path / "demos", keys=keys) == 4


def test_what_only_a_reset_tells_is_refused_there(tmp_path):
    record(tmp_path / "demos", keys=["obs"])
    env = RecordEpisodes(point_mass(), tmp_path / "demos", keys=["obs", "states"], **FAST)
    with pytest.raises(
        (ConfigError, RecordingError), match="'states/row/state' is only in the new one"
    ):
        env.reset()
    env.close()
