"""Recording from a GPU: the same values, no wait in a step, and memory that does not grow."""

import pytest
import torch

from holdstep.wrappers import RecordEpisodes
from holdstep.wrappers.record.dataset import Dataset
from tests.wrappers.record.scripted_env import CloningRecorder, Script, ScriptedEnv, read_by_id

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
GROUPS = {"policy": ("float32", (7,)), "camera": ("uint8", (9, 8, 3)), "n": ("int64", ()),
          "half": ("float16", (3,)), "wide": ("float64", (2,))}  # fmt: skip


def script(**changes):
    return Script(
        groups=GROUPS,
        num_envs=5,
        ends=[([], []), ([1], []), ([], [0, 2]), ([], []), ([4], [3])],
        device=torch.device("cuda", 0),
        **changes,
    )


def spoil(value):
    if isinstance(value, dict):
        for inner in value.values():
            spoil(inner)
    elif isinstance(value, torch.Tensor) and value.numel():
        value.fill_(1)


@pytest.mark.parametrize("on_full", ["block", "spill", "drop"])
@pytest.mark.parametrize("writer", ["process", "thread"])
def test_what_is_read_back_equals_what_was_recorded(tmp_path, on_full, writer):
    cloning = CloningRecorder(ScriptedEnv(script(states=True)), states=True)
    env = RecordEpisodes(cloning, tmp_path / "demos", keys=["obs", "actions", "rewards", "states",
                         "terminated", "truncated"], max_queue_bytes=1 << 16, on_full=on_full,
                         writer=writer, durability="os")  # fmt: skip
    spoil(env.reset(seed=1)[0])
    for step in range(200):
        actions = torch.randn(5, 2, device="cuda")
        result = env.step(actions)
        for value in (actions, *result):
            spoil(value)
        if step % 70 == 30:
            spoil(env.reset(options={"env_ids": [0, 3]})[0])
    env.close()
    cloning.stop()
    expected, found = cloning.by_id(), read_by_id(Dataset(env.path))
    assert found == {key: expected[key] for key in found}
    assert len(found) == len(expected) - env.stats().dropped
    assert on_full == "drop" or env.stats().dropped == 0


@pytest.mark.parametrize("behind", ["nothing", "copies", "kernels"])
def test_slots_are_not_written_over_while_they_are_copied(tmp_path, behind):
    """Whichever is behind: the copies of a block, or the kernels that fill it."""
    big = Script(groups={"camera": ("uint8", (128, 128, 3))}, num_envs=64,
                 device=torch.device("cuda", 0))  # fmt: skip
    inner = ScriptedEnv(big)
    frames = torch.randint(0, 256, (64, 128, 128, 3), dtype=torch.uint8, device="cuda")
    live = frames.clone()
    inner.observe = lambda: {"camera": live}
    env = RecordEpisodes(inner, tmp_path / "demos", keys=["obs", "actions"],
                         max_queue_bytes=256 << 20, durability="memory")  # fmt: skip
    env.reset()
    made = inner.step(torch.zeros(64, 2, device="cuda"))
    inner.step = lambda actions: made  # which waits for nothing
    actions = torch.zeros(64, 2, device="cuda")
    staging = env._recording._filler._staging
    for step in range(80):
        if behind != "nothing":
            with torch.cuda.stream(staging._stream if behind == "copies" else None):
                torch.cuda._sleep(4_000_000)
        live.copy_(frames + step)
        env.step(actions)
        live.fill_(0x55)
    env.close()
    num_rows = 0
    for episode in Dataset(env.path):
        num_rows += 1
        row = episode.attributes["env_id"]
        recorded = torch.from_numpy(episode.arrays["obs/camera"][1:])
        for step in range(79):
            assert torch.equal(recorded[step], (frames[row] + step).cpu()), (row, step)
    assert num_rows == 64


def test_no_step_waits_for_the_gpu(tmp_path):
    inner = ScriptedEnv(script())
    env = RecordEpisodes(inner, tmp_path / "demos", durability="os")
    env.reset()
    actions = torch.zeros(5, 2, device="cuda")
    made = [inner.step(actions) for _ in range(5)]
    env.step(actions)
    turn = iter(range(10**6))
    inner.step = lambda actions: made[next(turn) % 5]
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(300):
            env.step(actions)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    env.close()
    assert env.stats().acknowledged > 300


def test_gpu_memory_does_not_grow_with_the_length_of_an_episode(tmp_path):
    one = Script(groups=GROUPS, num_envs=64, device=torch.device("cuda", 0))
    inner = ScriptedEnv(one)
    env = RecordEpisodes(inner, tmp_path / "demos", durability="os", max_queue_bytes=1 << 22)
    env.reset()
    actions = torch.zeros(64, 2, device="cuda")
    made = inner.step(actions)
    inner.step = lambda actions: made
    sizes = []
    for step in range(600):
        env.step(actions)
        if step % 100 == 99:
            sizes.append(torch.cuda.memory_allocated())
    staging = env._recording._filler._staging
    assert len(set(sizes)) == 1, sizes
    assert staging.num_bytes <= 2 * (1 << 22)
    env.close()
    assert torch.cuda.memory_allocated() < sizes[0]


def test_a_gpu_that_is_behind_is_waited_for_only_at_flush(tmp_path):
    cloning = CloningRecorder(ScriptedEnv(script()))
    env = RecordEpisodes(cloning, tmp_path / "demos", durability="os", max_queue_bytes=1 << 16)
    env.reset()
    for _ in range(40):
        torch.cuda._sleep(2_000_000)
        env.step(torch.randn(5, 2, device="cuda"))
    env.flush()
    assert env.stats().queued_bytes == 0
    env.close()
    cloning.stop()
    assert read_by_id(Dataset(env.path)) == cloning.by_id()
