"""mjlab's recorder terms in a thread of their own, on real physics."""

import copy
import threading
import time

import pytest
import torch

from holdstep.errors import ConfigError, RecordingError
from holdstep.wrappers import SuspendOnWait
from holdstep.wrappers.record.mjlab_terms import asynchronous
from tests.conftest import make_mjlab, silenced

pytest.importorskip("mjlab", reason="the extra 'mjlab' is not installed")

from mjlab.managers.recorder_manager import RecorderTerm, RecorderTermCfg
from mjlab.managers.scene_entity_config import SceneEntityCfg

CARTPOLE = "Mjlab-Cartpole-Balance"
NUM_ENVS = 3
RECORDED = []
"""What the terms here have noted; terms are made by mjlab, out of the tests' reach."""


class NotesTransitions(RecorderTerm):
    """Like the recorder in mjlab's documentation."""

    def __init__(self, cfg, env):
        super().__init__(cfg, env)
        self.made_in = threading.get_ident()

    def note(self, kind, env_ids):
        env = self._env
        RECORDED.append(
            (
                kind,
                env.common_step_counter,
                env_ids.tolist(),
                env.obs_buf["actor"][env_ids].clone(),
                env.action_manager.action[env_ids].clone(),
                env.reward_buf[env_ids].clone(),
                self.num_envs,
                threading.get_ident() == self.made_in,
            )
        )

    def record_pre_reset(self, env_ids):
        self.note("end", env_ids)

    def record_post_step(self):
        self.note("step", (~self._env.reset_buf).nonzero().squeeze(-1))

    def close(self):
        RECORDED.append("closed")


class Slow(NotesTransitions):
    def record_post_step(self):
        time.sleep(0.002)
        super().record_post_step()


class Fails(RecorderTerm):
    def record_post_step(self):
        raise OSError("the disk is gone")


class LooksAtTheScene(RecorderTerm):
    def record_post_reset(self, env_ids):
        RECORDED.append(self._env.sim.data.qpos[env_ids].clone())

    def record_post_step(self):
        try:
            _ = self._env.scene.entities
        except AttributeError as error:
            RECORDED.append(str(error))


class Resolves(RecorderTerm):
    def __init__(self, cfg, env):
        super().__init__(cfg, env)
        RECORDED.append(cfg.params["robot"].joint_ids)


def run(term_cfg, *, num_steps=25, held=False):
    RECORDED.clear()
    env = make_mjlab(
        CARTPOLE, num_envs=NUM_ENVS, seed=0, episode_length_s=0.5, cfg=with_term(term_cfg)
    )
    stack = SuspendOnWait(env, level="exact") if held else env
    try:
        with silenced():
            stack.reset(seed=0)
        env.episode_length_buf = torch.tensor([0, 3, 6])
        generator = torch.Generator().manual_seed(0)
        for step in range(num_steps):
            if held and step == 5:
                stack.suspend([1])
            if held and step == 15:
                stack.resume([1])
            stack.step(torch.randn(env.action_space.shape, generator=generator))
    finally:
        stack.close()
    return list(RECORDED)


def with_term(term_cfg):
    from holdstep.envs.adapters.mjlab import task_registry

    cfg = task_registry().load_env_cfg(CARTPOLE)
    cfg.recorders = {"term": term_cfg}
    return cfg


@pytest.mark.parametrize(("term", "held"), [(NotesTransitions, True), (Slow, False)])
def test_a_term_notes_the_same_as_in_the_steps_of_the_env(term, held):
    own = run(RecorderTermCfg(func=term), held=held)
    ours = run(asynchronous(RecorderTermCfg(func=term)), held=held)
    assert own[-1] == ours[-1] == "closed"
    assert len(own) == len(ours) >= 26
    assert any(record[0] == "end" for record in own[:-1])
    for one, other in zip(own[:-1], ours[:-1], strict=True):
        assert one[:3] == other[:3]
        assert all(torch.equal(a, b) for a, b in zip(one[3:6], other[3:6], strict=True))
        assert one[6] == other[6] == NUM_ENVS
        assert one[7]
        assert not other[7], "it ran in another thread"


def test_an_error_in_a_hook_is_raised_by_a_later_step():
    with pytest.raises(RecordingError, match="the disk is gone") as caught:
        run(asynchronous(RecorderTermCfg(func=Fails)), num_steps=2000)
    assert isinstance(caught.value.__cause__, OSError)


def test_more_of_the_env_is_copied_when_it_is_named():
    qpos = run(
        asynchronous(RecorderTermCfg(func=LooksAtTheScene), also=["sim.data.qpos"]), num_steps=1
    )
    assert qpos[0].shape[0] == NUM_ENVS
    assert "no 'scene' of the env" in qpos[1]
    assert "also=[...]" in qpos[1]


def test_entities_in_a_terms_parameters_are_resolved():
    cfg = RecorderTermCfg(
        func=Resolves, params={"robot": SceneEntityCfg("cartpole", joint_names=("slider",))}
    )
    kept = copy.deepcopy(cfg)
    own = run(cfg, num_steps=1)
    ours = run(asynchronous(kept), num_steps=1)
    assert own == ours


def test_a_slow_term_holds_the_simulation_up_rather_than_fill_the_memory():
    term = asynchronous(RecorderTermCfg(func=Slow), max_queued_bytes=1)
    started = time.perf_counter()
    run(term, num_steps=20)
    assert time.perf_counter() - started >= 0.002 * 18


def test_what_is_no_term_is_refused():
    with pytest.raises(ConfigError, match="RecorderTermCfg"):
        asynchronous(RecorderTermCfg(func=lambda env: None))
    with pytest.raises(ConfigError, match="RecorderTermCfg"):
        asynchronous(NotesTransitions)
