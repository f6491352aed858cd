"""What is read back equals what the env returned, bit for bit."""

import tempfile
from collections import deque
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from holdstep.envs import RslRlVecEnv, make
from holdstep.errors import (
    CapabilityError,
    ClosedEnvError,
    ConfigError,
    InvalidEnvIdsError,
    RecordingError,
    ResetNeededError,
)
from holdstep.wrappers import ActionChunkReplay, RecordEpisodes, SuspendOnWait
from holdstep.wrappers.base import VectorWrapper
from holdstep.wrappers.record.dataset import Dataset
from tests.conftest import make_mjlab
from tests.wrappers.record.scripted_env import (
    NAMES,
    CloningRecorder,
    Script,
    ScriptedEnv,
    read_by_id,
)

FAST = {"writer": "thread", "durability": "os"}
SHAPES = st.lists(st.integers(1, 3), max_size=3).map(tuple)
KINDS = st.tuples(st.sampled_from(NAMES.split()), SHAPES)


@st.composite
def scripts(draw):
    num_envs = draw(st.integers(1, 4))
    rows = st.lists(st.integers(0, num_envs - 1), max_size=num_envs, unique=True)
    names = draw(st.lists(st.sampled_from("abcde"), min_size=1, max_size=4, unique=True))
    groups = {}
    for index, name in enumerate(names):
        groups[f"nested/{name}" if index % 2 else name] = draw(KINDS)
    groups["camera"] = ("uint8", (4, 5, 3))
    return Script(
        groups=groups,
        num_envs=num_envs,
        ends=draw(st.lists(st.tuples(rows, rows), min_size=1, max_size=6)),
        final=draw(st.booleans()),
        entries=draw(st.dictionaries(st.sampled_from(["x", "y"]), KINDS, max_size=2)),
        states=draw(st.booleans()),
        strided=draw(st.booleans()),
        seed=draw(st.integers(0, 2**31)),
    )


def moves(num_envs):
    """What the caller does: step all rows, step some, or reset some."""
    rows = st.lists(st.booleans(), min_size=num_envs, max_size=num_envs)
    return st.lists(st.tuples(st.sampled_from(["step"] * 5 + ["some"] * 2 + ["reset"]), rows),
                    max_size=25)  # fmt: skip


def keys_of(script):
    keys = ["obs", "actions", "rewards", "terminated", "truncated"]
    return [*keys, *(["states"] if script.states else []), *(f"info/{n}" for n in script.entries)]


def spoil(*tensors):
    """Write over what a caller owns."""
    for tensor in tensors:
        if isinstance(tensor, dict):
            spoil(*tensor.values())
        elif isinstance(tensor, torch.Tensor) and tensor.numel():
            tensor.fill_(1)


def play(env, made_moves, num_envs):
    obs, _ = env.reset(seed=5)
    spoil(obs)
    for kind, rows in made_moves:
        mask = None if rows is None else torch.tensor(rows)
        if kind == "reset":
            obs, _ = env.reset(options={"env_ids": mask})
            spoil(obs)
            continue
        actions = torch.randn(num_envs, 2)
        result = env.step(actions) if kind == "step" else env.step_masked(actions, mask)
        spoil(actions, *result)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_what_is_read_back_equals_what_was_recorded(data):
    script = data.draw(scripts())
    made_moves = data.draw(moves(script.num_envs))
    with tempfile.TemporaryDirectory() as folder:
        cloning = CloningRecorder(
            ScriptedEnv(script), entries=tuple(script.entries), states=script.states
        )
        max_age_s = data.draw(st.sampled_from([1e-9, 60.0]))  # a block for each step, or few
        env = RecordEpisodes(
            cloning, Path(folder, "demos"), keys=keys_of(script), max_age_s=max_age_s, **FAST
        )
        play(env, made_moves, script.num_envs)
        env.close()
        cloning.stop()
        expected = cloning.by_id()
        if not expected:
            assert env.stats().acknowledged == 0
            return
        with Dataset(Path(folder, "demos")) as dataset:
            assert read_by_id(dataset) == expected
        assert env.stats().acknowledged == len(expected)
        assert env.stats().num_steps == sum(len(e["steps"]) for e in cloning.episodes)


