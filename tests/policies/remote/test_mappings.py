"""Mappings between an env's groups and a wire's keys, and images on their way."""

import numpy as np
import pytest
import torch
from PIL import Image

from holdstep.errors import ConfigError, MalformedMessageError
from holdstep.policies.chunked.protocol import ChunkRequest
from holdstep.policies.remote import Columns, GrootMapping, OpenPiMapping
from holdstep.policies.remote.columns import assembled
from holdstep.policies.remote.groot_mapping import without_time
from holdstep.policies.remote.images import ImageFormat
from holdstep.policies.remote.openpi_mapping import obs_by_path


def request_of(**obs):
    ids = torch.arange(len(next(iter(obs.values()))))
    return ChunkRequest(
        obs=obs,
        env_ids=ids,
        episode_ids=ids,
        chunk_ids=ids,
        seeds=ids,
        instructions=[f"do {i}" for i in ids.tolist()],
    )


def pixels(*shape, dtype=torch.uint8):
    values = torch.arange(int(np.prod(shape))).reshape(shape) % 256
    return values.to(dtype) if dtype == torch.uint8 else values.to(dtype) / 255


def test_groots_observation():
    mapping = GrootMapping(
        video={"front": "camera", "history": "frames"},
        state={"arm": Columns("policy", 1, 4), "all": "policy"},
        action={"a": 1},
        language_key="annotation.human.task_description",
    )
    camera, frames = pixels(2, 4, 6, 3), pixels(2, 5, 4, 6, 3)
    policy = torch.randn(2, 5, dtype=torch.float64)
    observation = mapping.observation(request_of(camera=camera, frames=frames, policy=policy))
    assert torch.equal(observation["video"]["front"], camera[:, None])
    assert torch.equal(observation["video"]["history"], frames)
    assert torch.equal(observation["state"]["arm"], policy[:, None, 1:4].float())
    assert observation["state"]["all"].shape == (2, 1, 5)
    assert observation["language"] == {"annotation.human.task_description": [["do 0"], ["do 1"]]}
    assert mapping.obs_keys == ("camera", "frames", "policy")


def test_openpis_observations():
    mapping = OpenPiMapping(
        images={"observation/image": "camera", ("images", "top"): "camera"},
        state={"observation/state": "policy", ("deep", "er", "x"): Columns("policy", 0, 1)},
        action_dim=2,
    )
    camera, policy = pixels(2, 4, 6, 3), torch.randn(2, 5)
    first, second = mapping.observations(request_of(camera=camera, policy=policy))
    assert np.array_equal(second["observation/image"], camera[1].numpy())
    assert np.array_equal(second["images"]["top"], camera[1].numpy())
    assert np.array_equal(second["observation/state"], policy[1].numpy())
    assert second["deep"]["er"]["x"].shape == (1,)
    assert (first["prompt"], second["prompt"]) == ("do 0", "do 1")


def groot(**fields):
    return GrootMapping(**{"action": {"a": 1}, "state": {"s": "policy"}} | fields)


@pytest.mark.parametrize(
    ("mapping", "obs", "message"),
    [
        (groot(state={"s": "polcy"}), {"policy": torch.zeros(2, 3)}, "Did you mean: policy"),
        (groot(), {"policy": torch.zeros(2, 3, 4)}, r"\[B, D\]; it has \[2, 3, 4\]"),
        (
            groot(state={"s": Columns("policy", 2, 9)}),
            {"policy": torch.zeros(2, 3)},
            "columns 2 to 9 .* has 3",
        ),
        (groot(video={"v": "c"}), {"c": pixels(2, 3, 4, 6)}, "set image_layout='chw'"),
        (groot(video={"v": "c"}), {"c": pixels(2, 4, 6, 4)}, r"has shape \[2, 4, 6, 4\]"),
        (groot(video={"v": "c"}), {"c": pixels(2, 4, 6, 3).int()}, "dtype torch.int32"),
        (groot(video={"v": "c"}), {"c": pixels(2, 1, 1, 4, 6, 3)}, r"\[B, T, H, W, 3\]"),
    ],
)
def test_what_does_not_fit_is_an_error_that_helps(mapping, obs, message):
    obs = {"policy": torch.zeros(2, 3)} | obs if "policy" not in obs else obs
    with pytest.raises(ConfigError, match=message):
        mapping.observation(request_of(**obs))


def test_openpi_takes_no_history():
    mapping = OpenPiMapping(images={"i": "c"}, action_dim=1, prompt_key=None)
    with pytest.raises(ConfigError, match="one image at a time"):
        mapping.observations(request_of(c=pixels(2, 5, 4, 6, 3)))


@pytest.mark.parametrize(
    "make",
    [
        lambda: GrootMapping(action={}, state={"s": "p"}),
        lambda: GrootMapping(action={"a": 0}, state={"s": "p"}),
        lambda: GrootMapping(action={"a": 1}),
        lambda: groot(image_size=(224,)),
        lambda: groot(image_size=(0, 4)),
        lambda: groot(image_layout="nhwc"),
        lambda: OpenPiMapping(action_dim=0, state={"s": "p"}),
        lambda: OpenPiMapping(action_dim=2),
        lambda: OpenPiMapping(action_dim=2, state={"s": "p"}, image_size=(2.0, 3)),
        lambda: Columns("p", 3, 3),
        lambda: Columns("p", -1, 3),
    ],
)
def test_mappings_that_cannot_be_meant_are_refused(make):
    with pytest.raises(ConfigError):
        make()


