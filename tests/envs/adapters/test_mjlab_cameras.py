"""Images that are drawn on request equal those that are drawn at each tick, on real physics."""

from __future__ import annotations

import dataclasses
import functools

import pytest
import torch

from holdstep.envs import check_vector_env, make
from holdstep.envs.lazy_obs import LazyObs
from holdstep.errors import CapabilityError, StaleImageError, SuspensionError
from holdstep.wrappers import SuspendOnWait
from tests.conftest import silenced

pytest.importorskip("mjlab", reason="the extra 'mjlab' is not installed")

from tests.envs.adapters.camera_tasks import (
    CARTPOLE,
    IMAGES,
    build,
    calm_camera_cfg,
    camera_cfg,
)
from tests.envs.adapters.looking import Player, first_difference, images_seen

NUM_ENVS = 4


@pytest.fixture
def eager_env():
    env = build(camera_cfg(episode_steps=9))
    yield env
    env.close()


@pytest.fixture
def lazy_env():
    env = build(camera_cfg(episode_steps=9), lazy=True)
    yield env
    env.close()


@pytest.fixture
def num_drawn(monkeypatch):
    """How often MuJoCo Warp has drawn."""
    import mujoco_warp

    draw, drawn = mujoco_warp.render, []

    def count(*args):
        drawn.append(None)
        return draw(*args)

    monkeypatch.setattr(mujoco_warp, "render", count)
    return lambda: len(drawn)


def zero_actions(env):
    return torch.zeros(env.action_space.shape)


def reset(env, **kwargs):
    with silenced():
        return env.reset(**kwargs)[0]


def test_what_can_wait(lazy_env, eager_env):
    assert lazy_env.image_obs == dict.fromkeys(sorted(IMAGES), "lazy")
    assert lazy_env.capabilities.lazy_rendering
    assert not eager_env.lazy_rendering
    assert isinstance(reset(lazy_env), LazyObs)
    assert type(reset(eager_env)) is dict


def played(env, *, seed, look, num_steps=25, **wrapped):
    env.final_obs_enabled = True
    if wrapped:
        env = SuspendOnWait(env, **wrapped)
    player = Player(env, seed=seed, look=look)
    records = player.play(num_steps)
    if wrapped:
        everything = env._control.snapshot(torch.arange(env.num_envs)).rows
        drawn = {slot.name for slot in env._control.registry if slot.is_derived}
        records.append({f"row {name}": everything[name] for name in everything.keys() - drawn})
    env.close()
    return records, player.counts


@functools.cache
def played_eagerly(**arguments):
    return played(build(camera_cfg(episode_steps=9)), look=1.0, **arguments)


@pytest.mark.parametrize("seed", [0, 1])
def test_images_that_are_looked_at_are_those_of_their_tick(seed):
    eager, counts = played_eagerly(seed=seed)
    lazy, _ = played(build(camera_cfg(episode_steps=9), lazy=True), seed=seed, look=0.3)
    assert first_difference(eager, lazy, IMAGES) is None
    assert counts["ended"] > 3
    assert 0 < images_seen(lazy, IMAGES) < images_seen(eager, IMAGES)


@pytest.mark.parametrize(
    ("level", "rng", "look"),
    [
        ("exact", "global", 0.0),
        ("exact", "global", 0.25),
        ("exact", "per_env", 0.25),
        ("skip", "global", 0.25),
        ("skip", "per_env", 0.0),
        ("skip", "per_env", 0.25),
    ],
)
def test_held_rows_and_copied_rows_look_as_they_last_did(level, rng, look):
    what = {"seed": 3 + (level == "skip") + 2 * (rng == "per_env"), "level": level, "rng": rng}
    eager, counts = played_eagerly(**what)
    lazy, _ = played(build(camera_cfg(episode_steps=9), lazy=True), look=look, **what)
    assert first_difference(eager, lazy, IMAGES) is None
    assert min(counts[name] for name in ("suspend", "restore", "fork", "reset", "ended")) > 0


