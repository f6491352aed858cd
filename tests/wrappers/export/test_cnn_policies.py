"""rsl_rl's convolutional policies: a camera's image beside normalised observations."""

from __future__ import annotations

import pytest
import torch

from holdstep.policies import RslRlPolicy
from holdstep.wrappers.export import export_policy, load_model
from tests.wrappers.export.pipeline_tools import export_env

DEPTH = "Mjlab-Lift-Cube-Yam-Depth"
GROUPS = ("actor", "camera")
EXACT = {"jit-trace", "exported-program"}
IMAGE = "sensor:camera_d405:depth"

models = pytest.importorskip("rsl_rl.models", reason="the extra 'rsl-rl' is not installed")
if not hasattr(models, "CNNModel"):
    pytest.skip("this rsl_rl has no CNNModel", allow_module_level=True)


@pytest.fixture(scope="module")
def env():
    env = export_env(DEPTH, num_envs=2)
    yield env
    env.close()


def cnn_actor(env, *, normalizer=True, **cnn):
    """rsl_rl's own model with random weights, and statistics as if it had seen much."""
    from tensordict import TensorDict

    torch.manual_seed(0)
    space = env.single_observation_space
    obs = {name: torch.zeros(env.num_envs, *space[name].shape) for name in GROUPS}
    config = {"output_channels": [4, 8], "kernel_size": 3, "stride": 2, "activation": "elu"} | cnn
    actor = models.CNNModel(
        obs=TensorDict(obs, batch_size=[env.num_envs]),
        obs_groups={"actor": list(GROUPS)},
        obs_set="actor",
        output_dim=env.single_action_space.shape[0],
        hidden_dims=[32],
        obs_normalization=normalizer,
        distribution_cfg={"class_name": "GaussianDistribution", "init_std": 1.0},
        cnn_cfg=config,
    )
    if normalizer:
        actor.obs_normalizer._mean.normal_()
        actor.obs_normalizer._var.uniform_(0.5, 2.0)
        actor.obs_normalizer._std.copy_(actor.obs_normalizer._var.sqrt())
    return actor


def exported(env, actor, folder, method, **options):
    return export_policy(env, actor, folder, backend="torch", method=method, **options)


@pytest.mark.parametrize(
    "method", ["jit-trace", "exported-program", "onnx-torchscript", "onnx-dynamo"]
)
def test_files_equal_the_env(env, tmp_path, method):
    report = exported(env, cnn_actor(env), tmp_path / "out", method, num_steps=8)
    assert report.passed
    assert report.parity.num_resets >= 1
    limit = 0.0 if method in EXACT else 1e-5
    assert report.parity.max_abs_diff <= limit
    image = {spec.connection: spec for spec in report.contract.inputs}[IMAGE]
    assert image.shape[:2] == (32, 32)
    assert (image.kind, image.unit) == ("image_depth", "m")


@pytest.mark.parametrize(
    "cnn",
    [
        {"norm": "batch"},
        {"norm": "layer", "padding": "replicate"},
        {"max_pool": True},
        {"global_pool": "avg"},
    ],
    ids=lambda cnn: next(iter(cnn)),
)
def test_layers_of_every_kind(env, tmp_path, cnn):
    report = exported(env, cnn_actor(env, **cnn), tmp_path / "out", "onnx-torchscript", num_steps=3)
    assert report.passed


def test_the_task_s_own_network(env, tmp_path):
    """mjlab's spatial softmax, without a checkpoint."""
    policy = RslRlPolicy.untrained(env, env_id=f"mjlab:{DEPTH}")
    report = exported(env, policy, tmp_path / "out", "onnx-torchscript", num_steps=4)
    assert report.passed


def test_the_image_and_the_normaliser_matter(env, tmp_path):
    """What would be seen if either were left out of the file."""
    actor = cnn_actor(env)
    report = exported(env, actor, tmp_path / "with", "onnx-torchscript", num_steps=3)
    plain = cnn_actor(env, normalizer=False)
    exported(env, plain, tmp_path / "without", "onnx-torchscript", num_steps=3)
    generator = torch.Generator().manual_seed(1)
    inputs = {
        spec.connection: torch.rand(1, *spec.shape, generator=generator)
        for spec in report.contract.inputs
    }
    other = inputs | {IMAGE: inputs[IMAGE].flip(1)}
    actions = {
        (name, which): load_model(tmp_path / name, num_rows=1).step(values)["action"]
        for name in ("with", "without")
        for which, values in (("one", inputs), ("other", other))
    }
    assert not torch.allclose(actions["with", "one"], actions["with", "other"], atol=1e-4)
    assert not torch.allclose(actions["with", "one"], actions["without", "one"], atol=1e-2)


def test_each_number_of_rows(env, tmp_path):
    report = exported(env, cnn_actor(env), tmp_path / "out", "onnx-torchscript", num_steps=3)
    assert report.contract.models[0].batch is None
    inputs = {
        spec.connection: torch.rand(5, *spec.shape, generator=torch.Generator().manual_seed(i))
        for i, spec in enumerate(report.contract.inputs)
    }
    together = load_model(tmp_path / "out", num_rows=5).step(inputs)
    one = load_model(tmp_path / "out", num_rows=1)
    for row in range(5):
        one.reset()
        alone = one.step({name: value[row : row + 1] for name, value in inputs.items()})
        for name, value in together.items():
            assert torch.allclose(value[row], alone[name][0], atol=1e-5), name
