"""Exported files equal the env: five tasks, five kinds of policies, ten ways to write a file.

Each task and policy is exported by one fast method here, and each method once, the default one on
a large task too; tests/benchmarks/export_matrix.py runs every combination.
"""

from __future__ import annotations

import pytest

from holdstep.wrappers.export import export_policy, load_model
from holdstep.wrappers.export.backends import DEFAULT_METHOD
from tests.wrappers.export.matrix import POLICIES, TASKS, make_env, make_policy
from tests.wrappers.export.pipeline_tools import CARTPOLE, G1, FlatPolicy
from tests.wrappers.export.test_pipeline_actions import relative
from tests.wrappers.export.tiny import METHODS

__all__ = ["relative"]  # a fixture

EXACT = {"jit-trace", "exported-program"}


@pytest.fixture(scope="module")
def envs(tmp_path_factory):
    """Envs by task and kind of policy, each made when it is first asked for."""
    made = {}

    def get(task, kind, num_envs=3):
        key = (task, kind == "history", num_envs)
        if key not in made:
            made[key] = make_env(task, kind, tmp_path_factory.mktemp("env"), num_envs=num_envs)
        return made[key]

    yield get
    for env in made.values():
        env.close()


@pytest.mark.parametrize("kind", POLICIES)
@pytest.mark.parametrize("task", TASKS)
def test_every_task_and_policy(envs, tmp_path, task, kind):
    env = envs(task, kind)
    num_steps = 50 if kind == "normalizer" else 18
    report = export_policy(
        env,
        make_policy(env, kind),
        tmp_path / "out",
        backend="torch",
        method="jit-trace",
        num_steps=num_steps,
    )
    assert report.passed
    assert report.parity.num_steps == num_steps
    assert report.parity.num_resets >= 4
    assert report.parity.max_abs_diff == 0.0
    kinds = {memory.kind for memory in report.contract.memories}
    assert ("hidden" in kinds) == (kind in ("gru", "lstm"))
    assert ("history" in kinds) == (kind == "history")
    assert report.contract.models[0].batch is None
    runner = load_model(tmp_path / "out", num_rows=1, allow_jit=True)
    assert set(runner.memories()) == {m.spec.connection for m in report.contract.memories}


@pytest.mark.parametrize("backend", ["torch", "leapp"])
@pytest.mark.parametrize(
    ("task", "kind", "method"),
    [*((CARTPOLE, "lstm", method) for method in METHODS), (G1, "normalizer", DEFAULT_METHOD)],
)
def test_every_method(envs, tmp_path, task, kind, method, backend):
    # LEAPP's files are for one row; several are computed one by one, which adds up differently.
    env = envs(task, kind, 3 if backend == "torch" else 1)
    report = export_policy(
        env, make_policy(env, kind), tmp_path / "out", backend=backend, method=method, num_steps=6
    )
    assert report.passed
    limit = 0.0 if method in EXACT else 1e-5
    assert report.parity.limit == limit
    assert report.parity.max_scaled_diff <= limit
    assert sorted(path for path in (tmp_path / "out").rglob("*") if path.is_file()) == sorted(
        report.files
    )


@pytest.mark.parametrize(
    ("backend", "method"),
    [("torch", "onnx-torchscript"), ("torch", "exported-program"), ("leapp", "onnx-torchscript")],
)
def test_terms_that_read_the_state_in_each_physics_step(relative, tmp_path, backend, method):
    policy = FlatPolicy(relative, ["actor"])
    report = export_policy(
        relative, policy, tmp_path / "out", backend=backend, method=method, num_steps=10
    )
    assert report.passed
    assert report.contract.has_apply_graph
    assert [model.graph for model in report.contract.models] == ["policy", "apply"]
    assert report.parity.max_scaled_diff <= 1e-5
