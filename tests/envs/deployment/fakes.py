"""A host that remembers, and a policy that computes something simple."""

from __future__ import annotations

import dataclasses

import torch

from holdstep.envs.deployment.host import (
    HostEntity,
    HostSource,
    HostTarget,
    HostValue,
    NotAtHostError,
)


class FakeHost:
    """Joints that jump half way to their targets in each physics step."""

    name = "fake"
    device = torch.device("cpu")

    def __init__(
        self,
        joint_names=("hip", "knee", "ankle"),
        *,
        num_envs=2,
        physics_dt=0.005,
        quaternion_order="wxyz",
        unit="joint",
        entity="robot",
    ):
        self.joint_names = tuple(joint_names)
        self.num_envs = num_envs
        self.physics_dt = physics_dt
        self.quaternion_order = quaternion_order
        self.unit = unit
        self.entity = entity
        num_joints = len(self.joint_names)
        self.start = torch.arange(num_joints, dtype=torch.float32) / 10
        self.pos = self.start.repeat(num_envs, 1)
        self.target_pos = torch.zeros(num_envs, num_joints)
        # w, x, y, z of each row.
        self.quat = torch.tensor([[0.5, 0.1, 0.2, 0.3]]).repeat(num_envs, 1)
        self.calls: list[str] = []
        self.problems: list[str] = []
        self.fail_at_step: int | None = None
        self.num_closed = 0

    @property
    def entities(self):
        return {self.entity: HostEntity(self.joint_names)}

    def source(self, connection):
        if connection.target != self.entity:
            raise NotAtHostError(f"no entity {connection.target!r}; there is {self.entity}.")
        if connection.attribute == "joint_pos":
            value = HostValue((len(self.joint_names),), self.joint_names, self.unit)
            return HostSource(value, lambda: self.pos)
        if connection.attribute in ("root_link_quat_w", "root_link_pose_w"):
            columns = [0, 1, 2, 3] if self.quaternion_order == "wxyz" else [1, 2, 3, 0]
            names = tuple("wxyz"[column] for column in columns)

            def quat():
                return self.quat[:, columns]

            if connection.attribute == "root_link_quat_w":
                value = HostValue((4,), names, "1", "world", self.quaternion_order)
                return HostSource(value, quat)
            position = torch.tensor([[7.0, 8.0, 9.0]]).repeat(self.num_envs, 1)
            value = HostValue((7,), None, "m", "world", self.quaternion_order)
            return HostSource(value, lambda: torch.cat([position, quat()], dim=1))
        raise NotAtHostError(f"no {connection.attribute!r}.")

    def target(self, connection):
        if connection.target != self.entity:
            raise NotAtHostError(f"no entity {connection.target!r}; there is {self.entity}.")
        if connection.attribute != "set_joint_position_target":
            raise NotAtHostError(f"no method {connection.attribute!r}.")

        def write(value, ids):
            self.calls.append("write")
            self.target_pos[:, slice(None) if ids is None else ids] = value

        return HostTarget(HostValue((len(self.joint_names),), self.joint_names, self.unit), write)

    def prepare(self, setup):
        self.setup = setup
        return self.problems

    def step(self):
        self.calls.append("step")
        if self.fail_at_step is not None and self.calls.count("step") > self.fail_at_step:
            raise KeyboardInterrupt
        self.pos = self.pos + 0.5 * (self.target_pos - self.pos)

    def refresh(self):
        self.calls.append("refresh")

    def reset(self, env_ids):
        self.calls.append(f"reset {env_ids.tolist()}")
        self.pos = self.pos.clone()
        self.pos[env_ids] = self.start

    def close(self):
        self.num_closed += 1


class FakeRunner:
    """Targets are positions plus a twist's first number; it counts its steps per row."""

    def __init__(self, num_envs=2):
        self.counts = torch.zeros(num_envs, dtype=torch.int64)
        self.inputs: list[dict[str, torch.Tensor]] = []
        self.compute = lambda inputs: (
            inputs["state:robot:joint_pos"] + inputs["command:twist"][:, :1]
        )

    def step(self, inputs):
        self.inputs.append(dict(inputs))
        self.counts += 1
        targets = self.compute(inputs)
        return {"write:robot:set_joint_position_target": targets, "action": targets.clone()}

    def apply(self, inputs):
        self.inputs.append(dict(inputs))
        return {"write:robot:set_joint_position_target": inputs["state:robot:joint_pos"] + 1.0}

    def reset(self, env_ids=None):
        self.counts[slice(None) if env_ids is None else env_ids] = 0


class FakeClock:
    """Time that passes only while somebody sleeps, or is told to."""

    def __init__(self):
        self.now = 100.0
        self.slept: list[float] = []

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        assert seconds > 0
        self.slept.append(round(seconds, 9))
        self.now += seconds


def replaced(specs, of, **changes):
    """Specs of which one is changed."""
    assert any(spec.connection == of for spec in specs)
    return tuple(
        dataclasses.replace(spec, **changes) if spec.connection == of else spec for spec in specs
    )
