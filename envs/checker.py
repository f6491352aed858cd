"""``check_vector_env``: the checker that Gymnasium lacks for vector envs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from holdstep.envs.capabilities import Capabilities
from holdstep.envs.checker_aliasing import HeldTensors, tensors_of
from holdstep.envs.checker_freeze import check_freeze
from holdstep.envs.checker_rules import DataRules, copied, same
from holdstep.envs.contract import Obs, TorchVectorEnv
from holdstep.errors import CapabilityError, ConfigError, ContractViolationError


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
        ConfigError: ``num_steps`` is less than 1.
    """
    if num_steps < 1:
        raise ConfigError(f"num_steps must be at least 1, got {num_steps}.")
    check = EnvCheck(env, seed)
    try:
        return check.run(num_steps)
    finally:
        if close:
            env.close()


class EnvCheck(DataRules):
    """One run of the checker: what an env does over several calls."""

    def __init__(self, env: TorchVectorEnv, seed: int) -> None:
        super().__init__(env)
        self.seed = seed
        self.resets_are_random = False
        self.num_overdue = 0
        self.action_rng = np.random.default_rng(seed)

    def run(self, num_steps: int) -> CheckReport:
        """Everything, in an order in which later parts may rely on earlier ones."""
        self.check_attributes()
        self.malformed = bool(self.violations)
        stages: dict[str, Callable[[], None]] = {
            "reset with a seed": self.check_seed,
            "stepping": lambda: self.check_steps(num_steps),
            "reset of some rows": self.check_partial_reset,
            "what capabilities claim": self.check_claims,
            "refusing bad actions": self.check_bad_actions,
        }
        for name, stage in stages.items():
            if self.malformed:
                break  # values of such data can't be compared, and would only repeat the finding
            try:
                stage()
            except CapabilityError as error:
                self.notes.append(f"{name}: refused, so not checked further: {error}")
            except Exception as error:
                self.require(False, f"{name} raises {type(error).__name__}: {error}")
        if self.violations:
            raise ContractViolationError(str(self.env), list(self.violations))
        return CheckReport(
            num_steps=num_steps,
            num_ended=self.num_ended,
            num_inactive=self.num_inactive,
            notes=tuple(self.notes),
        )

    def check_attributes(self) -> None:
        """What the env says of itself."""
        env = self.env
        if not self.require(
            isinstance(env, TorchVectorEnv),
            f"it is a {type(env).__name__}, not a TorchVectorEnv: subclass it or use adapt()",
        ):
            return
        num_envs = getattr(env, "num_envs", None)
        self.require(isinstance(num_envs, int) and num_envs > 0, "num_envs is no positive int")
        for name, kind in (("device", torch.device), ("capabilities", Capabilities)):
            value = getattr(env, name, None)
            self.require(isinstance(value, kind), f"{name} is {value!r}, no {kind.__name__}")
        if not self.require(isinstance(env.metadata, dict), "metadata is no dictionary"):
            return
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
            if self.violations:
                continue  # without the number of rows there is nothing to compare with
            self.require(
                batch == batch_space(cast("gymnasium.Space[Any]", single), env.num_envs),
                f"{name}_space is not single_{name}_space batched {env.num_envs} times",
            )
        self.require(
            isinstance(getattr(env, "single_observation_space", None), gymnasium.spaces.Dict),
            "the observation space is no Dict of observation groups",
        )

    def check_seed(self) -> None:
        """A seed repeats a reset, another one gives another."""
        obs, _ = self.env.reset(seed=self.seed)
        self.check_obs(obs, "reset's observation")
        if self.malformed:
            return
        first = copied(obs)
        unseeded = copied(self.env.reset()[0])
        again = copied(self.env.reset(seed=self.seed)[0])
        other = copied(self.env.reset(seed=self.seed + 1)[0])
        if not _equal(first, again):
            third, fourth, fifth = (copied(self.env.reset(seed=self.seed)[0]) for _ in range(3))
            if _equal(again, third):
                # Isaac Lab clamps the first reset's joint velocities to limits that are still zero.
                self.notes.append("the env's very first seeded reset differs from later ones")
            elif self.require(
                _equal(fourth, fifth),
                "reset(seed=s) gives other observations the second time: seed ignored, or they "
                "depend on what no reset puts back: a curriculum, a network that the task trains, "
                "a solver's warm start",
            ):
                # mjlab's rough terrain in play mode: a reset chooses where the next one begins.
                self.notes.append("what a seeded reset gives depends on the reset before it, too")
            first = again
        self.resets_are_random = not _equal(first, unseeded)
        if not self.resets_are_random:
            if _equal(first, other):
                self.notes.append("resets are not random, so that seeds could not be checked")
            return
        self.require(
            not _equal(first, other),
            "reset gives the same observations for two seeds: seed ignored",
        )

    def check_steps(self, num_steps: int) -> None:
        """Results of random steps, and that no later call writes into them."""
        env = self.env
        obs, info = env.reset(seed=self.seed)
        self.check_obs(obs, "reset's observation")
        self.check_masks(info, "reset's info")
        # A clock that was set from outside may show in the observations of rows that stand still.
        last_obs = {} if self.stagger_time_limits(num_steps) else copied(obs)
        limit = env.max_episode_length or torch.iinfo(torch.int64).max
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
            last_obs = copied(obs)
            self.num_overdue += int((env.episode_length_buf >= limit).sum())
            held.check_untouched()
            held.add(step, "the observation", obs)
            held.add(step, "reward", {"": reward})
            held.add(step, "terminated", {"": terminated})
            held.add(step, "truncated", {"": truncated})
            held.add(step, "info", dict(tensors_of(info)))
        if self.num_overdue:
            self.notes.append("rows went on after max_episode_length steps")
        if self.num_ended == 0:
            self.notes.append(
                f"no episode ended in {num_steps} steps, so that autoreset went unseen"
            )
        elif self.resets_are_random and self.num_final > 1:
            self.require(
                self.num_final_as_new < self.num_final,
                "the observations of rows that ended equal info['final_obs']: either the rows are "
                "not restarted, or final_obs is of the next episode",
            )

    def check_partial_reset(self) -> None:
        """A reset of one row leaves the others as they are."""
        env = self.env
        if env.num_envs < 2:
            self.notes.append("a single row, so that resets of some rows could not be checked")
            return
        before = copied(env.step(self.random_actions())[0])
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
        if self.resets_are_random:
            starts = [before, copied(obs)]
            starts += [copied(env.reset(options={"env_ids": [0]})[0]) for _ in range(4)]
            first_rows = [{name: tensor[:1] for name, tensor in o.items()} for o in starts]
            self.require(
                not all(_equal(first_rows[0], row) for row in first_rows[1:]),
                "a reset of some rows leaves their observations as they were",
            )

    def check_claims(self) -> None:
        """What ``capabilities`` say, tried out."""
        env = self.env
        claims = env.capabilities
        if claims.freeze != "none":
            check_freeze(self, claims.freeze)
        if claims.render:
            self.require(env.render() is not None, "capabilities.render, but render() gives None")
        if claims.rng == "per_env" and env.num_envs > 1:
            self.check_rows_have_streams()

    def check_rows_have_streams(self) -> None:
        """A row's trajectory is the same whether another one is reset meanwhile or not."""
        alone = self.second_row(disturbed=False)
        beside = self.second_row(disturbed=True)
        if _all_equal(alone, beside):
            return
        # Some simulators' resets keep a little of the last episode, such as a solver's warm start.
        if not _all_equal(self.second_row(disturbed=False), self.second_row(disturbed=False)):
            self.notes.append(
                "a seed does not repeat a trajectory in the same env, so that the claim that "
                "capabilities.rng is 'per_env' could not be checked"
            )
            return
        self.require(
            False,
            "capabilities.rng is 'per_env', but a row's trajectory depends on resets of others",
        )

    def second_row(self, *, disturbed: bool) -> list[Obs]:
        """Row 1's observations over some seeded steps, with resets of row 0 meanwhile or not."""
        env = self.env
        env.reset(seed=self.seed)
        self.action_rng = np.random.default_rng(self.seed)
        seen = []
        for step in range(12):
            obs = env.step(self.random_actions())[0]
            seen.append({name: tensor[1:2].clone() for name, tensor in obs.items()})
            if disturbed and step % 3 == 0:
                env.reset(options={"env_ids": [0]})
            if step == 6:
                env.reset(options={"env_ids": [1]})
        return seen

    def check_bad_actions(self) -> None:
        """Actions that can be no actions raise."""
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
        try:
            env.episode_length_buf = env.episode_length_buf.clone()
        except CapabilityError as error:
            self.notes.append(f"time limits could not be brought nearer: {error}")
            return False
        ends_in = torch.arange(env.num_envs, device=env.device) * 3 + 2
        ends_in = ends_in.clamp(max=max(2, num_steps - 1))
        env.episode_length_buf = (limit - ends_in).clamp(min=0).to(env.episode_length_buf.dtype)
        return True

    def random_actions(self) -> torch.Tensor:
        """Actions from the action space, ``[N, ...]`` on the env's device."""
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


def _equal(a: Obs, b: Obs) -> bool:
    return a.keys() == b.keys() and all(same(a[name], b[name]) for name in a)


def _all_equal(a: list[Obs], b: list[Obs]) -> bool:
    return all(_equal(*pair) for pair in zip(a, b, strict=True))
