"""Sources that compute on a GPU: each action is of the observation it was asked with."""

from __future__ import annotations

import pytest
import torch

from holdstep.envs import make
from holdstep.wrappers import PipelinedActions, RecordEpisodes, SuspendOnWait
from holdstep.wrappers.pipeline import FunctionSource, SourceResult
from holdstep.wrappers.record import Dataset
from tests.wrappers.pipeline.tools import SeenActions, nothing_left_running

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

NUM_ENVS, NUM_STEPS = 64, 150


@pytest.fixture(autouse=True)
def _nothing_left():
    with nothing_left_running():
        yield


class SlowKernels:
    """A feedback of the observations, whose kernels are still waiting when the call returns.

    Args:
        cycles: that the GPU sleeps [clock cycles].
        late: what is made after that: ``"inputs"`` are read then, ``"actions"`` and the
            ``"context"`` become complete.
    """

    def __init__(self, cycles=3_000_000, late="inputs"):
        self.cycles = cycles
        self.late = late

    def __call__(self, obs):
        state = obs["policy"]
        if self.late == "inputs":
            torch.cuda._sleep(self.cycles)
        actions, seen = feedback(state), state
        if self.late == "actions":
            unfinished = torch.zeros_like(actions)
            torch.cuda._sleep(self.cycles)
            actions = unfinished.copy_(actions)
        if self.late == "context":
            actions = actions.cpu()  # with the GPU's, all before them are waited for
            seen = torch.zeros_like(state)
            torch.cuda._sleep(self.cycles)
            seen.copy_(state)
        return SourceResult(actions=actions, context={"seen": seen})


def feedback(state):
    gains = torch.tensor([0.1, 0.3, 2.0, 0.5], device=state.device)
    return (state[:, :4] @ gains)[:, None].clamp(-1, 1)


def stack(device, source, **options):
    env = make("holdstep:CartPole", num_envs=NUM_ENVS, device=device, seed=0)
    return PipelinedActions(SeenActions(SuspendOnWait(env)), source, **options)


def litter(device):
    """Use memory that was let go of a moment ago."""
    for size in (4, 1, 2):
        torch.full((NUM_ENVS, size), 9.0, device=device)


@pytest.mark.parametrize("late", ["inputs", "actions", "context"])
@pytest.mark.parametrize("on_stale", ["repeat", "wait", "suspend"])
def test_a_frame_is_of_the_observation_that_it_was_asked_with(late, on_stale):
    env = stack(
        "cuda:0", FunctionSource(SlowKernels(late=late)), on_stale=on_stale, max_age_frames=2
    )
    obs, _ = env.reset(seed=1)
    submitted = {}
    for _ in range(NUM_STEPS):
        given = obs["policy"].clone()
        obs, _, _, _, info = env.step()
        (context,) = env.last_context.values()
        frames = info["pipeline"]
        submitted[int(frames["submitted_frame_id"].max())] = given
        applied, active = env.env.actions[-1], info["active"]
        for row in (0, NUM_ENVS - 1):
            frame = submitted[int(frames["returned_frame_id"][row])]
            assert torch.equal(context["seen"][row], frame[row])
            if active[row]:
                torch.testing.assert_close(applied[row], feedback(frame)[row])
        litter("cuda:0")
    assert env.stats().num_frames > 10
    env.close()


def test_in_the_step_itself_it_is_as_on_a_cpu():
    made = {}
    for device in ("cpu", "cuda:0"):
        env = stack(device, FunctionSource(lambda obs: feedback(obs["policy"])), mode="sync")
        env.reset(seed=1)
        rows = []
        for _ in range(60):
            obs, reward, _, _, _ = env.step()
            rows.append(torch.cat([obs["policy"], reward[:, None]], 1).cpu())
        made[device] = torch.stack(rows)
        env.close()
    torch.testing.assert_close(made["cpu"], made["cuda:0"], rtol=1e-3, atol=1e-3)


def test_what_is_recorded_is_what_was_applied(tmp_path):
    env = make("holdstep:CartPole", num_envs=NUM_ENVS, device="cuda:0", seed=0)
    env = RecordEpisodes(SuspendOnWait(env), tmp_path / "demos", durability="memory")
    env = PipelinedActions(env, FunctionSource(SlowKernels()), on_stale="suspend", max_age_frames=1)
    env.reset(seed=1)
    for _ in range(NUM_STEPS):
        env.step()
        litter("cuda:0")
    env.close()
    num_steps = 0
    for episode in Dataset(tmp_path / "demos"):
        state = torch.from_numpy(episode.arrays["obs/policy"])
        actions = torch.from_numpy(episode.arrays["actions"])
        # Each action is the feedback of one of the last two observations of its own episode.
        wanted = feedback(state)
        now = (actions - wanted[: len(actions)]).abs().amax(1)
        before = (actions[1:] - wanted[: len(actions) - 1]).abs().amax(1)
        assert (torch.minimum(now[1:], before) < 1e-5).all()
        num_steps += len(actions)
    assert num_steps > NUM_ENVS
