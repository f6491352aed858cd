"""Envs without managers: markers say what a model reads, keeps and writes."""

from __future__ import annotations

import inspect
import itertools
import re
import subprocess
import sys
import threading
import timeit
import tracemalloc

import pytest
import torch

from holdstep.envs import check_vector_env
from holdstep.envs.deployment.deployment_env import DeploymentEnv
from holdstep.envs.reference.direct_pendulum import DirectPendulum
from holdstep.envs.reference.pendulum_host import PendulumHost
from holdstep.errors import DiscoveryError, ExportError, HostMismatchError, ParityError, PurityError
from holdstep.policies.exported import ExportedPolicy
from holdstep.wrappers.export import markers
from holdstep.wrappers.export.direct import workflow
from holdstep.wrappers.export.export import export_policy
from holdstep.wrappers.export.pipeline import build_pipeline
from holdstep.wrappers.export.simulators import workflow_of
from tests.wrappers.export import direct_envs
from tests.wrappers.export.pipeline_tools import FlatPolicy, Rollout
from tests.wrappers.export.test_pipeline_leaks import STAGES, PlantedError, Watched, _raise

JOINTS = ("shoulder", "elbow")


@pytest.fixture(autouse=True)
def _no_grad():
    with torch.no_grad():
        yield


def new_env(cls=DirectPendulum, num_envs=3, *, stepped=True, **kwargs):
    """An env in the middle of an episode: rows at different places, with something to remember."""
    env = cls(num_envs, seed=0, **{"max_episode_length": 19} | kwargs)
    env.reset(seed=0)
    if stepped:
        env.step(torch.linspace(-1, 1, 2 * num_envs).reshape(num_envs, 2))
    return env


def new_policy(env):
    return FlatPolicy(env, ["policy"])


def line_of(cls, text="# here"):
    """``file:line`` of the line of a class with a text."""
    lines, first = inspect.getsourcelines(cls)
    number = next(index for index, line in enumerate(lines) if text in line)
    return f"direct_envs.py:{first + number}"


# Parity.


@pytest.mark.parametrize(
    "cls",
    [
        DirectPendulum,
        direct_envs.Filtered,
        direct_envs.SpringPerSubstep,
        direct_envs.CountsRows,
        direct_envs.Privileged,
        direct_envs.Untidy,
    ],
)
@pytest.mark.parametrize("stepped", [False, True])
def test_fifty_steps_with_resets(cls, stepped):
    env = new_env(cls, stepped=stepped)
    with build_pipeline(env, new_policy(env)) as pipeline:
        rollout = Rollout(env, pipeline)
        assert rollout.run(50) == 0.0
        assert len(rollout.worst) == 1 + (not pipeline.contract.has_apply_graph)
        assert pipeline.purity().passed
        assert not pipeline.warnings


@pytest.mark.parametrize(
    ("cls", "backend", "method", "limit"),
    [
        (DirectPendulum, "torch", "jit-trace", 0.0),
        (DirectPendulum, "torch", "exported-program", 0.0),
        (DirectPendulum, "leapp", "onnx-dynamo", 1e-5),
        (direct_envs.SpringPerSubstep, "torch", "exported-program", 0.0),
        (direct_envs.SpringPerSubstep, "torch", "onnx-dynamo", 1e-5),
        (direct_envs.SpringPerSubstep, "leapp", "jit-trace", 1e-5),  # one row at a time
    ],
)
def test_the_ladder_passes(tmp_path, cls, backend, method, limit):
    env = new_env(cls)
    report = export_policy(
        env, new_policy(env), tmp_path / "out", backend=backend, method=method, num_steps=50
    )
    assert report.passed
    assert report.parity.max_scaled_diff <= limit
    assert report.parity.num_resets >= 4
    assert report.contract.has_apply_graph == (cls is direct_envs.SpringPerSubstep)


