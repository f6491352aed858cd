"""Exported models run by name, with memories of each row's own."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from holdstep.errors import (
    ConfigError,
    ContractError,
    InvalidEnvIdsError,
    ModelFileError,
    ModelInputError,
)
from holdstep.wrappers.export.contract import TensorSpec
from holdstep.wrappers.export.contract_file import write_contract
from holdstep.wrappers.export.model_runner import ModelRunner, load
from holdstep.wrappers.export.runtimes.layout import Layout, Slot
from holdstep.wrappers.export.runtimes.torch_module import TorchRuntime
from tests.wrappers.export.tiny import (
    COMMAND,
    JOINT_POS,
    METHODS,
    TARGET,
    example_inputs,
    export_tiny,
    initial_memories,
    new_contract,
    new_pipeline,
)

EXACT = {"jit-trace", "exported-program"}


@pytest.fixture(scope="module", params=METHODS)
def method(request):
    return request.param


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    """By method, a folder with the tiny pipeline; made once."""
    made = {}

    def get(method):
        if method not in made:
            folder = tmp_path_factory.mktemp(method)
            export_tiny(folder, method)
            made[method] = folder
        return made[method]

    return get


def steps(num_rows, num_steps, seed=0):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(num_steps):
        yield {
            JOINT_POS: torch.randn(num_rows, 3, generator=generator),
            COMMAND: torch.randn(num_rows, 2, generator=generator),
        }


def reference(num_rows, inputs, resets=None):
    """What the module itself computes, step by step; ``resets`` maps steps to rows."""
    pipeline, memories = new_pipeline(), initial_memories(num_rows)
    for step, given in enumerate(inputs):
        for row in (resets or {}).get(step, ()):
            for memory, initial in zip(memories, initial_memories(num_rows), strict=True):
                memory[row] = initial[row]
        with torch.no_grad():
            target, action, *memories = pipeline(given[JOINT_POS], given[COMMAND], *memories)
        memories = [memory.clone() for memory in memories]
        yield {TARGET: target, "action": action}


@pytest.mark.parametrize("num_rows", [5, 1, 8])
def test_steps_with_resets_equal_the_module(exports, method, num_rows):
    runner = load(exports(method), num_rows=num_rows, allow_jit=True)
    resets = {3: [0], 7: list(range(num_rows)), 9: [num_rows - 1]}
    inputs = list(steps(num_rows, 12))
    for step, (given, expected) in enumerate(
        zip(inputs, reference(num_rows, inputs, resets), strict=True)
    ):
        if step in resets:
            runner.reset(resets[step])
        outputs = runner.step(given)
        assert list(outputs) == [TARGET, "action"]
        for name, tensor in expected.items():
            if method in EXACT and num_rows == 5:
                assert torch.equal(outputs[name], tensor), (step, name)
            else:
                torch.testing.assert_close(outputs[name], tensor, rtol=0, atol=2e-6)


def test_outputs_and_memories_belong_to_the_caller(exports, method):
    runner = load(exports(method), num_rows=5, allow_jit=True)
    given = next(steps(5, 1))
    kept = {name: tensor.clone() for name, tensor in given.items()}
    first = runner.step(given)
    copies = {name: tensor.clone() for name, tensor in first.items()}
    remembered = runner.memories()
    history = remembered["memory:history"].clone()
    for tensor in given.values():
        tensor.fill_(float("nan"))  # what the caller does with its tensors is its own business
    runner.step(kept)
    runner.reset()
    assert all(torch.equal(first[name], copies[name]) for name in first)
    assert torch.equal(remembered["memory:history"], history)
    for tensor in first.values():
        tensor.fill_(float("nan"))
    assert all(torch.equal(tensor, copies[name]) for name, tensor in runner.step(kept).items())


def test_a_reset_is_that_of_the_contract_and_of_the_rows_only(exports, method):
    runner = load(exports(method), num_rows=4, allow_jit=True)
    for given in steps(4, 3):
        runner.step(given)
    before = runner.memories()
    runner.reset(torch.tensor([False, True, False, True]))
    after = runner.memories()
    assert torch.equal(after["memory:hidden"][[1, 3]], torch.full((2, 1, 8), 0.5))
    assert torch.equal(after["memory:count"], torch.tensor([3, 0, 3, 0]))
    for name, tensor in after.items():
        assert torch.equal(tensor[[0, 2]], before[name][[0, 2]])


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.enable_grad])
def test_any_mode_may_follow_any_other(exports, method, mode):
    runner = load(exports(method), num_rows=2, allow_jit=True)
    given = next(steps(2, 1))
    with mode():
        runner.step(given)
    runner.reset([0])
    outputs = runner.step(given)
    assert not outputs["action"].requires_grad
    with torch.inference_mode():
        runner.reset()
        runner.step(given)
    runner.reset()


def test_inputs_are_arrays_or_tensors_of_any_layout_and_precision(exports, method):
    given = next(steps(3, 1))
    expected = load(exports(method), num_rows=3, allow_jit=True).step(given)
    wide = np.zeros((3, 4, 2))
    wide[:, :3, 0] = given[JOINT_POS].numpy()[::-1]
    variants = [
        {JOINT_POS: given[JOINT_POS].numpy().astype(np.float64), COMMAND: given[COMMAND].double()},
        {JOINT_POS: wide[::-1, :3, 0], COMMAND: given[COMMAND].t().contiguous().t()},
        {JOINT_POS: given[JOINT_POS].clone().requires_grad_(), COMMAND: given[COMMAND]},
    ]
    for variant in variants:
        outputs = load(exports(method), num_rows=3, allow_jit=True).step(variant)
        for name, tensor in expected.items():
            torch.testing.assert_close(outputs[name], tensor, rtol=0, atol=1e-6)


def test_all_that_is_wrong_with_the_inputs_is_one_error(exports):
    runner = load(exports("onnx-dynamo"), num_rows=2)
    before = runner.memories()
    with pytest.raises(ModelInputError) as caught:
        runner.step({"state:robot:joint_poss": torch.zeros(2, 3), COMMAND: torch.zeros(3, 2)})
    assert len(caught.value.problems) == 3
    text = str(caught.value)
    assert "'state:robot:joint_pos' is missing" in text
    assert "Did you mean: state:robot:joint_pos?" in text
    assert "[2, 2] (2 rows), got [3, 2]" in text
    for wrong, said in (
        (torch.zeros(2, 3, 1), "[2, 3, 1]"),
        (torch.zeros(2, 3, dtype=torch.complex64), "complex64"),
        (np.array([["a"] * 3] * 2), "<U1"),
        ([[0.0] * 3] * 2, "got a list"),
        (None, "got a NoneType"),
    ):
        with pytest.raises(ModelInputError, match="joint_pos") as caught:
            runner.step({JOINT_POS: wrong, COMMAND: torch.zeros(2, 2)})
        assert said in str(caught.value)
    assert all(torch.equal(tensor, before[name]) for name, tensor in runner.memories().items())


def test_an_input_too_many_is_an_error(exports):
    runner = load(exports("onnx-dynamo"), num_rows=2)
    given = next(steps(2, 1)) | {"command:twists": torch.zeros(2, 2)}
    with pytest.raises(ModelInputError, match=r"'command:twists' is no input.*command:twist\?"):
        runner.step(given)


def test_a_graph_that_returns_what_it_was_given_shares_no_memory_with_the_caller():
    slot = Slot("x", torch.float32, (2, 3))
    layout = Layout(inputs=(slot,), memories=(slot, slot), outputs=(slot,), updates=(slot, slot))
    runtime = TorchRuntime(lambda x, first, second: (x, x, first), layout, torch.device("cpu"))
    given = torch.ones(2, 3)
    (output,) = runtime.step([given])
    given.fill_(5.0)
    output.fill_(6.0)
    assert [memory.unique().tolist() for memory in runtime.memories] == [[1.0], [0.0]]
    runtime.memories[0][0] = 7.0  # a reset of a row
    assert [memory[0, 0].item() for memory in runtime.memories] == [7.0, 0.0]
    runtime.step([given])
    assert [memory[1, 0].item() for memory in runtime.memories] == [5.0, 1.0]


def test_wrong_rows_can_not_be_reset(exports):
    runner = load(exports("onnx-dynamo"), num_rows=2)
    with pytest.raises(InvalidEnvIdsError, match=r"\[0, 2\)"):
        runner.reset([2])


def test_a_model_of_one_row_loops_and_one_of_others_is_refused(tmp_path):
    contract = export_tiny(tmp_path, "exported-program", num_rows=1)
    assert contract.models[0].batch == 1  # torch takes a single row for fixed
    runner = load(tmp_path, num_rows=3)
    inputs = list(steps(3, 6))
    runner.reset()
    for step, (given, expected) in enumerate(
        zip(inputs, reference(3, inputs, {4: [1]}), strict=True)
    ):
        if step == 4:
            runner.reset([1])
        torch.testing.assert_close(runner.step(given)[TARGET], expected[TARGET])
    baked = dataclasses.replace(contract.models[0], batch=4)
    write_contract(dataclasses.replace(contract, models=(baked,)), tmp_path)
    with pytest.raises(ModelFileError, match=r"exactly 4 rows, not 3.*num_envs=3"):
        load(tmp_path, num_rows=3)


def test_jit_files_need_a_request(exports):
    with pytest.raises(ModelFileError, match="allow_jit=True"):
        load(exports("jit-trace"))


@pytest.mark.parametrize("num_rows", [0, -1])
def test_a_number_of_rows_that_makes_no_sense(exports, num_rows):
    with pytest.raises(ConfigError, match="num_rows"):
        load(exports("onnx-dynamo"), num_rows=num_rows)


def test_files_that_were_changed_lost_or_moved_away(tmp_path):
    contract = export_tiny(tmp_path / "export", "onnx-dynamo")
    model = tmp_path / "export" / contract.models[0].file
    data = model.read_bytes()
    model.write_bytes(data + b"\0")
    with pytest.raises(ModelFileError, match="SHA-256"):
        load(tmp_path / "export")
    elsewhere = tmp_path / "elsewhere.onnx"
    elsewhere.write_bytes(data)
    model.unlink()
    model.symlink_to(elsewhere)
    with pytest.raises(ContractError, match="leads out of the folder"):
        load(tmp_path / "export")
    model.unlink()
    with pytest.raises(ContractError, match="not there"):
        load(tmp_path / "export")


@pytest.mark.parametrize("method", ["onnx-dynamo", "jit-trace", "exported-program"])
@pytest.mark.parametrize("damage", ["empty", "cut", "noise"])
def test_damaged_files_are_errors_that_name_them(exports, tmp_path, method, damage):
    contract = load(exports(method), allow_jit=True).contract
    data = (exports(method) / contract.models[0].file).read_bytes()
    damaged = {"empty": b"", "cut": data[: len(data) // 2], "noise": bytes(range(256)) * 9}[damage]
    model = dataclasses.replace(contract.models[0], sha256=None)
    (tmp_path / model.file).write_bytes(damaged)
    write_contract(dataclasses.replace(contract, models=(model,)), tmp_path)
    with pytest.raises(ModelFileError, match=model.file):
        load(tmp_path, allow_jit=True)


def test_a_model_of_another_contract_is_refused(exports, tmp_path):
    contract = load(exports("onnx-dynamo")).contract
    model = contract.models[0]
    (tmp_path / model.file).write_bytes((exports("onnx-dynamo") / model.file).read_bytes())
    swapped = dataclasses.replace(
        model, inputs=(model.inputs[1], model.inputs[0], *model.inputs[2:])
    )
    write_contract(dataclasses.replace(contract, models=(swapped,)), tmp_path)
    with pytest.raises(ModelFileError, match=r"not the model of its contract(?s:.*)has shape"):
        load(tmp_path)
    fewer = dataclasses.replace(model, outputs=model.outputs[:-1])
    write_contract(dataclasses.replace(contract, models=(fewer,)), tmp_path)
    with pytest.raises(ModelFileError, match=r"5 outputs .memories included"):
        load(tmp_path)


class Canned:
    """A runtime that returns what it is told to, and notes what it is given."""

    def __init__(self, outputs, memories=()):
        self.outputs, self.memories, self.given = outputs, list(memories), []

    def step(self, inputs):
        self.given.append(list(inputs))
        return [tensor.clone() for tensor in self.outputs]


def test_apply_looks_only_at_the_memories_that_it_wants(monkeypatch):
    contract = new_contract()
    count = contract.memories[1].spec
    contract = dataclasses.replace(
        contract,
        apply_inputs=(TensorSpec.of("state:robot:joint_vel", (3,)), count, contract.outputs[1]),
        apply_outputs=(contract.outputs[0],),
        outputs=contract.outputs[1:],
    )
    policy = Canned([torch.full((2, 3), 7.0)], initial_memories(2))
    apply = Canned([torch.ones(2, 3)])
    runner = ModelRunner(contract, policy, apply=apply, num_rows=2, device=torch.device("cpu"))
    runner.step({JOINT_POS: torch.zeros(2, 3), COMMAND: torch.zeros(2, 2)})
    policy.memories[1] += 3

    def copies_everything(runner):
        raise AssertionError("all memories were copied before a physics step")

    monkeypatch.setattr(ModelRunner, "memories", copies_everything)
    runner.apply({"state:robot:joint_vel": torch.full((2, 3), 0.5)})
    ((velocity, counted, action),) = apply.given
    assert (velocity.unique(), counted.unique(), action.unique()) == (0.5, 3, 7.0)


def test_apply_without_an_apply_graph(exports):
    runner = load(exports("onnx-dynamo"))
    with pytest.raises(ConfigError, match="no apply graph"):
        runner.apply({})


def test_example_inputs_are_not_edited():
    inputs = example_inputs()
    copies = [tensor.clone() for tensor in inputs]
    with torch.no_grad():
        new_pipeline()(*inputs)
    assert all(torch.equal(*pair) for pair in zip(inputs, copies, strict=True))
