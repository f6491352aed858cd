"""Which observation groups a view shows."""

import gymnasium
import numpy as np
import pytest
import torch

from holdstep.envs.views.groups import joined, joined_space, select_groups
from holdstep.errors import ConfigError


def space(*names, **shapes):
    shapes = dict.fromkeys(names, (2,)) | shapes
    return gymnasium.spaces.Dict(
        {name: gymnasium.spaces.Box(-1, 1, shape, np.float32) for name, shape in shapes.items()}
    )


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("critic", "actor", "policy"), "policy"),
        (("critic", "actor"), "actor"),
        (("camera",), "camera"),
    ],
)
def test_default_group(names, expected):
    assert select_groups(space(*names)) == (expected,)


def test_no_default_among_several_unknown_groups():
    with pytest.raises(ConfigError, match="camera, lidar"):
        select_groups(space("camera", "lidar"))


def test_named_groups_keep_their_order():
    assert select_groups(space("policy", "critic"), ["critic", "policy"]) == ("critic", "policy")
    assert select_groups(space("policy", "critic"), "critic") == ("critic",)


def test_unknown_group_offers_the_nearest_names():
    with pytest.raises(ConfigError, match="Did you mean: policy"):
        select_groups(space("policy", "critic"), "polcy")


@pytest.mark.parametrize("groups", [(), ("policy", "policy")])
def test_none_or_a_group_twice_is_refused(groups):
    with pytest.raises(ConfigError, match="each once"):
        select_groups(space("policy", "critic"), groups)


def test_joined_is_described_by_joined_space():
    boxes = space(policy=(2,), critic=(3,))
    boxes["critic"] = gymnasium.spaces.Box(-5, 5, (3,), np.float32)
    obs = {"policy": torch.rand(4, 2), "critic": 2 + torch.rand(4, 3)}
    groups = ("policy", "critic")
    row = joined(obs, groups)[0]
    assert torch.equal(row, torch.cat((obs["policy"][0], obs["critic"][0])))
    assert joined_space(boxes, groups).contains(row.numpy())
    assert not joined_space(boxes, ("critic", "policy")).contains(row.numpy())


def test_one_group_may_have_any_shape_and_several_must_be_vectors():
    boxes = space(policy=(2,), camera=(4, 4, 3))
    assert joined_space(boxes, ("camera",)).shape == (4, 4, 3)
    assert joined({"camera": torch.zeros(5, 4, 4, 3)}, ("camera",)).shape == (5, 48)
    with pytest.raises(ConfigError, match="camera"):
        joined_space(boxes, ("policy", "camera"))


def test_a_number_without_dimensions_is_a_vector_of_one():
    boxes = space(policy=(2,), clock=())
    obs = {"policy": torch.zeros(4, 2), "clock": torch.arange(4.0)}
    assert joined_space(boxes, ("clock",)).shape == (1,)
    assert joined(obs, ("clock",)).tolist() == [[0], [1], [2], [3]]
    assert joined_space(boxes, ("policy", "clock")).shape == (3,)
    assert joined(obs, ("policy", "clock"))[3].tolist() == [0, 0, 3]
