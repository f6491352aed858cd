"""Every manager-based task of Isaac Lab's registry: exported and checked, or refused by name."""

from __future__ import annotations

import pytest
import torch

from holdstep.errors import DiscoveryError
from holdstep.wrappers.export.export import export_policy
from tests.isaaclab.conftest import silenced
from tests.isaaclab.hard_tasks import without_kit
from tests.isaaclab.registry_tasks import EXPECTED, EXPORTED
from tests.wrappers.export.pipeline_tools import FlatPolicy

pytestmark = pytest.mark.filterwarnings("ignore")  # Isaac Lab's and Newton's own, of many kinds


@pytest.fixture(scope="module")
def outlines(assets):
    """Robots and objects of all these tasks."""
    from tests.isaaclab.registry_assets import write_outlines

    write_outlines(assets)


def task_cfg(task):
    from holdstep.envs.adapters.isaaclab import tasks

    cfg = tasks.with_presets(tasks.load_env_cfg(task), None)
    without_kit(cfg)
    return cfg


def exported(env, folder):
    """The export of a policy with random weights, by the whole ladder."""
    groups = [name for name in env.single_observation_space if name.split("/")[0] == "policy"]
    with silenced(), torch.no_grad():
        env.reset(seed=1)
        env.reset(seed=2)  # the first reset differs from later ones
        policy = FlatPolicy(env, groups or list(env.single_observation_space))
        policy.layer.weight.mul_(0.1)  # tame enough for robots that are mere outlines
        return export_policy(env, policy, folder, backend="torch", method="jit-trace")


def of_kind(kind):
    return [task for task, outcome in EXPECTED.items() if outcome.kind == kind]


def test_the_registry_has_these_tasks(assets):
    import gymnasium

    from holdstep.envs.adapters.isaaclab import tasks

    with_managers = {
        name
        for name in tasks.task_names()
        if str(gymnasium.spec(name).entry_point).endswith(":ManagerBasedRLEnv")
    }
    assert with_managers == set(EXPECTED)


@pytest.mark.parametrize("task", [task for task in EXPECTED if EXPECTED[task] is EXPORTED])
def test_exported(outlines, make_env, tmp_path, task):
    env = make_env(task, num_envs=5, cfg=task_cfg(task))
    report = exported(env, tmp_path / "out")
    assert report.passed
    assert report.parity.num_steps == 50
    assert report.parity.num_resets >= 4
    assert report.parity.max_abs_diff == 0.0
    assert not [w for w in report.warnings if "no semantics table" in w]
    assert all(spec.kind for spec in (*report.contract.inputs, *report.contract.writes))
    assert all(write.element_names for write in report.contract.writes)


@pytest.mark.parametrize("task", of_kind("refused"))
def test_refused_with_the_name_of_the_term(outlines, make_env, tmp_path, task):
    env = make_env(task, num_envs=5, cfg=task_cfg(task))
    with pytest.raises(DiscoveryError, match=EXPECTED[task].error) as caught:
        exported(env, tmp_path / "out")
    terms = env.unwrapped.backend_env.action_manager._terms
    assert caught.value.term in {f"action/{name}" for name in terms}
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("task", of_kind("not built"))
def test_not_built_without_isaac_sim_and_downloads(outlines, make_env, task):
    def one_step():
        env = make_env(task, num_envs=5, cfg=task_cfg(task))
        env.reset()
        env.step(torch.zeros(env.action_space.shape))

    with pytest.raises(Exception, match=EXPECTED[task].error):  # of many classes, most not ours
        one_step()
