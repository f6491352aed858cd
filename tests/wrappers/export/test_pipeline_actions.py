"""Action terms: several of them, clipped, relative to state that is read in every physics step."""

from __future__ import annotations

import pytest
import torch

from holdstep.errors import DiscoveryError
from holdstep.wrappers.export.pipeline import build_pipeline
from tests.wrappers.export.pipeline_tools import CARTPOLE, LIFT, FlatPolicy, Rollout, export_env

ARM = ("joint.*",)
FINGER = ("left_finger",)


def lift_env(actions):
    from mjlab.tasks.registry import load_env_cfg

    cfg = load_env_cfg(LIFT)
    cfg.actions = actions
    return export_env(LIFT, cfg=cfg)


@pytest.fixture(autouse=True)
def _no_grad():
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def two_terms():
    """An arm by velocity and a gripper by position, both by the same or by different methods."""
    from mjlab.envs.mdp.actions import JointPositionActionCfg

    env = lift_env(
        {
            "arm": JointPositionActionCfg(
                entity_name="robot", actuator_names=ARM, scale=0.5, clip={".*": (-0.4, 0.3)}
            ),
            "gripper": JointPositionActionCfg(
                entity_name="robot", actuator_names=FINGER, scale=0.01, use_default_offset=True
            ),
        }
    )
    yield env
    env.close()


@pytest.fixture(scope="module")
def relative():
    """An arm that moves relative to where it is in each physics step, beside a gripper."""
    from mjlab.envs.mdp.actions import JointPositionActionCfg, RelativeJointPositionActionCfg

    env = lift_env(
        {
            "arm": RelativeJointPositionActionCfg(
                entity_name="robot", actuator_names=ARM, scale=0.05
            ),
            "gripper": JointPositionActionCfg(
                entity_name="robot", actuator_names=FINGER, scale=0.01
            ),
        }
    )
    yield env
    env.close()


def test_terms_that_write_by_one_method_are_told_apart(two_terms):
    env = two_terms
    with build_pipeline(env, FlatPolicy(env, ["actor"])) as pipeline:
        writes = {spec.connection: spec for spec in pipeline.contract.writes}
        method = "write:robot:set_joint_position_target"
        assert list(writes) == [f"{method}:arm", f"{method}:gripper"]
        assert writes[f"{method}:arm"].element_names == tuple(f"joint{i}" for i in range(1, 7))
        assert writes[f"{method}:gripper"].element_names == FINGER
        assert (writes[f"{method}:arm"].unit, writes[f"{method}:gripper"].unit) == ("rad", "m")
        rollout = Rollout(env, pipeline)
        outputs, _ = rollout.step()
        assert -0.4 <= outputs[f"{method}:arm"].min() <= outputs[f"{method}:arm"].max() <= 0.3
        assert rollout.run(15) == 0.0
        assert pipeline.apply_module is None


def test_state_that_is_read_in_each_physics_step_makes_a_second_graph(relative):
    env = relative
    with build_pipeline(env, FlatPolicy(env, ["actor"])) as pipeline:
        contract = pipeline.contract
        assert [s.connection for s in contract.apply_inputs] == [
            "state:robot:joint_pos",
            "apply:arm._processed_actions",
            "apply:gripper._processed_actions",
        ]
        assert [s.connection for s in contract.outputs] == [
            "apply:arm._processed_actions",
            "apply:gripper._processed_actions",
            "action",
        ]
        assert len(contract.apply_outputs) == len(contract.writes) == 2
        assert contract.has_apply_graph
        example = pipeline.example_apply_inputs()
        assert [list(tensor.shape[1:]) for tensor in example] == [
            list(spec.shape) for spec in contract.apply_inputs
        ]
        assert len(pipeline.apply_module(*example)) == 2


def test_the_second_graph_is_exact_in_every_physics_step(relative):
    env = relative
    robot = env.unwrapped.backend_env.scene["robot"]
    with build_pipeline(env, FlatPolicy(env, ["actor"])) as pipeline:
        contract = pipeline.contract
        ids = [
            [robot.joint_names.index(name) for name in spec.element_names]
            for spec in contract.apply_outputs
        ]
        rollout, differences, handed_over = Rollout(env, pipeline), [], ()
        write = robot.write_data_to_sim

        def compare():
            state = pipeline.read_inputs(pipeline.plan.apply_inputs)
            targets = pipeline.apply_module(*state, *handed_over)
            for target, joints in zip(targets, ids, strict=True):
                live = robot.data.joint_pos_target[:, joints]
                differences.append((target - live).abs().max().item())
            write()

        robot.write_data_to_sim = compare
        try:
            for index in range(12):
                given = (*pipeline.read_inputs(), *rollout.memories)
                outputs = pipeline.module(*given)
                handed_over = outputs[:2]
                differences.clear()
                rollout.step()
                assert len(differences) == 2 * contract.decimation, index
                assert max(differences) == 0.0, index
        finally:
            del robot.write_data_to_sim
        # Written once per control step instead, the arm would be led elsewhere.
        state = pipeline.read_inputs(pipeline.plan.apply_inputs)
        env.step(rollout.pipeline.reference().action)
        assert not torch.equal(state[0], pipeline.read_inputs(pipeline.plan.apply_inputs)[0])
        assert pipeline.purity().passed


def test_inverse_kinematics_is_refused_by_name():
    from mjlab.envs.mdp.actions import DifferentialIKActionCfg

    env = lift_env(
        {
            "reach": DifferentialIKActionCfg(
                entity_name="robot", actuator_names=ARM, frame_type="site", frame_name="grasp_site"
            )
        }
    )
    try:
        with pytest.raises(
            DiscoveryError, match=r"'reach'.*DifferentialIKAction.*Jacobians"
        ) as got:
            build_pipeline(env, FlatPolicy(env, ["actor"]))
        assert got.value.term == "action/reach"
    finally:
        env.close()


