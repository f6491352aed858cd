"""A run's folder from somebody else shapes networks; it can't make anything be imported."""

import sys

import pytest
import torch
import yaml

pytest.importorskip("rsl_rl", reason="the extra 'rsl-rl' is not installed")

from holdstep.cli import main
from holdstep.envs import RslRlVecEnv, make
from holdstep.errors import CheckpointError
from holdstep.policies.rsl_rl import RslRlPolicy, TrainingSettings, train
from holdstep.policies.rsl_rl.trained_config import trained_config

ENV_ID = "holdstep:CartPole"


@pytest.fixture
def trap(tmp_path, monkeypatch):
    """A module that leaves a file when it's imported, and another when its payload is called."""
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "evil_module.py").write_text(
        "from pathlib import Path\n"
        f"HERE = Path({str(tmp_path)!r})\n"
        "(HERE / 'imported').touch()\n"
        "def payload(*args, **kwargs):\n"
        "    (HERE / 'called').touch()\n"
    )
    monkeypatch.syspath_prepend(tmp_path / "path")
    yield tmp_path
    sys.modules.pop("evil_module", None)


@pytest.fixture
def view():
    return RslRlVecEnv(make(ENV_ID, num_envs=2, device="cpu", seed=0))


def trained(tmp_path, **overrides):
    return train(
        TrainingSettings(
            env_id=ENV_ID, num_envs=4, device="cpu", iterations=1, log_root=tmp_path / "runs",
            agent_overrides={"num_steps_per_env": 8} | overrides,
        )
    )  # fmt: skip


def change(result, path, value):
    file = result.run_dir.path / "params" / "agent.yaml"
    config = yaml.safe_load(file.read_text())
    *parents, last = path.split(".")
    target = config
    for parent in parents:
        target[parent] = target.get(parent) or {}
        target = target[parent]
    target[last] = value
    file.write_text(yaml.safe_dump(config))


NAMES = ("evil_module:payload", "evil_module.payload", "os:system", "os.system", "resolve_callable")
PLACES = (
    "class_name",
    "algorithm.class_name",
    "actor.class_name",
    "critic.class_name",
    "actor.distribution_cfg.class_name",
    "critic.distribution_cfg.class_name",
    "algorithm.symmetry_cfg.data_augmentation_func",
    "algorithm.rnd_cfg.class_name",
    "actor.cnn_cfg.front.class_name",
)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", NAMES)
def test_code_in_a_runs_settings_is_refused_and_not_imported(trap, view, place, name):
    result = trained(trap)
    change(result, place, name)
    with pytest.raises(CheckpointError, match=rf"agent\.yaml: {place} is '{name}'"):
        RslRlPolicy.load(result.checkpoint, view, env_id=ENV_ID)
    assert not (trap / "imported").exists()


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("actor.activation", "evil_module:payload"),
        ("actor.activation", "evil_module.payload"),
        ("actor.cnn_cfg", {"activation": "evil_module:payload"}),
        ("actor.hidden_dims", ["evil_module:payload"]),
        ("actor.encoder", "evil_module:payload"),
        ("actor.distribution_cfg.std_type", "evil_module:payload"),
        ("actor", "evil_module:payload"),
        ("clip_actions", "evil_module:payload"),
        ("clip_actions", -1),
        ("obs_groups", {"actor": "policy"}),
        ("obs_groups", ["policy"]),
    ],
)
def test_only_numbers_and_words_are_taken(trap, view, place, value):
    result = trained(trap)
    change(result, place, value)
    with pytest.raises(CheckpointError, match=place.split(".")[0]):
        RslRlPolicy.load(result.checkpoint, view, env_id=ENV_ID)
    assert not (trap / "imported").exists()


def test_the_trap_is_real(trap, view):
    """rsl_rl itself, given the same settings, imports and calls what they name."""
    from rsl_rl.runners import OnPolicyRunner

    result = trained(trap)
    change(result, "actor.class_name", "evil_module:payload")
    with pytest.raises(AttributeError):  # the payload returned None
        OnPolicyRunner(view, result.run_dir.read_agent(), None, "cpu")
    assert (trap / "imported").exists()
    assert (trap / "called").exists()


