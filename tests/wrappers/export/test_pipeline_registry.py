"""Every task that mjlab registers is exported, by the whole ladder."""

from __future__ import annotations

import pytest

from holdstep.wrappers.export import export_policy
from tests.wrappers.export.pipeline_tools import (
    CARTPOLE,
    G1,
    GO1,
    LIFT,
    TRACKING,
    FlatPolicy,
    export_env,
    write_motion,
)

REGISTRY = pytest.importorskip("mjlab.tasks.registry", reason="the extra 'mjlab' is not installed")
pytest.importorskip("mjlab.tasks", reason="the extra 'mjlab' is not installed")

ELSEWHERE = {CARTPOLE, GO1, G1, LIFT, TRACKING}
"""Tasks that test_export_matrix goes through at length."""


@pytest.mark.filterwarnings("ignore:MULTICCD:UserWarning")
@pytest.mark.parametrize("task", sorted(set(REGISTRY.list_tasks()) - ELSEWHERE))
def test_every_registered_task_is_exported(task, tmp_path):
    kwargs = {}
    if "Tracking" in task:
        motion = write_motion(tmp_path / "motion.npz")
        kwargs = {"commands.motion.motion_file": str(motion), "sim.nconmax": 100}
    if "Rough" in task:  # as many kinds of ground, less of each
        kwargs = {f"scene.terrain.terrain_generator.num_{axis}": 2 for axis in ("rows", "cols")}
    env = export_env(task, **kwargs)
    groups = REGISTRY.load_rl_cfg(task).obs_groups["actor"]
    try:
        report = export_policy(
            env,
            FlatPolicy(env, groups),
            tmp_path / "out",
            backend="torch",
            method="jit-trace",
            num_steps=6,
        )
    finally:
        env.close()
    assert report.passed
    assert report.parity.max_abs_diff == 0.0
    assert report.parity.num_resets > 0
    assert {term.group for term in report.contract.observation_terms} == set(groups)
    # Everything that is read is known to the tables.
    assert not [w for w in report.warnings if "no semantics table" in w]
    assert report.contract.task == f"mjlab:{task}"


def test_the_tasks_that_are_tested_elsewhere_are_registered():
    assert set(REGISTRY.list_tasks()) >= ELSEWHERE
