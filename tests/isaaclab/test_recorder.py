"""Isaac Lab 3's own recorder with holdstep's file handler, and its episodes in host memory."""

import gc

import pytest
import torch

from holdstep.errors import ConfigError, DatasetError, RecordingError
from holdstep.wrappers import SuspendOnWait
from holdstep.wrappers.record.dataset import Dataset
from holdstep.wrappers.record.episode_file import finish_file
from holdstep.wrappers.record.isaaclab_handler import AsyncHDF5DatasetFileHandler
from holdstep.wrappers.record.isaaclab_offload import EpisodeOffload
from tests.isaaclab.conftest import silenced
from tests.isaaclab.hard_tasks import CARTPOLE, actions_for

NUM_ENVS = 4


def recording_cfg(folder, handler, **recorder_options):
    from isaaclab.envs.mdp.recorders.recorders_cfg import ActionStateRecorderManagerCfg

    from holdstep.envs.adapters.isaaclab import tasks

    cfg = tasks.with_presets(tasks.load_env_cfg(CARTPOLE), None)
    cfg.recorders = ActionStateRecorderManagerCfg()
    cfg.recorders.dataset_export_dir_path = str(folder)
    cfg.recorders.dataset_filename = "demos"
    if handler is not None:
        cfg.recorders.dataset_file_handler_class_type = handler
    for name, value in recorder_options.items():
        setattr(cfg.recorders, name, value)
    return cfg


def run(make_env, folder, handler, *, offload=False, num_steps=30, **options):
    env = make_env(CARTPOLE, num_envs=NUM_ENVS, cfg=recording_cfg(folder, handler, **options))
    try:
        if offload:
            EpisodeOffload(env)  # until the env is closed
        with silenced():
            env.reset(seed=1)
            env.reset(seed=1)
        env.episode_length_buf = env.max_episode_length - 9 - 4 * torch.arange(NUM_ENVS)
        for actions in actions_for(env, num_steps):
            env.step(actions)
    finally:
        with silenced():
            env.close()


def loaded(path):
    """Everything in a file, read by Isaac Lab's own handler."""
    from isaaclab.utils.datasets import HDF5DatasetFileHandler

    handler = HDF5DatasetFileHandler()
    handler.open(str(path))
    content = {}
    for name in sorted(handler.get_episode_names()):
        episode = handler.load_episode(name, "cpu")
        content[name] = (episode.seed, episode.success, dict(flat(episode.data)))
    about = (handler.get_env_name(), handler.get_format_version(), handler.get_num_episodes())
    handler.close()
    return content, about


def flat(data, prefix=""):
    for name, value in data.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{name}/")
        else:
            yield f"{prefix}{name}", value


def assert_same(left, right):
    assert left.keys() == right.keys()
    for name in left:
        assert left[name][:2] == right[name][:2]
        arrays, others = left[name][2], right[name][2]
        assert arrays.keys() == others.keys()
        for path in arrays:
            assert arrays[path].dtype == others[path].dtype
            assert torch.equal(arrays[path], others[path]), (name, path)


@pytest.mark.parametrize("offload", [False, True])
def test_the_file_is_what_isaac_labs_own_handler_writes(make_env, tmp_path, offload):
    run(make_env, tmp_path / "own", None)
    run(make_env, tmp_path / "ours", AsyncHDF5DatasetFileHandler, offload=offload)
    own, own_about = loaded(tmp_path / "own" / "demos.hdf5")
    ours, about = loaded(tmp_path / "ours" / "demos.hdf5")
    assert len(own) >= NUM_ENVS
    assert_same(ours, own)
    assert about == own_about
    with Dataset(tmp_path / "ours" / "demos.hdf5") as dataset:
        assert dataset.env_args["sim_args"]["num_envs"] == NUM_ENVS
        # Isaac Lab also exports what a second reset cuts off before its first step.
        assert sum(entry.num_steps > 0 for entry in dataset.entries()) >= NUM_ENVS


