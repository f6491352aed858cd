"""States of mjlab's scenes, on real physics."""

import pytest
import torch

from holdstep.envs.adapters.mjlab import task_registry
from holdstep.errors import ConfigError
from holdstep.wrappers import SuspendOnWait
from tests.conftest import make_mjlab, silenced
from tests.envs.adapters.mjlab_hard_tasks import make_hard

CARTPOLE = "Mjlab-Cartpole-Balance"
GO1 = "Mjlab-Velocity-Flat-Unitree-Go1"
LIFT = "Mjlab-Lift-Cube-Yam"
NUM_ENVS = 4


def actions_for(env, num_steps, *, seed=0, scale=0.5):
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(env.action_space.shape, generator=generator) * scale for _ in range(num_steps)
    ]


@pytest.fixture(scope="module")
def lift():
    env = make_mjlab(LIFT, num_envs=NUM_ENVS, seed=0)
    yield env
    env.close()


@pytest.fixture(scope="module")
def go1():
    env = make_mjlab(GO1, num_envs=NUM_ENVS, seed=0)
    yield env
    env.close()


def test_paths_and_numbers_are_those_of_the_scene(lift, go1):
    """The lifting arm stands on a fixed base; the dog and the cube are free."""
    for env, paths in (
        (
            lift,
            {
                "articulation/robot/joint_position",
                "articulation/robot/joint_velocity",
                "rigid_object/cube/root_pose",
                "rigid_object/cube/root_velocity",
            },
        ),
        (
            go1,
            {
                f"articulation/robot/{part}"
                for part in ("root_pose", "root_velocity", "joint_position", "joint_velocity")
            },
        ),
    ):
        with silenced():
            env.reset(seed=3)
        for actions in actions_for(env, 6):
            env.step(actions)
        state = env.scene_state()
        # A fixed base that mjlab put on a mocap body has a pose, too.
        assert paths <= set(state) <= paths | {"articulation/robot/root_pose"}
        assert all(values.dtype == torch.float32 for values in state.values())
        backend = env.backend_env
        for name, entity in backend.scene.entities.items():
            prefix = next((p.rsplit("/", 1)[0] for p in state if f"/{name}/" in p), None)
            if prefix is None:
                continue
            # After a step mjlab's own derived quantities are up to date.
            if f"{prefix}/root_pose" in state:
                expected = entity.data.root_link_pose_w.clone()
                expected[:, :3] -= backend.scene.env_origins
                torch.testing.assert_close(
                    state[f"{prefix}/root_pose"], expected, rtol=0, atol=1e-5
                )
            if f"{prefix}/root_velocity" in state:
                torch.testing.assert_close(
                    state[f"{prefix}/root_velocity"],
                    entity.data.root_link_vel_w,
                    rtol=1e-4,
                    atol=1e-4,
                )
            if entity.is_articulated:
                assert torch.equal(state[f"{prefix}/joint_position"], entity.data.joint_pos)
                assert torch.equal(state[f"{prefix}/joint_velocity"], entity.data.joint_vel)
        assert env.scene_state_attributes == {"quaternion": "wxyz"}


def test_a_state_that_was_set_is_told_again(go1, lift):
    for env in (go1, lift):
        with silenced():
            env.reset(seed=1)
        for actions in actions_for(env, 5):
            env.step(actions)
        state = env.scene_state()
        for actions in actions_for(env, 5, seed=1):
            env.step(actions)
        env.set_scene_state(state)
        for path, values in env.scene_state().items():
            # Positions lose what subtracting and adding the origin rounds; velocities are turned.
            exact = "joint" in path
            torch.testing.assert_close(
                values, state[path], rtol=0, atol=0 if exact else 1e-5, msg=path
            )


def test_rows_that_are_not_set_go_on_as_if_nothing_had_happened():
    """Bit for bit, observations, rewards and ends, in a task without noise."""
    runs = []
    for is_set in (False, True):
        quiet = {"observations.actor.enable_corruption": False}
        env = make_mjlab(LIFT, num_envs=NUM_ENVS, seed=0, **quiet)
        with silenced():
            env.reset(seed=2)
        run = []
        for index, actions in enumerate(actions_for(env, 16)):
            if index == 8 and is_set:
                state = {path: values[[0, 2]] for path, values in env.scene_state().items()}
                state["articulation/robot/joint_position"] += 0.05
                last = {name: value.clone() for name, value in run[-1][0].items()}
                obs = env.set_scene_state(state, [0, 2])
                for name, value in obs.items():
                    assert torch.equal(value[[1, 3]], last[name][[1, 3]])
                    assert not torch.equal(value[[0, 2]], last[name][[0, 2]])
            run.append(env.step(actions))
        runs.append(run)
        env.close()
    for step, (left, right) in enumerate(zip(*runs, strict=True)):
        for name in left[0]:
            assert torch.equal(left[0][name][[1, 3]], right[0][name][[1, 3]]), (step, name)
        for one, other in zip(left[1:4], right[1:4], strict=True):
            assert torch.equal(one[[1, 3]], other[[1, 3]])
    assert not torch.equal(runs[0][-1][0]["actor"][0], runs[1][-1][0]["actor"][0])


