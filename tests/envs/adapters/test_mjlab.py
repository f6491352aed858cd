"""The mjlab adapter on real MuJoCo-Warp physics."""

import pytest
import torch

from holdstep.envs import adapt, check_vector_env, make
from holdstep.envs.overrides import apply_overrides
from holdstep.errors import (
    CapabilityError,
    ClosedEnvError,
    ConfigError,
    InvalidActionError,
    ResetNeededError,
    UnknownEnvError,
)
from tests.conftest import make_mjlab, silenced

CARTPOLE = "Mjlab-Cartpole-Balance"
GO1 = "Mjlab-Velocity-Flat-Unitree-Go1"
LIFT = "Mjlab-Lift-Cube-Yam"
NUM_ENVS = 4
# Commands that change every few steps: what they draw must not depend on final observations.
BUSY_COMMANDS = {GO1: {"commands.twist.resampling_time_range": (0.04, 0.1)}}
# Commands that steer by the robot's heading, so that they must advance before they are observed.
HEADING_COMMANDS = {
    GO1: {
        "commands.twist.rel_heading_envs": 1.0,
        "commands.twist.rel_forward_envs": 0.0,
        "commands.twist.rel_standing_envs": 0.0,
        "commands.twist.heading_control_stiffness": 0.1,  # too little to reach the clip
    }
}


def stepped(env, num_steps, *, seed=0, scale=1.0):
    """Reset, stagger the rows' clocks, and yield every step's result."""
    with silenced():
        env.reset(seed=seed)
    lengths = torch.arange(env.num_envs) * 3
    env.episode_length_buf = torch.clamp(env.max_episode_length - 5 - lengths, min=0)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(num_steps):
        actions = torch.randn(env.action_space.shape, generator=generator) * scale
        yield actions, env.step(actions)


@pytest.fixture(scope="module")
def cartpole():
    env = make_mjlab(CARTPOLE, num_envs=NUM_ENVS, seed=0, episode_length_s=1.0)
    yield env
    env.close()


@pytest.mark.parametrize("task", [CARTPOLE, GO1, LIFT])
def test_it_keeps_the_contract(task):
    env = make_mjlab(task, num_envs=NUM_ENVS, seed=0)
    with silenced():
        report = check_vector_env(env, num_steps=40, close=True)
    assert report.num_ended >= NUM_ENVS


@pytest.mark.parametrize("task", [CARTPOLE, GO1, LIFT])
def test_final_observations_leave_no_trace_on_the_trajectory(task):
    """Noise, pushes, commands and resets draw the same numbers whether final_obs is on or off."""
    trajectories = []
    for enabled in (True, False):
        env = make_mjlab(task, num_envs=NUM_ENVS, seed=0, **BUSY_COMMANDS.get(task, {}))
        env.final_obs_enabled = enabled
        trajectory, num_ended = [], 0
        for _, (obs, reward, terminated, truncated, info) in stepped(env, 30):
            num_ended += int((terminated | truncated).sum())
            assert ("final_obs" in info) == (enabled and bool((terminated | truncated).any()))
            trajectory += [*obs.values(), reward, terminated, truncated]
            log = info.get("log", {})
            trajectory += [torch.as_tensor(log[key]) for key in sorted(log)]
        assert num_ended >= NUM_ENVS
        trajectories.append(trajectory)
        env.close()
    for on, off in zip(*trajectories, strict=True):
        torch.testing.assert_close(on, off, rtol=0, atol=0, equal_nan=True)


class Smoothed:
    """State of an observation term that an object of its own keeps, as users write them."""

    def __init__(self, num_envs):
        self.value = torch.zeros(num_envs, 1)

    def push(self, values):
        self.value = 0.9 * self.value + values[:, :1]
        return self.value


class SmoothedTime:
    """An observation term that advances whenever it is computed."""

    def __init__(self, cfg, env):
        self.smoothed = Smoothed(env.num_envs)

    def __call__(self, env):
        return self.smoothed.push(env.episode_length_buf.float()[:, None])

    def reset(self, env_ids=None):
        self.smoothed.value[env_ids] = 0.0


def test_objects_inside_users_terms_do_not_notice_final_observations():
    from mjlab.managers import ObservationTermCfg
    from mjlab.tasks.registry import load_env_cfg

    trajectories = []
    for enabled in (True, False):
        cfg = load_env_cfg(CARTPOLE)
        cfg.observations["actor"].terms["smoothed"] = ObservationTermCfg(func=SmoothedTime)
        env = make_mjlab(CARTPOLE, num_envs=NUM_ENVS, seed=0, cfg=cfg)
        env.final_obs_enabled = enabled
        steps = [(obs["actor"], done) for _, (obs, _, _, done, _) in stepped(env, 30)]
        trajectories.append([value for step in steps for value in step])
        env.close()
    assert sum(int(done.sum()) for done in trajectories[0][1::2]) >= NUM_ENVS
    assert len(trajectories[0][-2][:, -1].unique()) > 1
    for on, off in zip(*trajectories, strict=True):
        assert torch.equal(on, off)