def test_nothing_is_drawn_that_nobody_looks_at(lazy_env, num_drawn):
    env = lazy_env
    env.final_obs_enabled = False
    reset(env)
    for _ in range(12):  # episodes end
        obs, *_ = env.step(zero_actions(env))
        assert torch.isfinite(obs["actor"]).all()
        assert list(obs) == list(env.single_observation_space)
        assert len(obs) == len(env.single_observation_space)
        assert "camera" in obs
    assert num_drawn() == 0
    obs["camera"], obs["camera"]
    assert num_drawn() == 1
    obs["views/pole"], dict(obs)
    assert num_drawn() == 1  # the same kernel has drawn all
    assert obs.pending == ()
    obs, *_ = env.step(zero_actions(env))
    assert "<pending>" in repr(obs)
    assert num_drawn() == 1


def test_an_eager_env_draws_at_each_tick(eager_env, num_drawn):
    env = eager_env
    env.final_obs_enabled = False
    reset(env)
    for _ in range(3):
        env.step(zero_actions(env))
    assert num_drawn() == 4


def test_final_images_are_drawn_when_they_are_asked_for(lazy_env, num_drawn):
    env = lazy_env
    env.final_obs_enabled = True
    reset(env)
    push = zero_actions(env) + 1.0
    for _ in range(7):  # far enough from where the next episode begins to be seen
        env.step(push)
    env.episode_length_buf = torch.tensor([0, 0, env.max_episode_length - 2, 0])
    env.step(push)
    assert num_drawn() == 0
    obs, *_, info = env.step(push)
    assert info["_final_obs"].tolist() == [False, False, True, False]
    assert num_drawn() == 1
    assert type(info["final_obs"]) is dict
    assert info["final_obs"].keys() == obs.keys()
    assert num_drawn() == 1
    final = info["final_obs"]["camera"]
    assert torch.equal(final[0], obs["camera"][0])
    assert not torch.equal(final[2], obs["camera"][2])


def moved(env):
    env.step(zero_actions(env))


@pytest.mark.parametrize(
    "move",
    [
        moved,
        lambda env: reset(env),
        lambda env: reset(env, options={"env_ids": [1]}),
        lambda env: env.fork(0, 1),
        lambda env: env.restore(env.snapshot([2]), [1]),
    ],
    ids=["step", "reset", "reset of some", "fork", "restore"],
)
def test_an_image_of_an_earlier_tick_is_refused(lazy_env, move):
    env = SuspendOnWait(lazy_env)
    reset(env)
    obs, *_ = env.step(zero_actions(env))
    looked_at = reset(env, options={"env_ids": []})
    looked_at["camera"]
    move(env)
    looked_at["camera"], obs["actor"]
    with pytest.raises(StaleImageError, match="'views/depth' of an earlier tick"):
        obs["views/depth"]
    with pytest.raises(StaleImageError):
        dict(obs)
    env._let_go()


def failing(env):
    if env.common_step_counter == 2:
        raise ArithmeticError("the task's own")
    return torch.zeros(env.num_envs)


def test_an_image_from_before_a_step_that_failed_is_refused():
    from mjlab.managers import RewardTermCfg

    cfg = camera_cfg(num_envs=2, size=4)
    cfg.rewards["failing"] = RewardTermCfg(func=failing, weight=1.0)
    env = build(cfg, lazy=True)
    reset(env)
    obs, *_ = env.step(zero_actions(env))
    with pytest.raises(ArithmeticError):
        env.step(zero_actions(env))
    with pytest.raises(StaleImageError):
        obs["camera"]
    env.close()


def test_an_image_that_a_held_row_was_given_stays(lazy_env):
    env = SuspendOnWait(lazy_env)
    reset(env)
    taken = env.snapshot([0])
    taken.obs["camera"].fill_(0.75)
    env.suspend([1, 2])
    assert (env.restore(taken, [1])["camera"][1] == 0.75).all()
    for _ in range(2):
        obs, *_ = env.step(zero_actions(env))
        assert (obs["camera"][1] == 0.75).all()
        assert (obs["camera"][2] != 0.75).any()
    env.resume([1])
    obs, *_ = env.step(zero_actions(env))
    assert (obs["camera"][1] != 0.75).any()
    env._let_go()


