"""The loop of a deployment: what is read, run, written, and when."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from holdstep.envs import DeploymentEnv
from holdstep.envs.deployment.pacing import StepPacer
from holdstep.errors import (
    ClosedEnvError,
    ConfigError,
    ContractError,
    HostMismatchError,
    InvalidEnvIdsError,
    PolicyError,
    ResetNeededError,
)
from holdstep.wrappers.export.contract import Check, ModelFile, TensorSpec
from holdstep.wrappers.export.contract_file import write_contract
from tests.envs.deployment.fakes import FakeClock, FakeHost, FakeRunner, replaced
from tests.wrappers.export.contracts import contract_of

TARGETS = "write:robot:set_joint_position_target"
TWIST = {"twist": [0.5, 0.0, 0.0]}


@pytest.fixture
def deploy(tmp_path):
    """Builds a deployment of a hand-made contract on a fake host."""

    def build(contract=None, host=None, runner=None, **options):
        write_contract(contract or contract_of(), tmp_path)
        host = host or FakeHost()
        options.setdefault("commands", TWIST)
        return DeploymentEnv(host, tmp_path, runner=runner or FakeRunner(host.num_envs), **options)

    return build


def test_a_step_reads_infers_writes_and_advances_decimation_times(deploy):
    env = deploy()
    env.reset()
    before = env.host.pos.clone()
    env.host.calls.clear()
    outputs = env.step()
    assert env.host.calls == ["write", *["step"] * 4, "refresh"]
    assert torch.equal(outputs[TARGETS], before + 0.5)
    assert torch.equal(outputs["action"], before + 0.5)
    expected = before + 0.5 * (1 - 0.5**4)
    assert torch.allclose(env.host.pos, expected)
    assert env.episode_length_buf.tolist() == [1, 1]
    assert (env.num_envs, env.step_dt) == (2, 0.02)


def test_joints_in_another_order_move_the_same(deploy):
    straight = deploy(host=FakeHost(("hip", "knee", "ankle")))
    crossed = deploy(host=FakeHost(("ankle", "hip", "knee")))
    crossed.host.start = crossed.host.start[[2, 0, 1]]
    for env in (straight, crossed):
        env.reset()
        for _ in range(3):
            env.step()
    assert torch.equal(straight.host.pos, crossed.host.pos[:, [1, 2, 0]])
    assert any("reordered by name" in note for note in crossed.notes)
    assert straight.notes == ()


def test_a_host_with_more_joints_moves_only_those_of_the_contract(deploy):
    env = deploy(host=FakeHost(("tail", "knee", "hip", "ankle", "ear")))
    env.reset()
    env.host.target_pos[:] = -7.0
    env.step()
    assert torch.equal(env.host.target_pos[:, [0, 4]], torch.full((2, 2), -7.0))
    assert (env.host.target_pos[:, [2, 1, 3]] > 0).all()
    assert any("tail, ear" in note for note in env.notes)
    (written,) = env.host.setup.written.values()
    assert written == (2, 1, 3)


@pytest.mark.parametrize("order", ["wxyz", "xyzw"])
def test_quaternions_arrive_in_the_contracts_order(deploy, order):
    pose = TensorSpec.of("state:robot:root_link_pose_w", (7,), quaternion_order="xyzw")
    contract = contract_of()
    contract = contract_of(inputs=(*contract.inputs, pose))
    env = deploy(contract, FakeHost(quaternion_order=order))
    env.reset()
    env.step()
    seen = env._runner.inputs[-1]
    assert seen["state:robot:root_link_quat_w"][0].tolist() == pytest.approx([0.5, 0.1, 0.2, 0.3])
    assert seen["state:robot:root_link_pose_w"][0].tolist() == pytest.approx(
        [7, 8, 9, 0.1, 0.2, 0.3, 0.5]
    )


def test_rows_are_reset_alone_with_their_memories(deploy):
    env = deploy(host=FakeHost(num_envs=3))
    env.reset()
    env.step()
    env.step()
    others = env.host.pos[[0, 2]].clone()
    env.reset([1])
    assert env._runner.counts.tolist() == [2, 0, 2]
    assert env.episode_length_buf.tolist() == [2, 0, 2]
    assert torch.equal(env.host.pos[1], env.host.start)
    assert torch.equal(env.host.pos[[0, 2]], others)
    env.reset(torch.tensor([True, False, False]))
    assert env._runner.counts.tolist() == [0, 0, 2]
    env.reset([])
    assert env._runner.counts.tolist() == [0, 0, 2]
    with pytest.raises(InvalidEnvIdsError):
        env.reset([3])


def test_the_first_reset_is_of_all_rows(deploy):
    env = deploy()
    with pytest.raises(ResetNeededError, match="reset\\(\\) before"):
        env.step()
    with pytest.raises(ResetNeededError, match="first reset must be of all rows"):
        env.reset([0])


def test_a_command_that_was_never_set_is_an_error_not_zeros(deploy):
    env = deploy(commands={})
    env.reset()
    with pytest.raises(ConfigError, match=r"command:twist: was never set.*vx, vy, wz"):
        env.step()
    assert "write" not in env.host.calls
    env.set_command("twist", [0.1, 0.0, 0.0], env_ids=[1])
    with pytest.raises(ConfigError, match=r"command:twist: was not set for rows \[0\]"):
        env.step()
    env.set_command("twist", [0.2, 0.0, 0.0], env_ids=0)
    env.step()
    seen = env._runner.inputs[-1]["command:twist"]
    assert seen[:, 0].tolist() == pytest.approx([0.2, 0.1])
    env.reset()  # commands outlive episodes
    env.step()


def test_commands_come_in_any_shape_that_can_be_meant(deploy):
    env = deploy()
    env.reset()

    def seen():
        env.step()
        return env._runner.inputs[-1]["command:twist"].tolist()

    rows = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    env.set_command("twist", rows)
    rows.zero_()  # the caller's own business
    assert seen() == [[1, 2, 3], [4, 5, 6]]
    env.set_command("twist", np.array([1.0, 0.0, 0.0]))
    assert seen() == [[1, 0, 0], [1, 0, 0]]
    count = iter(range(10))
    env.set_command("twist", lambda: [float(next(count)), 0.0, 0.0])
    assert [seen()[0][0], seen()[0][0]] == [0.0, 1.0]
    env.set_command("twist", [9.0, 0.0, 0.0])
    assert seen()[0][0] == 9.0


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("twirl", [0.0] * 3, "no input 'command:twirl'.*Did you mean: command:twist"),
        ("twist", [0.0] * 4, r"takes shape \[3\] \(vx, vy, wz\) \[m/s, rad/s\].*got shape \[4\]"),
        ("twist", [0.0, float("nan"), 0.0], "finite"),
        ("twist", "fast", "takes numbers"),
        ("twist", [[0.0] * 3] * 3, "or 2 such rows"),
    ],
)
def test_commands_that_can_not_be_meant_are_refused(deploy, name, value, words):
    with pytest.raises(ConfigError, match=words):
        deploy().set_command(name, value)


def test_other_inputs_are_given_by_connection(deploy):
    contract = contract_of()
    scan = TensorSpec.of("sensor:scan:data", (2,))
    contract = contract_of(inputs=(*contract.inputs, scan))
    with pytest.raises(HostMismatchError, match="sensor:scan:data: no entity 'scan'"):
        deploy(contract)
    env = deploy(contract, inputs={"sensor:scan:data": lambda: [1.0, 2.0]})
    env.reset()
    env.step()
    assert env._runner.inputs[-1]["sensor:scan:data"].tolist() == [[1, 2], [1, 2]]


def test_the_episodes_own_clock_is_an_input(deploy):
    contract = contract_of()
    clock = TensorSpec.of("env:episode_length_buf", (), dtype="int64")
    env = deploy(contract_of(inputs=(*contract.inputs, clock)))
    env.reset()
    env.step()
    env.step()
    seen = [inputs["env:episode_length_buf"].tolist() for inputs in env._runner.inputs]
    assert seen == [[0, 0], [1, 1]]


def test_inputs_are_copies_of_the_simulators_memory(deploy):
    env = deploy()
    env.reset()
    position = env.host.pos
    kept = position.clone()
    env.step()
    position.fill_(99.0)  # the simulator writes its own memory
    assert torch.equal(env._runner.inputs[-1]["state:robot:joint_pos"], kept)


def test_connections_can_be_renamed(deploy):
    contract = contract_of()
    contract = contract_of(
        inputs=replaced(
            contract.inputs, "state:robot:joint_pos", connection="state:g1:joint_pos", name="q"
        )
    )
    runner = FakeRunner()
    runner.compute = lambda inputs: inputs["state:g1:joint_pos"]
    env = deploy(contract, runner=runner, rename={"state:g1:joint_pos": "state:robot:joint_pos"})
    env.reset()
    env.step()
    assert torch.equal(env._runner.inputs[-1]["state:g1:joint_pos"][0], env.host.start)
    with pytest.raises(HostMismatchError, match="state:g2:joint_pos: was renamed"):
        deploy(contract, rename={"state:g2:joint_pos": "state:robot:joint_pos"})
    with pytest.raises(HostMismatchError, match="toe: was renamed to 'foot', but is not in"):
        deploy(rename_elements={"toe": "foot"})
    env = deploy(host=FakeHost(("kneecap", "ankle", "hip")), rename_elements={"knee": "kneecap"})
    assert env.host.setup.written.popitem()[1] == (2, 0, 1)
    with pytest.raises(ContractError, match="state:<entity>:<property>"):
        deploy(contract, rename={"state:g1:joint_pos": "state:robot"})


def test_everything_that_does_not_fit_is_listed_at_once(deploy):
    contract = contract_of(
        inputs=(
            *contract_of().inputs,
            TensorSpec.of("state:gripper:joint_pos", (3,)),
            TensorSpec.of("state:robot:root_mood", (3,)),
            TensorSpec.of("state:robot:root_link_pose_w", (7,), frame="body"),
        ),
        models=(ModelFile("policy.onnx", "torch-onnx", "policy", (), (), 5),),
        physics_dt=0.004,
        step_dt=0.016,
    )
    host = FakeHost(("hip", "left/foot", "right/foot"), unit="deg")
    host.problems.append("no motors.")
    with pytest.raises(HostMismatchError) as caught:
        deploy(contract, host, num_envs=7)
    text = "\n".join(caught.value.problems)
    for words in (
        "num_envs: 7 rows were asked for, fake has 2",
        "num_envs: the model 'policy.onnx' runs 5 rows, fake has 2",
        "physics_dt: the contract has 0.004 s, fake has 0.005 s",
        "state:robot:joint_pos: missing at the host: knee, ankle. Left over there: left/foot",
        "state:robot:joint_pos: the contract has unit 'joint', fake has 'deg'",
        "state:gripper:joint_pos: no entity 'gripper'",
        "state:robot:root_mood: no 'root_mood'",
        "state:robot:root_link_pose_w: the contract has frame 'body', fake has 'world'",
        "state:robot:root_link_pose_w: the contract does not say in which order its quaternions",
        f"{TARGETS}: missing at the host: knee, ankle",
        "no motors.",
    ):
        assert words in text, words
    assert str(caught.value).startswith("The contract of holdstep:Hopper does not fit fake (")
    assert host.num_closed == 0  # still the caller's


def test_a_shape_that_differs_is_named(deploy):
    contract = contract_of()
    contract = contract_of(
        inputs=replaced(
            contract.inputs,
            "state:robot:joint_pos",
            shape=(3, 2),
        )
    )
    with pytest.raises(HostMismatchError, match=r"has \[3, 2\] for each row, fake has \[3\]"):
        deploy(contract)


def test_no_target_that_is_not_finite_is_written(deploy):
    runner = FakeRunner()
    env = deploy(runner=runner)
    env.reset()
    env.host.calls.clear()
    runner.compute = lambda inputs: torch.tensor([[0.0] * 3, [0.0, float("inf"), 0.0]])
    with pytest.raises(PolicyError, match=r"not finite .*rows \[1\].*reset\(\) must come"):
        env.step()
    assert env.host.calls == []
    # Its memories have gone on by one step, and the robot has not.
    runner.compute = lambda inputs: torch.zeros(2, 3)
    with pytest.raises(ResetNeededError, match="after one that failed"):
        env.step()
    with pytest.raises(ResetNeededError, match="must the one after a step that failed"):
        env.reset([1])
    env.reset()
    env.step()


def test_a_step_that_failed_before_anything_was_computed_can_be_repeated(deploy):
    readings = iter([[0.1, 0.0], [0.2, 0.0, 0.0]])
    env = deploy(commands={"twist": lambda: next(readings)})
    env.reset()
    with pytest.raises(ConfigError, match="got shape"):
        env.step()
    env.step()
    assert env._runner.counts.tolist() == [1, 1]


def apply_contract(*apply_inputs):
    """Of a policy whose targets are computed before every physics step."""
    return contract_of(
        outputs=(TensorSpec.of("apply:delta", (3,)),),
        apply_inputs=(
            TensorSpec.of("apply:delta", (3,)),
            TensorSpec.of("state:robot:joint_pos", (3,), element_names=("hip", "knee", "ankle")),
            *apply_inputs,
        ),
        apply_outputs=(TensorSpec.of(TARGETS, (3,), element_names=("hip", "knee", "ankle")),),
        models=(),
    )


def test_an_apply_graph_runs_before_every_physics_step(deploy):
    contract = apply_contract()
    env = deploy(contract)
    env.reset()
    env.host.calls.clear()
    before = env.host.pos.clone()
    outputs = env.step()
    assert env.host.calls == ["write", "step"] * 4 + ["refresh"]
    assert torch.allclose(env.host.pos, before + 4 * 0.5)
    assert torch.allclose(outputs[TARGETS], before + 3 * 0.5 + 1.0)
    # The policy graph's own outputs are handed over by the runner, not read from the host.
    assert env._runner.inputs[-1].keys() == {"state:robot:joint_pos"}


def test_what_only_an_apply_graph_reads_can_be_given(deploy):
    readings = iter([1.0, 2.0, 3.0, 4.0])
    force = "sensor:foot:force"
    contract = apply_contract(TensorSpec.of(force, (1,)))
    env = deploy(contract, inputs={force: lambda: [next(readings)]})
    env.reset()
    env.step()
    assert env._runner.inputs[-1][force].tolist() == [[4.0], [4.0]]
    assert force not in env._runner.inputs[0]


def test_checks_of_the_export_that_did_not_pass_are_noted(deploy):
    checks = (
        Check("purity", "passed"),
        Check("parity", "failed", 0.5, 1e-5, "the actions differ."),
        Check("wiring", "skipped"),
    )
    assert deploy(contract_of(checks=checks)).notes == (
        "the check 'parity' of the export has the status 'failed': the actions differ.",
        "the check 'wiring' of the export has the status 'skipped'.",
    )


def test_time_steps_are_compared_as_people_write_them(deploy):
    contract = contract_of(physics_dt=0.008333, decimation=2, step_dt=0.016666)
    deploy(contract, FakeHost(physics_dt=1 / 120))
    with pytest.raises(HostMismatchError, match="physics_dt"):
        deploy(contract, FakeHost(physics_dt=1 / 119))


def test_what_is_read_is_not_older_than_the_wait_for_the_clock(deploy):
    clock = FakeClock()
    host = FakeHost()

    def sleep(seconds):
        clock.sleep(seconds)
        host.calls.append("sleep")

    env = deploy(host=host, pacer=StepPacer(0.02, clock=clock, sleep=sleep))
    env.reset()
    env.step()
    host.calls.clear()
    env.step()
    assert host.calls == ["sleep", "refresh", "write", *["step"] * 4, "refresh"]


@pytest.mark.parametrize("way_out", ["return", "error", "interrupt"])
def test_the_host_is_closed_on_every_way_out(deploy, way_out):
    host = FakeHost()
    host.fail_at_step = 6 if way_out == "interrupt" else None
    expected = {"error": ZeroDivisionError, "interrupt": KeyboardInterrupt}.get(way_out)

    def run():
        with deploy(host=host) as env:
            env.reset()
            env.step()
            if way_out == "error":
                raise ZeroDivisionError
            if way_out == "interrupt":
                env.step()
        return env

    if expected is None:
        env = run()
        with pytest.raises(ClosedEnvError):
            env.step()
        with pytest.raises(ClosedEnvError):
            env.reset()
        env.close()
    else:
        with pytest.raises(expected):
            run()
    assert host.num_closed == 1


def test_steps_keep_to_the_clock(deploy):
    clock = FakeClock()
    pacer = StepPacer(0.02, clock=clock, sleep=clock.sleep)
    env = deploy(pacer=pacer)
    env.reset()
    env.step()
    clock.now += 0.005
    env.step()
    assert clock.slept == [0.015]
    clock.now += 0.05  # a slow step: 30 ms late
    env.step()
    clock.now += 0.02
    env.step()
    assert clock.slept == [0.015]
    clock.now += 0.01
    env.step()
    assert clock.slept == [0.015, 0.01]
    assert pacer.late_steps == 1
    assert pacer.worst_delay_s == pytest.approx(0.03)
    clock.now += 5.0
    env.reset()  # the clock starts anew with the episode
    env.step()
    assert pacer.late_steps == 1


def test_without_an_export_the_message_says_what_is_missing(tmp_path):
    with pytest.raises(ContractError, match="Export writes it"):
        DeploymentEnv(FakeHost(), tmp_path / "nothing", runner=FakeRunner())
