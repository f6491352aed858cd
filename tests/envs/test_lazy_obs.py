"""Dictionaries whose images are drawn when somebody looks, without a simulator."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from holdstep.envs import make
from holdstep.envs.last_obs import LastObs
from holdstep.envs.lazy_images import LazyImages
from holdstep.envs.lazy_obs import LazyObs, Tick
from holdstep.errors import CapabilityError, StaleImageError
from holdstep.wrappers import VectorWrapper

NAMES = ("policy", "camera", "critic", "depth")
READY = ("policy", "critic")


class World:
    """Rows whose observations and pictures show one number each."""

    def __init__(self, num_envs=3):
        self.rows = torch.zeros(num_envs)
        self.num_drawn = 0

    def ready(self):
        return {name: self.rows[:, None].clone() for name in READY}

    def everything(self):
        obs = self.ready() | self.draw("camera") | self.draw("depth")
        return {name: obs[name] for name in NAMES}

    def draw(self, name):
        self.num_drawn += 1
        factor = {"camera": 10.0, "depth": 100.0}[name]
        return {name: self.rows[:, None, None].expand(-1, 2, 2) * factor}


def lazy_obs(world=None):
    world = World() if world is None else world
    tick = Tick(world.draw)
    return LazyObs(NAMES, world.ready(), tick), tick, world


def test_names_and_what_is_ready_draw_nothing():
    obs, _, world = lazy_obs()
    assert list(obs) == list(obs.keys()) == list(NAMES)
    assert len(obs) == 4
    assert "camera" in obs
    assert "nothing" not in obs
    assert obs.get("nothing", 5) == 5
    assert obs["policy"] is obs["policy"]
    assert "'camera': <pending>" in repr(obs)
    assert list(reversed(obs)) == list(reversed(NAMES))
    assert isinstance(obs, dict)
    assert world.num_drawn == 0
    assert obs.pending == ("camera", "depth")


@pytest.mark.parametrize(
    "look",
    [
        lambda obs: obs["camera"],
        lambda obs: obs.get("camera"),
        lambda obs: obs.setdefault("camera"),
    ],
)
def test_looking_draws_once(look):
    obs, _, world = lazy_obs()
    first = look(obs)
    assert isinstance(first, torch.Tensor)
    assert look(obs) is first
    assert obs["camera"] is first
    assert world.num_drawn == 1
    assert obs.pending == ("depth",)


EVERYTHING = {
    "dict": dict,
    "stars": lambda obs: {**obs},
    "call": lambda obs: (lambda **named: named)(**obs),
    "or": lambda obs: obs | {},
    "or on the right": lambda obs: {} | obs,
    "update": lambda obs: [new := {}, new.update(obs)][0],
    "items": lambda obs: dict(obs.items()),
    "values": lambda obs: dict(zip(obs, obs.values(), strict=True)),
    "copy": lambda obs: obs.copy(),
    "copy module": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda obs: pickle.loads(pickle.dumps(obs)),
    "popitem": lambda obs: dict(reversed([obs.popitem() for _ in NAMES])),
    "pop": lambda obs: {name: obs.pop(name) for name in NAMES},
    "iteration": lambda obs: {name: obs[name] for name in obs},
}


@pytest.mark.parametrize("take", EVERYTHING.values(), ids=EVERYTHING.keys())
def test_whoever_takes_everything_gets_everything(take):
    obs, tick, world = lazy_obs()
    taken = take(obs)
    assert type(taken) is dict
    assert list(taken) == list(NAMES)
    assert all(isinstance(value, torch.Tensor) for value in taken.values())
    assert world.num_drawn == 2
    obs, tick, world = lazy_obs()
    tick.expire()
    with pytest.raises(StaleImageError):
        take(obs)


def test_comparing_looks():
    obs, _, _ = lazy_obs()
    assert obs == dict(obs)
    assert obs != {}


def test_an_own_value_in_the_place_of_an_image_stays():
    obs, _, world = lazy_obs()
    mine = torch.ones(1)
    obs["camera"] = mine
    assert obs["camera"] is mine
    del obs["depth"]
    assert list(dict(obs)) == ["policy", "camera", "critic"]
    with pytest.raises(KeyError):
        obs["depth"]
    assert obs.pop("depth", 3) == 3
    assert world.num_drawn == 0


def test_what_belongs_together_is_drawn_together():
    world = World()
    both = Tick(lambda name: world.draw("camera") | world.draw("depth"))
    obs = LazyObs(NAMES, world.ready(), both)
    mine = obs["camera"] = torch.ones(1)
    assert (obs["depth"] == 0).all()
    assert obs["camera"] is mine
    assert obs.pending == ()


def test_a_late_look_says_what_to_do():
    obs, tick, _ = lazy_obs()
    seen = obs["camera"]
    tick.expire()
    assert obs["camera"] is seen
    with pytest.raises(StaleImageError, match=r"'depth' of an earlier tick .*lazy_rendering"):
        obs["depth"]
    assert obs.pending == ("depth",)


def kept(world):
    """Last observations with lazy images, and the images."""
    examples = {
        name: torch.empty(len(world.rows), 2, 2, device="meta") for name in ("camera", "depth")
    }
    images = LazyImages(NAMES, examples, world.draw)
    last = LastObs()
    last.draw_on_request(images)
    return last, images


operations = st.lists(
    st.one_of(
        st.tuples(st.just("step"), st.lists(st.booleans(), min_size=3, max_size=3)),
        st.tuples(st.just("reset"), st.lists(st.booleans(), min_size=3, max_size=3)),
        st.tuples(st.just("copy"), st.permutations(range(3))),
        st.tuples(st.just("switch"), st.none()),
    ),
    max_size=12,
)


@settings(deadline=None)  # the machine may be busy
@given(operations=operations, looks=st.lists(st.booleans(), min_size=13, max_size=13))
def test_images_follow_the_other_observations(operations, looks):
    """Every row's picture shows what its other observation shows, whatever moved or was given."""
    world = World()
    last, images = kept(world)
    is_lazy = True
    world.rows += 1
    obs = last.keep(world.ready())
    for number, ((kind, what), looked) in enumerate(zip(operations, looks, strict=False), start=1):
        last.expire()
        if kind == "step":
            held = torch.tensor(what)
            world.rows = torch.where(held, world.rows, torch.arange(3.0) + 10 * number)
            new = world.ready() if is_lazy else world.everything()
            obs = last.keep(new, held if held.any() else None)
        elif kind == "reset":
            mask = torch.tensor(what)
            world.rows = torch.where(mask, -torch.arange(1.0, 4.0) - 10 * number, world.rows)
            new = world.ready() if is_lazy else world.everything()
            obs = last.merged(mask, new)
        elif kind == "copy":
            src, dst = torch.tensor(what[:1]), torch.tensor(what[1:2])
            rows = last.rows(src)
            world.rows = world.rows.clone()
            world.rows[dst] = world.rows[src]
            last.write(dst, rows)
            obs = last.copy()
        else:
            if is_lazy:
                last.draw_always()
            else:
                images = kept(world)[1]
                last.draw_on_request(images)
            is_lazy = not is_lazy
            obs = last.copy()
        assert list(obs) == list(NAMES)
        if looked:
            assert torch.equal(obs["policy"][:, 0], world.rows)
            assert torch.equal(obs["camera"][:, 0, 0], world.rows * 10)
            assert torch.equal(obs["depth"][:, 1, 1], world.rows * 100)