def test_the_contract_says_what_the_markers_say():
    env = new_env()
    with build_pipeline(env, new_policy(env)) as pipeline:
        contract = pipeline.contract
    specs = {spec.connection: spec for spec in (*contract.inputs, *contract.outputs)}
    assert list(specs) == [
        "state:pendulum:joint_pos",
        "state:pendulum:joint_vel",
        "command:target",
        "write:pendulum:set_joint_effort_target",
        "action",
    ]
    joint_vel = specs["state:pendulum:joint_vel"]
    assert (joint_vel.unit, joint_vel.kind) == ("rad/s", "joint_velocity")
    assert joint_vel.element_names == JOINTS
    write = specs["write:pendulum:set_joint_effort_target"]
    assert (write.unit, write.element_names, write.shape) == ("N m", JOINTS, (2,))
    (memory,) = contract.memories
    assert (memory.spec.connection, memory.kind) == ("memory:last_action", "last_action")
    assert (memory.spec.shape, memory.reset) == ((2,), None)
    assert (contract.simulator, contract.decimation) == ("holdstep", 4)
    assert (contract.step_dt, contract.physics_dt) == (0.02, 0.005)
    assert contract.observation_terms[0].function.endswith("DirectPendulum._get_observations")
    assert contract.constants == ()


def test_memories_have_the_reset_and_shape_of_their_markers():
    env = new_env(direct_envs.Filtered)
    with build_pipeline(env, new_policy(env)) as pipeline:
        memories = {m.spec.connection: m for m in pipeline.contract.memories}
        frames, filtered = pipeline.initial_memories(2)
    assert list(memories) == ["memory:frames", "memory:filtered"]
    assert (memories["memory:frames"].spec.shape, memories["memory:frames"].kind) == (
        (2, 2),
        "history",
    )
    assert memories["memory:filtered"].reset == (1.0, 1.0)
    assert torch.equal(filtered, torch.ones(2, 2))
    assert torch.equal(frames, torch.zeros(2, 2, 2))


def test_what_only_a_critic_sees_is_no_input():
    env = new_env(direct_envs.Privileged)
    with build_pipeline(env, new_policy(env)) as pipeline:
        connections = [spec.connection for spec in pipeline.contract.inputs]
    assert "env:wind" not in connections
    with build_pipeline(env, FlatPolicy(env, ["critic"])) as pipeline:
        connections = [spec.connection for spec in pipeline.contract.inputs]
        assert Rollout(env, pipeline).run(10) == 0.0
    assert connections[-1] == "env:wind"


def test_the_module_changes_nothing_of_its_arguments():
    env = new_env(direct_envs.Filtered)
    with build_pipeline(env, new_policy(env)) as pipeline:
        given = pipeline.example_inputs()
        copies = [tensor.clone() for tensor in given]
        first = pipeline.module(*given)
        assert all(map(torch.equal, given, copies))
        assert all(map(torch.equal, first, pipeline.module(*given)))


def test_the_env_s_code_runs_once_for_all_groups(monkeypatch):
    env = new_env(direct_envs.Privileged)
    with build_pipeline(env, FlatPolicy(env, ["policy", "critic"])) as pipeline:
        given = pipeline.example_inputs()
        calls, own = [], DirectPendulum._get_observations
        monkeypatch.setattr(
            DirectPendulum, "_get_observations", lambda self: calls.append(1) or own(self)
        )
        pipeline.module(*given)
    assert len(calls) == 1


# What is refused, and how it is named.

