"""Which observation groups a policy's features are made of."""

import pytest
import torch

from holdstep.errors import ConfigError
from holdstep.policies.lerobot.features import FeatureMapping
from tests.policies.lerobot.doubles import STATE, TOP, Kind, feature

CPU = torch.device("cpu")
FEATURES = {STATE: feature(Kind.STATE, 5), TOP: feature(Kind.VISUAL, 3, 4, 6)}


def test_groups_are_put_behind_one_another():
    mapping = FeatureMapping({STATE: FEATURES[STATE]}, {STATE: ("joints", "gripper")})
    obs = {"gripper": torch.tensor([[4, 5]]), "joints": torch.tensor([[1.0, 2.0, 3.0]])}
    assert mapping.obs_keys == ("joints", "gripper")
    features = mapping(obs, device=CPU)
    assert features[STATE].tolist() == [[1.0, 2.0, 3.0, 4.0, 5.0]]
    assert features[STATE].dtype == torch.float32


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64])
def test_images_are_made_as_lerobots_datasets_have_them(channels_last, dtype):
    image = torch.randint(0, 256, (2, 3, 4, 6), dtype=torch.uint8)
    expected = image.float() / 255
    given = image if dtype == torch.uint8 else expected.to(dtype)
    mapping = FeatureMapping({TOP: FEATURES[TOP]}, {TOP: "camera"})
    before = given.clone()
    made = mapping({"camera": given.movedim(1, -1) if channels_last else given}, device=CPU)[TOP]
    assert made.dtype == torch.float32
    torch.testing.assert_close(made, expected, rtol=0, atol=0)
    assert torch.equal(given, before)


def test_a_feature_can_be_left_out():
    mapping = FeatureMapping(FEATURES, {STATE: "state", TOP: None})
    assert mapping.obs_keys == ("state",)
    assert set(mapping({"state": torch.zeros(1, 5)}, device=CPU)) == {STATE}


def test_only_what_is_read_is_picked():
    mapping = FeatureMapping(FEATURES, {STATE: "state", TOP: "camera"})
    obs = dict.fromkeys(("state", "camera", "other"), torch.zeros(1))
    assert list(mapping.picked(obs)) == ["state", "camera"]


def test_a_group_that_the_env_lacks_is_named():
    mapping = FeatureMapping({STATE: FEATURES[STATE]}, {STATE: "joint_pos"})
    with pytest.raises(ConfigError, match=r"'joint_pos'.*Did you mean: joint_position"):
        mapping.picked({"joint_position": torch.zeros(1, 5)})


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({STATE: "state"}, "nothing about.*images.top"),
        ({STATE: "state", TOP: "camera", "observation.images.topp": "x"}, "Did you mean"),
    ],
)
def test_mappings_that_do_not_fit_are_refused(mapping, message):
    with pytest.raises(ConfigError, match=message):
        FeatureMapping(FEATURES, mapping)


@pytest.mark.parametrize(
    ("obs", "shapes"),
    [
        ({"state": torch.zeros(1, 6), "camera": torch.zeros(1, 3, 4, 6)}, r"\(5,\).*\(6,\)"),
        ({"state": torch.zeros(1, 5), "camera": torch.zeros(1, 3, 6, 4)}, r"\(3, 4, 6\).*3, 6, 4"),
        ({"state": torch.zeros(1, 5), "camera": torch.zeros(1, 4, 6)}, r"\(3, 4, 6\).*\(4, 6\)"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(obs, shapes):
    mapping = FeatureMapping(FEATURES, {STATE: "state", TOP: "camera"})
    with pytest.raises(ConfigError, match=shapes):
        mapping(obs, device=CPU)