def test_groots_actions_are_put_together_in_the_mappings_order():
    mapping = groot(action={"b": 2, "a": 1})
    a, b = np.full((3, 4, 1), 1.0), np.full((3, 4, 2), 2.0, np.float32)
    actions = mapping.actions({"a": a, "b": b, "more": 1}, num_rows=3, chunk_length=4)
    assert actions.dtype == np.float32
    assert actions[0, 0].tolist() == [2.0, 2.0, 1.0]
    assert {key: part.shape for key, part in mapping.split(actions).items()} == {
        "b": (3, 4, 2),
        "a": (3, 4, 1),
    }
    with pytest.raises(MalformedMessageError, match="no array of floats as action 'b'"):
        mapping.actions({"a": a}, num_rows=3, chunk_length=4)


def test_columns_that_leave_a_gap_cannot_be_put_back():
    parts = [(Columns("p", 0, 2), torch.zeros(1, 2)), (Columns("p", 3, 4), torch.zeros(1, 1))]
    with pytest.raises(ConfigError, match="3 to 4 of 'p'"):
        assembled(parts)


def test_floats_become_bytes_by_rounding():
    values = torch.tensor([-0.5, 0.0, 0.4 / 255, 0.6 / 255, 0.5, 1.0, 2.0])
    images = values.reshape(1, 1, 7, 1).expand(1, 1, 7, 3)
    got = ImageFormat().apply(images, name="camera")
    assert got[0, 0, :, 0].tolist() == [0, 0, 0, 1, 128, 255, 255]
    assert got.dtype == torch.uint8


def test_channels_first_is_turned_round():
    images = pixels(2, 3, 4, 6)
    got = ImageFormat(layout="chw").apply(images, name="camera")
    assert torch.equal(got, images.permute(0, 2, 3, 1))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("layout", ["hwc", "chw"])
@pytest.mark.parametrize("size", [(24, 32), (10, 13), (96, 128)])
def test_resizing_is_what_pillow_does(dtype, layout, size):
    generator = np.random.default_rng(0)
    image = generator.integers(0, 256, (48, 64, 3), dtype=np.uint8)
    expected = np.asarray(
        Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR), np.int32
    )
    images = torch.from_numpy(image)[None]
    images = images.permute(0, 3, 1, 2) if layout == "chw" else images
    images = images if dtype == torch.uint8 else images / 255
    got = ImageFormat(layout=layout, size=size).apply(images, name="camera")
    assert got.shape == (1, *size, 3)
    assert np.abs(got[0].numpy().astype(np.int32) - expected).max() <= 1


@pytest.mark.parametrize(
    ("shape", "size", "inner"),
    [
        ((40, 80), (20, 20), np.s_[5:15, :]),
        ((80, 40), (20, 20), np.s_[:, 5:15]),
        ((10, 10), (20, 40), np.s_[:, 10:30]),
    ],
)
def test_the_aspect_is_kept_with_black_bars(shape, size, inner):
    images = torch.full((2, *shape, 3), 200, dtype=torch.uint8)
    got = ImageFormat(size=size, keep_aspect=True).apply(images, name="camera")
    expected = torch.zeros(2, *size, 3, dtype=torch.uint8)
    for row in expected:
        row[inner] = 200
    assert torch.equal(got, expected)


def test_a_history_of_frames_is_resized_too():
    frames = pixels(2, 5, 8, 8, 3)
    got = ImageFormat(size=(4, 4)).apply(frames, name="camera")
    assert got.shape == (2, 5, 4, 4, 3)
    one = ImageFormat(size=(4, 4)).apply(frames[1, 3][None], name="camera")
    assert torch.equal(got[1, 3], one[0])


def test_images_that_fit_are_not_copied():
    images = pixels(2, 4, 6, 3)
    assert ImageFormat(size=(4, 6)).apply(images, name="c").data_ptr() == images.data_ptr()


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_floats_reach_a_served_policy_as_float32(dtype):
    """Clients send float64 without meaning it: it is what NumPy makes."""
    state = np.arange(5, dtype=dtype)
    device = torch.device("cpu")
    found = {
        "mapping": OpenPiMapping(state={"state": "group"}, action_dim=3).obs(
            {"state": state}, device
        )["group"],
        "by path": obs_by_path({"a": {"state": state}}, device)["a/state"],
        "GR00T": without_time(state[None, None], device),
    }
    for name, tensor in found.items():
        assert tensor.dtype == torch.float32, name
        assert tensor.tolist() == [[0.0, 1.0, 2.0, 3.0, 4.0]], name
    assert obs_by_path({"image": np.zeros((2, 2, 3), np.uint8)}, device)["image"].dtype == (
        torch.uint8
    )