@pytest.mark.parametrize("task", [CARTPOLE, GO1, LIFT])
def test_final_observation_is_the_one_that_mjlab_gives_without_autoreset(task):
    """mjlab's own auto_reset=False returns the terminal observation: the reference."""
    pytest.importorskip("mjlab", reason="the extra 'mjlab' is not installed")
    from mjlab.envs import ManagerBasedRlEnv
    from mjlab.tasks.registry import load_env_cfg

    env = make_mjlab(task, num_envs=NUM_ENVS, seed=0, **HEADING_COMMANDS.get(task, {}))
    actions_taken = []
    for actions, (_, _, terminated, truncated, info) in stepped(env, 12):
        actions_taken.append(actions)
        ended = terminated | truncated
        final_obs = info.get("final_obs")
        if ended.any():
            break  # from the first reset on, the reference draws its noise in another order
    assert ended.any()
    env.close()

    # One after the other: both draw from torch's one global generator.
    cfg = load_env_cfg(task)
    cfg.scene.num_envs, cfg.seed, cfg.auto_reset = NUM_ENVS, 0, False
    apply_overrides(cfg, HEADING_COMMANDS.get(task, {}))
    with silenced():
        reference = ManagerBasedRlEnv(cfg=cfg, device="cpu")
        reference.reset(seed=0)
    clock = reference.max_episode_length - 5 - torch.arange(NUM_ENVS) * 3
    reference.episode_length_buf = clock.clamp(min=0)
    for actions in actions_taken:
        terminal_obs = reference.step(actions)[0]
    for group, expected in terminal_obs.items():
        assert torch.equal(final_obs[group][ended], expected[ended])
    reference.close()


def test_training_in_inference_mode_and_then_stepping_outside_it():
    """rsl_rl steps under inference mode, and what mjlab makes there can't be edited outside it."""
    env = make_mjlab(GO1, num_envs=2, seed=0)
    env.reset()
    with torch.inference_mode():
        for _ in range(3):
            env.step(torch.zeros(2, 12))
    env.episode_length_buf = torch.full((2,), env.max_episode_length)
    info = env.step(torch.zeros(2, 12))[4]
    assert info["_final_obs"].all()
    env.reset(options={"env_ids": [0]})
    env.close()


@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_the_simulator_records_no_graph_and_leaves_the_callers_mode(cartpole, monkeypatch, mode):
    def grad_and_inference():
        return torch.is_grad_enabled(), torch.is_inference_mode_enabled()

    inside = []
    simulator = cartpole.backend_env
    step = simulator.step

    def watched(actions):
        inside.append(grad_and_inference())
        if len(inside) == 2:
            raise RuntimeError("broken")
        return step(actions)

    cartpole.reset()
    monkeypatch.setattr(simulator, "step", watched)
    with mode():
        outside = grad_and_inference()
        cartpole.step(torch.zeros(4, 1))
        assert grad_and_inference() == outside
        with pytest.raises(RuntimeError, match="broken"):
            cartpole.step(torch.zeros(4, 1))
        assert grad_and_inference() == outside
    assert inside == [(False, False)] * 2


def test_nothing_is_left_on_the_simulator_after_close():
    env = make_mjlab(CARTPOLE, num_envs=2, seed=0)
    simulator = env.backend_env
    assert "_reset_idx" in vars(simulator)
    env.close()
    env.close()
    assert "_reset_idx" not in vars(simulator)
    with pytest.raises(ClosedEnvError):
        env.reset()
    with pytest.raises(ClosedEnvError):
        env.step(torch.zeros(2, 1))


def test_partial_reset_leaves_other_rows_alone(cartpole):
    for _, (obs, *_rest) in stepped(cartpole, 3):
        before = {name: tensor.clone() for name, tensor in obs.items()}
    clock = cartpole.episode_length_buf.clone()
    obs, _ = cartpole.reset(options={"env_ids": torch.tensor([2], dtype=torch.int32)})
    for name, tensor in obs.items():
        assert torch.equal(tensor[[0, 1, 3]], before[name][[0, 1, 3]])
        assert not torch.equal(tensor[2], before[name][2])
    assert cartpole.episode_length_buf.tolist()[2] == 0
    assert torch.equal(cartpole.episode_length_buf[[0, 1, 3]], clock[[0, 1, 3]])


