"""The checker passes on good envs, and finds every violation that is planted."""

import dataclasses

import gymnasium
import pytest
import torch
from gymnasium.vector import AutoresetMode

from holdstep.envs import adapt, check_vector_env, make
from holdstep.errors import ConfigError, ContractViolationError
from holdstep.wrappers import VectorWrapper


def good_env(**kwargs):
    return make("holdstep:CartPole", num_envs=4, device="cpu", seed=0, **kwargs)


@pytest.mark.parametrize(
    "env_id", ["holdstep:CartPole", "holdstep:PointMass", "gymnasium:CartPole-v1"]
)
def test_good_envs_pass_bare_and_wrapped(env_id):
    env = make(env_id, num_envs=4, device="cpu", seed=0)
    report = check_vector_env(VectorWrapper(env), num_steps=80)
    assert report.num_ended > 0
    assert report.num_steps == 80
    check_vector_env(env, close=True)
    assert env.closed


def test_what_an_env_refuses_is_noted_and_not_a_violation():
    """Gymnasium's statistics wrapper can't follow resets of some rows, so the adapter refuses."""
    vector = gymnasium.make_vec(
        "CartPole-v1",
        num_envs=3,
        vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": AutoresetMode.SAME_STEP},
    )
    env = adapt(gymnasium.wrappers.vector.RecordEpisodeStatistics(vector))
    report = check_vector_env(env, close=True)
    assert any("reset of some rows: refused" in note for note in report.notes)


def test_at_least_one_step_is_needed():
    with pytest.raises(ConfigError, match="at least 1"):
        check_vector_env(good_env(), num_steps=0)


def test_what_could_not_be_checked_is_said():
    env = make("holdstep:CartPole", num_envs=1, device="cpu", seed=0)
    report = check_vector_env(env, num_steps=1)
    assert any("no episode ended" in note for note in report.notes)
    assert any("single row" in note for note in report.notes)


class Broken(VectorWrapper):
    """A wrapper that spoils what the good env returns; each subclass plants one violation."""

    def step(self, actions):
        obs, reward, terminated, truncated, info = super().step(actions)
        return self.spoil(obs, reward, terminated, truncated, info)

    def spoil(self, obs, reward, terminated, truncated, info):
        return obs, reward, terminated, truncated, info


class WrongRewardDtype(Broken):
    def spoil(self, obs, reward, terminated, truncated, info):
        return obs, reward.double(), terminated, truncated, info


class WrongObsDtype(Broken):
    def spoil(self, obs, reward, terminated, truncated, info):
        return {k: v.half() for k, v in obs.items()}, reward, terminated, truncated, info


class FlagsAreIntegers(Broken):
    def spoil(self, obs, reward, terminated, truncated, info):
        return obs, reward, terminated.long(), truncated, info


class RewardHasAColumn(Broken):
    def spoil(self, obs, reward, terminated, truncated, info):
        return obs, reward[:, None], terminated, truncated, info


class ObsAreNumpy(Broken):
    def spoil(self, obs, reward, terminated, truncated, info):
        return {k: v.numpy() for k, v in obs.items()}, reward, terminated, truncated, info


class ResetGivesNumpy(Broken):
    def reset(self, *, seed=None, options=None):
        obs, info = super().reset(seed=seed, options=options)
        return {k: v.numpy() for k, v in obs.items()}, info


class AliasedReward(Broken):
    """Isaac Lab's and mjlab's own behaviour: one buffer, overwritten by the next step."""

    def __init__(self, env):
        super().__init__(env)
        self.buffer = self.new_buffer(4)

    def spoil(self, obs, reward, terminated, truncated, info):
        return obs, self.buffer.copy_(reward), terminated, truncated, info


class AliasedObs(Broken):
    def __init__(self, env):
        super().__init__(env)
        self.buffer = self.new_buffer(4, 4)

    def spoil(self, obs, reward, terminated, truncated, info):
        obs["policy"] = self.buffer.copy_(obs["policy"])[:]  # another view of the same memory
        return obs, reward, terminated, truncated, info


