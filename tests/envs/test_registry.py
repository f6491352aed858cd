import subprocess
import sys

import numpy as np
import pytest
import torch

from holdstep.envs import adapt, list_envs, make, registry
from holdstep.envs.registry import BACKENDS
from holdstep.errors import (
    ConfigError,
    HoldstepError,
    MissingExtraError,
    UnknownEnvError,
)
from holdstep.extras import require


def test_reference_envs_are_made_by_id():
    env = make("holdstep:CartPole", num_envs=3, device="cpu", seed=1)
    assert (env.num_envs, env.device) == (3, torch.device("cpu"))
    assert "holdstep:CartPole" in list_envs("holdstep")


@pytest.mark.parametrize(
    ("env_id", "message"),
    [
        ("holdstep:Cartpol", "Did you mean: CartPole"),
        ("holdstp:CartPole", "unknown backend 'holdstp'. Did you mean: holdstep"),
        ("CartPole", "Ids start with one of.*Did you mean: holdstep:CartPole"),
        ("PointMas", "Did you mean: PointMass"),
        ("gymnasium:CartPol-v1", "Did you mean: .*CartPole-v1"),
    ],
)
def test_unknown_ids_offer_the_nearest(env_id, message):
    with pytest.raises(UnknownEnvError, match=message) as caught:
        make(env_id, device="cpu")
    assert isinstance(caught.value, HoldstepError)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("num_envs", [0, -1, 2.0, True, "4"])
def test_num_envs_is_a_positive_integer(num_envs):
    with pytest.raises(ConfigError, match="num_envs"):
        make("holdstep:CartPole", num_envs=num_envs, device="cpu")


@pytest.mark.parametrize("num_envs", [np.int64(2), np.uint8(2)])
def test_num_envs_may_be_numpys(num_envs):
    assert type(make("holdstep:CartPole", num_envs=num_envs, device="cpu").num_envs) is int


@pytest.mark.parametrize("env_id", [5, None, b"holdstep:CartPole"])
def test_an_id_is_a_string(env_id):
    with pytest.raises(ConfigError, match="id is a string"):
        make(env_id, device="cpu")


def test_overrides_cannot_be_arguments_of_make():
    with pytest.raises(ConfigError, match="'name' is no setting"):
        make("holdstep:CartPole", device="cpu", name="PointMass")


def test_a_hint_starts_no_simulator_and_survives_broken_backends(monkeypatch):
    asked = []

    def list_envs(prefix):
        asked.append(prefix)
        if prefix != "holdstep":
            raise OSError("broken")
        return ["holdstep:CartPole"]

    monkeypatch.setattr(registry, "list_envs", list_envs)
    monkeypatch.delitem(sys.modules, "isaaclab_tasks", raising=False)
    with pytest.raises(UnknownEnvError, match="Did you mean: holdstep:CartPole"):
        make("CartPole", device="cpu")
    assert asked == [prefix for prefix in BACKENDS if prefix != "isaaclab"]
    monkeypatch.setitem(sys.modules, "isaaclab_tasks", None)
    with pytest.raises(UnknownEnvError):
        make("CartPole", device="cpu")
    assert "isaaclab" in asked


@pytest.mark.parametrize("seed", [-1, 1.5, True])
def test_seed_is_a_natural_number(seed):
    with pytest.raises(ConfigError, match="seed"):
        make("holdstep:CartPole", seed=seed, device="cpu")


def test_devices_that_are_not_there_are_refused():
    with pytest.raises(ConfigError, match="not a torch device"):
        make("holdstep:CartPole", device="gpu")
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="no CUDA device"):
            make("holdstep:CartPole", device="cuda:0")


def test_adapt_says_what_it_takes():
    import gymnasium

    with pytest.raises(ConfigError, match=r"single Gymnasium env.*SyncVectorEnv"):
        adapt(gymnasium.make("CartPole-v1"))
    with pytest.raises(ConfigError, match="no env that holdstep knows"):
        adapt(object())


def test_a_missing_extra_is_named():
    with pytest.raises(MissingExtraError, match=r'pip install "holdstep\[mjlab\]"') as caught:
        require("no_such_module.sub", extra="mjlab", purpose="This")
    assert isinstance(caught.value, ImportError)


def test_an_installed_package_that_breaks_says_so_itself(tmp_path, monkeypatch):
    (tmp_path / "breaks_on_import.py").write_text("import not_there_either\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="not_there_either") as caught:
        require("breaks_on_import", extra="mjlab", purpose="This")
    assert not isinstance(caught.value, MissingExtraError)


HIDE = """
import sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Hidden())
"""


def run_hiding(names, code):
    script = HIDE.format(names=names) + code
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)


@pytest.mark.parametrize(
    ("hidden", "code", "extra"),
    [
        ("mjlab", "holdstep.envs.make('mjlab:Mjlab-Cartpole-Balance', device='cpu')", "mjlab"),
        ("rsl_rl", "holdstep.envs.RslRlVecEnv", "rsl-rl"),
        ("stable_baselines3", "holdstep.envs.Sb3VecEnv", "sb3"),
        ("skrl", "holdstep.envs.SkrlEnv", "skrl"),
    ],
)
def test_without_an_extra_its_feature_names_it(hidden, code, extra):
    code = f"""
import holdstep.envs
from holdstep.errors import MissingExtraError
try:
    {code}
except MissingExtraError as error:
    assert 'holdstep[{extra}]' in str(error), error
else:
    raise SystemExit('no error')
"""
    done = run_hiding({hidden}, code)
    assert done.returncode == 0, done.stderr


def test_importing_holdstep_imports_no_extra_and_no_torch():
    extras = {
        "mjlab", "mujoco", "warp", "rsl_rl", "stable_baselines3", "skrl", "torchrl", "isaaclab",
        "matplotlib", "imageio", "tensordict",
    }  # fmt: skip
    everything = (
        "import holdstep, holdstep.envs, holdstep.wrappers, holdstep.policies, holdstep.cli"
    )
    done = run_hiding(extras, everything)
    assert done.returncode == 0, done.stderr
    alone = "import holdstep, sys; assert 'torch' not in sys.modules, 'torch'"
    done = run_hiding(extras, alone)
    assert done.returncode == 0, done.stderr


def test_every_backend_module_provides_the_protocol():
    import importlib

    for module_name in BACKENDS.values():
        module = importlib.import_module(module_name)
        assert callable(module.make_env)
        assert callable(module.env_names)