def test_a_second_run_adds_where_isaac_lab_would_start_over(make_env, tmp_path):
    for _ in range(2):
        run(make_env, tmp_path, AsyncHDF5DatasetFileHandler, num_steps=15)
    content, about = loaded(tmp_path / "demos.hdf5")
    assert set(content) == {f"demo_{number}" for number in range(about[2])}
    half = about[2] // 2
    assert half >= 1
    first = {name: content[name] for name in list(content) if int(name[5:]) < half}
    again = {f"demo_{int(n[5:]) - half}": v for n, v in content.items() if int(n[5:]) >= half}
    assert_same(first, again)  # the same seed gave the same episodes


def test_episodes_are_on_disk_before_the_run_ends(make_env, tmp_path):
    """As after a kill: the file is made of the journal alone."""
    env = make_env(
        CARTPOLE,
        num_envs=NUM_ENVS,
        cfg=recording_cfg(tmp_path, AsyncHDF5DatasetFileHandler),
    )
    with silenced():
        env.reset(seed=1)
    env.episode_length_buf = env.max_episode_length - 9 - 4 * torch.arange(NUM_ENVS)
    for actions in actions_for(env, 22):
        env.step(actions)
    handler = env.backend_env.recorder_manager._dataset_file_handler
    handler.wait()
    count = handler.num_acknowledged
    assert count == handler.get_num_episodes() >= 3
    with pytest.raises(RecordingError, match="being written by this very process"):
        finish_file(str(tmp_path / "demos.hdf5"))
    copied = tmp_path / "copy"
    copied.mkdir()
    journal = tmp_path / "demos.hdf5.journal"
    (copied / journal.name).mkdir()
    for segment in journal.iterdir():
        (copied / journal.name / segment.name).write_bytes(segment.read_bytes())
    assert finish_file(str(copied / "demos.hdf5")) == count
    content, _ = loaded(copied / "demos.hdf5")
    assert len(content) == count


def test_succeeded_and_failed_episodes_go_into_separate_files(make_env, tmp_path):
    from isaaclab.managers.recorder_manager import DatasetExportMode

    mode = DatasetExportMode.EXPORT_SUCCEEDED_FAILED_IN_SEPARATE_FILES
    run(make_env, tmp_path, AsyncHDF5DatasetFileHandler, dataset_export_mode=mode, num_steps=15)
    succeeded, _ = loaded(tmp_path / "demos.hdf5")
    failed, _ = loaded(tmp_path / "demos_failed.hdf5")
    assert not succeeded
    assert failed


def test_running_episodes_are_the_same_with_and_without_offloading(make_env, tmp_path):
    """Also while they are looked at in the middle of a run, and with rows held."""
    snapshots = []
    for offload in (False, True):
        folder = tmp_path / str(offload)
        env = make_env(CARTPOLE, num_envs=NUM_ENVS, cfg=recording_cfg(folder, None))
        manager = env.backend_env.recorder_manager
        own_methods = dict(vars(manager))
        holding = SuspendOnWait(env, level="exact")
        offloaded = EpisodeOffload(env) if offload else None
        with silenced():
            holding.reset(seed=1)
        seen = []
        for step, actions in enumerate(actions_for(env, 12)):
            if step == 4:
                holding.suspend([2])
            if step == 8:
                holding.resume([2])
            holding.step(actions)
            if step in (3, 11):
                for env_id in range(NUM_ENVS):
                    data = manager.get_episode(env_id).data
                    seen.append({path: torch.stack(values) for path, values in flat(data)})
        snapshots.append(seen)
        if offloaded is not None:
            offloaded.remove()
        holding.close_extras()
        assert vars(manager).keys() == own_methods.keys()
        env.close()
    for own, ours in zip(*snapshots, strict=True):
        assert own.keys() == ours.keys()
        for path in own:
            assert torch.equal(own[path], ours[path]), path
    lengths = [len(episode["actions"]) for episode in snapshots[1][NUM_ENVS:]]
    assert lengths == [12, 12, 8, 12]