REFUSED = {
    direct_envs.UnmarkedView: (
        r"env\._state = env\._rows \[3, 8\], used in joint_vel \(direct_pendulum.py:\d+\) and "
        r"extra \({here}\), differs between rows",
        "extra",
    ),
    direct_envs.UnmarkedAttribute: (r"env\.speeds \[3, 2\], used in extra \({here}\)", "extra"),
    direct_envs.UnmarkedElsewhere: (
        r"a tensor \[3, 2\] that is no attribute of the env, used at {here}",
        "policy/_get_observations",
    ),
    direct_envs.UnmarkedClock: (r"_length \[3\], used in extra \({here}\), counts steps", "extra"),
    direct_envs.UnmarkedMemory: (
        r"env\.actions = env\.filtered \[3, 2\], used in _pre_physics_step \({here}\), "
        r"is what the env kept",
        "_pre_physics_step",
    ),
    direct_envs.NeverRemembered: (r"'memory:filtered' is recalled, but never remembered", None),
    direct_envs.RemembersTooOften: (r"is in _apply_action\(\)", "action/_apply_action"),
    direct_envs.CountsInObs: (r"keeps a Python number.*env\.count: \d, then \d", None),
    direct_envs.DecidesByValue: (r"truth value", "policy/_get_observations"),
    direct_envs.TwoMeanings: (r"with other values than where it was read before", None),
    direct_envs.TwoShapes: (r"with rows \[1\], elsewhere with \[2\]", None),
    direct_envs.NoConnection: (r"must begin with one of state, sensor", None),
    direct_envs.WrongRole: (r"must begin with state: or sensor: or command: or env:", None),
    direct_envs.WritesNothing: (r"marked with writes\(\)", None),
}


@pytest.mark.parametrize("cls", REFUSED, ids=lambda cls: cls.__name__)
def test_what_a_model_can_not_know_is_refused(cls, monkeypatch):
    monkeypatch.setitem(direct_envs.ELSEWHERE, "rows", torch.arange(6.0).reshape(3, 2))
    env = new_env(cls)
    message, term = REFUSED[cls]
    if "{here}" in message:
        message = message.replace("{here}", re.escape(line_of(cls)))
    policy = new_policy(env)
    with Watched(env, policy), pytest.raises(DiscoveryError, match=message) as caught:
        build_pipeline(env, policy)
    if term is not None:
        assert caught.value.term == term


@pytest.mark.parametrize("cls", [direct_envs.SameInAllRows, direct_envs.SameShared])
def test_purity_names_what_changed_and_where_it_is_read(tmp_path, cls):
    env = new_env(cls)
    place = re.escape(line_of(cls))
    with pytest.raises(PurityError, match=rf"env\.wind, used in extra \({place}\)"):
        export_policy(env, new_policy(env), tmp_path / "out", backend="torch", method="jit-trace")
    assert not (tmp_path / "out").exists()


def test_purity_finds_python_numbers():
    env = new_env(direct_envs.PythonNumber)
    with build_pipeline(env, new_policy(env)) as pipeline:
        report = pipeline.purity()
    assert list(report.impure_terms) == ["policy/_get_observations"]


def test_a_constant_that_is_the_same_for_all_and_stays_is_baked_in(monkeypatch):
    monkeypatch.setattr(direct_envs.SameInAllRows, "wind_change", 0.0)
    env = new_env(direct_envs.SameInAllRows)
    with build_pipeline(env, new_policy(env)) as pipeline:
        assert [constant.name for constant in pipeline.contract.constants] == ["env.wind"]
        assert pipeline.purity().passed
        assert Rollout(env, pipeline).run(20) == 0.0


def test_a_reset_that_is_not_the_marker_s_fails_parity(tmp_path):
    env = new_env(direct_envs.WrongReset)
    with pytest.raises(ParityError, match="come apart in step 0"):
        export_policy(env, new_policy(env), tmp_path / "out", backend="torch", method="jit-trace")


@pytest.mark.parametrize("nominal", [None, 1.25])
def test_randomised_constants(monkeypatch, nominal):
    monkeypatch.setattr(direct_envs.Randomized, "nominal", nominal)
    env = new_env(direct_envs.Randomized)
    gain, values = env.gain, env.gain.clone()
    with build_pipeline(env, new_policy(env), row=2) as pipeline:
        (warning,) = pipeline.warnings
        assert "'gain' is randomised per env" in warning
        (record,) = pipeline.contract.constants
        assert (record.name, record.varies) == ("gain", True)
        assert torch.equal(env.gain, torch.full((3, 1), nominal or 1.5))
        assert Rollout(env, pipeline).run(10) == 0.0
        assert pipeline.purity().passed
    assert env.gain is gain
    assert torch.equal(gain, values)