@pytest.mark.parametrize("on_full", ["block", "spill", "drop"])
def test_a_writer_process_reads_back_the_same(tmp_path, on_full):
    script = Script(
        groups={"policy": ("float32", (7,)), "camera": ("uint8", (9, 8, 3)), "n": ("int64", ())},
        num_envs=5,
        ends=[([], []), ([1], []), ([], [0, 2]), ([], []), ([4], [3])],
        states=True,
    )
    cloning = CloningRecorder(ScriptedEnv(script), states=True)
    env = RecordEpisodes(cloning, tmp_path / "demos", keys=[*keys_of(script)], on_full=on_full,
                         max_queue_bytes=1 << 16)  # fmt: skip
    play(env, [("step", None)] * 150, 5)
    env.flush()
    env.close()
    cloning.stop()
    expected = cloning.by_id()
    if on_full == "drop":
        recorded = read_by_id(Dataset(tmp_path / "demos"))
        assert recorded == {key: expected[key] for key in recorded}
        assert len(recorded) + env.stats().dropped == len(expected)
    else:
        assert read_by_id(Dataset(tmp_path / "demos")) == expected


def test_only_what_is_chosen_is_recorded_and_looked_at(tmp_path):
    script = Script(
        groups={"policy": ("float32", (3,)), "left": ("uint8", (4, 4, 3)),
                "right": ("uint8", (4, 4, 3))},
        lazy=("left", "right"), ends=[([0], [])], final=False,
    )  # fmt: skip
    for number, (keys, names, num_drawn) in enumerate(
        [
            (None, {"actions", "obs/policy", "rewards", "terminated", "truncated"}, 0),
            (["obs/le*", "actions"], {"obs/left", "actions"}, 11),
            (["/obs/policy", "obs/policy", "rewards"], {"obs/policy", "rewards"}, 0),
            (["rewards"], {"rewards"}, 0),
        ]
    ):
        inner = ScriptedEnv(script)
        env = RecordEpisodes(inner, tmp_path / str(number), keys=keys, **FAST)
        env.reset()
        for _ in range(10):
            env.step(torch.zeros(2, 2))
        env.close()
        found = {n for e in Dataset(tmp_path / str(number)) for n in e.arrays}
        assert {name for name in found if not name.startswith("final_obs")} == names
        assert inner.num_drawn == num_drawn


def test_episode_says_where_it_comes_from(tmp_path):
    env = RecordEpisodes(
        make("holdstep:CartPole", num_envs=2, device="cpu", seed=0), tmp_path / "demos",
        attributes={"operator": "ann"}, **FAST,
    )  # fmt: skip
    env.reset(seed=7)
    for _ in range(15):
        env.step(torch.ones(2, 1))
    env.close()
    dataset = Dataset(tmp_path / "demos")
    first = {e.attributes["env_id"]: e for e in dataset if e.attributes["episode_id"] == 0}
    assert [first[row].attributes["seed"] for row in (0, 1)] == [7, 7]
    assert all("seed" not in e.attributes for e in dataset if e.attributes["episode_id"] > 0)
    assert dataset.env_args["env_name"] == "holdstep:CartPole"
    assert dataset.env_args["sim_args"]["num_envs"] == 2
    uids = [e.attributes["uid"] for e in dataset]
    assert len(set(uids)) == len(uids)


