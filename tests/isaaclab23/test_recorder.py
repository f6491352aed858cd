"""Isaac Lab 2.3's own recorder with holdstep's file handler, over stand-ins for Kit."""

import h5py
import pytest
import torch

from holdstep.envs import adapt
from holdstep.wrappers.record.isaaclab_handler import AsyncHDF5DatasetFileHandler
from holdstep.wrappers.record.isaaclab_offload import EpisodeOffload
from tests.isaaclab23.rollouts import MANAGER_BASED_ID, actions, ignore_jit_warning, rollout

pytestmark = ignore_jit_warning


def flat(data, prefix=""):
    for name, value in data.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{name}/")
        else:
            yield f"{prefix}{name}", value


def loaded(path):
    from isaaclab.utils.datasets import HDF5DatasetFileHandler

    handler = HDF5DatasetFileHandler()
    handler.open(str(path))
    content = {
        name: handler.load_episode(name, "cpu") for name in sorted(handler.get_episode_names())
    }
    about = handler.get_env_name(), handler.get_num_episodes()
    handler.close()
    return {n: (e.seed, e.success, dict(flat(e.data))) for n, e in content.items()}, about


@pytest.mark.parametrize("offload", [False, True])
def test_the_file_is_what_isaac_labs_own_handler_writes(make_env, standins, tmp_path, offload):
    for name, handler in (("own", None), ("ours", AsyncHDF5DatasetFileHandler)):

        def edit(cfg, name=name, handler=handler):
            standins.tasks.record_to(cfg, tmp_path / name)
            standins.tasks.add_success(cfg)
            if handler is not None:
                cfg.recorders.dataset_file_handler_class_type = handler

        env = make_env(MANAGER_BASED_ID, num_envs=4, edit=edit)
        if offload and handler is not None:
            EpisodeOffload(env)  # until the env is closed
        env.reset(seed=0)
        rollout(env, 60)
        env.close()
    own, own_about = loaded(tmp_path / "own" / "dataset.hdf5")
    ours, about = loaded(tmp_path / "ours" / "dataset.hdf5")
    assert about == own_about
    assert own.keys() == ours.keys()
    assert len(own) >= 4
    for name in own:
        assert own[name][:2] == ours[name][:2]
        assert own[name][2].keys() == ours[name][2].keys()
        for path, values in own[name][2].items():
            assert torch.equal(values, ours[name][2][path]), (name, path)
    with h5py.File(tmp_path / "ours" / "dataset.hdf5") as file:
        # Isaac Lab 3 knows by this that quaternions are in the older order.
        assert "format_version" not in file.attrs


def test_states_are_told_set_and_told_before_a_reset(make_env):
    env = adapt(make_env(MANAGER_BASED_ID, num_envs=4))
    env.final_state_enabled = True
    env.reset(seed=0)
    for index in range(5):
        env.step(actions(4, index))
    state = env.scene_state()
    expected = dict(flat(env.backend_env.scene.get_state(is_relative=True)))
    assert set(state) == set(expected)
    assert all(torch.equal(state[path], expected[path]) for path in state)
    assert env.scene_state_attributes == {"quaternion": "wxyz"}
    for index in range(5):
        last, *_ = env.step(actions(4, 10 + index))
    before = env.scene_state()
    rows = {path: values[[0, 2]] for path, values in state.items()}
    obs = env.set_scene_state(rows, [0, 2])
    after = env.scene_state()
    for path, values in after.items():
        torch.testing.assert_close(values[[0, 2]], rows[path], rtol=0, atol=1e-6)
        assert torch.equal(values[[1, 3]], before[path][[1, 3]])
    assert torch.equal(obs["policy"][[1, 3]], last["policy"][[1, 3]])
    assert not torch.equal(obs["policy"][[0, 2]], last["policy"][[0, 2]])
    env.episode_length_buf = torch.tensor([0, env.max_episode_length - 1, 0, 0])
    *_, info = env.step(actions(4, 99))
    assert info["_final_state"].tolist() == [False, True, False, False]
    path = "articulation/robot/joint_position"
    assert not torch.equal(info["final_state"][path][1], env.scene_state()[path][1])
    assert torch.equal(info["final_state"][path][0], env.scene_state()[path][0])