# Nothing is left behind.


@pytest.mark.parametrize("cls", [DirectPendulum, direct_envs.SpringPerSubstep, direct_envs.Untidy])
def test_building_and_using_it_leaves_no_trace(cls):
    env = new_env(cls)
    policy = new_policy(env)
    with Watched(env, policy):
        with build_pipeline(env, policy) as pipeline:
            pipeline.module(*pipeline.example_inputs())
            pipeline.reference()
            pipeline.read_inputs()
        assert markers._listener is None


@pytest.mark.parametrize("stage", STAGES)
def test_an_error_at_any_stage_leaves_no_trace(monkeypatch, stage):
    env = new_env()
    policy = new_policy(env)
    owner, name = STAGES[stage]
    monkeypatch.setattr(owner, name, _raise)
    with Watched(env, policy), pytest.raises(PlantedError):
        build_pipeline(env, policy)
    assert markers._listener is None


@pytest.mark.parametrize("method", ["_get_observations", "_pre_physics_step", "_apply_action"])
@pytest.mark.parametrize("after", range(4))
def test_an_error_in_the_env_s_code_leaves_no_trace(monkeypatch, method, after):
    env = new_env()
    policy = new_policy(env)
    own, calls = getattr(DirectPendulum, method), [0]

    def failing(self, *args):
        calls[0] += 1
        if calls[0] > after:
            raise PlantedError
        return own(self, *args)

    monkeypatch.setattr(DirectPendulum, method, failing)
    with Watched(env, policy), pytest.raises(PlantedError), build_pipeline(env, policy):
        pytest.fail("the env's code ran less often than expected")
    assert markers._listener is None


def test_a_target_reaches_its_sink_outside_an_export_only(monkeypatch):
    sink = []
    monkeypatch.setitem(direct_envs.ELSEWHERE, "sink", sink)
    env = new_env(direct_envs.Sink)
    assert len(sink) == env.decimation
    with build_pipeline(env, new_policy(env)) as pipeline:
        pipeline.module(*pipeline.example_inputs())
        pipeline.reference()
        assert len(sink) == env.decimation
        connections = [spec.connection for spec in pipeline.contract.writes]
    assert connections == ["write:pendulum:effort:both"]
    assert torch.equal(sink[-1], env.effort)


# Markers themselves.

