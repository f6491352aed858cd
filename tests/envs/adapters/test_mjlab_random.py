"""Per-env random numbers on real mjlab tasks: every draw has its rows."""

from __future__ import annotations

import functools
import warnings

import pytest
import torch

from holdstep.envs.adapters.mjlab_random import MjlabRandomScopes
from holdstep.envs.adapters.mjlab_reset_write import actuator_delays, only_rows_advance
from holdstep.envs.state.per_env_random import PerEnvRandom, UnattributedDrawWarning
from tests.conftest import silenced
from tests.envs.adapters.mjlab_hard_tasks import hard_cfg

N = 6
CARTPOLE = "Mjlab-Cartpole-Balance"
TASKS = [
    CARTPOLE,
    "Mjlab-Velocity-Flat-Unitree-Go1",
    "Mjlab-Velocity-Flat-Unitree-G1",
    "Mjlab-Velocity-Rough-Unitree-Go1",
    "Mjlab-Lift-Cube-Yam",
]


class Run:
    """An mjlab env that draws its numbers row by row."""

    def __init__(self, cfg, *, seed: int = 1) -> None:
        from mjlab.envs import ManagerBasedRlEnv

        with silenced():
            self.env = ManagerBasedRlEnv(cfg=cfg, device="cpu")
        self.random = PerEnvRandom(self.env.num_envs, "cpu", seed, engine="torch")
        self.scopes = MjlabRandomScopes(self.env, self.random)

    def reset(self, **kwargs):
        with silenced(), self.random.active():
            return self.env.reset(**kwargs)[0]

    def step(self, action: float = 0.3):
        actions = torch.full((self.env.num_envs, self.env.action_manager.total_action_dim), action)
        with self.random.active():
            return self.env.step(actions)[0]

    def draws(self) -> dict[str, torch.Tensor]:
        """State that is made of random numbers only."""
        env = self.env
        found = {"counter": self.random.counter}
        for index, time_left in enumerate(env.event_manager._interval_term_time_left):
            found[f"event {index}"] = time_left
        for name, term in env.command_manager._terms.items():
            found[f"command {name}"] = term.time_left
        for index, delay in enumerate(actuator_delays(env)):
            found[f"actuator phase {index}"] = delay._phase_offsets
            found[f"actuator lags {index}"] = delay._current_lags
            found[f"actuator count {index}"] = delay._step_count
            found[f"actuator history {index}"] = delay._buffer.buffer
        for group, buffers in env.observation_manager._group_obs_term_delay_buffer.items():
            for name, buffer in buffers.items():
                found[f"phase {group} {name}"] = buffer._phase_offsets
                found[f"lags {group} {name}"] = buffer._current_lags
        for group, models in env.observation_manager._group_obs_class_instances.items():
            for name, model in models.items():
                found[f"bias {group} {name}"] = model._bias
        return {name: tensor.clone() for name, tensor in found.items() if tensor.shape[0] == N}


def make_run(task: str, **options) -> Run:
    return Run(hard_cfg(task, num_envs=N, episode_steps=12, **options))


@pytest.mark.parametrize("task", TASKS)
def test_every_draw_has_its_rows(task):
    run = make_run(task)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UnattributedDrawWarning)
        run.reset(seed=3)
        for step in range(100):
            run.step()
            if step % 17 == 5:
                run.reset(env_ids=torch.tensor([1, 4]))
    assert run.random.unattributed == {}
    assert not run.random.missed
    assert run.random.num_draws > 400
    assert run.random.counter.unique().numel() > 1  # rows draw different numbers of numbers


@pytest.mark.parametrize("task", [CARTPOLE, "Mjlab-Velocity-Flat-Unitree-Go1"])
def test_a_row_does_not_notice_the_resets_of_others(task):
    alone, crowded = make_run(task), make_run(task)
    observations = {alone: alone.reset(), crowded: crowded.reset()}
    ids = torch.tensor([0, 2, 3, 5])
    others = torch.ones(N, dtype=torch.bool)
    others[ids] = False
    differed = False
    for step in range(60):
        if step % 7 == 3:
            crowded.reset(env_ids=ids[: 1 + step % 4])
        if step == 40:
            for run in (alone, crowded):
                run.reset(env_ids=torch.tensor([1]))
        observations = {run: run.step() for run in (alone, crowded)}
        one, other = alone.draws(), crowded.draws()
        for name, values in one.items():
            assert torch.equal(values[others], other[name][others]), (step, name)
            differed |= not torch.equal(values, other[name])
        if task == CARTPOLE:  # mjlab's sensor caches tie the rows of the others together
            for group, obs in observations[alone].items():
                assert torch.equal(obs[others], observations[crowded][group][others]), (step, group)
    assert differed


def _push(env, env_ids, num_numbers=2, shared=False):
    if shared:
        torch.rand(7)
    ids = torch.arange(env.num_envs) if env_ids is None else env_ids
    torch.rand(len(ids), num_numbers)


def _run_with_events(**events) -> Run:
    cfg = hard_cfg(CARTPOLE, num_envs=N, episode_steps=5)
    cfg.events |= events
    return Run(cfg)