def test_step_before_reset_is_refused():
    env = make_mjlab(CARTPOLE, num_envs=2, seed=0)
    with pytest.raises(ResetNeededError, match="reset"):
        env.step(torch.zeros(2, 1))
    with pytest.raises(ResetNeededError, match="all rows"):
        env.reset(options={"env_ids": [0]})
    env.close()


def test_nan_actions_are_refused(cartpole):
    with silenced():
        cartpole.reset()
    with pytest.raises(InvalidActionError, match=r"rows \[1\]"):
        cartpole.step(torch.tensor([[0.0], [torch.nan], [0.0], [0.0]]))


def test_adapt_takes_an_env_that_the_user_built(monkeypatch):
    pytest.importorskip("mjlab", reason="the extra 'mjlab' is not installed")
    from mjlab.envs import ManagerBasedRlEnv
    from mjlab.tasks.registry import load_env_cfg

    cfg = load_env_cfg(CARTPOLE)
    cfg.scene.num_envs = 2
    with silenced():
        simulator = ManagerBasedRlEnv(cfg=cfg, device="cpu")
    env = adapt(simulator)
    assert env.backend_env is simulator
    assert adapt(env) is env
    with monkeypatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: True)
        patch.setattr(torch.cuda, "device_count", lambda: 1)
        with pytest.raises(ConfigError, match="runs on cpu"):
            adapt(simulator, device="cuda:0")
    env.close()
    cfg.auto_reset = False
    with silenced():
        simulator = ManagerBasedRlEnv(cfg=cfg, device="cpu")
    with pytest.raises(ConfigError, match="auto_reset"):
        adapt(simulator)
    simulator.close()


def test_a_simulator_that_is_adapted_twice_serves_both():
    """A notebook's cell that is run again."""
    first = make_mjlab(CARTPOLE, num_envs=2, seed=0)
    simulator = first.backend_env
    second = adapt(simulator)
    for env in (second, first):
        env.reset()
        env.episode_length_buf = torch.full((2,), env.max_episode_length)
        assert "final_obs" in env.step(torch.zeros(2, 1))[4]
    first.final_obs_enabled = False
    first.reset()
    first.episode_length_buf = torch.full((2,), first.max_episode_length)
    assert "final_obs" not in first.step(torch.zeros(2, 1))[4]
    second.reset()
    second.episode_length_buf = torch.full((2,), second.max_episode_length)
    assert "final_obs" in second.step(torch.zeros(2, 1))[4]
    second.close()


def test_views_and_numpy_wrappers_are_not_adapted():
    import gymnasium

    from holdstep.envs import RslRlVecEnv

    env = make_mjlab(CARTPOLE, num_envs=2, seed=0)
    with silenced():
        view = RslRlVecEnv(env)
    with pytest.raises(ConfigError, match="RL library's view"):
        adapt(view)
    with pytest.raises(ConfigError, match="around a holdstep env already"):
        adapt(gymnasium.vector.VectorWrapper(env))
    env.close()


def test_bad_arguments_say_what_to_do():
    pytest.importorskip("mjlab", reason="the extra 'mjlab' is not installed")
    with pytest.raises(UnknownEnvError, match="Did you mean: Mjlab-Cartpole-Balance"):
        make("mjlab:Mjlab-Cartpole-Balanc", device="cpu")
    with pytest.raises(ConfigError, match="Did you mean: episode_length_s"):
        make(f"mjlab:{CARTPOLE}", device="cpu", episode_length=1.0)
    with pytest.raises(ConfigError, match="rgb_array"):
        make(f"mjlab:{CARTPOLE}", device="cpu", render_mode="human")


def test_rendering_must_be_asked_for(cartpole):
    assert not cartpole.capabilities.render
    with pytest.raises(CapabilityError, match="render_mode"):
        cartpole.render()


def test_a_configuration_of_the_users_own_is_used_and_not_changed():
    pytest.importorskip("mjlab", reason="the extra 'mjlab' is not installed")
    from mjlab.tasks.registry import load_env_cfg

    cfg = load_env_cfg(CARTPOLE)
    cfg.episode_length_s = 2.0
    num_envs_before = cfg.scene.num_envs
    env = make_mjlab(CARTPOLE, num_envs=3, cfg=cfg, decimation=2)
    assert env.cfg.episode_length_s == 2.0
    assert env.cfg.decimation == 2
    assert (env.num_envs, cfg.scene.num_envs) == (3, num_envs_before)
    env.close()
