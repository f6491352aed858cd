"""What tests of the export pipeline share: envs, policies with random weights, parity rollouts."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from holdstep.wrappers.export.pipeline import Pipeline, build_pipeline
from tests.conftest import make_mjlab

if TYPE_CHECKING:
    from holdstep.envs import TorchVectorEnv

CARTPOLE = "Mjlab-Cartpole-Balance"
GO1 = "Mjlab-Velocity-Flat-Unitree-Go1"
G1 = "Mjlab-Velocity-Flat-Unitree-G1"
LIFT = "Mjlab-Lift-Cube-Yam"
TRACKING = "Mjlab-Tracking-Flat-Unitree-G1"
NUM_ENVS = 3
"""No size of any task: neither joints, bodies, actions nor axes of a plane come in threes alone."""


def write_motion(path, *, num_joints=29, num_bodies=30, num_frames=120):
    """A motion file in mjlab's layout: a robot that stands and waves its joints."""
    time = np.linspace(0.0, 2.4, num_frames)[:, None]
    phases = np.arange(num_joints)[None]
    joint_pos = 0.1 * np.sin(3.0 * time + phases)
    body_pos = np.zeros((num_frames, num_bodies, 3))
    body_pos[..., 2] = np.linspace(0.4, 1.0, num_bodies)
    body_pos[..., 0] = 0.1 * time
    body_quat = np.zeros((num_frames, num_bodies, 4))
    body_quat[..., 0] = 1.0
    np.savez(
        path,
        fps=np.array([50]),
        joint_pos=joint_pos,
        joint_vel=0.3 * np.cos(3.0 * time + phases),
        body_pos_w=body_pos,
        body_quat_w=body_quat,
        body_lin_vel_w=np.zeros((num_frames, num_bodies, 3)),
        body_ang_vel_w=np.zeros((num_frames, num_bodies, 3)),
    )
    return path


def export_env(task, *, num_envs=NUM_ENVS, **kwargs: Any) -> TorchVectorEnv:
    """An mjlab env after its first reset; what a play config leaves on is as in training."""
    env = make_mjlab(task, num_envs=num_envs, seed=0, **kwargs)
    env.reset()
    return env


def rsl_actor(env, kind="mlp", *, normalizer=False, groups=("actor",), hidden=(32, 32), seed=0):
    """An rsl_rl actor with random weights: mlp, gru or lstm."""
    models = pytest.importorskip("rsl_rl.models", reason="the extra 'rsl-rl' is not installed")
    from tensordict import TensorDict

    torch.manual_seed(seed)
    space = env.single_observation_space
    obs = TensorDict(
        {name: torch.zeros(env.num_envs, *space[name].shape) for name in groups},
        batch_size=[env.num_envs],
    )
    common = {
        "obs": obs,
        "obs_groups": {"actor": list(groups)},
        "obs_set": "actor",
        "output_dim": env.single_action_space.shape[0],
        "hidden_dims": list(hidden),
        "obs_normalization": normalizer,
        "distribution_cfg": {"class_name": "GaussianDistribution", "init_std": 1.0},
    }
    with contextlib.suppress(KeyError):
        if kind == "mlp":
            actor = models.MLPModel(**common)
        else:
            actor = models.RNNModel(**common, rnn_type=kind, rnn_hidden_dim=16, rnn_num_layers=2)
    if normalizer:
        actor.obs_normalizer._mean.normal_()
        actor.obs_normalizer._var.uniform_(0.5, 2.0)
        actor.obs_normalizer._std.copy_(actor.obs_normalizer._var.sqrt())
    return actor


class Rollout:
    """Steps an env beside a pipeline's module and notes how far the two come apart."""

    def __init__(self, env, pipeline: Pipeline):
        self.env = env
        self.pipeline = pipeline
        self.contract = pipeline.contract
        self.worst: dict[str, float] = {}
        env.reset()
        pipeline.reset_reference()
        self.memories = list(pipeline.initial_memories())

    def step(self, *, reset_rows=(), module=None):
        """One control step of both; then some rows are reset, and those that ended."""
        pipeline, module = self.pipeline, module or self.pipeline.module
        given = (*pipeline.read_inputs(), *self.memories)
        before = [tensor.clone() for tensor in given]
        results = module(*given)
        assert all(torch.equal(a, b) for a, b in zip(given, before, strict=True)), "inputs changed"
        reference = pipeline.reference()
        outputs = dict(zip([s.connection for s in self.contract.outputs], results, strict=False))
        self._compare("action", outputs["action"], reference.action)
        for name, value in outputs.items():
            if name in reference.targets:
                self._compare(name, value, reference.targets[name])
        self.memories = list(results[len(self.contract.outputs) :])
        _, _, terminated, truncated, _ = self.env.step(reference.action)
        done = terminated | truncated
        if len(reset_rows):
            self.env.reset(options={"env_ids": list(reset_rows)})
            done = done.clone()
            done[list(reset_rows)] = True
        pipeline.reset_reference(done)
        self.memories = [
            torch.where(done.reshape(-1, *[1] * (memory.ndim - 1)), first, memory)
            for memory, first in zip(self.memories, pipeline.initial_memories(), strict=True)
        ]
        return outputs, reference

    def run(self, num_steps=50, *, reset_at=None):
        """Many steps, with resets of some rows in between; the largest difference."""
        reset_at = {11: [0], 23: [1, 2], 37: [2]} if reset_at is None else reset_at
        for index in range(num_steps):
            self.step(reset_rows=reset_at.get(index, ()))
        return max(self.worst.values())

    def _compare(self, name, value, expected):
        assert value.shape == expected.shape, name
        difference = (value.double() - expected.double()).abs().max().item()
        self.worst[name] = max(self.worst.get(name, 0.0), difference)


def parity(env, policy, *, num_steps=50, **kwargs: Any) -> float:
    """The largest difference between a pipeline's module and the live env."""
    with build_pipeline(env, policy, **kwargs) as pipeline:
        return Rollout(env, pipeline).run(num_steps)


class FlatPolicy(torch.nn.Module):
    """One layer over everything that some observation groups hold, images included."""

    def __init__(self, env, keys, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.keys = tuple(keys)
        spaces = [env.single_observation_space[key] for key in self.keys]
        width = sum(int(np.prod(space.shape)) for space in spaces)
        self.layer = torch.nn.Linear(width, env.single_action_space.shape[0])

    def forward(self, obs):
        return self.layer(torch.cat([obs[key].flatten(1).float() for key in self.keys], dim=1))
