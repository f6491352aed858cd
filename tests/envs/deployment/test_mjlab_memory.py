"""What is read where mjlab keeps it is what its getters compute, whatever happens in between."""

from __future__ import annotations

import types

import pytest
import torch

from holdstep.envs import MjlabHost
from holdstep.envs.deployment import mjlab_memory
from holdstep.envs.deployment.mjlab_memory import memory_read
from holdstep.wrappers.export.connections import Connection
from tests.conftest import silenced
from tests.wrappers.export.pipeline_tools import CARTPOLE, GO1

ROWS = 3
ROTATING = ("root_link_quat_w", "projected_gravity_b")


def make_host(task):
    pytest.importorskip("mjlab", reason="the extra 'mjlab' is not installed")
    with silenced():
        return MjlabHost(task, num_envs=ROWS)


@pytest.mark.parametrize(("task", "name"), [(GO1, "robot"), (CARTPOLE, "cartpole")])
def test_reads_equal_the_getters_in_every_state(task, name):
    host = make_host(task)
    data = host.env.scene[name].data
    data.encoder_bias[:] = torch.linspace(-0.1, 0.1, data.encoder_bias.numel()).reshape_as(
        data.encoder_bias
    )
    reads = {attribute: memory_read(data, attribute) for attribute in mjlab_memory._MADE}
    host.reset(torch.arange(ROWS))
    generator = torch.Generator().manual_seed(0)
    for step in range(6):
        if step == 4:
            host.reset(torch.tensor([1]))
        qpos, qvel = host.env.sim.data.qpos, host.env.sim.data.qvel
        qpos[:] = qpos[:] + 0.1 * torch.randn(qpos.shape, generator=generator)
        qvel[:] = qvel[:] + torch.randn(qvel.shape, generator=generator)
        host.step()
        host.refresh()
        for attribute, read in reads.items():
            assert read is not None, attribute
            limit = 1e-6 if attribute == "projected_gravity_b" else 0.0
            difference = (read() - getattr(data, attribute)).abs().max()
            assert float(difference) <= limit, attribute
    if name == "robot":  # the states were none in which a wrong order or sign goes unseen
        assert all(
            float(reads[attribute]().abs().min(dim=1)[0].max()) > 0 for attribute in ROTATING
        )
        assert len(set(reads["joint_pos"]()[0].tolist())) == 12
    host.close()


def test_sensors_are_read_where_they_are_kept():
    host = make_host(GO1)
    host.reset(torch.arange(ROWS))
    source = host.source(Connection.parse("sensor:robot/imu_ang_vel:data"))
    sensor = host.env.scene["robot/imu_ang_vel"]
    for _ in range(3):
        host.env.sim.data.qvel[:] += 0.5
        host.step()
        host.refresh()
        host.env.scene.update(dt=0.0)
        assert torch.equal(source.read(), sensor.data)
    assert source.read() is source.read()
    host.close()


def test_what_is_not_side_by_side_is_left_to_the_getter():
    array = torch.arange(12.0).reshape(2, 6)
    indexing = types.SimpleNamespace(
        joint_q_adr=torch.tensor([1, 3, 4]), joint_v_adr=torch.tensor([2, 3, 4])
    )
    owner = types.SimpleNamespace(
        indexing=indexing, data=types.SimpleNamespace(qpos=array, qvel=array)
    )
    assert memory_read(owner, "joint_pos") is None
    assert memory_read(owner, "joint_pos_biased") is None
    read = memory_read(owner, "joint_vel")
    assert torch.equal(read(), array[:, 2:5])
    indexing.joint_v_adr = torch.zeros(0, dtype=torch.int64)
    assert memory_read(owner, "joint_vel") is None
    assert memory_read(owner, "no_such_thing") is None
    assert memory_read(object(), "joint_pos") is None
    assert memory_read(object(), "data") is None


def test_what_was_wired_in_inference_mode_is_read_outside_it():
    host = make_host(GO1)
    with torch.inference_mode():
        source = host.source(Connection.parse("state:robot:projected_gravity_b"))
    host.reset(torch.arange(ROWS))
    host.refresh()
    assert torch.allclose(source.read().norm(dim=1), torch.ones(ROWS), atol=1e-5)
    host.close()