def test_mark_annotate_and_discard_mean_the_episode_of_the_last_step(tmp_path):
    script = Script(num_envs=4, ends=[([], []), ([0, 1], []), ([], [])])
    env = RecordEpisodes(ScriptedEnv(script), tmp_path / "demos", **FAST)
    env.reset()
    env.step(torch.zeros(4, 2))
    env.step(torch.zeros(4, 2))  # ends episode 0 of rows 0 and 1
    env.mark([0], success=True)
    env.annotate([0, 2], instruction="lift")
    env.discard([1])
    env.step(torch.zeros(4, 2))
    env.mark([0, 2], success=False)
    env.annotate(torch.tensor([2]), instruction="push", tries=2)
    env.discard(3)
    env.close()
    found = {(e.attributes["env_id"], e.attributes["episode_id"]): e for e in Dataset(env.path)}
    assert set(found) == {(0, 0), (0, 1), (1, 1), (2, 0)}
    assert [found[key].success for key in sorted(found)] == [True, False, None, False]
    assert found[0, 0].attributes["instruction"] == "lift"
    assert "instruction" not in found[0, 1].attributes
    assert found[2, 0].attributes["instruction"] == "push"
    assert found[2, 0].attributes["tries"] == 2
    assert env.stats().discarded == 2


def test_what_is_said_of_an_episode_that_is_not_recorded_is_not_said_of_the_next(tmp_path):
    script = Script(num_envs=3, ends=[([], []), ([0, 1, 2], []), ([], [])])
    env = RecordEpisodes(ScriptedEnv(script), tmp_path / "demos", **FAST)
    env.reset()
    env.step(torch.zeros(3, 2))
    env.discard([0, 1, 2])
    env.step(torch.zeros(3, 2))  # ends them
    env.mark([0], success=True)
    env.annotate([1], instruction="lift")
    env.discard([2])
    env.step(torch.zeros(3, 2))
    env.close()
    found = sorted(Dataset(env.path), key=lambda episode: episode.attributes["env_id"])
    assert [e.attributes["episode_id"] for e in found] == [1, 1, 1]
    assert found[0].success is None
    assert "instruction" not in found[1].attributes
    assert env.stats().discarded == 3


def test_names_of_the_file_are_no_attributes(tmp_path):
    env = RecordEpisodes(ScriptedEnv(Script()), tmp_path / "demos", **FAST)
    env.reset()
    for name in ("attributes_json", "num_samples", "uid", "seed"):
        with pytest.raises(ConfigError, match=name):
            env.annotate([0], **{name: 1})
    env.close()


def test_a_folder_of_something_else_is_refused_before_anything_runs(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RecordingError, match=r"something else than a recording: \['notes.txt'\]"):
        RecordEpisodes(ScriptedEnv(Script()), tmp_path)


def test_the_last_finished_episode_can_be_taken_back(tmp_path):
    script = Script(num_envs=2, ends=[([0, 1], [])])
    env = RecordEpisodes(ScriptedEnv(script), tmp_path / "demos", max_episodes=4, **FAST)
    env.reset()
    for _ in range(3):
        env.step(torch.zeros(2, 2))
    env.flush()
    assert env.finished
    env.discard_last([1])
    env.discard_last([1])  # there is no other
    env.flush()
    assert not env.finished
    while not env.finished:
        env.step(torch.zeros(2, 2))
        env.flush()
    env.close()
    found = {(e.attributes["env_id"], e.attributes["episode_id"]) for e in Dataset(env.path)}
    assert len(found) == 4
    assert {(0, 0), (0, 1), (1, 0)} < found


@pytest.mark.parametrize("success_filter", ["all", "succeeded", "failed"])
def test_exactly_max_episodes_over_several_runs(tmp_path, success_filter):
    for wanted, seed in ((3, 0), (8, 1), (8, 2)):
        inner = make("holdstep:PointMass", num_envs=3, device="cpu", seed=seed)
        inner.max_episode_length = 12
        env = RecordEpisodes(
            inner, tmp_path / "demos", max_episodes=wanted, success_filter=success_filter,
            success=lambda step: step.reward > step.reward.mean(), **FAST,
        )  # fmt: skip
        env.reset()
        for _ in range(400):
            env.step(torch.zeros(3, 2).uniform_(-1, 1))
            if env.finished:
                break
        for _ in range(20):
            env.step(torch.zeros(3, 2))
        env.close()
        assert env.stats().finished
        assert env.finished
        assert len(Dataset(tmp_path / "demos")) == wanted


