"""A pipeline leaves no trace: the same objects, classes, attributes and torch state as before."""

from __future__ import annotations

import sys
import types
from collections.abc import Mapping

import pytest
import torch

from holdstep.errors import ExportError
from holdstep.wrappers.export import pipeline as pipeline_module
from holdstep.wrappers.export.observations import Observations
from holdstep.wrappers.export.pipeline import build_pipeline
from holdstep.wrappers.export.planner import Planner
from holdstep.wrappers.export.policies import PolicyNetwork
from tests.wrappers.export.pipeline_tools import GO1, Rollout, export_env, rsl_actor

_LEAVES = (str, bytes, int, float, bool, type(None), type, types.ModuleType)


def fingerprint(*roots):
    """Identity and class of everything that can be reached, by path, and values of tensors."""
    found, seen = {}, set()
    waiting = [(f"root{i}", root) for i, root in enumerate(roots)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, _LEAVES):
            found[path] = value if not isinstance(value, (type, types.ModuleType)) else id(value)
            continue
        found[path] = (id(value), type(value))
        if isinstance(value, torch.Tensor):
            found[path] += (value.data_ptr(), hash(value.detach().cpu().numpy().tobytes()))
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, Mapping):
            waiting += [(f"{path}[{key!r}]", entry) for key, entry in list(value.items())]
        elif isinstance(value, (list, tuple, set, frozenset)):
            waiting += [(f"{path}[{i}]", entry) for i, entry in enumerate(value)]
        elif isinstance(value, types.MethodType):
            waiting += [(f"{path}.__self__", value.__self__)]
        else:
            attributes = getattr(value, "__dict__", None)
            if isinstance(attributes, dict):
                found[f"{path}.__dict__"] = id(attributes)
                waiting += [(f"{path}.{name}", entry) for name, entry in attributes.items()]
    return found


def torch_state():
    """What torch holds for the whole process."""
    return {
        "jit": torch.jit._state._enabled.enabled,
        "grad": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "modes": torch._C._len_torch_function_stack(),
        "rng": torch.get_rng_state().tolist(),
        "threads": torch.get_num_threads(),
    }


def scripted():
    """Every name that leads to a scripted function."""
    return {
        (module.__name__, name): id(value)
        for module in list(sys.modules.values())
        if isinstance(module, types.ModuleType)
        for name, value in list(vars(module).items())
        if type(value) is torch.jit.ScriptFunction
    }


@pytest.fixture(scope="module")
def env():
    env = export_env(GO1)
    env.step(torch.zeros(env.num_envs, 12))
    yield env
    env.close()


@pytest.fixture
def policy(env):
    policy = rsl_actor(env, "gru", normalizer=True).train()
    policy({"actor": torch.ones(env.num_envs, 48)})  # it has a hidden state, with gradients
    return policy


class Watched:
    """Compares before and after."""

    def __init__(self, env, policy):
        self._of = (env, policy)

    def __enter__(self):
        self.before = self._now()
        return self

    def __exit__(self, *error):
        after = self._now()
        for old, new, what in zip(self.before, after, ("objects", "torch", "scripts"), strict=True):
            changed = {
                key: (old.get(key), new.get(key))
                for key in old.keys() | new.keys()
                if old.get(key) != new.get(key)
            }
            assert not changed, f"{what} changed: {dict(list(changed.items())[:5])}"

    def _now(self):
        env, policy = self._of
        return fingerprint(env, env.unwrapped.backend_env, policy), torch_state(), scripted()


def test_the_fingerprint_sees_changes(env, policy):
    backend = env.unwrapped.backend_env
    robot = backend.scene["robot"]
    for change, undo in (
        (lambda: setattr(robot, "extra", 1), lambda: delattr(robot, "extra")),
        (lambda: robot.data.encoder_bias.add_(1.0), lambda: robot.data.encoder_bias.sub_(1.0)),
        (policy.eval, policy.train),
    ):
        before = fingerprint(env, backend, policy)
        change()
        assert fingerprint(env, backend, policy) != before
        undo()


