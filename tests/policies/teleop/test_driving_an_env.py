"""Sources of people's actions in a stack: beside the env, in step with it, and as a policy."""

import threading
import time

import numpy as np
import pytest
import torch

pytest.importorskip("isaacteleop", reason="the extra 'teleop' is not installed")
pytest.importorskip("flatbuffers", reason="recordings are made with flatbuffers")

from holdstep.envs import make
from holdstep.errors import ConfigError, HoldstepError, SourceError
from holdstep.policies.teleop import IsaacTeleopSource, session_config
from holdstep.wrappers import PipelinedActions, SuspendOnWait
from tests.policies.teleop.graphs import external_pipeline, pedals_pipeline, pedals_with_control
from tests.policies.teleop.pedal_recordings import write_pedals
from tests.policies.teleop.requests import request

NUM_FRAMES = 12


def point_mass(num_envs, *, suspends=False):
    env = make("holdstep:PointMass", num_envs=num_envs, device="cpu", seed=0)
    return SuspendOnWait(env) if suspends else env


def pushes(seed=0, num_frames=NUM_FRAMES):
    """Pedals that push a point mass by up to 1 in each direction, a total for the first axis."""
    rows = np.random.default_rng(seed).uniform(-0.1, 0.1, (num_frames, 3))
    return [tuple(row) for row in rows.astype(np.float32).tolist()]


def replayed(path, pipeline=pedals_pipeline, **options):
    return IsaacTeleopSource(lambda: session_config(pipeline, mode="replay", mcap=path), **options)


def step_until_it_raises(env, num_steps=2000):
    for _ in range(num_steps):
        env.step()
        time.sleep(0.002)


def expected_actions(rows):
    rows = np.array(rows)
    return torch.tensor(np.stack([rows[:, 0].cumsum(), rows[:, 1]], axis=1), dtype=torch.float32)


@pytest.fixture(autouse=True)
def _nothing_is_left_running():
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


@pytest.mark.parametrize("mode", ["sync", "pipelined"])
def test_a_replay_applies_the_same_frames_whatever_the_timing(tmp_path, mode):
    path = write_pedals(tmp_path / "session.mcap", pushes())
    runs = []
    for pauses in ([0.0] * NUM_FRAMES, [0.004, 0.0, 0.011] * 4):
        env = PipelinedActions(point_mass(1), replayed(path, action_dim=2), mode=mode)
        env.reset(seed=1)
        seen = []
        for pause in pauses:
            obs, *_, info = env.step()
            seen.append((int(info["pipeline"]["returned_frame_id"]), obs["policy"].clone()))
            time.sleep(pause)
        assert info["pipeline"]["end_of_replay"].all()
        env.close()
        runs.append(seen)
    assert [frame for frame, _ in runs[0]] == list(range(NUM_FRAMES))
    assert [frame for frame, _ in runs[1]] == list(range(NUM_FRAMES))
    for (_, first), (_, second) in zip(*runs, strict=True):
        assert torch.equal(first, second)
    plain = point_mass(1)
    plain.reset(seed=1)
    for action in expected_actions(pushes()):
        obs, *_ = plain.step(action[None])
    assert torch.allclose(obs["policy"], runs[0][-1][1], atol=1e-5)


def test_eight_sessions_drive_eight_envs_to_their_ends(tmp_path):
    lengths = [4 + row for row in range(8)]
    paths = [
        write_pedals(tmp_path / f"{row}.mcap", pushes(row, length))
        for row, length in enumerate(lengths)
    ]
    env = PipelinedActions(point_mass(8, suspends=True), [replayed(path) for path in paths])
    env.reset(seed=0)
    steps = np.zeros(8, dtype=int)
    for _ in range(max(lengths) + 3):
        *_, info = env.step()
        steps += info["active"].numpy()
    assert steps.tolist() == lengths  # each stood still from its end on
    assert info["pipeline"]["end_of_replay"].all()
    env.close()


def test_an_operator_resets_and_pauses_only_their_own_row(tmp_path):
    frames = [(0, 0, 0)] * 10
    frames[1] = frames[3] = (1, 0, 0)  # the left pedal: paused, running
    frames[5] = (0, 1, 0)  # the right one: reset
    frames[7] = (1, 0, 0)  # paused again
    operated = write_pedals(tmp_path / "operated.mcap", frames)
    plain = write_pedals(tmp_path / "plain.mcap", pushes(num_frames=10))
    sources = [
        IsaacTeleopSource(session_config(pedals_with_control, mode="replay", mcap=operated)),
        replayed(plain),
    ]
    env = PipelinedActions(point_mass(2, suspends=True), sources, mode="sync")
    env.reset(seed=0)
    active, resets, host_resets, states, lengths = [], [], [], [], []
    for _ in range(10):
        *_, info = env.step()
        active.append(info["active"].tolist())
        resets.append(info["pipeline"]["operator_reset"].tolist())
        host_resets.append(info["pipeline"]["host_reset"].tolist())
        states.append(info["pipeline"]["execution_state"].tolist())
        lengths.append(env.episode_length_buf.tolist())
    running = [0, 0, 0, 1, 1, 1, 1, 0, 0, 0]
    assert [row for row, _ in active] == [bool(state) for state in running]
    assert all(row for _, row in active)
    assert resets == [[number == 5, False] for number in range(10)]
    assert [row for row, _ in host_resets[1:]] == [False] * 9  # none comes back as an echo
    assert [state for state, _ in states] == [0, 1, 1, 2, 2, 2, 2, 1, 1, 1]
    assert [row for _, row in lengths] == list(range(1, 11))
    assert lengths[4][0] == 2
    assert lengths[6][0] <= 2  # it began anew
    env.close()