class AliasedInfo(Broken):
    def __init__(self, env):
        super().__init__(env)
        self.buffer = self.new_buffer(4, dtype=torch.bool, fill=True)

    def spoil(self, obs, reward, terminated, truncated, info):
        return obs, reward, terminated, truncated, info | {"active": self.buffer}


class SharedFlags(Broken):
    def spoil(self, obs, reward, terminated, truncated, info):
        return obs, reward, terminated, terminated, info


class WrongDevice(Broken):
    def spoil(self, obs, reward, terminated, truncated, info):
        return obs, reward.to("meta"), terminated, truncated, info


class NoActiveMask(Broken):
    def spoil(self, obs, reward, terminated, truncated, info):
        del info["active"]
        return obs, reward, terminated, truncated, info


class NoFinalObsMask(Broken):
    def spoil(self, obs, reward, terminated, truncated, info):
        info.pop("_final_obs", None)
        return obs, reward, terminated, truncated, info


class NoFinalObs(Broken):
    def spoil(self, obs, reward, terminated, truncated, info):
        info.pop("final_obs", None)
        info.pop("_final_obs", None)
        return obs, reward, terminated, truncated, info


class FinalObsMaskIsOff(Broken):
    def spoil(self, obs, reward, terminated, truncated, info):
        info["_final_obs"] = torch.zeros_like(terminated)
        return obs, reward, terminated, truncated, info


class _FirstRowInactive(Broken):
    """A correct suspension of row 0, for the next ones to spoil."""

    def reset(self, *, seed=None, options=None):
        self.last_obs, info = super().reset(seed=seed, options=options)
        return dict(self.last_obs), info

    def step(self, actions):
        active = torch.tensor([False, True, True, True])
        return self.spoil(*self.env.step_masked(actions, active))


class RewardOnInactiveRow(_FirstRowInactive):
    def spoil(self, obs, reward, terminated, truncated, info):
        return obs, reward + 1, terminated, truncated, info


class InactiveRowEnds(_FirstRowInactive):
    def spoil(self, obs, reward, terminated, truncated, info):
        return obs, reward, terminated, torch.ones_like(truncated), info


class InactiveRowMoves(_FirstRowInactive):
    def spoil(self, obs, reward, terminated, truncated, info):
        obs = {k: v + torch.rand(4, 1) * 1e-3 for k, v in obs.items()}
        return obs, reward, terminated, truncated, info


class BoundsLie(Broken):
    def spoil(self, obs, reward, terminated, truncated, info):
        return obs | {"policy": obs["policy"] + 1e9}, reward, terminated, truncated, info


class GroupsLie(Broken):
    def spoil(self, obs, reward, terminated, truncated, info):
        return {"policy": obs["policy"]}, reward, terminated, truncated, info


class NanObs(Broken):
    def spoil(self, obs, reward, terminated, truncated, info):
        obs["critic"][0] = torch.nan
        return obs, reward, terminated, truncated, info


class BatchSpaceLies(Broken):
    def __init__(self, env):
        super().__init__(env)
        self.observation_space = self.single_observation_space


class SeedIgnored(Broken):
    def reset(self, *, seed=None, options=None):
        return super().reset(options=options)


class SeedConstant(Broken):
    def reset(self, *, seed=None, options=None):
        return super().reset(seed=None if seed is None else 7, options=options)


class PartialResetIsWhole(Broken):
    def reset(self, *, seed=None, options=None):
        return super().reset(seed=seed)


class ClockRunsOn(Broken):
    @property
    def episode_length_buf(self):
        return self.env.episode_length_buf + 1

    @episode_length_buf.setter
    def episode_length_buf(self, value):
        self.env.episode_length_buf = value


class ClipsTheCallersActions(Broken):
    def step(self, actions):
        return super().step(actions.clamp_(-0.1, 0.1))


class EndedRowsGoOn(Broken):
    def spoil(self, obs, reward, terminated, truncated, info):
        ended = (terminated | truncated)[:, None]
        obs = {k: torch.where(ended, info["final_obs"][k], v) for k, v in obs.items()}
        return obs, reward, terminated, truncated, info


class FinalObsOfTheNextEpisode(Broken):
    def spoil(self, obs, reward, terminated, truncated, info):
        info["final_obs"] = {k: v.clone() for k, v in obs.items()}
        return obs, reward, terminated, truncated, info


