"""Observation terms of every kind: exact where they can be exported, named where they can't."""

from __future__ import annotations

import pytest
import torch

from holdstep.errors import ConfigError, DiscoveryError, ExportError, PurityError
from holdstep.wrappers.export.pipeline import build_pipeline
from holdstep.wrappers.export.semantics import registered_semantics, state
from tests.wrappers.export.pipeline_tools import FlatPolicy, Rollout
from tests.wrappers.export.planted_terms import planted_env


@pytest.fixture(scope="module")
def env():
    env = planted_env()
    yield env
    env.close()


@pytest.fixture(autouse=True)
def _no_grad():
    with torch.no_grad():
        yield


def pipeline_of(env, *groups, **kwargs):
    return build_pipeline(env, FlatPolicy(env, groups), **kwargs)


EXPORTED = [
    ("history",),
    ("mixed", "actor"),
    ("frames/pos",),
    ("delayed",),
    ("noisy",),
    ("hidden_raw_action", "history"),
    ("changes_in_place", "actor"),
    ("edited", "history"),
    ("episode_time",),
    ("raw_simulator",),
    ("uses_global", "uses_shape"),
    ("PerEnvGain",),
]


@pytest.mark.parametrize("groups", EXPORTED, ids="+".join)
def test_exact_over_new_states_and_resets(env, groups):
    with pipeline_of(env, *groups) as pipeline:
        assert Rollout(env, pipeline).run(16, reset_at={3: [1], 9: [0, 2]}) == 0.0
        assert pipeline.purity().passed


def test_what_is_edited_in_a_reading_is_seen_by_the_terms_that_follow(env):
    with pipeline_of(env, "edited") as pipeline:
        (reading,) = pipeline.read_inputs()
        negative, zero = torch.full_like(reading, -1.0), torch.zeros_like(reading)
        assert torch.equal(pipeline.module(negative)[0], pipeline.module(zero)[0])
        assert torch.equal(negative, torch.full_like(reading, -1.0))  # the caller's stays


@pytest.mark.parametrize("group", ["LowPass", "InPlace"])
def test_a_term_with_a_memory_of_its_own(env, group):
    with pipeline_of(env, group, "history") as pipeline:
        rollout = Rollout(env, pipeline)
        for index in range(12):
            # A reset of some rows calls terms once more for all, so rows end by themselves here.
            if index in (4, 8):
                env.unwrapped.episode_length_buf[index % 3] = env.max_episode_length - 1
            rollout.step()
        assert max(rollout.worst.values()) == 0.0
        (memory,) = [m for m in pipeline.contract.memories if "value" in m.spec.name]
        assert memory.spec.connection == f"memory:obs:{group}/term.value"
        assert memory.reset == (0.25, 0.25)
        assert torch.equal(
            pipeline.initial_memories(2)[pipeline.contract.memories.index(memory)],
            torch.full((2, 2), 0.25),
        )


def test_histories_are_memories_that_fill_themselves(env):
    with pipeline_of(env, "history") as pipeline:
        memories = {m.spec.connection: m for m in pipeline.contract.memories}
        assert {m.kind for m in memories.values()} == {"history", "counter"}
        assert memories["memory:history:history:pos"].spec.shape == (5, 2)
        frame = pipeline.read_inputs(["state:cartpole:joint_pos"])[0]
        outputs = pipeline.module(*pipeline.example_inputs())
        updates = dict(zip(memories, outputs[len(pipeline.contract.outputs) :], strict=True))
        first = updates["memory:history:history:pos"]
        assert torch.equal(first, frame.unsqueeze(1).expand(-1, 5, -1))
        assert torch.equal(updates["memory:started"], torch.ones(env.num_envs, 1))


def test_histories_that_nobody_looks_at_are_no_memories(env):
    with pipeline_of(env, "frames/pos") as pipeline:
        names = [memory.spec.connection for memory in pipeline.contract.memories]
    assert names == ["memory:history:frames:pos", "memory:started"]