@pytest.mark.parametrize("level", ["exact", "skip"])
def test_a_reward_that_looks_sees_held_rows_where_they_stand(eager_env, level):
    env = SuspendOnWait(eager_env, level=level)
    reset(env)
    camera = env.backend_env.scene["front"]
    before = camera.data.rgb.clone()
    env.suspend([1])
    for _ in range(5):
        env.step(zero_actions(env) + 1.0)
    assert torch.equal(camera.data.rgb[1], before[1])
    assert not torch.equal(camera.data.rgb[0], before[0])
    env.fork(0, 2)
    assert torch.equal(camera.data.rgb[2], camera.data.rgb[0])
    assert env._control.unknown_state() == []
    env._let_go()


def test_what_does_not_move_the_env_leaves_images_there(lazy_env):
    env = SuspendOnWait(lazy_env)
    reset(env)
    obs, *_ = env.step(zero_actions(env))
    with pytest.raises(ValueError, match="action"):
        env.step(torch.zeros(1))
    env.suspend([1])
    env.snapshot()
    again = reset(env, options={"env_ids": []})
    assert torch.equal(obs["camera"], again["camera"])
    assert obs["camera"] is not again["camera"]
    env._let_go()


def test_images_belong_to_the_caller(lazy_env):
    env = lazy_env
    reset(env)
    obs, *_ = env.step(zero_actions(env))
    first = obs["camera"]
    before = first.clone()
    again = reset(env, options={"env_ids": []})
    again["camera"].fill_(7.0)
    later, *_ = env.step(zero_actions(env))
    later["camera"].fill_(9.0)
    assert torch.equal(first, before)
    first.fill_(5.0)
    assert (reset(env)["camera"] < 2).all()


def test_inference_mode_leaves_ordinary_images(lazy_env):
    with torch.inference_mode():
        reset(lazy_env)
        obs, *_ = lazy_env.step(zero_actions(lazy_env))
        image = obs["camera"]
    assert not image.is_inference()


def test_switching_on_and_off_in_mid_episode(eager_env, num_drawn):
    env = SuspendOnWait(eager_env)
    obs = reset(env)
    images = {name: obs[name].clone() for name in IMAGES}
    env.lazy_rendering = True
    drawn = num_drawn()
    same = reset(env, options={"env_ids": []})
    env.suspend([0])
    obs, *_ = env.step(zero_actions(env))
    env.suspend([3])
    with pytest.raises(SuspensionError):
        env.lazy_rendering = False
    assert all(torch.equal(obs[name][0], images[name][0]) for name in IMAGES)
    assert num_drawn() > drawn
    assert same.pending == tuple(n for n in same if n in IMAGES)  # too late for these
    env.resume([0, 3])
    env.lazy_rendering = False
    off = reset(env, options={"env_ids": []})
    assert type(off) is dict
    assert list(off) == list(obs)
    assert all(torch.equal(off[name], obs[name]) for name in obs)
    drawn = num_drawn()
    env.step(zero_actions(env))
    assert num_drawn() == drawn + 1
    assert "_compute_data" not in vars(env.backend_env.scene["front"])
    for owner in (env.backend_env.sim, env.backend_env.observation_manager):
        assert {"sense", "_sense_kernel", "compute_group"}.isdisjoint(vars(owner))
    env._let_go()


def test_snapshots_fit_envs_that_draw_otherwise(eager_env, lazy_env):
    eager, lazy = SuspendOnWait(eager_env), SuspendOnWait(lazy_env)
    reset(eager)
    reset(lazy)
    obs, *_ = eager.step(zero_actions(eager))
    given = lazy.restore(eager.snapshot([0, 1]), [2, 3])
    assert all(torch.equal(given[name][2:], obs[name][:2]) for name in obs)
    obs, *_ = lazy.step(zero_actions(lazy))
    taken = lazy.snapshot([1])
    given = eager.restore(taken, [0])
    assert all(torch.equal(given[name][0], obs[name][1]) for name in obs)
    eager._let_go()
    lazy._let_go()


def test_the_checker_passes():
    env = build(calm_camera_cfg(num_envs=3), lazy=True)
    with silenced():
        check_vector_env(env, num_steps=20)
    env.close()


def test_a_sensor_can_be_read_between_steps(lazy_env, num_drawn):
    env = lazy_env
    env.final_obs_enabled = False
    reset(env)
    obs, *_ = env.step(zero_actions(env))
    rgb = env.backend_env.scene["front"].data.rgb
    assert num_drawn() == 1
    assert torch.equal(rgb.permute(0, 3, 1, 2).float() / 255.0, obs["camera"])


