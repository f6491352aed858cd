"""Every task that mjlab registers has a pipeline, or is refused with the reason."""

from __future__ import annotations

import pytest
import torch

from holdstep.wrappers.export.pipeline import build_pipeline
from tests.wrappers.export.pipeline_tools import (
    CARTPOLE,
    GO1,
    LIFT,
    TRACKING,
    FlatPolicy,
    Rollout,
    export_env,
    write_motion,
)

REGISTRY = pytest.importorskip("mjlab.tasks.registry", reason="the extra 'mjlab' is not installed")
pytest.importorskip("mjlab.tasks", reason="the extra 'mjlab' is not installed")

ELSEWHERE = {CARTPOLE, GO1, LIFT, TRACKING}
"""Tasks that test_pipeline_parity goes through at length."""


@pytest.mark.filterwarnings("ignore:MULTICCD:UserWarning")
@pytest.mark.parametrize("task", sorted(set(REGISTRY.list_tasks()) - ELSEWHERE))
def test_every_registered_task_has_a_pipeline(task, tmp_path):
    kwargs = {}
    if "Tracking" in task:
        motion = write_motion(tmp_path / "motion.npz")
        kwargs = {"commands.motion.motion_file": str(motion), "sim.nconmax": 100}
    if "Rough" in task:  # as many kinds of ground, less of each
        kwargs = {f"scene.terrain.terrain_generator.num_{axis}": 2 for axis in ("rows", "cols")}
    env = export_env(task, **kwargs)
    groups = REGISTRY.load_rl_cfg(task).obs_groups["actor"]
    try:
        with torch.no_grad(), build_pipeline(env, FlatPolicy(env, groups)) as pipeline:
            assert set(pipeline.plan.groups) == set(groups)
            assert Rollout(env, pipeline).run(3, reset_at={1: [1]}) == 0.0
            assert pipeline.purity(num_steps=1).passed
            # Everything that is read is known to the tables.
            assert not [w for w in pipeline.warnings if "no semantics table" in w]
            assert pipeline.contract.task == f"mjlab:{task}"
    finally:
        env.close()


def test_the_tasks_that_are_tested_elsewhere_are_registered():
    assert set(REGISTRY.list_tasks()) >= ELSEWHERE