def test_given_images_are_kept_until_the_row_moves():
    world = World()
    last, _ = kept(world)
    last.keep(world.ready())
    rows = {name: torch.full((1, 1), 5.0) for name in READY}
    rows |= {name: torch.full((1, 2, 2), 7.0) for name in ("camera", "depth")}
    last.write(torch.tensor([1]), rows)
    assert last.copy()["camera"][:, 0, 0].tolist() == [0.0, 7.0, 0.0]
    assert last.last("camera")[1, 0, 0] == 7.0
    obs = last.keep(world.ready(), torch.tensor([False, True, False]))
    assert obs["camera"][1, 0, 0] == 7.0
    obs = last.keep(world.ready(), torch.tensor([True, False, True]))
    assert obs["camera"][1, 0, 0] == 0.0


def test_envs_that_can_not_say_so():
    env = make("holdstep:CartPole", num_envs=2, device="cpu")
    wrapped = VectorWrapper(env)
    assert not wrapped.lazy_rendering
    assert not wrapped.capabilities.lazy_rendering
    assert wrapped.image_obs == {}
    wrapped.lazy_rendering = False
    with pytest.raises(CapabilityError, match=r"CartPole .*lazy_rendering is False"):
        wrapped.lazy_rendering = True
    with pytest.raises(CapabilityError, match="on request"):
        make("gymnasium:CartPole-v1", num_envs=2, device="cpu", lazy_rendering=True)