def test_building_and_closing_leaves_no_trace(env, policy):
    with Watched(env, policy):
        build_pipeline(env, policy).close()


@pytest.mark.filterwarnings("ignore:.torch.jit.trace:DeprecationWarning")
def test_using_it_leaves_no_trace(env, policy):
    with Watched(env, policy), build_pipeline(env, policy) as pipeline:
        example = pipeline.example_inputs()
        pipeline.module(*example)
        pipeline.reference()
        pipeline.read_inputs()
        torch.jit.trace(pipeline.module, example, check_trace=False)


def test_while_it_is_open_only_values_differ(env, policy):
    # Between two runs every object has its own class, and every name its own function.
    with build_pipeline(env, policy) as pipeline:
        before = fingerprint(env.unwrapped.backend_env), scripted()
        pipeline.module(*pipeline.example_inputs())
        assert (fingerprint(env.unwrapped.backend_env), scripted()) == before


def test_randomised_constants_come_back(env, policy):
    data = env.unwrapped.backend_env.scene["robot"].data
    bias, values = data.encoder_bias, data.encoder_bias.clone()
    assert values.abs().max() > 0
    with build_pipeline(env, policy) as pipeline:
        assert data.encoder_bias is bias
        assert not bias.any()
        assert any("encoder_bias" in w and "nominal" in w for w in pipeline.warnings)
    assert data.encoder_bias is bias
    assert torch.equal(bias, values)
    with build_pipeline(env, policy, randomized="row", row=1):
        assert torch.equal(bias, values[1:2].expand_as(bias))
    assert torch.equal(bias, values)


class PlantedError(Exception):
    """Raised where a stage is to fail."""


def _raise(*args, **kwargs):
    raise PlantedError


STAGES = {
    "copying the policy": (PolicyNetwork, "__init__"),
    "finding states": (PolicyNetwork, "find_states"),
    "an observation term": (Observations, "_term"),
    "planning": (Planner, "plan"),
    "quietening": (pipeline_module, "_quieten"),
    "baking": (pipeline_module, "bake"),
    "making modules": (pipeline_module, "PolicyModule"),
    "describing": (pipeline_module, "describe"),
    "checking rows": (pipeline_module, "check_any_number_of_rows"),
}


@pytest.mark.parametrize("stage", STAGES)
def test_an_error_at_any_stage_leaves_no_trace(env, policy, monkeypatch, stage):
    owner, name = STAGES[stage]
    monkeypatch.setattr(owner, name, _raise)
    with Watched(env, policy), pytest.raises(PlantedError):
        build_pipeline(env, policy)


@pytest.mark.parametrize("method", ["process_actions", "apply_actions", "reset"])
def test_an_error_in_a_term_leaves_no_trace(env, policy, monkeypatch, method):
    term = type(env.unwrapped.backend_env.action_manager.get_term("joint_pos"))
    monkeypatch.setattr(term, method, _raise)
    with Watched(env, policy), pytest.raises(PlantedError):
        build_pipeline(env, policy)


def test_an_error_while_it_is_used_leaves_no_trace(env, policy):
    with Watched(env, policy), pytest.raises(ExportError), build_pipeline(env, policy) as pipeline:
        pipeline.module()


def _use_and_interrupt(env, policy):
    with build_pipeline(env, policy) as pipeline:
        pipeline.module(*pipeline.example_inputs())
        raise KeyboardInterrupt


def test_an_interrupt_leaves_no_trace(env, policy):
    with Watched(env, policy), pytest.raises(KeyboardInterrupt):
        _use_and_interrupt(env, policy)


def test_a_rollout_keeps_every_object(env, policy):
    # The env moves on, so values differ; its objects and classes do not.
    def identities():
        found = fingerprint(env.unwrapped.backend_env.scene["robot"], policy)
        return {path: entry[:2] for path, entry in found.items() if isinstance(entry, tuple)}

    before, scripts = identities(), scripted()
    with build_pipeline(env, policy) as pipeline:
        Rollout(env, pipeline).run(5, reset_at={2: [1]})
        pipeline.purity()
    assert identities() == before
    assert scripted() == scripts