def with_noise(cfg):
    from mjlab.utils.noise import UniformNoiseCfg

    cfg.observations["camera"].enable_corruption = True
    cfg.observations["camera"].terms["rgb"].noise = UniformNoiseCfg(n_min=-0.1, n_max=0.1)


def with_history(cfg):
    cfg.observations["camera"].terms["rgb"].history_length = 2


def with_delay(cfg):
    cfg.observations["views"].terms["depth"].delay_max_lag = 1


def with_nan_reports(cfg):
    cfg.observations["camera"].nan_policy = "error"


def random_crop(env, sensor_name):
    return env.scene[sensor_name].data.rgb.float() + torch.rand(1)


def with_random_term(cfg):
    cfg.observations["camera"].terms["rgb"].func = random_crop


class CountingTerm:
    """An observation term that remembers."""

    def __init__(self, cfg, env):
        self.count = 0

    def reset(self, env_ids=None):
        self.count = 0

    def __call__(self, env, sensor_name):
        self.count += 1
        return env.scene[sensor_name].data.rgb.float() + self.count


def with_object_term(cfg):
    cfg.observations["camera"].terms["rgb"].func = CountingTerm


def brightness(env, sensor_name):
    return env.scene[sensor_name].data.rgb.float().mean(dim=(1, 2, 3))


def with_reward(cfg):
    from mjlab.managers import RewardTermCfg

    cfg.rewards["bright"] = RewardTermCfg(
        func=brightness, weight=1.0, params={"sensor_name": "pole"}
    )


def with_recorder(cfg):
    from mjlab.managers.recorder_manager import RecorderTerm, RecorderTermCfg

    cfg.recorders = {"any": RecorderTermCfg(func=type("Any", (RecorderTerm,), {}))}


@pytest.mark.parametrize(
    ("edit", "key", "why"),
    [
        (with_noise, "camera", "noise"),
        (with_history, "camera", "history"),
        (with_delay, "views/depth", "delay"),
        (with_nan_reports, "camera", "NaNs"),
        (with_random_term, "camera", "another result"),
        (with_object_term, "camera", "object"),
        (with_reward, "camera", "reward_manager looks at the camera 'pole'"),
        (with_recorder, "views/pole", "recorders"),
    ],
)
def test_what_can_not_wait_is_refused_with_its_reason(edit, key, why):
    cfg = camera_cfg(num_envs=2, size=4)
    edit(cfg)
    env = build(cfg)
    assert why in env.image_obs[key]
    others = IMAGES - {key}
    assert all(env.image_obs[name] != "lazy" for name in others)  # one kernel draws all cameras
    assert not env.capabilities.lazy_rendering
    with pytest.raises(CapabilityError, match=f"'{key}': .*{why}"):
        env.lazy_rendering = True
    assert not env.lazy_rendering
    env.close()


def test_a_picture_that_is_concatenated_with_others_is_drawn_always():
    cfg = camera_cfg(num_envs=2, size=4)
    terms = cfg.observations["views"].terms
    cfg.observations["camera"].terms["noisy"] = terms["pole"]
    del cfg.observations["views"]
    env = build(cfg)
    assert env.image_obs == {"camera": "lazy"}
    env.close()
    with_noise(cfg)
    env = build(cfg)
    assert "noise" in env.image_obs["camera"]
    env.close()


def test_a_picture_that_is_concatenated_with_state_is_drawn_always():
    cfg = camera_cfg(num_envs=2, size=4)
    views = cfg.observations["views"]
    views.terms = {
        "bright": dataclasses.replace(
            views.terms["joints"], func=one_number, params={"sensor_name": "front"}
        ),
        "joints": views.terms["joints"],
    }
    views.terms["bright"].history_length = 0
    views.concatenate_terms = True
    env = build(cfg)
    why = "it is concatenated with 'joints', which is computed at each tick"
    assert env.image_obs["views"] == why
    assert why in env.image_obs["camera"]
    env.close()


def one_number(env, sensor_name):
    return brightness(env, sensor_name)[:, None]


def hidden_reward(env):
    return brightness(env, "front")