def test_events_that_are_not_often_reset_draw_for_those_that_are():
    from mjlab.managers import EventTermCfg

    seldom = EventTermCfg(func=_push, mode="reset", min_step_count_between_reset=8)
    run = _run_with_events(seldom=seldom)
    run.reset()
    for step in range(40):
        run.step()
        run.reset(env_ids=torch.tensor([step % N, (step + 1) % N]))
    assert run.random.unattributed == {}


def test_impulses_on_bodies_draw_for_the_rows_that_they_hit():
    from mjlab.envs.mdp.events import apply_body_impulse
    from mjlab.managers import EventTermCfg, SceneEntityCfg

    cfg = hard_cfg(CARTPOLE, num_envs=N, episode_steps=9)
    impulse = EventTermCfg(
        func=apply_body_impulse,
        mode="step",
        params={
            "force_range": (-1.0, 1.0),
            "torque_range": (-1.0, 1.0),
            "duration_s": (0.02, 0.1),
            "cooldown_s": (0.02, 0.3),
            "asset_cfg": SceneEntityCfg(next(iter(cfg.scene.entities))),
        },
    )
    run = _run_with_events(impulse=impulse)
    run.reset()
    before = run.random.counter.clone()
    for _ in range(60):
        run.step()
    assert run.random.unattributed == {}
    assert (run.random.counter - before).unique().numel() > 1


def test_actuator_delays_of_rows_that_are_reset_are_as_without_hooks():
    """What mjlab does to the rows that were reset, its hook does too."""
    from mjlab.utils.buffers import DelayBuffer

    buffers = [DelayBuffer(0, 3, N, "cpu") for _ in range(2)]
    generator = torch.Generator().manual_seed(0)
    ids = torch.tensor([1, 4])
    for step in range(30):
        data = torch.rand(N, 2, generator=generator)
        if step % 5 == 4:
            for buffer in buffers:
                buffer.reset(ids)
            state = torch.random.get_rng_state()
            buffers[0].append(data)
            expected = buffers[0].compute()
            torch.random.set_rng_state(state)
            with only_rows_advance(buffers[1:], ids):
                buffers[1].append(data)
                got = buffers[1].compute()
            assert torch.equal(got[ids], expected[ids])
            continue
        state = torch.random.get_rng_state()
        outputs = []
        for buffer in buffers:
            torch.random.set_rng_state(state)
            buffer.append(data)
            outputs.append(buffer.compute())
        assert torch.equal(outputs[0][ids], outputs[1][ids])
    assert buffers[0]._step_count[0] > buffers[1]._step_count[0]


def test_shared_numbers_are_reported_and_touch_no_row():
    from mjlab.managers import EventTermCfg

    with_shared = _run_with_events(
        gust=EventTermCfg(
            func=_push,
            mode="interval",
            interval_range_s=(0.05, 0.1),
            is_global_time=True,
            params={"shared": True},
        )
    )
    with_shared.reset()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UnattributedDrawWarning)
        for _ in range(30):
            with_shared.step()
    assert any("event_manager.py" in str(warning.message) for warning in caught)
    places = [place.rpartition(" in ")[2] for place in with_shared.random.unattributed]
    assert sorted(places) == ["_push", "apply"]


def test_hooks_come_off():
    run = make_run(CARTPOLE)
    env = run.env
    owners = [env, env.event_manager, *env.command_manager._terms.values()]
    funcs = [cfg.func for cfgs in env.event_manager._mode_term_cfgs.values() for cfg in cfgs]
    run.reset()
    run.step()
    run.scopes.remove()
    run.scopes.remove()
    run.random.close()
    for owner in owners:
        assert not {"reset", "step", "_reset_idx", "apply", "_resample"} & set(vars(owner))
    assert "write_data_to_sim" not in vars(env.scene)
    after = [cfg.func for cfgs in env.event_manager._mode_term_cfgs.values() for cfg in cfgs]
    assert all(func is own for func, own in zip(after, funcs, strict=True))
    state = torch.get_rng_state()
    with silenced():
        env.reset()
    assert not torch.equal(torch.get_rng_state(), state)


def test_a_failing_event_leaves_the_terms_as_they_were():
    from mjlab.managers import EventTermCfg

    def fails(env, env_ids):
        raise KeyError

    run = _run_with_events(fails=EventTermCfg(func=fails, mode="reset"))
    with pytest.raises(KeyError):
        run.reset()
    cfgs = run.env.event_manager._mode_term_cfgs["reset"]
    assert fails in [cfg.func for cfg in cfgs]
    state = torch.get_rng_state()
    torch.rand(3)
    assert not torch.equal(torch.get_rng_state(), state)


def test_the_same_seed_gives_the_same_numbers_whatever_torchs_stream_is():
    @functools.cache
    def trajectory(global_seed: int) -> list[torch.Tensor]:
        run = make_run(CARTPOLE)
        run.reset()
        torch.manual_seed(global_seed)
        return [run.step() for _ in range(20)]

    for one, other in zip(trajectory(1), trajectory(2), strict=True):
        for group in one:
            assert torch.equal(one[group], other[group])
