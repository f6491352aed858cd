"""What a stack tells of itself, and what its layers cost."""

import math
import time

import pytest
import torch

import holdstep
from holdstep.envs import RslRlVecEnv, make
from holdstep.errors import ConfigError
from holdstep.monitor import time_layers
from holdstep.policies import ChunkRequest, ChunkResult, ChunkRunner, ChunkSpec
from holdstep.wrappers import ActionChunkReplay, RecordEpisodes, SuspendOnWait, VectorWrapper


def cartpole(num_envs=4):
    return make("holdstep:CartPole", num_envs=num_envs, device="cpu", seed=0)


class Slow(VectorWrapper):
    """Takes a known time for itself."""

    def step(self, actions):
        time.sleep(0.003)
        return self.env.step(actions)

    def stats(self):
        return {"num_naps": 3, "unknown": None}


class Plain(VectorWrapper):
    """Tells nothing."""


def test_suspended_row_steps_are_counted_exactly():
    env = SuspendOnWait(cartpole())
    env.reset()
    for held in ([], [0, 1], [0, 1, 2], [3]):
        env.resume(env.suspended)
        env.suspend(held)
        env.step(torch.zeros(4, 1))
    found = env.stats()
    assert (found.num_steps, found.num_suspended) == (4, 1)
    assert found.suspended_share == 6 / 16
    assert found.waited_s == 0.0


def test_time_in_which_every_row_waited_is_told():
    env = SuspendOnWait(cartpole(2))
    env.reset()
    ready_s = time.perf_counter() + 0.05
    env.suspend([0, 1], until=lambda: time.perf_counter() >= ready_s)
    env.step(torch.zeros(2, 1))
    assert 0.02 < env.stats().waited_s < 5.0


def test_each_layer_tells_what_it_counts_and_nothing_of_those_inside(tmp_path):
    env = Plain(Slow(RecordEpisodes(SuspendOnWait(cartpole()), tmp_path / "d", writer="thread")))
    env.reset()
    env.step(torch.zeros(4, 1))
    found = holdstep.stats(env)
    names = [layer.name for layer in found.layers]
    assert names == ["Plain", "Slow", "RecordEpisodes", "SuspendOnWait", "CartPole"]
    by_name = dict(zip(names, found.layers, strict=True))
    assert by_name["Plain"].values == {}  # Gymnasium's wrappers would answer for the env inside
    assert by_name["Slow"].values == {"num_naps": 3.0}
    assert by_name["SuspendOnWait"].values["num_steps"] == 1.0
    assert by_name["RecordEpisodes"].values["queued_bytes"] >= 0.0
    assert all(layer.own_step_s is None for layer in found.layers)
    assert found.scalars()["SuspendOnWait/suspended_share"] == 0.0
    env.close()


def test_two_layers_of_one_name_are_told_apart():
    env = Slow(Slow(cartpole()))
    scalars = holdstep.stats(env).scalars()
    assert {"Slow/num_naps", "Slow-2/num_naps"} <= scalars.keys()


def test_runners_and_views_are_layers_too():
    class Policy:
        spec = ChunkSpec(chunk_length=4, action_dim=1)

        def infer(self, request: ChunkRequest) -> ChunkResult:
            return ChunkResult(actions=torch.zeros(len(request), 4, 1))

        def reset(self, env_ids, episode_ids):
            pass

    runner = ChunkRunner(SuspendOnWait(cartpole()), Policy())
    runner.reset()
    for _ in range(9):
        runner.step()
    scalars = holdstep.stats(runner).scalars()
    assert scalars["ChunkRunner/num_inferences"] == 3.0
    view = RslRlVecEnv(Slow(cartpole()))
    assert holdstep.stats(view).scalars() == {"Slow/num_naps": 3.0}


def test_what_holds_no_env_is_refused():
    with pytest.raises(ConfigError, match="no holdstep env in object"):
        holdstep.stats(object())


def test_a_layers_own_time_is_without_that_of_what_is_inside():
    env = Plain(Slow(SuspendOnWait(cartpole())))
    env.reset()
    with time_layers(env):
        for _ in range(10):
            env.step(torch.zeros(4, 1))
        own = {layer.name: layer.own_step_s for layer in holdstep.stats(env).layers}
    assert 0.003 <= own["Slow"] < 0.03
    assert own["Plain"] < 0.001
    assert own["SuspendOnWait"] < 0.003
    assert holdstep.stats(env).layers[1].own_step_s is None


def test_steps_of_some_rows_are_timed_and_counted_once():
    env = SuspendOnWait(Plain(cartpole()))
    env.reset()
    env.suspend([1])
    with time_layers(env):
        env.step(torch.zeros(4, 1))
        layers = holdstep.stats(env).layers
        assert all(layer.own_step_s > 0 for layer in layers)
        total = sum(layer.own_step_s for layer in layers)
        outermost = vars(env)["step"].layer_time
        assert outermost.num_steps == 1
        assert math.isclose(total, outermost.total_s, rel_tol=1e-9)


def test_timing_leaves_nothing_behind_also_after_an_error():
    env = ActionChunkReplay(SuspendOnWait(cartpole()), chunk_length=3)
    env.reset()
    layers = [env, env.env, env.unwrapped]
    before = [dict(vars(layer)) for layer in layers]

    def fail_inside():
        with time_layers(env):
            assert all("step" in vars(layer) for layer in layers)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_inside()
    assert [vars(layer).keys() for layer in layers] == [b.keys() for b in before]
    with time_layers(env):
        with pytest.raises(ConfigError, match="timed already"), time_layers(env):
            pass
        env.step(torch.zeros(4, 3, 1))
    assert "step" not in vars(env.unwrapped)


def test_steps_that_fail_are_timed_and_raise_as_ever():
    env = Plain(cartpole())
    env.reset()
    with time_layers(env):
        with pytest.raises(holdstep.errors.InvalidActionError):
            env.step(torch.zeros(3, 1))
        assert vars(env)["step"].layer_time.num_steps == 1
        env.step(torch.zeros(4, 1))
        assert vars(env)["step"].layer_time.num_steps == 2
