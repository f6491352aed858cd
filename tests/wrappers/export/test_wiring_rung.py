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
from holdstep.wrappers.export.semantics import registered_semantics, state
from holdstep.wrappers.export.validation.wiring import check_wiring
from tests.wrappers.export.pipeline_tools import CARTPOLE, FlatPolicy, export_env
from tests.wrappers.export.planted_terms import joint_pos


class Chooses:
    """An event that draws a number for each row that is reset, and leaves word of it at the env."""

    def __init__(self, cfg, env):
        self._choice = torch.zeros(env.num_envs, dtype=torch.long)
        env.chooser = self

    def __call__(self, env, env_ids):
        rows = slice(None) if env_ids is None else env_ids
        self._choice[rows] = torch.randint(0, 5, self._choice[rows].shape)

    @property
    def choice(self):
        return self._choice


def chosen(env):
    """What an event chose."""
    chooser = getattr(env, "chooser", None)  # there after the managers
    return joint_pos(env)[:, :1] if chooser is None else chooser.choice.unsqueeze(1).float()


def picture(env):
    """Reads a dictionary of tensors, as a camera's output is."""
    output = getattr(env.scene["cartpole"], "output", None)  # there after the managers
    return joint_pos(env) if output is None else output["rgb"]


@pytest.fixture(scope="module")
def env():
    from mjlab.managers.event_manager import EventTermCfg
    from mjlab.managers.observation_manager import ObservationGroupCfg as Group
    from mjlab.managers.observation_manager import ObservationTermCfg as Term
    from mjlab.tasks.registry import load_env_cfg

    cfg = load_env_cfg(CARTPOLE)
    cfg.observations["picture"] = Group(terms={"rgb": Term(func=picture)})
    cfg.observations["chosen"] = Group(terms={"number": Term(func=chosen)})
    cfg.events["chooser"] = EventTermCfg(func=Chooses, mode="reset")
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


def test_what_an_event_chose_is_an_input(env, tmp_path):
    policy = FlatPolicy(env, ["chosen", "actor"])
    report = export_policy(
        env, policy, tmp_path / "out", backend="torch", method="jit-trace", num_steps=8
    )
    inputs = {spec.connection: spec for spec in report.contract.inputs}
    assert inputs["env:chooser.choice"].dtype == "int64"
    assert report.parity.max_abs_diff == 0.0
    exported = ExportedPolicy(tmp_path / "out", env, allow_jit=True)
    obs, _ = env.reset()
    before = exported(obs)
    env.unwrapped.backend_env.chooser._choice += 1
    assert not torch.equal(exported(obs), before)


def test_tables_may_say_what_entries_of_dictionaries_are(env):
    entity = type(env.unwrapped.backend_env.scene["cartpole"])
    path = f"{entity.__module__}.{entity.__qualname__}"
    with (
        registered_semantics(path, {"output.rgb": state("image_rgb", "1")}),
        build_pipeline(env, FlatPolicy(env, ["picture"])) as pipeline,
    ):
        (spec,) = pipeline.contract.inputs
        assert (spec.connection, spec.kind) == ("state:cartpole:output.rgb", "image_rgb")
        assert not [w for w in pipeline.warnings if "output.rgb" in w]


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
