"""Diffusion: several observations, noise in every step of the sampler."""

from contextlib import nullcontext

import pytest
import torch

from holdstep.errors import ConfigError
from holdstep.policies import LeRobotPolicy
from holdstep.policies.chunked.row_noise_mode import RowNoiseMode
from tests.policies.lerobot.doubles import request_of

NUM_ENVS, EXECUTE, DIM = 4, 3, 2
STATE, CAMERA = "observation.state", "observation.image"
MAPPING = {STATE: "state", CAMERA: "camera"}


@pytest.fixture(scope="module")
def make_diffusion(lerobot):
    from lerobot.configs.types import FeatureType, PolicyFeature
    from lerobot.policies.diffusion.configuration_diffusion import DiffusionConfig
    from lerobot.policies.diffusion.modeling_diffusion import DiffusionPolicy

    def make(scheduler="DDPM"):
        torch.manual_seed(0)
        config = DiffusionConfig(
            input_features={
                STATE: PolicyFeature(FeatureType.STATE, (3,)),
                CAMERA: PolicyFeature(FeatureType.VISUAL, (3, 32, 32)),
            },
            output_features={"action": PolicyFeature(FeatureType.ACTION, (DIM,))},
            n_obs_steps=2,
            horizon=8,
            n_action_steps=EXECUTE,
            crop_shape=None,
            pretrained_backbone_weights=None,
            use_group_norm=True,
            down_dims=(16, 32),
            n_groups=4,
            diffusion_step_embed_dim=8,
            spatial_softmax_num_keypoints=4,
            noise_scheduler_type=scheduler,
            num_train_timesteps=10,
            num_inference_steps=4,
            device="cpu",
            push_to_hub=False,
        )
        return DiffusionPolicy(config).eval()

    return make


@pytest.fixture(scope="module")
def diffusion(make_diffusion):
    return make_diffusion()


@pytest.fixture(scope="module")
def trajectory():
    """What each row sees in each tick."""
    generator = torch.Generator().manual_seed(2)
    return [
        {
            "state": torch.randn(NUM_ENVS, 3, generator=generator),
            "camera": torch.rand(NUM_ENVS, 3, 32, 32, generator=generator),
        }
        for _ in range(16)
    ]


def wrap(policy, **options):
    return LeRobotPolicy(policy, mapping=MAPPING, num_envs=NUM_ENVS, **options)


def played_by_lerobot(policy, trajectory, row, *, begins):
    """Actions of one row whose episodes begin at the given ticks, as lerobot plays it alone."""
    executed = {}
    for tick, obs in enumerate(trajectory):
        if tick < begins[0]:
            continue
        if tick in begins:
            policy.reset()
            since, episode = tick, begins.index(tick)
        batch = {STATE: obs["state"][[row]], CAMERA: obs["camera"][[row]]}
        chunk, rest = divmod(tick - since, EXECUTE)
        seeds = request_of([row], {}, chunk_id=chunk, episode_id=episode).seeds
        with RowNoiseMode(seeds) if rest == 0 else nullcontext():
            executed[tick] = policy.select_action(batch)[0]
    return executed


BEGINS = {0: [0, 7], 1: [2], 2: [0, 1, 12], 3: [5, 9]}