def test_what_else_names_code_is_the_tasks_own(trap, view):
    """Settings that are no part of the networks are not taken at all."""
    result = trained(trap)
    for place in ("logger", "torch_compile_mode", "algorithm.optimizer"):
        change(result, place, "evil_module:payload")
    RslRlPolicy.load(result.checkpoint, view, env_id=ENV_ID)
    config = trained_config(result.run_dir, env_id=ENV_ID, env=view.env)
    assert config["logger"] == "tensorboard"
    assert "torch_compile_mode" not in config
    assert not (trap / "imported").exists()


def test_play_refuses_it_too(trap, capsys):
    result = trained(trap)
    change(result, "actor.class_name", "evil_module:payload")
    play = ["play", ENV_ID, "--device", "cpu", "--checkpoint", str(result.run_dir.path)]
    assert main(play) == 2
    assert "actor.class_name is 'evil_module:payload'" in capsys.readouterr().err
    assert not (trap / "imported").exists()


def test_the_shape_of_the_networks_is_the_runs(tmp_path, view):
    changes = {"actor.hidden_dims": [8], "actor.activation": "tanh", "clip_actions": 0.5}
    result = trained(tmp_path, **changes)
    policy = RslRlPolicy.load(result.run_dir.path, view, env_id=ENV_ID)
    shapes = [tuple(p.shape) for p in policy.actor.mlp.parameters()]
    assert shapes == [(8, 4), (8,), (1, 8), (1,)]
    assert any(isinstance(module, torch.nn.Tanh) for module in policy.actor.modules())
    config = trained_config(result.run_dir, env_id=ENV_ID, env=view.env)
    assert config["clip_actions"] == 0.5


def test_rsl_rls_own_classes_may_be_named(tmp_path, view):
    from rsl_rl.models import RNNModel

    overrides = {
        "actor.class_name": "RNNModel",
        "actor.distribution_cfg.class_name": "HeteroscedasticGaussianDistribution",
    }
    result = trained(tmp_path, **overrides)
    policy = RslRlPolicy.load(result.checkpoint, view, env_id=ENV_ID)
    assert isinstance(policy.actor, RNNModel)
    assert type(policy.actor.distribution).__name__ == "HeteroscedasticGaussianDistribution"


@pytest.mark.parametrize("as_saved", ["module:qualname", "bare"])
def test_a_class_that_the_task_registers_is_used(tmp_path, view, monkeypatch, as_saved):
    from rsl_rl.models import MLPModel

    from holdstep.policies.rsl_rl import task_config

    class Own(MLPModel):
        pass

    small_ppo = task_config.small_ppo

    def with_own_class(env):
        config = small_ppo(env)
        config["actor"]["class_name"] = Own
        return config

    monkeypatch.setattr(task_config, "small_ppo", with_own_class)
    result = trained(tmp_path)
    saved = result.run_dir.read_agent()["actor"]["class_name"]
    assert saved == f"{Own.__module__}:{Own.__qualname__}"
    if as_saved == "bare":
        change(result, "actor.class_name", Own.__qualname__)
    policy = RslRlPolicy.load(result.checkpoint, view, env_id=ENV_ID)
    assert isinstance(policy.actor, Own)


@pytest.mark.parametrize("damage", [{"actor_state_dict": None}, {"actor_state_dict": [1]}])
def test_weights_that_are_none_do_not_fit(tmp_path, view, damage):
    result = trained(tmp_path)
    torch.save(damage | {"infos": None, "iter": 1}, result.checkpoint)
    with pytest.raises(CheckpointError, match="doesn't fit"):
        RslRlPolicy.load(result.checkpoint, view, env_id=ENV_ID)


def test_broken_settings_are_a_checkpoint_error(tmp_path, view):
    result = trained(tmp_path)
    (result.run_dir.path / "params" / "agent.yaml").write_text("a: [1")
    with pytest.raises(CheckpointError, match=r"agent\.yaml is no YAML"):
        RslRlPolicy.load(result.checkpoint, view, env_id=ENV_ID)
