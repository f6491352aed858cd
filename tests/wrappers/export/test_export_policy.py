"""Exporting, rung by rung: what is reported, what is caught, what is left behind."""

from __future__ import annotations

import logging
import random

import numpy as np
import pytest
import torch

from holdstep.envs import make
from holdstep.errors import (
    ConfigError,
    DiscoveryError,
    ExportError,
    ParityError,
    PurityError,
    TraceError,
)
from holdstep.policies import ExportedPolicy, RslRlPolicy
from holdstep.wrappers import AnnotateExport
from holdstep.wrappers.export import climb, export_policy, load_model, read_contract
from holdstep.wrappers.export import export as export_module
from holdstep.wrappers.export.backends.base import Signature
from holdstep.wrappers.export.pipeline import Pipeline
from holdstep.wrappers.export.validation.ladder import RUNGS
from holdstep.wrappers.export.validation.parity import ParityCheck
from holdstep.wrappers.export.validation.replay import Replayer
from tests.wrappers.export.pipeline_tools import CARTPOLE, export_env, rsl_actor
from tests.wrappers.export.planted_terms import joint_pos
from tests.wrappers.export.test_pipeline_leaks import fingerprint, scripted, torch_state


def late_branch(env):
    """Decides by the clock, which random inputs do not touch: only new steps can tell."""
    value = joint_pos(env)
    if (env.episode_length_buf < 4).all():
        return value
    return -value


def hidden_mean(env):
    """Reads a number of a manager that is neither input nor memory."""
    manager = getattr(env, "reward_manager", None)  # made after the observation manager
    return joint_pos(env) if manager is None else joint_pos(env) + manager._step_reward.mean()


def clock_item(env):
    """Lets the clock leave for Python."""
    return joint_pos(env) * (1.0 + 0.1 * env.episode_length_buf.max().item())


def early_branch(env):
    """Decides by a position that is small in the first steps."""
    value = joint_pos(env)
    if (value.abs() < 0.1).all():
        return value
    return -value


class Counting(torch.nn.Module):
    """A policy that counts its calls in a number that is no tensor."""

    calls = 0

    def forward(self, obs):
        Counting.calls += 1
        return obs["actor"][:, :1] * 0 + Counting.calls


@pytest.fixture(scope="module")
def env():
    from mjlab.managers.observation_manager import ObservationGroupCfg as Group
    from mjlab.managers.observation_manager import ObservationTermCfg as Term
    from mjlab.tasks.registry import load_env_cfg

    cfg = load_env_cfg(CARTPOLE)
    for function in (late_branch, early_branch, clock_item, hidden_mean):
        cfg.observations[function.__name__] = Group(
            terms={"fine": Term(func=joint_pos), "planted": Term(func=function)}
        )
    env = export_env(CARTPOLE, cfg=cfg)
    yield env
    env.close()


@pytest.fixture
def actor(env):
    return rsl_actor(env, "gru", normalizer=True)


def export(env, policy, out, **options):
    options = {"backend": "torch", "method": "jit-trace", "num_steps": 8} | options
    return export_policy(env, policy, out, **options)


def linear(group):
    """A policy of one group's four numbers."""
    weight = torch.tensor([[0.1], [0.2], [0.3], [0.4]])
    return lambda obs: obs[group] @ weight


def test_what_is_reported_and_written(env, actor, tmp_path):
    begun = []
    report = export(env, actor, tmp_path / "out", on_rung=begun.append)
    assert begun == [rung.name for rung in report.rungs] == list(RUNGS)
    assert report.passed
    assert {path.name for path in report.files} == {"contract.yaml", "policy.pt"}
    contract = read_contract(tmp_path / "out")
    assert contract == report.contract
    assert {check.name: check.status for check in contract.checks} == dict.fromkeys(RUNGS, "passed")
    parity = next(check for check in contract.checks if check.name == "parity")
    assert (parity.value, parity.limit) == (0.0, 0.0)
    assert report.parity.max_abs_diff == 0.0
    assert report.constants == contract.constants != ()
    assert "8 steps of 3 rows" in str(report)


def test_without_validation_the_env_goes_on_as_if_nothing_was(env, actor, tmp_path):
    env.reset()
    before = fingerprint(env, env.unwrapped.backend_env, actor), torch_state(), scripted()
    report = export(env, actor, tmp_path / "out", validate=False)
    assert (fingerprint(env, env.unwrapped.backend_env, actor), torch_state(), scripted()) == before
    assert {rung.name: rung.status for rung in report.rungs} == {
        "discover": "passed",
        "purity": "skipped",
        "trace": "passed",
        "replay": "passed",
        "parity": "skipped",
        "wiring": "skipped",
    }
    assert not report.passed