def test_success_of_the_last_step_or_of_any(tmp_path):
    class Said(ScriptedEnv):
        def step_masked(self, actions, active_mask):
            result = super().step_masked(actions, active_mask)
            result[4]["success"] = torch.tensor([self.num_steps == 2, self.num_steps == 3])
            return result

    for when, expected in (("end", [False, True]), ("once", [True, True])):
        env = RecordEpisodes(Said(Script(ends=[([], []), ([], []), ([0, 1], [])])),
                             tmp_path / when, success_when=when, **FAST)  # fmt: skip
        env.reset()
        for _ in range(3):
            env.step(torch.zeros(2, 2))
        env.close()
        found = {e.attributes["env_id"]: e.success for e in Dataset(env.path)}
        assert [found[0], found[1]] == expected


@pytest.mark.parametrize("partial", ["keep", "drop"])
def test_cut_episodes_are_kept_or_dropped_and_counted(tmp_path, partial):
    env = RecordEpisodes(ScriptedEnv(Script()), tmp_path / "demos", partial=partial, **FAST)
    env.reset()
    env.reset()  # an episode without a step is none
    env.step(torch.zeros(2, 2))
    env.reset(options={"env_ids": [1]})
    env.step(torch.zeros(2, 2))
    env.close()
    assert env.stats().cut == 3
    kept = [e.ended for e in Dataset(env.path)] if partial == "keep" else []
    assert sorted(kept) == (["closed", "closed", "reset"] if partial == "keep" else [])
    assert env.stats().acknowledged == len(kept)


def test_rows_whose_scene_was_set_begin_anew(tmp_path):
    env = make("holdstep:CartPole", num_envs=2, device="cpu", seed=0)
    env = RecordEpisodes(env, tmp_path / "demos", **FAST)
    env.reset()
    state = env.scene_state()
    env.step(torch.zeros(2, 1))
    obs = env.set_scene_state({path: values[1:] for path, values in state.items()}, [1])
    env.step(torch.zeros(2, 1))
    env.close()
    found = {(e.attributes["env_id"], e.attributes["episode_id"]): e for e in Dataset(env.path)}
    assert {key: (e.num_steps, e.ended) for key, e in found.items()} == {
        (0, 0): (2, "closed"), (1, 0): (1, "reset"), (1, 1): (1, "closed")
    }  # fmt: skip
    assert np.array_equal(found[1, 1].arrays["obs/policy"][0], obs["policy"][1])


def told(env, suspender):
    env.cut([1], suspender.fork(0, 1))
    env.annotate([1], by="hand")


def noticed(env, suspender):
    suspender.fork(0, 1)


def restored(env, suspender):
    suspender.restore(suspender.snapshot(0), 1)


def told_of_another_row(env, suspender):
    env.cut([0], suspender.fork(0, 1))


def before_a_reset_of_no_rows(env, suspender):
    suspender.fork(0, 1)
    env.reset(options={"env_ids": []})


@pytest.mark.parametrize(
    "put", [told, noticed, restored, told_of_another_row, before_a_reset_of_no_rows]
)
def test_rows_that_were_put_elsewhere_begin_anew(put, tmp_path):
    suspender = SuspendOnWait(make("holdstep:CartPole", num_envs=2, device="cpu", seed=0))
    env = RecordEpisodes(suspender, tmp_path / "demos", **FAST)
    env.reset()
    before = env.step(torch.zeros(2, 1))[0]["policy"]
    put(env, suspender)
    env.step(torch.zeros(2, 1))
    env.step(torch.zeros(2, 1))
    env.close()
    found = {(e.attributes["env_id"], e.attributes["episode_id"]): e for e in Dataset(env.path)}
    other = {(0, 0): (3, "closed")}
    if put is told_of_another_row:
        other = {(0, 0): (1, "reset"), (0, 1): (2, "closed")}
    assert {key: (e.num_steps, e.ended) for key, e in found.items()} == {
        **other, (1, 0): (1, "reset"), (1, 1): (2, "closed")
    }  # fmt: skip
    assert np.array_equal(found[1, 1].arrays["obs/policy"][0], before[0])
    assert (found[1, 1].attributes.get("by") == "hand") == (put is told)


