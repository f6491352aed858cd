"""Exported on mjlab, run without managers: on mjlab, and on plain MuJoCo."""

from __future__ import annotations

import contextlib
import io

import pytest
import torch

from holdstep.envs import DeploymentEnv, MjlabHost, MujocoHost
from holdstep.envs.adapters.mjlab import task_registry
from holdstep.wrappers.export.contract_file import check_model_files, read_contract
from holdstep.wrappers.export.export import export_policy
from tests.wrappers.export.pipeline_tools import (
    CARTPOLE,
    G1,
    GO1,
    LIFT,
    export_env,
    rsl_actor,
)

NUM_ENVS = 2


RELATIVE = "relative"
"""Go1 with targets that are relative to where its joints are in each physics step."""


def nominal_cfg(task):
    """A task without randomisation at its start, so that another scene of it is the same."""
    if task == RELATIVE:
        from mjlab.envs.mdp import actions

        cfg = nominal_cfg(GO1)
        cfg.actions["joint_pos"] = actions.RelativeJointPositionActionCfg(
            entity_name="robot", actuator_names=(".*",), scale=0.05
        )
        return cfg
    with contextlib.redirect_stdout(io.StringIO()):
        cfg = task_registry().load_env_cfg(task, play=True)
    for name, term in list(cfg.events.items()):
        if term is not None and term.mode != "reset":
            del cfg.events[name]
    return cfg


@contextlib.contextmanager
def exported(task, out_dir, *, kind, method):
    """An env, its actor (restless enough to move it), and the folder of their export."""
    cfg = nominal_cfg(task)
    env = export_env(GO1 if task == RELATIVE else task, num_envs=NUM_ENVS, cfg=cfg)
    actor = rsl_actor(env, kind, normalizer=True)
    with contextlib.redirect_stdout(io.StringIO()):
        export_policy(env, actor, out_dir, backend="torch", method=method, validate=False)
    try:
        yield env, actor, cfg
    finally:
        env.close()


def commands_of(env, contract):
    """The env's commands now, by the contract's names."""
    manager = env.backend_env.command_manager
    names = [
        spec.connection.partition(":")[2]
        for spec in contract.inputs
        if spec.connection.startswith("command:")
    ]
    commands = {}
    for name in names:
        term, _, attribute = name.partition(":")
        value = getattr(manager.get_term(term), attribute or "command")
        commands[name] = value.clone()
    return commands


def copy_state(source, target):
    for name in ("qpos", "qvel", "qacc_warmstart"):
        getattr(target, name)[:] = getattr(source, name)[:]


class LiveActor:
    """An rsl_rl actor, asked step by step."""

    def __init__(self, actor):
        self.actor = actor

    def __call__(self, obs):
        from tensordict import TensorDict

        with torch.inference_mode():
            return self.actor(TensorDict(obs, batch_size=[NUM_ENVS])).clone()


# Relative targets add up what a single rounding makes differ; written once per control step
# instead of in each physics step, they would be off by 0.1. One ONNX model is enough: that all
# formats of a model compute the same is proved where they are made.
@pytest.mark.parametrize(
    ("task", "kind", "method", "num_steps", "limit"),
    [
        (G1, "mlp", "onnx-dynamo", 10, 1e-6),
        (CARTPOLE, "gru", "exported-program", 10, 1e-6),
        (LIFT, "mlp", "exported-program", 4, 1e-6),
        (RELATIVE, "mlp", "exported-program", 10, 1e-5),
    ],
)
def test_it_moves_the_robot_as_the_managers_do(task, kind, method, num_steps, limit, tmp_path):
    folder = tmp_path / "export"
    with exported(task, folder, kind=kind, method=method) as (env, actor, cfg):
        contract = read_contract(folder)
        assert check_model_files(contract, folder) == []
        assert contract.has_apply_graph == (task == RELATIVE)
        with contextlib.redirect_stdout(io.StringIO()):
            host = MjlabHost(cfg=cfg, num_envs=NUM_ENVS, seed=1)
        core = env.backend_env
        live = LiveActor(actor)
        obs, _ = env.reset(seed=5)
        actor.reset()
        with DeploymentEnv(host, folder, num_envs=NUM_ENVS) as deployed:
            deployed.reset()
            copy_state(core.sim.data, host.env.sim.data)
            host.refresh()
            for step in range(num_steps):
                for name, value in commands_of(env, contract).items():
                    deployed.set_command(name, value)
                deployed.step()
                obs, *_ = env.step(live(obs))
                difference = core.sim.data.qpos[:] - host.env.sim.data.qpos[:]
                assert float(difference.abs().max()) <= limit, step
            assert float(core.sim.data.qvel[:].abs().max()) > 0.1  # something moved
            _check_on_plain_mujoco(cfg, host, deployed, folder)


def _check_on_plain_mujoco(cfg, host, deployed, folder):
    """From the same state and memories, plain MuJoCo gets the same joint targets."""
    contract = deployed.contract
    commands = {
        name.partition(":")[2]: deployed._readers[name]()[0]
        for name in deployed._readers
        if name.startswith("command:")
    }
    plain = MujocoHost.from_mjlab(cfg=cfg, physics_dt=contract.physics_dt)
    other = DeploymentEnv(plain, folder, commands=commands)
    other.reset()
    assert not [note for note in other.notes if "gains" in note], other.notes
    plain.data.qpos[:] = host.env.sim.data.qpos[0].numpy()
    plain.data.qvel[:] = host.env.sim.data.qvel[0].numpy()
    plain.data.ctrl[:] = host.env.sim.data.ctrl[0].numpy()
    if plain.model.nmocap:  # where the row's env lies
        plain.data.mocap_pos[:] = host.env.sim.data.mocap_pos[0].numpy()
    plain.refresh()
    memories = zip(other._runner._policy.memories, deployed._runner._policy.memories, strict=True)
    for mine, theirs in memories:
        mine.copy_(theirs[:1])
    ours, theirs = other.step(), deployed.step()
    for spec in contract.writes:
        difference = ours[spec.connection] - theirs[spec.connection][:1]
        assert float(difference.abs().max()) <= 1e-5, spec.connection