@pytest.fixture
def term(two_terms):
    """The arm's action term; what a test changes of its class is undone."""
    return two_terms.unwrapped.backend_env.action_manager.get_term("arm")


def _refusal(env, match):
    with pytest.raises(DiscoveryError, match=match) as caught:
        build_pipeline(env, FlatPolicy(env, ["actor"]))
    return caught.value.term


def _shadow(monkeypatch, term, name, method):
    monkeypatch.setattr(type(term), name, method)


def test_a_term_that_counts_physics_steps_is_refused(two_terms, term, monkeypatch):
    def apply_actions(self):
        self._processed_actions += 0.01
        self._entity.set_joint_position_target(self._processed_actions, joint_ids=self._target_ids)

    _shadow(monkeypatch, term, "apply_actions", apply_actions)
    assert _refusal(two_terms, "second physics step") == "action/arm"


def test_a_term_that_writes_some_rows_is_refused(two_terms, term, monkeypatch):
    def apply_actions(self):
        self._entity.set_joint_position_target(
            self._processed_actions[:1], self._target_ids, env_ids=torch.tensor([0])
        )

    _shadow(monkeypatch, term, "apply_actions", apply_actions)
    assert _refusal(two_terms, "only some rows") == "action/arm"


def test_a_term_that_writes_nothing_tensor_like_is_refused(two_terms, term, monkeypatch):
    def apply_actions(self):
        self._entity.set_joint_position_target(0.5)

    _shadow(monkeypatch, term, "apply_actions", apply_actions)
    assert _refusal(two_terms, "float") == "action/arm"


def test_terms_that_write_nothing_are_refused(two_terms, term, monkeypatch):
    _shadow(monkeypatch, term, "apply_actions", lambda self: None)
    _refusal(two_terms, "nothing to export")


def test_a_term_that_branches_by_values_is_refused(two_terms, term, monkeypatch):
    plain = type(term).process_actions

    def process_actions(self, actions):
        plain(self, actions if actions.abs().max() < 100 else actions * 0.0)

    _shadow(monkeypatch, term, "process_actions", process_actions)
    assert _refusal(two_terms, "truth value") == "action/arm"


def test_targets_that_are_written_by_the_entitys_data(two_terms, term, monkeypatch):
    def apply_actions(self):
        self._entity.data.write_ctrl(self._processed_actions, self._target_ids)

    _shadow(monkeypatch, term, "apply_actions", apply_actions)
    with build_pipeline(two_terms, FlatPolicy(two_terms, ["actor"])) as pipeline:
        names = [spec.connection for spec in pipeline.contract.writes]
    assert names == ["write:robot:write_ctrl:arm", "write:robot:write_ctrl:gripper"]


def test_nothing_reaches_the_simulator(two_terms):
    env = two_terms
    robot = env.unwrapped.backend_env.scene["robot"]
    before = robot.data.joint_pos_target.clone()
    with build_pipeline(env, FlatPolicy(env, ["actor"])) as pipeline:
        pipeline.module(*pipeline.example_inputs())
        pipeline.reference()
    assert torch.equal(robot.data.joint_pos_target, before)


def test_a_low_pass_on_targets_is_a_memory(two_terms, term, monkeypatch):
    plain_process, plain_reset = type(term).process_actions, type(term).reset

    def process_actions(self, actions):
        before = self._processed_actions
        plain_process(self, actions)
        self._processed_actions = 0.5 * before + 0.5 * self._processed_actions

    def reset(self, env_ids=None):
        plain_reset(self, env_ids)
        self._processed_actions[env_ids] = 0.125

    _shadow(monkeypatch, term, "process_actions", process_actions)
    _shadow(monkeypatch, term, "reset", reset)
    env = two_terms
    with build_pipeline(env, FlatPolicy(env, ["actor"])) as pipeline:
        memories = {m.spec.connection: m for m in pipeline.contract.memories}
        assert memories["memory:action:arm._processed_actions"].reset == (0.125,) * 6
        assert memories["memory:action:arm._processed_actions"].kind == "action_state"
        assert Rollout(env, pipeline).run(12) == 0.0


def test_every_target_of_a_term_is_looked_at_for_purity():
    from mjlab.envs.mdp.actions import JointEffortActionCfg
    from mjlab.envs.mdp.actions.actions import JointEffortAction
    from mjlab.tasks.registry import load_env_cfg

    class TwoTargets(JointEffortAction):
        """Reads a number of a manager for the first of its targets only."""

        def apply_actions(self):
            hidden = self._env.reward_manager._step_reward.mean()
            position = self._entity.data.joint_pos[:, self._target_ids]
            self._entity.set_joint_velocity_target(position + hidden, joint_ids=self._target_ids)
            super().apply_actions()

    class TwoTargetsCfg(JointEffortActionCfg):
        def build(self, env):
            return TwoTargets(self, env)

    cfg = load_env_cfg(CARTPOLE)
    cfg.actions = {
        "effort": TwoTargetsCfg(entity_name="cartpole", actuator_names=("slide.*",), scale=10.0)
    }
    env = export_env(CARTPOLE, cfg=cfg)
    try:
        with build_pipeline(env, FlatPolicy(env, ["actor"])) as pipeline:
            assert pipeline.apply_module is not None
            assert list(pipeline.purity().impure_terms) == ["action/effort"]
    finally:
        env.close()