def test_rows_that_were_put_elsewhere_and_then_all_reset_have_no_episode_between(tmp_path):
    suspender = SuspendOnWait(make("holdstep:CartPole", num_envs=2, device="cpu", seed=0))
    env = RecordEpisodes(suspender, tmp_path / "demos", **FAST)
    env.reset()
    env.step(torch.zeros(2, 1))
    suspender.fork(0, 1)
    env.reset()
    env.step(torch.zeros(2, 1))
    env.close()
    assert sorted((e.num_steps, e.ended) for e in Dataset(env.path)) == [
        (1, "closed"), (1, "closed"), (1, "reset"), (1, "reset")
    ]  # fmt: skip


@pytest.mark.parametrize("task", ["holdstep:CartPole", "mjlab"])
def test_no_suspended_tick_is_recorded(tmp_path, task):
    if task == "mjlab":
        inner = make_mjlab("Mjlab-Cartpole-Balance", num_envs=3, seed=0)
    else:
        inner = make(task, num_envs=3, device="cpu", seed=0)
    suspender = SuspendOnWait(inner, level="exact")
    cloning = CloningRecorder(suspender)
    env = RecordEpisodes(cloning, tmp_path / "demos", **FAST)
    env.reset(seed=0)
    env.episode_length_buf = torch.tensor([0, env.max_episode_length - 12, 3])
    random = np.random.default_rng(0)
    num_active = 0
    for _ in range(40):
        suspended = random.random(3) < 0.4
        suspended[random.integers(3)] = False
        suspender.resume(suspender.suspended)
        suspender.suspend(torch.from_numpy(suspended))
        info = env.step(torch.full((3, 1), 0.2))[4]
        num_active += int(info["active"].sum())
    env.close()
    cloning.stop()
    assert num_active < 40 * 3
    assert env.stats().num_steps == num_active
    assert read_by_id(Dataset(env.path)) == cloning.by_id()


def test_under_chunks_single_steps_are_recorded(tmp_path):
    suspender = SuspendOnWait(make("holdstep:CartPole", num_envs=3, device="cpu", seed=0))
    cloning = CloningRecorder(suspender)
    recorder = RecordEpisodes(cloning, tmp_path / "demos", **FAST)
    env = ActionChunkReplay(recorder, chunk_length=7)
    env.reset()
    num_steps = sum(int(env.step(torch.ones(3, 7, 1))[4]["num_steps"].sum()) for _ in range(9))
    env.close()
    cloning.stop()
    assert read_by_id(Dataset(recorder.path)) == cloning.by_id()
    assert recorder.stats().num_steps == num_steps


def test_a_row_that_was_not_reset_here_is_recorded_from_its_next_episode_on(tmp_path):
    inner = ScriptedEnv(Script(ends=[([], []), ([0], []), ([], [])]))
    inner.reset()
    env = RecordEpisodes(inner, tmp_path / "demos", **FAST)
    for _ in range(4):
        env.step(torch.zeros(2, 2))
    env.close()
    assert [(e.attributes["env_id"], e.num_steps) for e in Dataset(env.path)] == [(0, 2)]


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_any_mode_of_autograd_will_do(tmp_path, mode):
    cloning = CloningRecorder(ScriptedEnv(Script()))
    env = RecordEpisodes(cloning, tmp_path / "demos", **FAST)
    with mode():
        env.reset()
        env.step(torch.zeros(2, 2, requires_grad=mode is torch.enable_grad))
    env.step(torch.zeros(2, 2))
    env.close()
    assert env.stats().num_steps == 4