TENSOR = torch.ones(3, 2)
CALLS = {
    "reads": lambda: markers.reads("state:robot:joint_pos", TENSOR, unit="rad"),
    "writes": lambda: markers.writes("write:robot:effort", TENSOR, element_names=JOINTS),
    "recalls": lambda: markers.recalls("memory:x", TENSOR, reset=1.0),
    "remembers": lambda: markers.remembers("memory:x", TENSOR),
    "constant": lambda: markers.constant("gain", TENSOR, nominal=1.0),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_dormant_marker_costs_less_than_a_microsecond_and_makes_nothing(name):
    call = CALLS[name]
    assert call() is TENSOR
    number = 5000
    assert min(timeit.repeat(call, number=number, repeat=20)) / number < 1e-6
    assert allocated(call) == allocated(lambda: TENSOR)


def allocated(call):
    """Bytes that are left after many calls, and that were there at once in between."""
    tracemalloc.start()
    try:
        for _ in range(3):  # what is only made once is not counted
            tracemalloc.reset_peak()
            before, _ = tracemalloc.get_traced_memory()
            for _ in itertools.repeat(None, 1000):
                call()
            after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return after - before, peak - before


def test_markers_disappear_when_they_are_compiled():
    def function(tensor):
        return markers.writes("write:a:b", markers.reads("state:a:b", 2.0 * tensor) + 1.0)

    compiled = torch.compile(function, backend="eager", fullgraph=True)
    assert torch.equal(compiled(TENSOR), 2.0 * TENSOR + 1.0)


def test_importing_markers_imports_no_exporter():
    code = (
        "import sys, holdstep.wrappers.export.markers\n"
        "print([n for n in ('leapp', 'onnx', 'onnxruntime', 'holdstep.wrappers.export.pipeline')"
        " if n in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


class Shouting:
    """A listener that answers with another tensor."""

    def read(self, connection, tensor, **meaning):
        return tensor + 1.0


def test_another_thread_s_markers_stay_dormant():
    seen = []
    with markers.listening(Shouting()):
        assert torch.equal(CALLS["reads"](), TENSOR + 1.0)
        thread = threading.Thread(target=lambda: seen.append(CALLS["reads"]()))
        thread.start()
        thread.join()
    assert seen[0] is TENSOR
    assert CALLS["reads"]() is TENSOR


# The same steps as other envs: live inputs, deployment, the reference env itself.


def test_live_inputs_follow_the_env():
    env = new_env()
    own = workflow_of(env)
    assert isinstance(own, workflow.DirectWorkflow)
    read = own.live_read("state:pendulum:joint_pos")
    assert torch.equal(read(), env.joint_pos)
    env.step(torch.ones(3, 2))
    assert torch.equal(read(), env.joint_pos)
    assert own.live_read("state:pendulum:effort") is None


def test_the_exported_policy_acts_in_the_env_as_the_policy_does(tmp_path):
    env = new_env()
    policy = new_policy(env)
    export_policy(env, policy, tmp_path / "out", backend="torch", method="onnx-dynamo")
    exported = ExportedPolicy(tmp_path / "out", env)
    obs, _ = env.reset(seed=5)
    exported.reset()
    for _ in range(10):
        expected = policy(obs)
        torch.testing.assert_close(exported(obs), expected, rtol=1e-5, atol=1e-5)
        obs, _, terminated, truncated, _ = env.step(expected)
        done = (terminated | truncated).nonzero().flatten()
        if done.numel():
            exported.reset(done)


@pytest.mark.parametrize("joint_names", [JOINTS, JOINTS[::-1]])
def test_deployed_it_moves_as_in_the_env(tmp_path, joint_names):
    env = new_env(max_episode_length=1000)
    policy = new_policy(env)
    export_policy(env, policy, tmp_path / "out", backend="torch", method="onnx-dynamo")
    obs, _ = env.reset(seed=3)
    order = [joint_names.index(name) for name in JOINTS]
    host = PendulumHost(3, joint_names=joint_names)
    with DeploymentEnv(host, tmp_path / "out", commands={"target": env.target.clone()}) as deployed:
        deployed.reset()
        host.joint_pos = env.joint_pos[:, order].clone()
        host.joint_vel = env.joint_vel[:, order].clone()
        for _ in range(10):
            deployed.step()
            obs, *_ = env.step(policy(obs))
    assert (host.joint_pos[:, order] - env.joint_pos).abs().max() <= 1e-6


def test_a_host_without_the_marked_target_is_refused(tmp_path):
    env = new_env(direct_envs.Filtered)
    export_policy(env, new_policy(env), tmp_path / "out", backend="torch", method="onnx-dynamo")
    with pytest.raises(HostMismatchError, match="write:pendulum:effort: the pendulum has"):
        DeploymentEnv(PendulumHost(3), tmp_path / "out")


def test_the_reference_env_keeps_the_contract():
    check_vector_env(DirectPendulum(4, seed=0, max_episode_length=7))
    assert DirectPendulum(2, seed=0, render_mode="rgb_array").reset()[0]["policy"].shape == (2, 6)


def test_an_env_that_does_not_tell_its_clock_is_refused(monkeypatch):
    env = new_env()
    monkeypatch.delattr(DirectPendulum, "physics_dt")
    with pytest.raises(DiscoveryError, match="has no physics_dt"):
        build_pipeline(env, new_policy(env))


def test_a_closed_pipeline_is_closed():
    env = new_env()
    with build_pipeline(env, new_policy(env)) as pipeline:
        given = pipeline.example_inputs()
    with pytest.raises(ExportError, match="closed"):
        pipeline.module(*given)
