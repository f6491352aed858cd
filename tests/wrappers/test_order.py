import itertools

import pytest

from holdstep.envs import make
from holdstep.errors import HoldstepError, WrapperOrderError
from holdstep.wrappers import Stage, VectorWrapper


class Suspends(VectorWrapper):
    stage = Stage.SUSPEND


class Records(VectorWrapper):
    stage = Stage.RECORD


class Drives(VectorWrapper):
    stage = Stage.DRIVE


class Anywhere(VectorWrapper):
    pass


STAGED = (Suspends, Records, Drives)


@pytest.fixture
def env():
    return make("holdstep:PointMass", num_envs=2, device="cpu")


@pytest.mark.parametrize("order", list(itertools.product(STAGED, repeat=2)))
def test_only_rising_stages_stack(env, order):
    inner, outer = order
    stack = Anywhere(inner(Anywhere(env)))
    if inner.stage < outer.stage:
        assert outer(stack).env is stack
    else:
        with pytest.raises(WrapperOrderError, match=f"{outer.__name__} cannot wrap") as caught:
            outer(stack)
        assert inner.__name__ in str(caught.value)
        assert "From the inside out" in str(caught.value)
        assert isinstance(caught.value, HoldstepError)


def test_the_whole_stack_in_order(env):
    stack = Drives(Records(Suspends(env)))
    assert stack.unwrapped is env


def test_a_wrapper_far_below_is_seen(env):
    stack = Anywhere(Anywhere(Drives(env)))
    with pytest.raises(WrapperOrderError, match="Suspends cannot wrap Drives"):
        Suspends(stack)
