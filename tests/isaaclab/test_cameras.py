"""Images drawn on request equal those drawn at each tick: Newton's renderer, real tasks."""

from __future__ import annotations

import pytest
import torch

from holdstep.envs.lazy_obs import LazyObs
from holdstep.errors import CapabilityError, StaleImageError
from holdstep.wrappers import SuspendOnWait
from tests.envs.adapters.looking import Player, first_difference, images_seen
from tests.isaaclab.conftest import silenced

TASK = "Isaac-Cartpole-RGB-v0"
IMAGES = {"policy", "views/near", "views/far"}


def camera_cfg(*, episode_steps=9, edit=None):
    """The task seen by its own camera and by one on the pole, with state terms beside images."""
    from isaaclab.envs import mdp
    from isaaclab.managers import ObservationGroupCfg, ObservationTermCfg, SceneEntityCfg
    from isaaclab.utils.noise import UniformNoiseCfg
    from isaaclab_newton.renderers import NewtonWarpRendererCfg

    from holdstep.envs.adapters.isaaclab import tasks

    cfg = tasks.with_presets(tasks.load_env_cfg(TASK), None)
    cfg.episode_length_s = episode_steps * cfg.sim.dt * cfg.decimation
    camera = cfg.scene.tiled_camera
    camera.renderer_cfg = NewtonWarpRendererCfg()
    camera.width = camera.height = 12
    on_pole = camera.copy()
    on_pole.prim_path = "{ENV_REGEX_NS}/Robot/pole/Camera"
    on_pole.offset.pos, on_pole.update_latest_camera_pose = (-2.0, 0.0, 0.5), True
    on_pole.data_types = ["depth"]
    cfg.scene.pole_camera = on_pole
    depth = {"sensor_cfg": SceneEntityCfg("pole_camera"), "data_type": "depth"}
    views = ObservationGroupCfg()
    views.concatenate_terms = False
    views.enable_corruption = True
    # The first writes into the camera's memory, which the last one sees.
    views.near = ObservationTermCfg(func=nothing_is_near, params={"camera": "pole_camera"})
    views.joints = ObservationTermCfg(
        func=mdp.joint_pos_rel, noise=UniformNoiseCfg(n_min=-0.1, n_max=0.1), history_length=2
    )
    views.poses = ObservationTermCfg(func=body_poses)
    views.far = ObservationTermCfg(func=mdp.image, params={**depth, "normalize": False})
    cfg.observations.views = views
    if edit is not None:
        edit(cfg)
    return cfg


def nothing_is_near(env, camera):
    depth = env.scene[camera].data.output["depth"]
    depth = getattr(depth, "torch", depth)
    depth[depth < 0.5] = 7.0
    return depth


def body_poses(env):
    """Kinematics, which Isaac Lab brings up to date when a camera is read."""
    poses = env.scene["robot"].data.body_link_pos_w
    return getattr(poses, "torch", poses).flatten(1) - env.scene.env_origins.repeat(1, 3)


@pytest.fixture
def make_lazy(make_env):
    def make_one(*, lazy=True, edit=None, episode_steps=9):
        cfg = camera_cfg(edit=edit, episode_steps=episode_steps)
        return make_env(TASK, cfg=cfg, lazy_rendering=lazy)

    return make_one


def played(env, *, seed, look, num_steps=25, final_obs=True, **wrapped):
    env.final_obs_enabled = final_obs
    if wrapped:
        env = SuspendOnWait(env, **wrapped)
    player = Player(env, seed=seed, look=look)
    records = player.play(num_steps)
    env.close()
    return records, player.counts


@pytest.fixture
def num_drawn(monkeypatch):
    """How often Newton's renderer has drawn a camera."""
    from isaaclab_newton.renderers import newton_warp_renderer

    drawn = []
    draw = newton_warp_renderer.NewtonWarpRenderer.render

    def count(self, render_data):
        drawn.append(None)
        draw(self, render_data)

    monkeypatch.setattr(newton_warp_renderer.NewtonWarpRenderer, "render", count)
    return lambda: len(drawn)


def test_images_that_are_looked_at_are_those_of_their_tick(make_lazy):
    eager, counts = played(make_lazy(lazy=False), seed=0, look=1.0)
    lazy, _ = played(make_lazy(), seed=0, look=0.3)
    assert first_difference(eager, lazy, IMAGES) is None
    assert counts["ended"] > 3
    assert 0 < images_seen(lazy, IMAGES) < images_seen(eager, IMAGES)
    for name in IMAGES:  # something moves in them
        images = torch.stack([r[f"obs {name}"] for r in eager if f"obs {name}" in r])
        assert images.std(dim=0).max() > 0.01


