"""``check_vector_env``: the checker that Gymnasium lacks for vector envs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from holdstep.envs.capabilities import Capabilities
from holdstep.envs.contract import Info, Obs, StepResult, TorchVectorEnv
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


class _Check:
    """One run of the checker: the env, what it violated, and what was seen so far."""

    def __init__(self, env: TorchVectorEnv, seed: int) -> None:
        self.env = env
        self.seed = seed
        self.violations: dict[str, None] = {}  # a set that keeps the order of discovery
        self.notes: list[str] = []
        self.num_ended = 0
        self.num_inactive = 0
        self.malformed = False  # some data are not even of the right type, shape or place
        self.action_rng = np.random.default_rng(seed)

    def require(self, condition: bool | torch.Tensor, message: str) -> bool:
        """Note a violation unless the condition holds."""
        holds = bool(condition)
        if not holds:
            self.violations.setdefault(message)
        return holds

    def require_form(self, condition: bool, message: str) -> bool:
        """The same, for what later checks rely on."""
        holds = self.require(condition, message)
        self.malformed |= not holds
        return holds

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
        held: list[tuple[int, str, torch.Tensor, torch.Tensor]] = []
        self.hold(held, 0, "reset's observation", obs)
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
            self.check_untouched(held)
            self.hold(held, step, "the observation", obs)
            self.hold(held, step, "reward", {"": reward})
            self.hold(held, step, "terminated", {"": terminated})
            self.hold(held, step, "truncated", {"": truncated})
            self.hold(held, step, "info", dict(_tensors(info)))
            del held[: max(0, len(held) - 40)]
        if self.num_ended == 0:
            self.notes.append(
                f"no episode ended in {num_steps} steps, so that autoreset went unseen"
            )

    def hold(
        self,
        held: list[tuple[int, str, torch.Tensor, torch.Tensor]],
        step: int,
        what: str,
        tensors: Mapping[str, torch.Tensor],
    ) -> None:
        """Keep what was returned, and a copy, to see later whether a step wrote into it."""
        for name, tensor in tensors.items():
            label = f"{what} {name!r}" if name else what
            for other_step, other_label, other, _ in held:
                shared = tensor.numel() > 0 and _storage(tensor) == _storage(other)
                if other_step != step:
                    self.require(
                        not shared,
                        f"{label} shares memory with the one of an earlier step: aliasing",
                    )
                elif not (what == "info" and other_label.startswith("info")):
                    self.require(not shared, f"{label} shares memory with {other_label}: aliasing")
            held.append((step, label, tensor, tensor.clone()))

    def check_untouched(self, held: list[tuple[int, str, torch.Tensor, torch.Tensor]]) -> None:
        for _, label, tensor, copy in held:
            self.require(
                _same(tensor, copy),
                f"a later step overwrote {label}, which belongs to the caller: aliasing",
            )

    def check_obs(self, obs: Any, what: str) -> None:
        env = self.env
        if not self.require_form(isinstance(obs, dict), f"{what} is no dict by group"):
            return
        spaces = env.single_observation_space.spaces
        if not self.require_form(
            set(obs) == set(spaces),
            f"{what} has the groups {sorted(obs)}, its space has {sorted(spaces)}: the space lies",
        ):
            return
        for name, tensor in obs.items():
            self.check_tensor(tensor, f"obs {name!r}", spaces[name], f"{what} {name!r}")

    def check_tensor(self, tensor: Any, kind: str, space: gymnasium.Space[Any], what: str) -> None:
        if not self.require_form(
            isinstance(tensor, torch.Tensor),
            f"{kind}: {what} is a {type(tensor).__name__}, no tensor",
        ):
            return
        if not self.check_device(tensor, kind):
            return
        shape = (self.env.num_envs, *(space.shape or ()))
        shape_fits = self.require_form(
            tuple(tensor.shape) == shape,
            f"{kind} has shape {tuple(tensor.shape)}, its space says {shape}: the space lies",
        )
        dtype = str(tensor.dtype).removeprefix("torch.")
        dtype_fits = self.require(
            dtype == str(space.dtype),
            f"{kind} has dtype {dtype}, its space says {space.dtype}: wrong dtype",
        )
        if shape_fits and dtype_fits and isinstance(space, gymnasium.spaces.Box):
            values = tensor.detach().cpu().numpy()
            self.require(not np.isnan(values).any(), f"{kind} holds NaN")
            inside = ((values >= space.low) & (values <= space.high)) | np.isnan(values)
            self.require(
                bool(inside.all()), f"{kind} has values outside its space's bounds: the space lies"
            )

    def check_device(self, tensor: torch.Tensor, kind: str) -> bool:
        return self.require_form(
            tensor.device == self.env.device,
            f"{kind} is on {tensor.device}, the env's device is {self.env.device}: wrong device",
        )

    def check_vector(self, value: Any, name: str, dtype: torch.dtype) -> bool:
        if not self.require_form(
            isinstance(value, torch.Tensor), f"{name} is a {type(value).__name__}, no tensor"
        ):
            return False
        if not self.check_device(value, name):
            return False
        fits = self.require_form(
            value.shape == (self.env.num_envs,),
            f"{name} has shape {tuple(value.shape)}, not ({self.env.num_envs},)",
        )
        return fits & self.require_form(
            value.dtype == dtype, f"{name} has dtype {value.dtype}, not {dtype}: wrong dtype"
        )

    def check_result(self, result: StepResult, last_obs: Obs) -> None:
        env = self.env
        if not self.require_form(
            isinstance(result, tuple) and len(result) == 5,
            "step() does not return the five values obs, reward, terminated, truncated, info",
        ):
            return
        obs, reward, terminated, truncated, info = result
        self.check_obs(obs, "step's observation")
        self.check_vector(reward, "reward", torch.float32)
        self.check_vector(terminated, "terminated", torch.bool)
        self.check_vector(truncated, "truncated", torch.bool)
        if self.malformed or not self.require_form(isinstance(info, dict), "info is no dict"):
            return
        self.require(not reward.isnan().any(), "reward holds NaN")
        self.check_masks(info, "step's info")
        ended = terminated | truncated
        self.num_ended += int(ended.sum())
        if "active" not in info:
            self.require(False, "info has no 'active' mask")
        elif self.check_vector(info["active"], "info['active']", torch.bool):
            self.check_inactive(~info["active"], obs, reward, ended, last_obs)
        if env.capabilities.final_obs and env.final_obs_enabled:
            self.check_final_obs(info, ended)
        lengths = env.episode_length_buf
        if self.check_vector(lengths, "episode_length_buf", torch.int64):
            self.require(
                (lengths[ended] == 0).all(),
                "episode_length_buf is not 0 for a row that was just reset",
            )

    def check_inactive(
        self,
        inactive: torch.Tensor,
        obs: Obs,
        reward: torch.Tensor,
        ended: torch.Tensor,
        last_obs: Obs,
    ) -> None:
        self.num_inactive += int(inactive.sum())
        self.require((reward[inactive] == 0).all(), "a row that is not active has a reward")
        self.require(
            not ended[inactive].any(), "a row that is not active is terminated or truncated"
        )
        for name, tensor in obs.items():
            if name in last_obs and tensor.shape == last_obs[name].shape:
                self.require(
                    _same(tensor[inactive], last_obs[name][inactive]),
                    f"obs {name!r} of a row that is not active differs from its last one",
                )

    def check_final_obs(self, info: Info, ended: torch.Tensor) -> None:
        if "final_obs" not in info:
            self.require(
                not ended.any(),
                "a row ended and info has no 'final_obs', though capabilities say so",
            )
            return
        if "_final_obs" in info and self.check_vector(
            info["_final_obs"], "info['_final_obs']", torch.bool
        ):
            self.require(
                torch.equal(info["_final_obs"], ended),
                "info['_final_obs'] is not the mask of the rows that ended",
            )
        self.check_obs(info["final_obs"], "info['final_obs']")

    def check_masks(self, info: Info, what: str) -> None:
        """Entries with one value per row are either of all rows or come with their mask."""
        if "final_obs" in info:
            self.require(
                "_final_obs" in info, f"{what} has 'final_obs' without its mask '_final_obs'"
            )
        for key in info:
            if key.startswith("_") and key[1:] in info:
                self.check_vector(info[key], f"{what}[{key!r}]", torch.bool)

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
                _same(tensor[1:], before[name][1:]),
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


def _same(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Bitwise equality in which NaN equals NaN."""
    return a.shape == b.shape and bool(((a == b) | ((a != a) & (b != b))).all())


def _equal(a: Obs, b: Obs) -> bool:
    return a.keys() == b.keys() and all(_same(a[name], b[name]) for name in a)


def _storage(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _tensors(info: Mapping[str, Any], prefix: str = "") -> list[tuple[str, torch.Tensor]]:
    """Tensors in an info dictionary, nested ones too, by name."""
    found: list[tuple[str, torch.Tensor]] = []
    for key, value in info.items():
        if isinstance(value, torch.Tensor):
            found.append((f"{prefix}{key}", value))
        elif isinstance(value, dict):
            found += _tensors(value, f"{prefix}{key}/")
    return found
