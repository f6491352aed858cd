"""Traces a policy with leapp, the way Isaac Lab 3.0's exporter does.

    python leapp_script.py OUT METHOD...

In its order: memories are taken between the inputs and returned between the outputs, and those of
histories and of a recurrent network have the rows as their second dimension. ``reference.pt`` says
what the policy computes in a row of steps.
"""

from __future__ import annotations

import sys
from pathlib import Path

import leapp
import torch
from leapp import TensorSemantics, annotate

TASK = "Isaac-Hopper-v0"
JOINTS = ["hip", "knee", "ankle"]
NUM_STEPS, RESET_AT = 6, 3
NUM_FRAMES, HIDDEN = 4, 5


class Policy(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = torch.nn.GRU(3 * NUM_FRAMES + 4 + 3 + 3, HIDDEN, num_layers=2)
        self.l = torch.nn.Linear(HIDDEN, 3)

    def forward(self, obs, hidden):
        out, hidden = self.rnn(obs.unsqueeze(0), hidden)
        return torch.tanh(self.l(out[0])), hidden


def append(history, joint_pos):
    return torch.cat([history[1:], joint_pos.unsqueeze(0)])


def observe(history, quaternion, last, twist):
    return torch.cat([history.transpose(0, 1).flatten(1), quaternion, last, twist], dim=-1)


def target_of(action):
    return 0.25 * action + 0.1


def memories(num_rows=1):
    last = torch.zeros(num_rows, 3)
    return torch.zeros(NUM_FRAMES, num_rows, 3), last, torch.zeros(2, num_rows, HIDDEN)


def annotated(name, value, connection, names=None):
    semantics = TensorSemantics(
        name=name, ref=value, element_names=names, extra={"isaaclab_connection": connection}
    )
    return annotate.input_tensors(TASK, semantics)


def gain(name, method):
    return TensorSemantics(
        name=f"target_{name}_gains",
        ref=torch.full((1, 3), 20.0),
        kind=name,
        element_names=JOINTS,
        extra={"isaaclab_connection": f"write:robot:{method}"},
    )


def step(policy, history, last, hidden, method):
    """One annotated step; returns the new memories."""
    joint_pos = annotated("robot_joint_pos", torch.randn(1, 3), "state:robot:joint_pos", JOINTS)
    history = annotate.state_tensors(TASK, {"h_policy_joint_pos": history})
    history = annotate.update_state(TASK, {"h_policy_joint_pos": append(history, joint_pos)})
    quaternion = annotated(
        "robot_root_quat_w", torch.randn(1, 4), "state:robot:root_quat_w", ["qx", "qy", "qz", "qw"]
    )
    last = annotate.state_tensors(TASK, {"last_action": last})
    twist = annotated("twist", torch.randn(1, 3), "command:twist")
    hidden = annotate.state_tensors(TASK, {"actor_state": hidden})
    action, hidden = policy(observe(history, quaternion, last, twist), hidden)
    annotate.update_state(TASK, {"actor_state": hidden})
    annotate.update_state(TASK, {"last_action": action})
    target = TensorSemantics(
        name="target",
        ref=target_of(action),
        element_names=JOINTS,
        extra={"isaaclab_connection": "write:robot:set_joint_position_target_index"},
    )
    gains = [
        gain("kp", "write_joint_stiffness_to_sim_index"),
        gain("kd", "write_joint_damping_to_sim_index"),
    ]
    annotate.output_tensors(TASK, [target], static_outputs=gains, export_with=method)
    return history, action, hidden


def reference(policy):
    """What two rows read and write; the second one is reset on the way."""
    generator = torch.Generator().manual_seed(1)
    shapes = {"joint_pos": 3, "quaternion": 4, "twist": 3}
    read = {
        name: torch.randn(NUM_STEPS, 2, size, generator=generator) for name, size in shapes.items()
    }
    history, last, hidden = memories(2)
    targets = []
    for joint_pos, quaternion, twist in zip(*read.values(), strict=True):
        if len(targets) == RESET_AT:
            history[:, 1], last[1], hidden[:, 1] = 0, 0, 0
        history = append(history, joint_pos)
        last, hidden = policy(observe(history, quaternion, last, twist), hidden)
        targets.append(target_of(last))
    return read | {"targets": torch.stack(targets)}


def main(out: Path, methods: list[str]) -> None:
    torch.manual_seed(0)
    policy = Policy()
    with torch.no_grad():
        torch.save(reference(policy), out / "reference.pt")
    for method in methods:
        leapp.start(TASK, save_path=str(out / method))
        kept = memories()
        for _ in range(2):
            kept = step(policy, *kept, method)
        leapp.stop()
        leapp.compile_graph(validate=False, visualize=False)


main(Path(sys.argv[1]), sys.argv[2:])