@pytest.mark.parametrize("rng", ["global", "per_env"])
def test_held_rows_and_copied_rows_look_as_they_last_did(make_lazy, rng):
    what = {"seed": 2, "level": "exact", "rng": rng}
    eager, counts = played(make_lazy(lazy=False), look=1.0, **what)
    lazy, _ = played(make_lazy(), look=0.3, **what)
    assert first_difference(eager, lazy, IMAGES) is None
    assert min(counts[name] for name in ("suspend", "restore", "fork", "reset", "ended")) > 0


def test_final_obs_leave_no_trace_in_images(make_lazy):
    with_final, counts = played(make_lazy(lazy=False), seed=4, look=1.0)
    without, _ = played(make_lazy(lazy=False), seed=4, look=1.0, final_obs=False)
    assert counts["ended"] > 3
    for record in with_final:
        for name in [name for name in record if name.startswith("final ")]:
            del record[name]
    assert first_difference(with_final, without, set()) is None


def test_each_camera_is_drawn_when_its_image_is_looked_at(make_lazy, num_drawn):
    env = make_lazy()
    assert env.image_obs == dict.fromkeys(IMAGES, "lazy")
    assert env.capabilities.lazy_rendering
    env.final_obs_enabled = False
    with silenced():
        env.reset(seed=0)
    before = num_drawn()
    actions = torch.zeros(env.action_space.shape)
    for _ in range(12):
        obs, *_ = env.step(actions)
    assert isinstance(obs, LazyObs)
    assert num_drawn() == before
    frames = env.backend_env.scene["tiled_camera"].frame.torch
    assert (frames > 0).all()  # all else that reading a camera does has happened
    obs["views/far"]
    assert num_drawn() == before + 1
    assert obs.pending == ("policy",)
    obs["policy"]
    assert num_drawn() == before + 2
    env.step(actions)
    obs.update(env.step(actions)[0].items())
    assert num_drawn() == before + 4
    old, *_ = env.step(actions)
    env.step(actions)
    with pytest.raises(StaleImageError, match="'policy' of an earlier tick"):
        old["policy"]
    env.backend_env.scene["tiled_camera"].data  # noqa: B018
    assert num_drawn() == before + 5
    env.lazy_rendering = False
    assert type(env.step(actions)[0]) is dict
    assert num_drawn() == before + 5 + 2 + 2  # the images of now, which are kept, and the step's
    renderer = env.backend_env.scene["tiled_camera"]._renderer
    assert {"render", "read_output"}.isdisjoint(vars(renderer))


def with_period(cfg):
    cfg.scene.tiled_camera.update_period = 0.1


def with_eager_sensors(cfg):
    cfg.scene.lazy_sensor_update = False


def brightness(env):
    return env.scene["tiled_camera"].data.output["rgb"].float().mean(dim=(1, 2, 3))


def with_reward(cfg):
    from isaaclab.managers import RewardTermCfg, SceneEntityCfg

    cfg.rewards.bright = RewardTermCfg(
        func=lambda env, sensor: brightness(env),
        weight=1.0,
        params={"sensor": SceneEntityCfg("tiled_camera")},
    )


@pytest.mark.parametrize(
    ("edit", "why"),
    [
        (with_period, "update_period"),
        (with_eager_sensors, "each physics step"),
        (with_reward, "reward_manager looks at the camera 'tiled_camera'"),
    ],
)
def test_what_can_not_wait_says_why(make_lazy, edit, why):
    env = make_lazy(lazy=False, edit=edit)
    assert why in env.image_obs["policy"]
    if edit is with_period:  # each camera waits for itself
        assert env.image_obs["views/far"] == "lazy"
    else:
        with pytest.raises(CapabilityError, match=why):
            env.lazy_rendering = True


def test_a_camera_that_can_not_wait_beside_one_that_can(make_lazy, num_drawn):
    results = []
    for lazy in (False, True):
        drawn = num_drawn()
        env = make_lazy(lazy=lazy, edit=with_period)
        results.append(played(env, seed=6, look=0.2 if lazy else 1.0)[0])
        results[-1].append({"drawn": torch.tensor(num_drawn() - drawn)})
    eager, lazy = results
    assert lazy.pop()["drawn"] < eager.pop()["drawn"]
    assert first_difference(eager, lazy, {"policy", *IMAGES}) is None


def with_hidden_reward(cfg):
    from isaaclab.managers import RewardTermCfg

    cfg.rewards.hidden = RewardTermCfg(func=brightness, weight=1.0)


def test_a_term_that_looks_unannounced_is_refused_in_the_step(make_lazy):
    env = make_lazy(edit=with_hidden_reward)
    with silenced():
        env.reset(seed=0)
    with pytest.raises(StaleImageError, match="'tiled_camera' in the middle of a step"):
        env.step(torch.zeros(env.action_space.shape))


def test_direct_tasks_have_nothing_that_can_wait(make_env):
    with pytest.raises(CapabilityError, match="no observation that can wait"):
        make_env("Isaac-Cartpole-Direct-v0", lazy_rendering=True)
