"""Traces a policy with leapp, the way Isaac Lab's export script does."""

from __future__ import annotations

import sys
from pathlib import Path

import leapp
import torch
from leapp import TensorSemantics, annotate

TASK = "Isaac-Hopper-v0"
JOINTS = ["hip", "knee", "ankle"]


class Policy(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.l = torch.nn.Linear(3 + 3 + 4 + 3, 3)

    def forward(self, obs):
        return torch.tanh(self.l(obs))


def annotated(name, shape, connection, names=None):
    semantics = TensorSemantics(
        name=name,
        ref=torch.randn(shape),
        element_names=names,
        extra={"isaaclab_connection": connection},
    )
    return annotate.input_tensors(TASK, semantics)


def main(out: str) -> None:
    torch.manual_seed(0)
    policy = Policy()
    torch.save(policy.state_dict(), Path(out) / "weights.pt")
    leapp.start(TASK, save_path=out)
    last = torch.zeros(1, 3)
    for _ in range(2):
        position = annotated("robot_joint_pos", (1, 3), "state:robot:joint_pos", JOINTS)
        names = ["qx", "qy", "qz", "qw"]
        quaternion = annotated("robot_root_quat_w", (1, 4), "state:robot:root_quat_w", names)
        twist = annotated("twist", (1, 3), "command:twist")
        remembered = annotate.state_tensors(TASK, {"last_action": last})
        action = policy(torch.cat([position, twist, quaternion, remembered], dim=-1))
        annotate.update_state(TASK, {"last_action": action})
        target = TensorSemantics(
            name="target",
            ref=0.25 * action + 0.1,
            element_names=JOINTS,
            extra={"isaaclab_connection": "write:robot:set_joint_position_target_index"},
        )
        annotate.output_tensors(TASK, [target], export_with="onnx-torchscript")
        last = action
    leapp.stop()
    leapp.compile_graph(validate=False, visualize=False)


main(sys.argv[1])
