"""Contracts made by hand, and strategies that draw valid ones."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from holdstep.wrappers.export.contract import (
    ActionTerm,
    Actuator,
    Check,
    Constant,
    Contract,
    Memory,
    ModelFile,
    ObservationTerm,
    TensorSpec,
)

JOINTS = ("hip", "knee", "ankle")


def contract_of(**changes: Any) -> Contract:
    """A contract with something of everything."""
    given = {
        "version": 1,
        "task": "holdstep:Hopper",
        "simulator": "mjlab",
        "created_with": {"holdstep": "0.1.0", "torch": "2.13.0"},
        "step_dt": 0.02,
        "physics_dt": 0.005,
        "decimation": 4,
        "traced_num_envs": 2,
        "inputs": (
            TensorSpec.of(
                "state:robot:joint_pos",
                (3,),
                unit="joint",
                kind="joint_position",
                element_names=JOINTS,
            ),
            TensorSpec.of(
                "state:robot:root_link_quat_w",
                (4,),
                unit="1",
                frame="world",
                quaternion_order="wxyz",
                element_names=("w", "x", "y", "z"),
            ),
            TensorSpec.of(
                "command:twist", (3,), unit="m/s, rad/s", element_names=("vx", "vy", "wz")
            ),
        ),
        "memories": (
            Memory(TensorSpec.of("memory:last_action", (3,)), kind="last_action"),
            Memory(TensorSpec.of("memory:h", (2,)), reset=(0.5, -1e-5), kind="hidden"),
        ),
        "outputs": (
            TensorSpec.of(
                "write:robot:set_joint_position_target", (3,), unit="joint", element_names=JOINTS
            ),
            TensorSpec.of("action", (3,)),
        ),
        "actuators": (Actuator("robot", JOINTS, "explicit", (20.0,) * 3, (0.5,) * 3, (40.0,) * 3),),
        "constants": (
            Constant("default_joint_pos", "state:robot:default_joint_pos", (3,), varies=True),
        ),
        "observation_terms": (
            ObservationTerm("policy", "joint_pos", "mjlab.envs.mdp.joint_pos_rel", (3,), (0.1,)),
        ),
        "action_terms": (
            ActionTerm("joints", "mjlab.JointPositionAction", "robot", (3,), JOINTS, (0.25,) * 3),
        ),
        "models": (ModelFile("policy.onnx", "torch-onnx", "policy", ("a",), ("b",)),),
        "checks": (Check("parity", "passed", 1.5e-7, 1e-5),),
    }
    return Contract(**(given | changes))


_names = st.from_regex(r"[a-z][a-z0-9_]{0,12}", fullmatch=True)
_texts = st.text(
    st.characters(categories=["L", "N", "P", "S"], include_characters=" "), max_size=20
)
_numbers = st.floats(-1e6, 1e6)


@st.composite
def _specs(draw: Any, role: str, name: str) -> TensorSpec:
    shape = tuple(draw(st.lists(st.integers(1, 4), max_size=3)))
    names = None
    if shape and draw(st.booleans()):
        names = tuple(draw(st.lists(_texts, min_size=shape[0], max_size=shape[0], unique=True)))
    order = draw(st.sampled_from(["wxyz", "xyzw"])) if shape and shape[-1] == 4 else None
    text = st.none() | _texts
    return TensorSpec.of(
        f"{role}:{name}" if role != "state" else f"state:robot:{name}",
        shape,
        kind=draw(text),
        unit=draw(text),
        frame=draw(text),
        quaternion_order=order,
        element_names=names,
        dtype=draw(st.sampled_from(["float32", "int64", "bool"])),
    )


@st.composite
def contracts(draw: Any) -> Contract:
    """Valid contracts of any kind."""
    names = draw(st.lists(_names, min_size=1, max_size=4, unique=True))
    memories = []
    for name in draw(st.lists(_names, max_size=3, unique=True)):
        spec = draw(_specs("memory", name))
        resets = st.lists(_numbers, min_size=spec.size, max_size=spec.size).map(tuple)
        memories.append(Memory(spec, draw(st.none() | resets), "history"))
    decimation = draw(st.integers(1, 20))
    physics_dt = draw(st.floats(1e-4, 0.1))
    return contract_of(
        task=draw(_texts),
        created_with=draw(st.dictionaries(_texts, _texts, max_size=3)),
        decimation=decimation,
        physics_dt=physics_dt,
        step_dt=physics_dt * decimation,
        inputs=tuple(draw(_specs("state", name)) for name in names),
        memories=tuple(memories),
        checks=(Check("parity", "passed", draw(_numbers), detail=draw(_texts)),),
        constants=(Constant(draw(_texts), draw(_texts), (2,), draw(st.booleans())),),
    )