@pytest.mark.parametrize("method", ["jit-trace", "onnx-torchscript"])
def test_a_hidden_read_is_caught_and_named(env, tmp_path, method):
    policy = linear("hidden_mean")
    with pytest.raises(PurityError, match="hidden_mean/planted") as caught:
        export(env, policy, tmp_path / "out", method=method)
    assert caught.value.term == "hidden_mean/planted"
    assert [rung.status for rung in caught.value.report.rungs] == ["passed", "failed"]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("group", "error"),
    [("late_branch", ParityError), ("clock_item", ParityError), ("early_branch", ExportError)],
)
@pytest.mark.parametrize(
    ("backend", "method"), [("torch", "jit-trace"), ("leapp", "onnx-torchscript")]
)
def test_baked_values_are_caught_and_named(env, tmp_path, group, error, backend, method):
    policy, options = linear(group), {"backend": backend, "method": method, "num_steps": 20}
    with pytest.raises(DiscoveryError, match=f"{group}/planted"):
        export(env, policy, tmp_path / "out", **options)
    with pytest.raises(error, match=f"'{group}/planted' is to blame") as caught:
        export(env, policy, tmp_path / "out", allow_host_reads=True, **options)
    assert caught.value.term == f"{group}/planted"
    report = caught.value.report
    assert (report.rungs[-1].name, report.rungs[-1].status) == (caught.value.rung, "failed")
    assert caught.value.rung in ("replay", "parity")  # by what random inputs come across
    assert any(f"{group}/planted" in warning for warning in report.warnings)
    assert not list(tmp_path.iterdir())


def test_leapp_drops_no_input_in_silence(env, tmp_path):
    with pytest.raises(TraceError, match="does not depend on env_episode_length_buf"):
        export(env, linear("late_branch"), tmp_path / "out", backend="leapp", allow_host_reads=True)


def test_what_no_check_but_parity_can_see(env, tmp_path):
    Counting.calls = 0
    with pytest.raises(ExportError) as caught:
        export(env, Counting(), tmp_path / "out")
    assert caught.value.term in (None, "policy")
    assert not list(tmp_path.iterdir())


RAISING = {
    "discover": (export_module, "build_pipeline"),
    "purity": (Pipeline, "purity"),
    "trace": (Signature, "of"),
    "replay": (Replayer, "replay"),
    "parity": (ParityCheck, "run"),
    "wiring": (climb, "read_contract"),
}


class PlantedError(RuntimeError):
    pass


def identities(env, policy):
    """Objects and their classes by path; of what every step makes anew, the class alone.

    A new tensor or dictionary may lie where the last one lay, so that its identity says nothing.
    """
    found = fingerprint(env, env.unwrapped.backend_env, policy)
    anew = made_anew(found)
    kept = {}
    for path, entry in found.items():
        if path in anew:
            kept[path] = entry[1]
        elif path.removesuffix(".__dict__") not in anew:
            kept[path] = entry[:2] if isinstance(entry, tuple) else entry
    return {path: entry for path, entry in kept.items() if "['log']" not in path}


def made_anew(found):
    kinds = (torch.Tensor, dict, list, tuple)
    return {
        path
        for path, entry in found.items()
        if isinstance(entry, tuple)
        and len(entry) > 1
        and isinstance(entry[1], type)
        and issubclass(entry[1], kinds)
    }


def process_state():
    state = torch_state()
    state["generators"] = (random.getstate(), [str(part) for part in np.random.get_state()])
    logger = logging.getLogger("leapp")
    state["functions"] = [id(f) for f in (torch.tensor, torch.as_tensor, torch.from_numpy)]
    state["handlers"] = (list(logger.handlers), logger.level, logger.propagate)
    return state, scripted()


@pytest.mark.parametrize("backend", ["torch", "leapp"])
@pytest.mark.parametrize("rung", [*RUNGS, None])
def test_no_trace_is_left_wherever_it_fails(env, actor, tmp_path, monkeypatch, rung, backend):
    export(env, actor, tmp_path / "warm_up", backend=backend)  # imports, caches
    before = identities(env, actor)
    env.reset()
    for _ in range(3):
        env.step(torch.zeros(env.num_envs, 1))
    env.reset()
    changing = {path for path, entry in identities(env, actor).items() if before.get(path) != entry}
    before, process = identities(env, actor), process_state()
    if rung is None:
        export(env, actor, tmp_path / "out", backend=backend)
    else:
        owner, name = RAISING[rung]

        def fail(*_, **__):
            raise PlantedError

        with monkeypatch.context() as patch:
            patch.setattr(owner, name, fail)
            with pytest.raises(PlantedError):
                export(env, actor, tmp_path / "out", backend=backend)
        assert [path.name for path in tmp_path.iterdir()] == ["warm_up"]
    after = identities(env, actor)
    changed = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    assert sorted(changed - changing) == []
    assert process_state() == process


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.enable_grad])
def test_callers_may_be_in_any_mode(env, actor, tmp_path, mode):
    with mode():
        assert export(env, actor.train(), tmp_path / "out").passed
    assert actor.training
    assert all(parameter.requires_grad for parameter in actor.parameters())