def test_a_long_episode_does_not_hold_the_memory_of_the_others(make_env, tmp_path):
    """Isaac Lab's rows are views of the batch's tensor; here each row owns its bytes."""
    env = make_env(CARTPOLE, num_envs=NUM_ENVS, cfg=recording_cfg(tmp_path, None))
    with EpisodeOffload(env):
        with silenced():
            env.reset(seed=1)
        for actions in actions_for(env, 5):
            env.step(actions)
        gc.collect()
        storages = [
            {
                value.untyped_storage().data_ptr()
                for _, values in flat(env.backend_env.recorder_manager.get_episode(env_id).data)
                for value in values
            }
            for env_id in range(NUM_ENVS)
        ]
    for index, storage in enumerate(storages):
        others = set().union(*storages[:index], *storages[index + 1 :])
        assert storage
        assert storage.isdisjoint(others)


def test_recorders_that_return_live_buffers_are_copied_at_once(make_env, tmp_path):
    env = make_env(CARTPOLE, num_envs=NUM_ENVS, cfg=recording_cfg(tmp_path, None))
    manager = env.backend_env.recorder_manager
    with silenced():
        env.reset(seed=1)
    with EpisodeOffload(env):
        live = torch.zeros(NUM_ENVS, 3)
        manager.add_to_episodes("live", live)
        live.fill_(7.0)
        assert all(not manager.get_episode(row).data["live"][0].any() for row in range(NUM_ENVS))
        mixed = {
            "flag": torch.tensor([True, False, True, False]),
            "number": torch.arange(4),
            "half": torch.ones(4, 3, dtype=torch.float16),
            "byte": torch.full((4, 5), 200, dtype=torch.uint8),
            "double": torch.full((4, 2, 2), 0.1, dtype=torch.float64),
            "nothing": torch.zeros(4, 0),
        }
        manager.add_to_episodes("mixed", mixed, [2, 0, 3, 1])
        for index, row in enumerate([2, 0, 3, 1]):
            data = manager.get_episode(row).data["mixed"]
            for name, values in mixed.items():
                assert data[name][0].dtype == values.dtype
                assert torch.equal(data[name][0], values[index])


def test_an_env_that_records_nothing_is_refused(make_env):
    env = make_env(CARTPOLE, num_envs=NUM_ENVS)
    with pytest.raises(ConfigError, match="records nothing"):
        EpisodeOffload(env)


def test_custom_ids_that_are_taken_are_refused_before_anything_is_written(tmp_path):
    from isaaclab.utils.datasets import EpisodeData

    handler = AsyncHDF5DatasetFileHandler()
    handler.create(str(tmp_path / "demos"))
    episode = EpisodeData()
    episode.add("actions", torch.ones(3))
    episode.pre_export()
    handler.write_episode(episode, 1)
    with pytest.raises(DatasetError, match="'demo_1' already"):
        handler.write_episode(episode, 1)
    handler.write_episode(episode)  # would be demo_1 by counting alone
    episode.data["actions"].fill_(5.0)  # the handler has a copy
    handler.write_episode(EpisodeData())  # empty: nothing
    handler.close()
    handler.close()
    content, _ = loaded(tmp_path / "demos.hdf5")
    assert set(content) == {"demo_1", "demo_2"}
    assert all(arrays["actions"].eq(1).all() for _, _, arrays in content.values())


def test_files_of_the_other_quaternion_order_are_refused(make_env, tmp_path, monkeypatch):
    from holdstep.wrappers.record import isaaclab_handler

    run(make_env, tmp_path, AsyncHDF5DatasetFileHandler, num_steps=15)
    monkeypatch.setattr(isaaclab_handler, "_quaternion", lambda: "wxyz")
    handler = AsyncHDF5DatasetFileHandler()
    with pytest.raises(DatasetError, match="order xyzw"):
        handler.create(str(tmp_path / "demos"))
    monkeypatch.undo()
    handler.create(str(tmp_path / "demos"))  # the lock was given back
    handler.close()