def test_rows_of_a_batch_act_as_each_of_them_would_alone(diffusion, trajectory):
    expected = {
        row: played_by_lerobot(diffusion, trajectory, row, begins=begins)
        for row, begins in BEGINS.items()
    }
    policy = wrap(diffusion, batching="rowwise")
    assert (policy.num_frames, policy.execute, policy.spec.chunk_length) == (2, EXECUTE, EXECUTE)
    since, chunks, num_compared, num_together = {}, {}, 0, 0
    for tick, obs in enumerate(trajectory):
        begun = [row for row, begins in BEGINS.items() if tick in begins]
        if begun:
            episodes = torch.tensor([BEGINS[row].index(tick) for row in begun])
            policy.reset(torch.tensor(begun), episodes)
            since.update(dict.fromkeys(begun, tick))
        # Rows whose episode has just begun may be told of, or not.
        told = [row for row in since if row not in begun or row % 2]
        mask = torch.zeros(NUM_ENVS, dtype=torch.bool)
        mask[told] = True
        policy.observe(obs, mask)
        asked = [row for row in since if (tick - since[row]) % EXECUTE == 0]
        if asked:  # together, though their episodes and chunks differ
            request = request_of(
                asked,
                obs,
                chunk_id=[(tick - since[row]) // EXECUTE for row in asked],
                episode_id=[BEGINS[row].index(since[row]) for row in asked],
            )
            chunks.update(zip(asked, policy.infer(request).actions, strict=True))
            num_together += len(asked) > 1
        for row in since:
            action = chunks[row][(tick - since[row]) % EXECUTE]
            assert torch.equal(action, expected[row][tick]), (tick, row)
            num_compared += 1
    assert num_compared == sum(len(actions) for actions in expected.values()) > 40
    assert num_together > 5


@pytest.mark.parametrize("scheduler", ["DDPM", "DDIM"])
def test_a_row_does_not_depend_on_who_else_is_asked_for(make_diffusion, trajectory, scheduler):
    policy = wrap(make_diffusion(scheduler), batching="pad", max_batch=NUM_ENVS)
    assert policy.spec.reproducible

    def chunks(rows):
        policy.reset(torch.arange(NUM_ENVS), torch.zeros(NUM_ENVS))
        for tick in (0, 1):
            policy.observe(trajectory[tick], torch.ones(NUM_ENVS, dtype=torch.bool))
        return policy.infer(request_of(rows, trajectory[1])).actions

    everyone = chunks(range(NUM_ENVS))
    for rows in ([2], [3, 0]):
        assert torch.equal(chunks(rows), everyone[rows])
    assert not torch.equal(everyone[0], everyone[1])


def test_the_noise_is_the_seeds(diffusion, trajectory):
    policy = wrap(diffusion)

    def chunk(episode_id):
        policy.reset(torch.tensor([1]), torch.tensor([episode_id]))
        return policy.infer(request_of([1], trajectory[0], episode_id=episode_id)).actions

    assert torch.equal(chunk(0), chunk(0))
    assert not torch.equal(chunk(0), chunk(1))


def test_ticks_that_nobody_told_it_of_are_noticed(diffusion, trajectory):
    policy = wrap(diffusion)
    policy.infer(request_of([0], trajectory[0]))
    policy.observe(trajectory[1], torch.tensor([False, True, True, True]))
    policy.infer(request_of([1, 2], trajectory[1]))
    with pytest.raises(ConfigError, match=r"rows \[0\].*observe"):
        policy.infer(request_of([2, 0], trajectory[1], chunk_id=1))


def test_through_a_runner_it_is_told_of_every_step(lerobot):
    """With two observations per inference, and the same actions whatever the schedule."""
    import numpy as np
    from lerobot.configs.types import FeatureType, PolicyFeature
    from lerobot.policies.diffusion.configuration_diffusion import DiffusionConfig
    from lerobot.policies.diffusion.modeling_diffusion import DiffusionPolicy

    from holdstep.envs import make
    from holdstep.policies import ChunkRunner, Cohort, Threshold
    from holdstep.wrappers import SuspendOnWait

    torch.manual_seed(0)
    seen = "observation.environment_state"
    config = DiffusionConfig(
        input_features={
            STATE: PolicyFeature(FeatureType.STATE, (6,)),
            seen: PolicyFeature(FeatureType.ENV, (6,)),
        },
        output_features={"action": PolicyFeature(FeatureType.ACTION, (2,))},
        n_obs_steps=2,
        horizon=8,
        n_action_steps=EXECUTE,
        down_dims=(16, 32),
        n_groups=4,
        diffusion_step_embed_dim=8,
        num_train_timesteps=10,
        num_inference_steps=2,
        device="cpu",
        push_to_hub=False,
    )
    network = DiffusionPolicy(config).eval()

    def traces(scheduler):
        policy = LeRobotPolicy(
            network,
            mapping={STATE: "policy", seen: "policy"},
            num_envs=NUM_ENVS,
            batching="rowwise",
        )
        assert policy.spec.uses_history
        env = SuspendOnWait(
            make("holdstep:PointMass", num_envs=NUM_ENVS, device="cpu", seed=0), rng="per_env"
        )
        rows = [[] for _ in range(NUM_ENVS)]
        with ChunkRunner(env, policy, scheduler, execute=EXECUTE) as runner:
            runner.reset(seed=0)
            env.episode_length_buf = env.max_episode_length - torch.tensor([4, 9, 11, 30])
            while min(map(len, rows)) < 15:
                step = runner.step()
                for row in np.flatnonzero(step.active_mask):
                    rows[row].append(step.obs["policy"][row])
        env.close()
        return torch.stack([torch.stack(row[:15]) for row in rows])

    assert torch.equal(traces(Cohort()), traces(Threshold(1)))
