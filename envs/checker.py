"""``check_vector_env``: the checker that Gymnasium lacks for vector envs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from holdstep.envs.capabilities import Capabilities
from holdstep.envs.checker_aliasing import HeldTensors, tensors_of
from holdstep.envs.checker_rules import DataRules, same
from holdstep.envs.contract import Obs, TorchVectorEnv
from holdstep.errors import ContractViolationError


@dataclass(frozen=True, kw_only=True)
class CheckReport:
    """What a check that found nothing has looked at.

    Attributes:
        num_steps: steps taken.
        num_ended: episodes that ended in them; 0 means that resets inside a step went unseen.
        num_inactive: row-steps that were inactive.
        notes: what could not be checked, and why.
    """

    num_steps: int
    num_ended: int
    num_inactive: int
    notes: tuple[str, ...]


def check_vector_env(
    env: TorchVectorEnv, *, num_steps: int = 64, seed: int = 0, close: bool = False
) -> CheckReport:
    """Check that an env keeps the contract of :class:`~holdstep.envs.TorchVectorEnv`.

    Resets the env, steps it with random actions (waiting for the device as it likes), and resets
    it again. Where episodes have a time limit, rows' clocks are set so that some run into it.

    Args:
        env: an adapter, or any stack of wrappers.
        num_steps: steps to take.
        seed: seeds the resets and the actions.
        close: close the env at the end, also when violations were found.

    Returns:
        What was looked at.

    Raises:
        ContractViolationError: with every violation that was found, each once.
    """
    check = _Check(env, seed)
    try:
        return check.run(num_steps)
    finally:
        if close:
            env.close()


class _Check(DataRules):
    """One run of the checker: what an env does over several calls."""

    def __init__(self, env: TorchVectorEnv, seed: int) -> None:
        super().__init__(env)
        self.seed = seed
        self.action_rng = np.random.default_rng(seed)

    def run(self, num_steps: int) -> CheckReport:
        self.check_attributes()
        self.malformed = bool(self.violations)
        stages = (
            self.check_seed,
            lambda: self.check_steps(num_steps),
            self.check_partial_reset,
            self.check_bad_actions,
        )
        for stage in stages:
            if self.malformed:
                break  # values of such data can't be compared, and would only repeat the finding
            stage()
        if self.violations:
            raise ContractViolationError(str(self.env), list(self.violations))
        return CheckReport(
            num_steps=num_steps,
            num_ended=self.num_ended,
            num_inactive=self.num_inactive,
            notes=tuple(self.notes),
        )

    def check_attributes(self) -> None:
        env = self.env
        if not self.require(
            isinstance(env, TorchVectorEnv),
            f"it is a {type(env).__name__}, not a TorchVectorEnv: subclass it or use adapt()",
        ):
            return
        self.require(
            isinstance(env.num_envs, int) and env.num_envs > 0, "num_envs is no positive int"
        )
        self.require(isinstance(env.device, torch.device), "device is no torch.device")
        self.require(isinstance(env.capabilities, Capabilities), "capabilities is no Capabilities")
        mode = env.metadata.get("autoreset_mode")
        self.require(
            mode is AutoresetMode.SAME_STEP,
            f"metadata['autoreset_mode'] is {mode!r}, not AutoresetMode.SAME_STEP",
        )
        self.require(
            env.metadata is not type(env).metadata,
            "metadata is the class's own dictionary, so that what one env writes shows in all: "
            "copy it in __init__",
        )
        for name in ("observation", "action"):
            single = getattr(env, f"single_{name}_space", None)
            batch = getattr(env, f"{name}_space", None)
            if not self.require(
                isinstance(single, gymnasium.Space) and isinstance(batch, gymnasium.Space),
                f"{name}_space or single_{name}_space is missing",
            ):
                continue
            assert single is not None
            self.require(
                batch == batch_space(single, env.num_envs),
                f"{name}_space is not single_{name}_space batched {env.num_envs} times",
            )
        self.require(
            isinstance(getattr(env, "single_observation_space", None), gymnasium.spaces.Dict),
            "the observation space is no Dict of observation groups",
        )

    def check_seed(self) -> None:
        obs, _ = self.env.reset(seed=self.seed)
        self.check_obs(obs, "reset's observation")
        if self.malformed:
            return
        first = _copied(obs)
        unseeded = _copied(self.env.reset()[0])
        again = _copied(self.env.reset(seed=self.seed)[0])
        other = _copied(self.env.reset(seed=self.seed + 1)[0])
        if not _equal(first, again):
            third = _copied(self.env.reset(seed=self.seed)[0])
            # Isaac Lab clamps the first reset's joint velocities to limits that are still zero.
            if self.require(
                _equal(again, third),
                "reset(seed=s) gives other observations the second time: seed ignored",
            ):
                self.notes.append("the env's very first seeded reset differs from later ones")
            first = again
        if _equal(first, unseeded):
            if _equal(first, other):
                self.notes.append("resets are not random, so that seeds could not be checked")
            return
        self.require(
            not _equal(first, other),
            "reset gives the same observations for two seeds: seed ignored",
        )

    def check_steps(self, num_steps: int) -> None:
        env = self.env
        obs, info = env.reset(seed=self.seed)
        self.check_obs(obs, "reset's observation")
        self.check_masks(info, "reset's info")
        # A clock that was set from outside may show in the observations of rows that stand still.
        last_obs = {} if self.stagger_time_limits(num_steps) else _copied(obs)
        held = HeldTensors(self)
        held.add(0, "reset's observation", obs)
        for step in range(1, num_steps + 1):
            actions = self.random_actions()
            given = actions.clone()
            result = env.step(actions)
            self.require(
                torch.equal(actions, given), "step() changed the actions that it was given"
            )
            self.check_result(result, last_obs)
            obs, reward, terminated, truncated, info = result
            if self.malformed:
                return
            last_obs = _copied(obs)
            held.check_untouched()
            held.add(step, "the observation", obs)
            held.add(step, "reward", {"": reward})
            held.add(step, "terminated", {"": terminated})
            held.add(step, "truncated", {"": truncated})
            held.add(step, "info", dict(tensors_of(info)))
        if self.num_ended == 0:
            self.notes.append(
                f"no episode ended in {num_steps} steps, so that autoreset went unseen"
            )

    def check_partial_reset(self) -> None:
        env = self.env
        if env.num_envs < 2:
            self.notes.append("a single row, so that resets of some rows could not be checked")
            return
        before = _copied(env.step(self.random_actions())[0])
        clock = env.episode_length_buf.clone()
        obs, _ = env.reset(options={"env_ids": [0]})
        self.check_obs(obs, "the observation of a reset of some rows")
        for name, tensor in obs.items():
            self.require(
                same(tensor[1:], before[name][1:]),
                f"obs {name!r} of rows that were not reset changed in a reset of other rows",
            )
        self.require(
            int(env.episode_length_buf[0]) == 0, "episode_length_buf is not 0 after a row's reset"
        )
        self.require(
            torch.equal(env.episode_length_buf[1:], clock[1:]),
            "episode_length_buf of rows that were not reset changed in a reset of other rows",
        )

    def check_bad_actions(self) -> None:
        good = self.random_actions()
        bad: dict[str, Callable[[], Any]] = {
            "a wrong shape": lambda: torch.stack([good] * 3, dim=1),
            "a wrong dtype": lambda: good.bool(),
            "another type": lambda: good.tolist(),
        }
        if good.dtype.is_floating_point and self.env.device.type == "cpu":
            bad["NaN"] = lambda: torch.full_like(good, torch.nan)
        for what, actions in bad.items():
            try:
                self.env.step(actions())
            except (ValueError, TypeError):
                continue
            except Exception as error:
                outcome = f"raises {type(error).__name__} for"
            else:
                outcome = "takes"
            self.require(False, f"step() {outcome} actions of {what}: it should raise a ValueError")

    def stagger_time_limits(self, num_steps: int) -> bool:
        """Set rows' clocks so that some episodes reach their time limit during the check."""
        env = self.env
        limit = env.max_episode_length
        if limit is None:
            return False
        ends_in = torch.arange(env.num_envs, device=env.device) * 3 + 2
        ends_in = ends_in.clamp(max=max(2, num_steps - 1))
        env.episode_length_buf = (limit - ends_in).clamp(min=0).to(env.episode_length_buf.dtype)
        return True

    def random_actions(self) -> torch.Tensor:
        env = self.env
        space = env.single_action_space
        shape = tuple(env.action_space.shape or ())
        if isinstance(space, gymnasium.spaces.Box):
            low = np.clip(np.nan_to_num(space.low, neginf=-1.0), -1e3, 1e3)
            high = np.clip(np.nan_to_num(space.high, posinf=1.0), -1e3, 1e3)
            values = self.action_rng.uniform(low, high, size=shape).astype(space.dtype)
        else:
            env.action_space.seed(int(self.action_rng.integers(2**31)))
            values = np.asarray(env.action_space.sample())
        return torch.as_tensor(values, device=env.device)


def _copied(obs: Obs) -> Obs:
    return {name: tensor.clone() for name, tensor in obs.items()}


def _equal(a: Obs, b: Obs) -> bool:
    return a.keys() == b.keys() and all(same(a[name], b[name]) for name in a)
