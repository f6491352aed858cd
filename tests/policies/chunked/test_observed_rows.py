"""A dictionary of observations of the user's own, beside the one that requests are cut from."""

import pytest
import torch

from holdstep.envs.lazy_obs import LazyObs, Tick
from holdstep.errors import StaleImageError
from holdstep.policies import Cohort
from holdstep.policies.chunked.observed_rows import shallow_copy
from tests.policies.chunked.doubles import Rollout
from tests.policies.chunked.test_runner_episodes import SCHEDULERS, marking


@pytest.fixture
def drawn():
    return []


@pytest.fixture
def lazy(drawn):
    """Observations with an image, and the tick that draws it."""

    def draw(name):
        drawn.append(name)
        return {name: torch.full((2, 3), 5.0)}

    tick = Tick(draw)
    return LazyObs(["camera", "policy"], {"policy": torch.ones(2, 1)}, tick), tick


def test_a_copy_has_the_same_tensors_and_may_be_edited():
    obs = {"policy": torch.ones(2, 1), "critic": torch.zeros(2, 1)}
    copy = shallow_copy(obs)
    assert copy["policy"] is obs["policy"]
    copy.clear()
    assert list(obs) == ["policy", "critic"]


@pytest.mark.parametrize("first", ["own", "copy"])
def test_images_are_drawn_when_either_is_looked_at_and_only_once(lazy, drawn, first):
    obs, _ = lazy
    copy = shallow_copy(obs)
    assert list(copy) == ["camera", "policy"]
    assert copy.pending == obs.pending == ("camera",)
    assert drawn == []
    one, other = (obs, copy) if first == "own" else (copy, obs)
    assert one["camera"] is other["camera"]
    assert drawn == ["camera"]


def test_an_image_that_is_taken_out_of_a_copy_is_still_there(lazy, drawn):
    obs, _ = lazy
    copy = shallow_copy(obs)
    del copy["camera"]
    assert obs["camera"].shape == (2, 3)
    assert shallow_copy(obs).pending == ()
    assert drawn == ["camera"]


def test_a_copy_is_as_old_as_what_it_is_of(lazy):
    obs, tick = lazy
    copy = shallow_copy(obs)
    tick.expire()
    with pytest.raises(StaleImageError, match="camera"):
        copy["camera"]


@pytest.mark.parametrize("name", ["cohort", "append"])
def test_what_a_user_does_to_the_dictionaries_reaches_no_request(name):
    lengths = [[5, 20], [40]]
    with Rollout(lengths, marking(), SCHEDULERS[name]()) as rollout:
        expected = rollout.until(25).traces(25)
    with Rollout(lengths, marking(), SCHEDULERS[name]()) as rollout:
        rollout.adapter._state[:, 1] = -1
        rollout.runner.reset(seed=0)[0].clear()
        for tick in range(40):
            obs = rollout.runner.step().obs
            obs["policy"] = obs["policy"] * 100
            if tick % 2:
                del obs["policy"]
        assert rollout.traces(25) == expected


def test_nor_what_is_done_to_what_a_reset_of_rows_returned():
    with Rollout([[40], [40]], marking(), Cohort()) as rollout:
        rollout.until(3)
        rollout.runner.reset_rows([0, 1])[0].clear()
        assert rollout.runner.step().active_mask.all()
