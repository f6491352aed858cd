"""Other versions of libraries, each in a process of its own (see install.py beside this file)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

COMPAT = Path(sys.prefix) / "compat"

LEARN = """
import importlib.metadata, torch, rsl_rl
from rsl_rl.runners import OnPolicyRunner
from holdstep.envs import RslRlVecEnv, make
from holdstep.policies.rsl_rl import TrainingSettings, train, RslRlPolicy
assert importlib.metadata.version("rsl-rl-lib") == "{version}"
import pathlib, tempfile
with tempfile.TemporaryDirectory() as root:
    settings = TrainingSettings(env_id="holdstep:CartPole", num_envs=4, device="cpu", iterations=2,
        log_root=pathlib.Path(root), agent_overrides={{"num_steps_per_env": 8}})
    first = train(settings)
    import dataclasses
    second = train(dataclasses.replace(settings, resume=first.run_dir.path, iterations=1))
    view = RslRlVecEnv(make("holdstep:CartPole", num_envs=2, device="cpu"))
    policy = RslRlPolicy.load(second.checkpoint, view, env_id="holdstep:CartPole")
    actions = policy(view.env.reset()[0])
    assert actions.shape == (2, 1) and actions.isfinite().all()
    assert len(first.run_dir.read_metrics()) == 2
print("learned")
"""

GYMNASIUM = """
import gymnasium
assert gymnasium.__version__ == "{version}"
import pytest
raise SystemExit(pytest.main(["-q", "-p", "no:cacheprovider", "tests/wrappers",
    # Minutes of tests that have nothing to do with Gymnasium.
    "--ignore=tests/wrappers/export", "--ignore=tests/wrappers/record",
    "--ignore=tests/wrappers/pipeline", "--ignore=tests/wrappers/test_stack.py",
    "--ignore=tests/wrappers/test_chunk_physics.py", "--ignore=tests/wrappers/test_chunk_images.py",
    "tests/envs/test_checker.py", "tests/envs/adapters/test_gymnasium.py",
    "tests/envs/adapters/test_gymnasium_rows.py", "tests/envs/reference"]))
"""

MASKED = """
import importlib.metadata, pytest
assert importlib.metadata.version("rsl-rl-lib") == "{version}"
raise SystemExit(pytest.main(["-q", "-p", "no:cacheprovider",
    "tests/policies/rsl_rl/test_masked_ppo.py", "tests/policies/rsl_rl/test_masked_training.py",
    "-k", "(dense_data and options0) or one_batch or normalisers or symmetry or train_masks"]))
"""


def run_with(package, code):
    folder = COMPAT / package
    if not folder.is_dir():
        pytest.skip(f"{package} is not installed there: run tests/compat/install.py {COMPAT}")
    code = code.format(version=package.partition("==")[2])
    path = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": path},
        timeout=500,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize("version", ["5.0.1", "5.5.1"])
def test_rsl_rl_trains_resumes_and_plays(version):
    pytest.importorskip("tensordict", reason="the extra 'rsl-rl' is not installed")
    assert "learned" in run_with(f"rsl-rl-lib=={version}", LEARN)


@pytest.mark.parametrize("version", ["5.0.1", "5.5.1"])
def test_masked_ppo_is_that_versions_ppo(version):
    pytest.importorskip("tensordict", reason="the extra 'rsl-rl' is not installed")
    assert " passed" in run_with(f"rsl-rl-lib=={version}", MASKED)


def test_the_oldest_gymnasium():
    assert " passed" in run_with("gymnasium==1.2.0", GYMNASIUM)