def test_each_row_fills_its_history_when_it_begins(env):
    with pipeline_of(env, "history") as pipeline:
        inputs, memories = pipeline.read_inputs(), pipeline.initial_memories()
        started = [m.spec.connection for m in pipeline.contract.memories].index("memory:started")
        memories[started][1] = 1.0
        outputs = pipeline.module(*inputs, *memories)[len(pipeline.contract.outputs) :]
        history = outputs[0]
        assert torch.equal(history[0], history[0, -1:].expand(5, -1))
        assert torch.equal(history[1, :4], torch.zeros(4, 2))


def test_noise_is_off_and_comes_back(env):
    manager = env.unwrapped.backend_env.observation_manager
    (cfg,) = manager._group_obs_term_cfgs["noisy"]
    noise = cfg.noise
    assert noise is not None
    with pipeline_of(env, "noisy"):
        assert cfg.noise is None
        obs, _ = env.reset()
        joints = env.unwrapped.backend_env.scene["cartpole"].data.joint_pos
        assert torch.equal(obs["noisy"][:, -2:], joints)
    assert cfg.noise is noise
    obs, _ = env.reset()
    assert not torch.equal(obs["noisy"][:, -2:], joints)


def test_a_random_delay_is_left_out_on_request(env):
    with pytest.raises(DiscoveryError, match="random_delay/pos") as caught:
        pipeline_of(env, "random_delay")
    assert caught.value.term == "random_delay/pos"
    manager = env.unwrapped.backend_env.observation_manager
    (cfg,) = manager._group_obs_term_cfgs["random_delay"]
    with pipeline_of(env, "random_delay", delays="off") as pipeline:
        assert not pipeline.contract.memories
        assert Rollout(env, pipeline).run(8, reset_at={4: [1]}) == 0.0
        assert cfg.delay_max_lag == 0
    assert cfg.delay_max_lag == 3


REFUSED = {
    "branches": "truth value",
    "uses_item": r"\.item\(\)",
    "uses_tolist": r"\.tolist\(\)",
    "uses_mask": "size depends on values",
    "draws": r"draws rand\(\)",
    "writes_past_the_methods": "joint_effort_target' in place at planted_terms",
    "sets_env": "sets env.last_seen",
    "NeverReset": "does not give",
    "StartsWhereItIs": r"StartsWhereItIs/term\.value .* reads from 'state:cartpole:joint_pos'",
    "CountsForever": "does not give",
    "CountsInPython": "keeps a Python number",
    "RunningMean": "not one value for each of the 3 envs",
    "hidden_manager_read": r"a tensor \[3, 1\]",
}


@pytest.mark.parametrize("group", REFUSED)
def test_what_cannot_be_exported_is_refused_with_the_name_of_its_term(env, group):
    with pytest.raises(DiscoveryError, match=REFUSED[group]) as caught:
        pipeline_of(env, group)
    assert f"{group}/term" in (caught.value.term or "")
    assert f"{group}/term" in str(caught.value)


def test_the_place_is_named_where_a_value_leaves_for_python(env):
    with pytest.raises(DiscoveryError, match=r"branches/term: .* at planted_terms\.py:\d+"):
        pipeline_of(env, "branches")


@pytest.mark.parametrize("group", ["branches", "uses_item", "uses_tolist"])
def test_baked_control_flow_can_be_allowed_with_a_warning(env, group):
    with pipeline_of(env, group, allow_host_reads=True) as pipeline:
        assert any(f"{group}/term" in warning for warning in pipeline.warnings)


def test_purity_names_a_term_that_reads_past_the_inputs(env):
    with pipeline_of(env, "actor", "hidden_counter_read") as pipeline:
        report = pipeline.purity()
        assert list(report.impure_terms) == ["hidden_counter_read/term"]
        with pytest.raises(PurityError, match="hidden_counter_read/term") as caught:
            report.raise_for_failure()
        assert caught.value.term == "hidden_counter_read/term"