def test_the_same_actions_from_a_set_state_give_the_same_course(lift):
    """A recording that is played again: reset, set the initial state, and step."""
    with silenced():
        lift.reset(seed=5)
    initial = lift.scene_state()
    plan = actions_for(lift, 20)
    for actions in plan:
        lift.step(actions)
    recorded = lift.scene_state()
    with silenced():
        lift.reset(seed=77)
    lift.set_scene_state(initial)
    for actions in plan:
        lift.step(actions)
    for path, values in lift.scene_state().items():
        torch.testing.assert_close(values, recorded[path], rtol=0, atol=2e-3, msg=path)


def test_first_observations_after_setting_are_of_the_new_state():
    """Histories and delays begin anew, as after a reset."""
    env = make_hard(CARTPOLE, num_envs=NUM_ENVS, episode_steps=1000)
    for group in env.backend_env.observation_manager.cfg.values():
        for term in group.terms.values():
            term.noise = None
    with silenced():
        env.reset(seed=0)
    for actions in actions_for(env, 6):
        env.step(actions)
    state = {path: values[:1].clone() for path, values in env.scene_state().items()}
    state["articulation/cartpole/joint_position"][:] = 0.123
    state["articulation/cartpole/joint_velocity"][:] = -0.4
    env.set_scene_state(state, [0])
    buffers = env.backend_env.observation_manager._group_obs_term_history_buffer
    histories = [buffer for group in buffers.values() for buffer in group.values()]
    assert histories
    for buffer in histories:
        row = buffer.buffer[0]
        assert torch.equal(row, row[:1].expand_as(row)), "one frame fills a history that begins"
        others = buffer.buffer[1:]
        assert not torch.equal(others, others[:, :1].expand_as(others))
    env.close()


@pytest.mark.parametrize("task", [GO1, LIFT])
def test_final_states_leave_no_trace_and_are_those_of_an_episode_that_goes_on(task):
    runs, finals, going_on = [], [], []
    for enabled, episode_steps in ((False, 6), (True, 6), (True, 1000)):
        env = make_hard(task, num_envs=NUM_ENVS, episode_steps=episode_steps)
        env.final_state_enabled = enabled
        with silenced():
            env.reset(seed=4)
        run = []
        for actions in actions_for(env, 8, scale=0.2):
            obs, *vectors, info = env.step(actions)
            ended = vectors[1] | vectors[2]
            assert ("final_state" in info) == (enabled and bool(ended.any()))
            if "final_state" in info and episode_steps == 6:
                assert torch.equal(info["_final_state"], ended)
                finals.append((len(run), ended, info["final_state"]))
            if episode_steps == 1000:
                going_on.append(env.scene_state())
            run.append((*obs.values(), *vectors))
        if episode_steps == 6:
            runs.append(run)
        env.close()
    for off, on in zip(*runs, strict=True):
        for one, other in zip(off, on, strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)
    step, ended, final = finals[0]
    assert ended.any()
    # Until the first reset, an env with a later time limit takes the same course. A command that
    # expires in that very step may move things after the time of the final state.
    for path in final:
        if "cube" not in path:
            torch.testing.assert_close(
                final[path][ended], going_on[step][path][ended], rtol=0, atol=0, msg=path
            )


def test_processed_actions_are_those_of_the_step_also_of_rows_that_were_reset(lift):
    with silenced():
        lift.reset(seed=0)
    lift.episode_length_buf = torch.tensor([0, lift.max_episode_length - 1, 0, 0])
    actions = actions_for(lift, 1)[0]
    _, _, _, truncated, _ = lift.step(actions)
    assert truncated.tolist() == [False, True, False, False]
    term = lift.backend_env.action_manager.get_term("joint_pos")
    processed = lift.processed_actions()
    torch.testing.assert_close(processed, actions * term._scale + term._offset)
    processed.zero_()
    assert lift.processed_actions().any(), "it is the caller's"


def test_suspended_rows_keep_a_state_that_was_set(lift):
    env = SuspendOnWait(lift, level="exact")
    try:
        with silenced():
            env.reset(seed=0)
        env.suspend([1])
        state = {path: values[[1, 2]] for path, values in env.scene_state().items()}
        state["articulation/robot/joint_position"] += 0.02
        env.set_scene_state(state, [1, 2])
        env.step(actions_for(env, 1)[0])
        now = env.scene_state()["articulation/robot/joint_position"]
        wanted = state["articulation/robot/joint_position"]
        assert torch.equal(now[1], wanted[0])
        assert not torch.equal(now[2], wanted[1])
    finally:
        env.close_extras()


def test_mocap_bodies_are_read_and_set():
    """The fixed base of an arm in a scene of several envs stands on a mocap body."""
    cfg = task_registry().load_env_cfg(LIFT)
    env = make_mjlab(LIFT, num_envs=2, seed=0, cfg=cfg)
    with silenced():
        env.reset(seed=0)
    path = "articulation/robot/root_pose"
    if path not in env.scene_state():
        pytest.fail("the arm's base should be a mocap body")
    pose = env.scene_state()[path]
    torch.testing.assert_close(pose[0], pose[1], rtol=0, atol=1e-6)
    moved = pose.clone()
    moved[1, 2] += 0.5
    env.set_scene_state({path: moved[1:]}, [1])
    torch.testing.assert_close(env.scene_state()[path], moved, rtol=0, atol=1e-6)
    height = env.backend_env.scene["robot"].data.root_link_pose_w[:, 2]
    assert float(height[1] - height[0]) == pytest.approx(0.5, abs=1e-5)
    with pytest.raises(ConfigError, match="no 'articulation/robot/root_velocity'"):
        env.set_scene_state({"articulation/robot/root_velocity": torch.zeros(2, 6)})
    env.close()