def test_an_earlier_export_is_kept_unless_asked(env, actor, tmp_path):
    export(env, actor, tmp_path / "out", method="jit-trace", validate=False)
    with pytest.raises(ConfigError, match="overwrite=True"):
        export(env, actor, tmp_path / "out", validate=False)
    export(env, actor, tmp_path / "out", method="onnx-torchscript", validate=False, overwrite=True)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"contract.yaml", "policy.onnx"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"method": "onnx"}, "Did you mean: onnx-"),
        ({"backend": "tensorrt"}, "'torch' or 'leapp'"),
        ({"num_steps": 0}, "num_steps"),
    ],
)
def test_arguments_that_can_not_be_meant(env, actor, tmp_path, options, said):
    with pytest.raises(ConfigError, match=said):
        export(env, actor, tmp_path / "out", **options)


def test_an_env_without_managers_is_refused_by_name(tmp_path):
    env = make("holdstep:CartPole", num_envs=2, device="cpu", seed=0)
    with pytest.raises(DiscoveryError, match="no observation and action managers"):
        export(env, lambda obs: obs["policy"][:, :1], tmp_path / "out")
    env.close()


def test_somebody_elses_leapp_session_is_left_alone(env, actor, tmp_path):
    import leapp
    from leapp.export_manager import ExportManager

    leapp.start("mine", save_path=str(tmp_path / "mine"))
    try:
        with pytest.raises(ConfigError, match=r"leapp\.stop"):
            export(env, actor, tmp_path / "out", backend="leapp")
        assert ExportManager.is_interpret_graph_enabled()
    finally:
        leapp.stop()
        logging.getLogger("leapp").handlers.clear()


def test_leapps_own_runtime_runs_what_was_exported(env, actor, tmp_path):
    from leapp.inference_manager import InferenceManager

    export(env, actor, tmp_path / "out", backend="leapp", method="onnx-torchscript")
    manager = InferenceManager(str(tmp_path / "out" / "leapp" / "policy" / "policy.yaml"))
    runner = load_model(tmp_path / "out", num_rows=1)
    generator = torch.Generator().manual_seed(0)
    specs = runner.contract.inputs
    for _ in range(3):
        inputs = {
            spec.connection: torch.randn(1, *spec.shape, generator=generator) for spec in specs
        }
        named = {f"policy/{spec.name}": inputs[spec.connection].clone() for spec in specs}
        theirs, ours = manager.run_policy(named), runner.step(inputs)
        for spec in runner.contract.outputs:
            got = torch.as_tensor(theirs[f"policy/{spec.name}"])
            torch.testing.assert_close(got, ours[spec.connection], rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", ["mlp", "lstm"])
def test_an_exported_policy_acts_as_the_live_one(env, tmp_path, kind):
    policy = RslRlPolicy(rsl_actor(env, kind, normalizer=True), num_envs=env.num_envs)
    policy.actor.eval()
    export(env, policy, tmp_path / "out", validate=False)
    exported = ExportedPolicy(tmp_path / "out", env, allow_jit=True)
    policy.reset()
    obs, _ = env.reset(seed=3)
    for step in range(12):
        if step == 5:
            env.episode_length_buf[1] = env.max_episode_length - 1
        actions = exported(obs)
        torch.testing.assert_close(actions, policy(obs), rtol=0, atol=1e-6)
        obs, _, terminated, truncated, _ = env.step(actions)
        exported.reset(terminated | truncated)
        with torch.inference_mode():  # in which rsl_rl made its hidden state
            policy.reset(terminated | truncated)


def test_an_exported_policy_needs_its_own_task(env, tmp_path):
    export(env, rsl_actor(env), tmp_path / "out", validate=False)
    other = make("holdstep:CartPole", num_envs=2, device="cpu", seed=0)
    with pytest.raises(DiscoveryError, match="no observation"):
        ExportedPolicy(tmp_path / "out", other, allow_jit=True)
    other.close()


def test_the_wrapper_exports_what_acts_now(env, tmp_path):
    policy = torch.nn.Linear(5, 1)
    wrapped = AnnotateExport(env, policy, obs_keys="actor")
    contract = wrapped.contract()
    assert {spec.connection for spec in contract.outputs} >= {"action"}
    wrapped.reset()
    wrapped.step(torch.zeros(env.num_envs, 1))
    with torch.no_grad():
        policy.weight.zero_()
        policy.bias.fill_(0.25)
    report = wrapped.export(tmp_path / "out", backend="torch", method="jit-trace", num_steps=4)
    assert report.passed
    runner = load_model(tmp_path / "out", num_rows=1, allow_jit=True)
    inputs = {spec.connection: torch.randn(1, *spec.shape) for spec in contract.inputs}
    assert runner.step(inputs)["action"].item() == 0.25