def test_external_inputs_come_from_the_env(tmp_path):
    path = write_pedals(tmp_path / "empty.mcap", [])
    goals = {0: np.array([0.5, 0.0], np.float32), 1: np.array([0.0, -0.5], np.float32)}
    sources = [replayed(path, external_pipeline) for _ in range(2)]
    env = PipelinedActions(
        point_mass(2), sources, external_inputs=lambda env_ids: {"robot": goals[env_ids[0]]}
    )
    obs, _ = env.reset(seed=0)
    for _ in range(5):
        new_obs, *_ = env.step()
    moved = new_obs["policy"][:, :2] - obs["policy"][:, :2]
    assert moved[0, 0] > 0.0 > moved[1, 1]
    assert moved[0, 1] == moved[1, 0] == 0.0
    env.close()


def test_missing_external_inputs_stop_the_step_and_nothing_stays(tmp_path):
    path = write_pedals(tmp_path / "empty.mcap", [])
    env = PipelinedActions(point_mass(1), replayed(path, external_pipeline))
    env.reset(seed=0)
    with pytest.raises(HoldstepError, match="external input 'robot' is missing") as caught:
        env.step()
    assert isinstance(caught.value, ConfigError) or isinstance(caught.value.__cause__, ConfigError)
    env.close()


def test_a_worker_that_failed_begins_anew(tmp_path):
    path = write_pedals(tmp_path / "empty.mcap", [])
    built = []

    def pipeline():
        built.append(external_pipeline(fail_at=4 if not built else None))
        return built[-1]

    source = replayed(path, pipeline)
    given = {"robot": np.array([0.1, 0.1], np.float32)}
    env = PipelinedActions(
        point_mass(1), source, external_inputs=given, on_error="restart", mode="sync"
    )
    env.reset(seed=0)
    for _ in range(8):
        env.step()
    assert len(built) == 2
    env.close()


def test_a_failure_names_the_source_and_its_cause(tmp_path):
    path = write_pedals(tmp_path / "empty.mcap", [])
    source = replayed(path, lambda: external_pipeline(fail_at=2))
    given = {"robot": np.array([0.1, 0.1], np.float32)}
    env = PipelinedActions(point_mass(1), source, external_inputs=given)
    env.reset(seed=0)
    env.step()
    with pytest.raises(SourceError, match="IsaacTeleopSource") as caught:
        step_until_it_raises(env)
    assert "did not converge" in str(caught.value.__cause__)
    env.close()


def test_closing_does_not_wait_for_a_session_that_hangs(tmp_path):
    path = write_pedals(tmp_path / "empty.mcap", [])
    graph = external_pipeline()
    source = IsaacTeleopSource(session_config(graph, mode="replay", mcap=path))
    source.lossless = False  # as a live session is
    given = {"robot": np.array([0.1, 0.1], np.float32)}
    env = PipelinedActions(
        point_mass(1), source, external_inputs=given, stop_timeout_s=0.2, on_stale="repeat"
    )
    env.reset(seed=0)
    env.step()
    graph.retargeter.hang.set()
    env.step()
    assert graph.retargeter.entered.wait(20.0)
    begin = time.monotonic()
    with pytest.warns(match="IsaacTeleopSource"):
        env.close()
    assert time.monotonic() - begin < 5.0  # 0.2 s on a machine that is idle
    graph.retargeter.release.set()
    deadline = time.monotonic() + 20.0
    while any("holdstep" in thread.name for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    with pytest.raises(ConfigError, match="not open"):  # the worker closed it on its way out
        source.compute(request())


def test_an_action_of_another_width_is_refused(tmp_path):
    path = write_pedals(tmp_path / "session.mcap", pushes())
    env = make("holdstep:CartPole", num_envs=1, device="cpu", seed=0)
    with pytest.raises(ConfigError, match=r"have 2 entries .*, the env's have 1"):
        replayed(path, action_dim=env.single_action_space.shape[0])
    with pytest.raises(ConfigError, match=r"have 2 entries.*shape \(1,\)"):
        PipelinedActions(env, replayed(path))