def test_a_term_that_looks_unannounced_is_refused_in_the_step(num_drawn):
    from mjlab.managers import RewardTermCfg

    cfg = camera_cfg(num_envs=2, size=4)
    cfg.rewards["hidden"] = RewardTermCfg(func=hidden_reward, weight=1.0)
    env = build(cfg, lazy=True)
    reset(env)
    with pytest.raises(StaleImageError, match="'front' in the middle of a step"):
        env.step(zero_actions(env))
    env.lazy_rendering = False
    env.step(zero_actions(env))
    env.close()


def sometimes_random(env, sensor_name):
    rgb = env.scene[sensor_name].data.rgb.float()
    return rgb + torch.rand(1) if env.common_step_counter > 1 else rgb


def test_a_term_that_begins_to_draw_random_numbers_is_refused():
    cfg = camera_cfg(num_envs=2, size=4)
    cfg.observations["camera"].terms["rgb"].func = sometimes_random
    env = build(cfg, lazy=True)
    reset(env)["camera"]
    obs, *_ = env.step(zero_actions(env))
    obs["camera"]
    obs, *_ = env.step(zero_actions(env))
    with pytest.raises(StaleImageError, match="random numbers"):
        obs["camera"]
    env.close()


def rays_cfg():
    from mjlab.managers.observation_manager import ObservationTermCfg
    from mjlab.sensor import GridPatternCfg, ObjRef, RayCastSensorCfg

    cfg = camera_cfg(num_envs=NUM_ENVS, size=6, episode_steps=9)
    cfg.scene.sensors = (
        *cfg.scene.sensors,
        RayCastSensorCfg(
            name="rays",
            frame=ObjRef(type="body", name="pole_1", entity="cartpole"),
            pattern=GridPatternCfg(size=(0.4, 0.4), resolution=0.2, direction=(0.0, 0.3, -1.0)),
            include_geom_groups=(0, 1, 2),
            max_distance=10.0,
        ),
    )
    cfg.observations["actor"].terms["rays"] = ObservationTermCfg(func=ray_distances)
    return cfg


def ray_distances(env):
    return env.scene["rays"].data.distances


def test_other_sensors_that_cast_rays_go_on(num_drawn):
    results = []
    for lazy, look in ((False, 1.0), (True, 0.2)):
        env = build(rays_cfg(), lazy=lazy)
        drawn = num_drawn()
        results.append(played(env, seed=5, look=look)[0])
        results[-1].append({"drawn": num_drawn() - drawn})
    eager, lazy = results
    assert lazy.pop()["drawn"] < eager.pop()["drawn"]
    assert first_difference(eager, lazy, IMAGES) is None
    distances = torch.stack([record["obs actor"][:, -1] for record in eager if "reward" in record])
    assert distances.std() > 0


@pytest.mark.parametrize("task", ["Mjlab-Lift-Cube-Yam-Rgb", "Mjlab-Multi-Cube-Seg-Yam"])
def test_registered_tasks(task):
    trajectories = []
    for lazy in (False, True):
        with silenced():
            env = make(f"mjlab:{task}", num_envs=2, device="cpu", seed=0, lazy_rendering=lazy)
        torch.manual_seed(0)
        reset(env, seed=0)
        env.episode_length_buf = torch.tensor([0, env.max_episode_length - 3])
        steps = [env.step(zero_actions(env)) for _ in range(2)]
        obs, *_, info = env.step(zero_actions(env))
        trajectories.append([dict(obs), info["final_obs"]])
        assert lazy is (steps[0][0].__class__ is LazyObs)
        env.close()
    for first, second in zip(*trajectories, strict=True):
        assert first.keys() == second.keys()
        assert all(torch.equal(first[name], second[name]) for name in first)


def test_tasks_without_cameras_have_nothing_to_wait_for():
    with silenced(), pytest.raises(CapabilityError, match="no observation that can wait"):
        make(f"mjlab:{CARTPOLE}", num_envs=1, device="cpu", lazy_rendering=True)


def test_closing_unhooks():
    env = build(camera_cfg(num_envs=1, size=4), lazy=True)
    sim = env.backend_env.sim
    assert "sense" in vars(sim)
    obs = reset(env)
    env.close()
    assert "sense" not in vars(sim)
    with pytest.raises(StaleImageError):
        obs["camera"]
