"""The last rung: a contract's names alone lead to what the model was traced with."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from holdstep.errors import WiringError
from holdstep.policies import ExportedPolicy
from holdstep.wrappers.export import export as export_module
from holdstep.wrappers.export import export_policy
from holdstep.wrappers.export.pipeline import build_pipeline
from holdstep.wrappers.export.validation.wiring import check_wiring
from tests.wrappers.export.pipeline_tools import CARTPOLE, FlatPolicy, export_env
from tests.wrappers.export.planted_terms import joint_pos


def picture(env):
    """Reads a dictionary of tensors, as a camera's output is."""
    output = getattr(env.scene["cartpole"], "output", None)  # there after the managers
    return joint_pos(env) if output is None else output["rgb"]


@pytest.fixture(scope="module")
def env():
    from mjlab.managers.observation_manager import ObservationGroupCfg as Group
    from mjlab.managers.observation_manager import ObservationTermCfg as Term
    from mjlab.tasks.registry import load_env_cfg

    cfg = load_env_cfg(CARTPOLE)
    cfg.observations["picture"] = Group(terms={"rgb": Term(func=picture)})
    env = export_env(CARTPOLE, cfg=cfg)
    env.unwrapped.backend_env.scene["cartpole"].output = {"rgb": torch.rand(env.num_envs, 2)}
    env.step(torch.zeros(env.num_envs, 1))
    yield env
    env.close()


def changed(specs, old, **changes):
    assert any(old in spec.connection for spec in specs)
    return tuple(
        dataclasses.replace(spec, **changes) if old in spec.connection else spec for spec in specs
    )


POS, WRITE = "state:cartpole:joint_pos", "write:cartpole:set_joint_effort_target"

DEFECTS = {
    "another value of the same shape": (
        "inputs",
        POS,
        {"connection": "state:cartpole:joint_acc"},
        "joint_acc: has other values",
    ),
    "nothing there": (
        "inputs",
        POS,
        {"connection": "state:cartpole:joint_posture"},
        "the env has nothing there",
    ),
    "another shape": ("inputs", POS, {"shape": (3,), "element_names": None}, r"must be \[3, 3\]"),
    "no such entity": (
        "outputs",
        WRITE,
        {"connection": "write:cart:set_joint_effort_target"},
        "no such entity",
    ),
    "no such method": (
        "outputs",
        WRITE,
        {"connection": "write:cartpole:set_joint_effort"},
        "no such method",
    ),
    "no such joint": ("outputs", WRITE, {"element_names": ("slidder",)}, "no slidder there"),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_names_that_lead_elsewhere_are_found(env, defect):
    part, old, changes, said = DEFECTS[defect]
    with torch.no_grad(), build_pipeline(env, FlatPolicy(env, ["actor"])) as pipeline:
        contract = pipeline.contract
        check_wiring(pipeline, contract)
        wrong = {part: changed(getattr(contract, part), old, **changes)}
        with pytest.raises(WiringError, match=said):
            check_wiring(pipeline, dataclasses.replace(contract, **wrong))


def test_the_rung_fails_where_a_name_leads_elsewhere(env, tmp_path, monkeypatch):
    wrong = {"connection": "state:cartpole:joint_posture", "name": "state_cartpole_joint_posture"}
    real = export_module.build_pipeline

    def misnamed(*args, **options):
        pipeline = real(*args, **options)
        inputs = changed(pipeline.contract.inputs, POS, **wrong)
        pipeline.contract = dataclasses.replace(pipeline.contract, inputs=inputs)
        return pipeline

    monkeypatch.setattr(export_module, "build_pipeline", misnamed)
    with pytest.raises(WiringError, match="joint_posture") as caught:
        export_policy(
            env,
            FlatPolicy(env, ["actor"]),
            tmp_path / "out",
            backend="torch",
            method="jit-trace",
            num_steps=3,
        )
    assert [rung.status for rung in caught.value.report.rungs][-2:] == ["passed", "failed"]


def test_entries_of_dictionaries_are_read_by_their_names(env, tmp_path):
    policy = FlatPolicy(env, ["picture", "actor"])
    report = export_policy(
        env, policy, tmp_path / "out", backend="torch", method="jit-trace", num_steps=3
    )
    assert "state:cartpole:output.rgb" in {spec.connection for spec in report.contract.inputs}
    exported = ExportedPolicy(tmp_path / "out", env, allow_jit=True)
    obs, _ = env.reset()
    with torch.no_grad():
        torch.testing.assert_close(exported(obs), policy(obs), rtol=0, atol=1e-6)
    env.unwrapped.backend_env.scene["cartpole"].output["rgb"] += 1.0
    assert not torch.equal(exported(obs), policy(obs))