class PartialResetOfTheClockOnly(Broken):
    def reset(self, *, seed=None, options=None):
        if options is None:
            obs, info = super().reset(seed=seed)
            self.last_obs = {k: v.clone() for k, v in obs.items()}
            return obs, info
        clock = self.episode_length_buf.clone()
        clock[options["env_ids"]] = 0
        self.episode_length_buf = clock
        return {k: v.clone() for k, v in self.last_obs.items()}, {}

    def spoil(self, obs, reward, terminated, truncated, info):
        self.last_obs = {k: v.clone() for k, v in obs.items()}
        return obs, reward, terminated, truncated, info


class SkipIsClaimedOnly(Broken):
    def step_masked(self, actions, active_mask):
        return self.step(torch.nan_to_num(actions))


class RenderIsClaimedOnly(Broken):
    def __init__(self, env):
        super().__init__(env)
        self.capabilities = dataclasses.replace(env.capabilities, freeze="none", render=True)

    def render(self):
        return None


class RowsShareTheirNoise(Broken):
    """What a simulator with one random stream would do if it claimed a stream per row."""

    def reset(self, *, seed=None, options=None):
        if seed is not None:
            self.generator = torch.Generator().manual_seed(seed)
        if options is not None:
            torch.rand(1, generator=self.generator)
        return super().reset(seed=seed, options=options)

    def spoil(self, obs, reward, terminated, truncated, info):
        noise = torch.rand(4, 1, generator=self.generator) * 1e-3
        return obs | {"policy": obs["policy"] + noise}, reward, terminated, truncated, info

    def step_masked(self, actions, active_mask):
        return self.env.step_masked(actions, active_mask)


class ResetKeepsWarmth(Broken):
    """Rows have streams of their own; but an episode begins a little where the last one ended."""

    warmth = 0.0

    def reset(self, *, seed=None, options=None):
        obs, info = super().reset(seed=seed, options=options)
        if options is None:
            self.warmth += 1e-6
            return obs, info
        return obs | {"policy": obs["policy"] + self.warmth}, info

    def spoil(self, obs, reward, terminated, truncated, info):
        return obs | {"policy": obs["policy"] + self.warmth}, reward, terminated, truncated, info

    def step_masked(self, actions, active_mask):
        return self.env.step_masked(actions, active_mask)


class StepRaises(Broken):
    def spoil(self, obs, reward, terminated, truncated, info):
        raise KeyError("oops")


class NoCapabilities(Broken):
    def __init__(self, env):
        super().__init__(env)
        self.capabilities = None


class WrongAutoresetMode(Broken):
    def __init__(self, env):
        super().__init__(env)
        self.metadata = dict(env.metadata) | {"autoreset_mode": AutoresetMode.NEXT_STEP}


class ModeIsAString(Broken):
    def __init__(self, env):
        super().__init__(env)
        self.metadata = dict(env.metadata) | {"autoreset_mode": "SameStep"}


class SwallowsBadActions(Broken):
    def step(self, actions):
        return super().step(torch.zeros(4, 1))


