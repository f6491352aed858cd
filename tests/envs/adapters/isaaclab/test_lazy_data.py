"""Reading assets and cameras without their noticing."""

from types import SimpleNamespace

import torch

from holdstep.envs.adapters.isaaclab.lazy_data import unread


class TimestampedBuffer:
    def __init__(self):
        self.data = None
        self.timestamp = -1.0


class Camera:
    """Counts frames as Isaac Lab's does; only what is outdated is read."""

    def __init__(self, num_envs):
        self._is_outdated = torch.ones(num_envs, dtype=torch.bool)
        self._timestamp_last_update = torch.zeros(num_envs)
        self._frame = torch.zeros(num_envs, dtype=torch.int64)

    def read(self):
        self._frame[self._is_outdated] += 1
        self._is_outdated[:] = False
        self._timestamp_last_update[:] = 0.1


class TiledCamera(Camera):
    pass


class ContactSensor:
    def __init__(self):
        self._is_outdated = torch.ones(2, dtype=torch.bool)

    @property
    def data(self):
        raise AssertionError("reading a sensor's data updates it")


def _env():
    data = SimpleNamespace(_velocity=TimestampedBuffer(), _fk_timestamp=0.5, _sim_timestamp=1.0)
    own = SimpleNamespace(_data=SimpleNamespace(_velocity=TimestampedBuffer()))
    scene = SimpleNamespace(
        _articulations={"robot": SimpleNamespace(_data=data)},
        _sensors={"camera": TiledCamera(2), "contact": ContactSensor()},
    )
    return SimpleNamespace(scene=scene, own_robot=own, device="cpu")


def test_clocks_and_new_tensors_of_lazy_quantities_are_put_back():
    env = _env()
    data = env.scene._articulations["robot"]._data
    with unread(env):
        for buffer in (data._velocity, env.own_robot._data._velocity):
            buffer.timestamp, buffer.data = 1.0, torch.ones(2)
        data._fk_timestamp = 1.0
    for buffer in (data._velocity, env.own_robot._data._velocity):
        assert (buffer.timestamp, buffer.data) == (-1.0, None)
    assert data._fk_timestamp == 0.5


def test_cameras_are_read_again_and_other_sensors_are_not():
    env = _env()
    camera, contact = env.scene._sensors["camera"], env.scene._sensors["contact"]
    with unread(env):
        camera.read()
        contact._is_outdated[:] = False
    assert camera._is_outdated.all()
    assert camera._frame.tolist() == [0, 0]
    assert not camera._timestamp_last_update.any()
    assert not contact._is_outdated.any()