def test_what_a_term_makes_after_the_discovery_is_no_constant(env):
    # The env's own value, all zeros here, would be baked in without a check that could tell.
    (cfg,) = env.unwrapped.backend_env.observation_manager._group_obs_term_cfgs["MadeLate"]
    cfg.func.first = None
    with pipeline_of(env, "MadeLate") as pipeline:
        assert list(pipeline.purity().impure_terms) == ["MadeLate/term"]


def test_purity_names_the_policy(env):
    calls = []

    def impure(obs):
        calls.append(1)
        return obs["actor"][:, :1] + 1e-6 * len(calls)

    with build_pipeline(env, impure) as pipeline:
        assert list(pipeline.purity().impure_terms) == ["policy"]


def test_groups_that_the_policy_never_asks_for_need_not_be_exportable(env):
    with pipeline_of(env, "actor") as pipeline:
        assert pipeline.plan.groups == ("actor",)


def test_what_no_table_knows_is_an_input_with_a_warning(env):
    with pipeline_of(env, "raw_simulator") as pipeline:
        (warning,) = pipeline.warnings
        assert "state:sim:qpos" in warning
        assert "register_semantics" in warning
    path = "mjlab.sim.sim_data.WarpBridge"
    with (
        registered_semantics(path, {"qpos": state("generalized_position", "mixed")}),
        pipeline_of(env, "raw_simulator") as pipeline,
    ):
        assert pipeline.warnings == ()
        assert pipeline.contract.inputs[0].kind == "generalized_position"


def test_constants_are_listed_with_their_origin(env):
    with pipeline_of(env, "uses_global", "PerEnvGain", "mixed") as pipeline:
        constants = {constant.source: constant for constant in pipeline.contract.constants}
        gain = constants["obs:PerEnvGain/term.gain"]
        assert gain.varies
        assert any("gain" in warning and "env 0" in warning for warning in pipeline.warnings)
        assert any(source.startswith("uses_global/term at planted_terms") for source in constants)
        assert constants["obs:mixed/pos.scale"].shape == (2,)


def test_the_row_whose_constants_are_baked_in_can_be_chosen(env):
    (term,) = env.unwrapped.backend_env.observation_manager._group_obs_term_cfgs["PerEnvGain"]
    before = term.func.gain.clone()
    with pipeline_of(env, "PerEnvGain", row=2) as pipeline:
        # The env has them too meanwhile, so that the two can be compared.
        assert torch.equal(term.func.gain, before[2:].expand_as(before))
        assert Rollout(env, pipeline).run(4, reset_at={}) == 0.0
    assert torch.equal(term.func.gain, before)


def test_inference_mode_of_the_caller_makes_no_difference(env):
    with torch.inference_mode():
        env.step(torch.zeros(env.num_envs, 1))
        with pipeline_of(env, "PerEnvGain", "history") as pipeline:
            assert Rollout(env, pipeline).run(4, reset_at={1: [1]}) == 0.0
            assert pipeline.purity().passed
    env.reset()


def test_a_closed_pipeline_says_so(env):
    with pipeline_of(env, "actor") as pipeline:
        example = pipeline.example_inputs()
    for use in (
        lambda: pipeline.module(*example),
        pipeline.read_inputs,
        pipeline.reference,
        pipeline.purity,
    ):
        with pytest.raises(ExportError, match="closed"):
            use()


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"num_envs": 0}, "num_envs must be 1 to"),
        ({"num_envs": 4}, "num_envs must be 1 to"),
        ({"row": 3}, "row must be one of"),
    ],
)
def test_arguments_that_cannot_be_used(env, kwargs, message):
    with pytest.raises(ConfigError, match=message):
        pipeline_of(env, "actor", **kwargs)


def test_a_policy_that_wants_a_tensor_is_told_how(env):
    with pytest.raises(ConfigError, match="obs_keys="):
        build_pipeline(env, torch.nn.Linear(5, 1))


def test_a_policy_must_return_actions(env):
    with pytest.raises(DiscoveryError, match=r"actions \[N, A\]"):
        build_pipeline(env, lambda obs: obs["actor"][:, 0])