@pytest.mark.parametrize(
    ("violation", "message"),
    [
        (WrongRewardDtype, "reward has dtype torch.float64.*wrong dtype"),
        (WrongObsDtype, "obs 'policy' has dtype float16"),
        (FlagsAreIntegers, "terminated has dtype torch.int64"),
        (RewardHasAColumn, r"reward has shape \(4, 1\)"),
        (ObsAreNumpy, "is a ndarray, no tensor"),
        (ResetGivesNumpy, "is a ndarray, no tensor"),
        (AliasedReward, "reward shares memory with the one of an earlier step: aliasing"),
        (AliasedObs, "observation 'policy' shares memory.*aliasing"),
        (AliasedInfo, "info 'active' shares memory.*aliasing"),
        (SharedFlags, "truncated shares memory with terminated: aliasing"),
        (WrongDevice, "reward is on meta.*wrong device"),
        (NoActiveMask, "no 'active' mask"),
        (NoFinalObsMask, "'final_obs' without its mask"),
        (NoFinalObs, "a row ended and info has no 'final_obs'"),
        (FinalObsMaskIsOff, "not the mask of the rows that ended"),
        (RewardOnInactiveRow, "not active has a reward"),
        (InactiveRowEnds, "not active is terminated or truncated"),
        (InactiveRowMoves, "not active differs from its last one"),
        (BoundsLie, "outside its space's bounds: the space lies"),
        (GroupsLie, r"has the groups \['policy'\].*the space lies"),
        (NanObs, "obs 'critic' holds NaN"),
        (BatchSpaceLies, "not single_observation_space batched"),
        (SeedIgnored, "seed ignored"),
        (SeedConstant, "same observations for two seeds: seed ignored"),
        (PartialResetIsWhole, "rows that were not reset changed"),
        (ClockRunsOn, "episode_length_buf is not 0"),
        (ClipsTheCallersActions, "changed the actions that it was given"),
        (WrongAutoresetMode, "NEXT_STEP.*not AutoresetMode.SAME_STEP"),
        (ModeIsAString, "'SameStep', not AutoresetMode"),
        (EndedRowsGoOn, r"equal info\['final_obs'\]: either the rows are not restarted"),
        (FinalObsOfTheNextEpisode, r"final_obs is of the next episode"),
        (PartialResetOfTheClockOnly, "leaves their observations as they were"),
        (SkipIsClaimedOnly, "'skip', but info.*is not the mask that was given"),
        (RenderIsClaimedOnly, r"render\(\) gives None"),
        (RowsShareTheirNoise, "'per_env', but a row's trajectory depends on resets of others"),
        (StepRaises, "stepping raises KeyError"),
        (NoCapabilities, "capabilities is None, no Capabilities"),
        (SwallowsBadActions, "actions of a wrong shape"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_planted_violations_are_found(violation, message):
    with pytest.raises(ContractViolationError, match=message) as caught:
        check_vector_env(violation(good_env()), num_steps=80)
    assert caught.value.violations
    assert violation.__name__ in str(caught.value)


def test_the_suspending_wrapper_itself_is_correct():
    """The violations on inactive rows are found because of what is planted, not of the masking."""
    report = check_vector_env(_FirstRowInactive(good_env()), num_steps=80)
    assert report.num_inactive == 80


def test_resets_that_keep_a_little_are_no_dependence_on_other_rows():
    """A solver's warm start, as on Isaac Lab: the same seed does not repeat a trajectory."""
    report = check_vector_env(ResetKeepsWarmth(good_env()), num_steps=80)
    assert any("'per_env' could not be checked" in note for note in report.notes)


class ResetChoosesTheNext(Broken):
    """mjlab's rough terrain in play mode: a reset chooses the place where the next one begins."""

    place = next_place = 0.0

    def reset(self, *, seed=None, options=None):
        obs, info = super().reset(seed=seed, options=options)
        if options is None:
            self.place, self.next_place = self.next_place, 0.01 * float(obs["policy"][0, 0].abs())
        return self.moved(obs), info

    def spoil(self, obs, reward, terminated, truncated, info):
        return self.moved(obs), reward, terminated, truncated, info

    def moved(self, obs):
        return obs | {"policy": obs["policy"] + self.place}


def test_a_reset_that_depends_on_the_one_before_does_not_ignore_its_seed():
    report = check_vector_env(ResetChoosesTheNext(good_env()), num_steps=80)
    assert any("depends on the reset before it" in note for note in report.notes)


def test_all_violations_are_listed_at_once():
    class TwoDefects(Broken):
        def spoil(self, obs, reward, terminated, truncated, info):
            del info["active"]
            return obs, reward.double(), terminated.long(), truncated, info

    with pytest.raises(ContractViolationError) as caught:
        check_vector_env(TwoDefects(good_env()))
    assert len(caught.value.violations) >= 2


def test_class_level_metadata_is_found():
    class Shared(VectorWrapper):
        metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012 (the defect)

    with pytest.raises(ContractViolationError, match="class's own dictionary"):
        check_vector_env(Shared(good_env()))


def test_other_objects_are_told_what_to_be():
    env = gymnasium.make_vec("CartPole-v1", num_envs=2, vectorization_mode="sync")
    with pytest.raises(ContractViolationError, match="not a TorchVectorEnv"):
        check_vector_env(env)
    env.close()