def test_what_changes_its_shape_or_type_is_refused_by_name(tmp_path):
    for number, change in enumerate(["double", "flat"]):
        inner = ScriptedEnv(Script())
        env = RecordEpisodes(inner, tmp_path / str(number), **FAST)
        env.reset()
        env.step(torch.zeros(2, 2))
        observe = inner.observe
        inner.observe = lambda observe=observe, change=change: {
            "policy": observe()["policy"].double() if change == "double" else torch.zeros(2, 2)
        }
        with pytest.raises(RecordingError, match=r"'obs/policy' was torch\.float32"):
            env.step(torch.zeros(2, 2))
        inner.observe = observe
        env.step(torch.zeros(2, 2))  # a step is missing: what was under way is not kept
        env.close()
        assert env.stats().dropped == 2
        assert env.stats().acknowledged == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keys": "obs"}, "keys must be a list"),
        ({"keys": []}, "keys is empty"),
        ({"durability": "ram"}, "durability must be one of 'memory', 'os', 'disk'"),
        ({"on_full": "wait"}, "on_full must be one of"),
        ({"writer": "fork"}, "writer must be one of"),
        ({"compression": "zip"}, "compression must be one of"),
        ({"success_filter": "good"}, "success_filter must be one of"),
        ({"success_when": "ever"}, "success_when must be one of"),
        ({"partial": "maybe"}, "partial must be one of"),
        ({"max_episodes": 0}, "max_episodes must be an integer of at least 1"),
        ({"max_bytes": True}, "max_bytes must be an integer"),
        ({"max_queue_bytes": None}, "max_queue_bytes must be an integer"),
        ({"max_age_s": float("nan")}, "max_age_s must be a number of seconds"),
        ({"writer_timeout_s": 0}, "writer_timeout_s must be a number of seconds"),
        ({"attributes": {"x": torch.zeros(1)}}, "'x' must be a plain value"),
        ({"attributes": {3: 4}}, "names must be strings"),
    ],
)
def test_arguments_that_cannot_be_used(tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        RecordEpisodes(ScriptedEnv(Script()), tmp_path / "demos", **options)
    assert not (tmp_path / "demos").exists()


@pytest.mark.parametrize(
    ("keys", "error", "message"),
    [
        (["obs/polcy"], ConfigError, r"nothing named 'obs/polcy'.*Did you mean: obs/policy"),
        (["processed_actions"], ConfigError, "does not tell what it makes of actions"),
        (["states"], CapabilityError, "can neither tell nor set"),
    ],
)
def test_keys_that_stand_for_nothing(tmp_path, keys, error, message):
    inner = ScriptedEnv(Script())
    with pytest.raises(error, match=message):  # states at construction, the others when it is known
        RecordEpisodes(_without_states(inner), tmp_path / "demos", keys=keys, **FAST).reset()


def _without_states(env):
    from holdstep.envs import TorchVectorEnv

    cls = type(env)
    plain = type("Plain", (cls,), {
        "scene_state": TorchVectorEnv.scene_state,
        "final_state_enabled": TorchVectorEnv.final_state_enabled,
    })  # fmt: skip
    env.__class__ = plain
    return env


def test_entries_that_are_not_in_the_first_step(tmp_path):
    env = RecordEpisodes(ScriptedEnv(Script()), tmp_path / "demos", keys=["info/x"], **FAST)
    env.reset()
    with pytest.raises(ConfigError, match="looked for in the first step"):
        env.step(torch.zeros(2, 2))


def test_use_at_the_wrong_time(tmp_path):
    env = RecordEpisodes(ScriptedEnv(Script()), tmp_path / "demos", **FAST)
    with pytest.raises(ResetNeededError, match="no episode to mark"):
        env.mark([0])
    env.flush()
    env.reset()
    with pytest.raises(InvalidEnvIdsError):
        env.discard([2])
    with pytest.raises(ConfigError, match=r"\['success'\] are the recorder's own"):
        env.annotate([0], success=True)
    with pytest.raises(ConfigError, match="'x' must be a plain value"):
        env.annotate([0], x=torch.zeros(2))
    env.close()
    env.close()
    for call in (env.flush, lambda: env.mark([0]), lambda: env.discard_last([0])):
        with pytest.raises(ClosedEnvError):
            call()


def test_final_states_are_switched_off_again(tmp_path):
    inner = ScriptedEnv(Script(states=True))
    env = RecordEpisodes(inner, tmp_path / "demos", keys=["states"], **FAST)
    assert inner.final_state_enabled
    env.reset()
    env.close()
    assert not inner.final_state_enabled


@pytest.mark.parametrize(
    ("keys", "has_final"),
    [(None, True), (["obs/pol*"], True), (["*"], True), (["rewards", "states"], False)],
)
def test_final_observations_are_switched_on_for_as_long_as_they_are_recorded(
    tmp_path, keys, has_final
):
    inner = make("holdstep:CartPole", num_envs=2, device="cpu", seed=0)
    RslRlVecEnv(inner)  # has no use for them, and switches them off
    env = RecordEpisodes(SuspendOnWait(inner), tmp_path / "demos", keys=keys, **FAST)
    assert inner.final_obs_enabled is has_final
    env.reset(seed=0)
    for _ in range(15):
        env.step(torch.ones(2, 1))
    env.close_extras()
    assert not inner.final_obs_enabled
    env.close()
    ended = [e for e in Dataset(tmp_path / "demos") if e.ended == "terminated"]
    assert ended
    assert all(("final_obs/policy" in e.arrays) is has_final for e in ended)


@pytest.mark.parametrize("call", ["cut", "flush"])
def test_a_call_from_within_a_step_leaves_the_step_its_room(tmp_path, call):
    """From a condition that a row waits for; the smallest blocks, and all rows end at once."""
    suspender = SuspendOnWait(make("holdstep:PointMass", num_envs=4, device="cpu", seed=0))
    env = RecordEpisodes(
        suspender, tmp_path / "demos", keys=["obs"], max_queue_bytes=1, max_age_s=1e9, **FAST
    )
    env.reset(seed=0)
    obs, *_ = env.step(torch.rand(4, 2) - 0.5)
    calls = {"cut": lambda: env.cut(range(4), obs), "flush": env.flush}
    suspender.suspend([0], until=lambda: calls[call]() is None)
    env.episode_length_buf = torch.full((4,), env.max_episode_length - 1)
    _, _, _, truncated, info = env.step(torch.rand(4, 2) - 0.5)
    assert truncated.all()
    env.close()
    ends = [e for e in Dataset(tmp_path / "demos") if e.ended == "truncated"]
    assert sorted(e.attributes["env_id"] for e in ends) == [0, 1, 2, 3]
    for episode in ends:
        row, arrays = episode.attributes["env_id"], episode.arrays
        final = info["final_obs"]["policy"][row].numpy()
        np.testing.assert_array_equal(arrays["final_obs/policy"][0], final)
        np.testing.assert_array_equal(arrays["obs/policy"][-1], obs["policy"][row].numpy())


def test_what_does_not_fit_into_a_block_is_refused(tmp_path):
    inner = make("holdstep:PointMass", num_envs=4, device="cpu", seed=0)
    env = RecordEpisodes(inner, tmp_path / "demos", keys=["obs"], max_queue_bytes=1, **FAST)
    env.reset(seed=0)
    env.step(torch.zeros(4, 2))
    before_step = env._recording.before_step
    env._recording.before_step = lambda: None  # so that nobody makes room
    with pytest.raises(RecordingError, match="were reserved"):
        deque((env.step(torch.zeros(4, 2)) for _ in range(4)), maxlen=0)
    env._recording.before_step = before_step
    env.step(torch.zeros(4, 2))
    env.close()
    assert env.stats().dropped == 4
    assert len(Dataset(tmp_path / "demos")) == 0


def test_the_seed_of_a_reset_that_failed_is_no_other_episodes(tmp_path):
    class Odd(VectorWrapper):
        is_odd = False

        def reset(self, **options):
            obs, info = self.env.reset(**options)
            return ({n: v.double() for n, v in obs.items()} if self.is_odd else obs), info

    inner = Odd(make("holdstep:PointMass", num_envs=2, device="cpu", seed=0))
    env = RecordEpisodes(inner, tmp_path / "demos", keys=["obs"], **FAST)
    env.reset(seed=1)
    env.step(torch.zeros(2, 2))
    inner.is_odd = True
    with pytest.raises(RuntimeError):
        env.reset(seed=777)
    inner.is_odd = False
    env.reset()
    env.step(torch.zeros(2, 2))
    env.close()
    assert {e.attributes.get("seed") for e in Dataset(tmp_path / "demos")} <= {1, None}
