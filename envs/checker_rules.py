"""The rules that data must keep: what ``step`` and ``reset`` return, one call at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
import torch

if TYPE_CHECKING:
    from holdstep.envs.contract import Info, Obs, StepResult, TorchVectorEnv


class DataRules:
    """Checks returned data against the contract and the env's spaces, and collects violations.

    Args:
        env: the env that the data come from.

    Attributes:
        violations: what was found, each sentence once, in the order of discovery (the keys).
        notes: what could not be checked, and why.
        malformed: some data are not even of the right type, shape, dtype or place, so that checks
            that compare values can't go on.
        num_ended: episodes that ended in the steps that were checked.
        num_inactive: row-steps that were inactive.
        num_final: final observations that were given.
        num_final_as_new: of those, the ones that equal the row's new observation.
    """

    def __init__(self, env: TorchVectorEnv) -> None:
        self.env = env
        self.violations: dict[str, None] = {}
        self.notes: list[str] = []
        self.malformed = False
        self.num_ended = 0
        self.num_inactive = 0
        self.num_final = 0
        self.num_final_as_new = 0

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

    def check_obs(self, obs: Any, what: str) -> None:
        """Groups, and each group's tensor against its space."""
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
        """Type, device, shape, dtype and bounds of one group."""
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
        """Whether a tensor is where the env says that its tensors are."""
        return self.require_form(
            tensor.device == self.env.device,
            f"{kind} is on {tensor.device}, the env's device is {self.env.device}: wrong device",
        )

    def check_vector(self, value: Any, name: str, dtype: torch.dtype) -> bool:
        """Whether a value is a tensor ``[N]`` of a dtype, on the env's device."""
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
        """All that one step returned; ``last_obs`` may lack groups that can't be compared."""
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
            self.check_final_obs(info, obs, ended)
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
        """Rows that did not advance: no reward, no end, the same observation."""
        self.num_inactive += int(inactive.sum())
        self.require((reward[inactive] == 0).all(), "a row that is not active has a reward")
        self.require(
            not ended[inactive].any(), "a row that is not active is terminated or truncated"
        )
        for name, tensor in obs.items():
            if name in last_obs and tensor.shape == last_obs[name].shape:
                self.require(
                    same(tensor[inactive], last_obs[name][inactive]),
                    f"obs {name!r} of a row that is not active differs from its last one",
                )

    def check_final_obs(self, info: Info, obs: Obs, ended: torch.Tensor) -> None:
        """Last observations of the episodes that ended in this step."""
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
        final_obs = info["final_obs"]
        self.check_obs(final_obs, "info['final_obs']")
        if self.malformed:
            return
        for row in ended.nonzero().squeeze(-1).tolist():
            self.num_final += 1
            self.num_final_as_new += all(same(final_obs[name][row], obs[name][row]) for name in obs)

    def check_masks(self, info: Info, what: str) -> None:
        """Entries with one value per row are either of all rows or come with their mask."""
        if "final_obs" in info:
            self.require(
                "_final_obs" in info, f"{what} has 'final_obs' without its mask '_final_obs'"
            )
        for key in info:
            if key.startswith("_") and key[1:] in info:
                self.check_vector(info[key], f"{what}[{key!r}]", torch.bool)


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Bitwise equality in which NaN equals NaN."""
    return a.shape == b.shape and bool(((a == b) | ((a != a) & (b != b))).all())


def copied(obs: Obs) -> Obs:
    """Copies of observations, tensors ``[N, ...]`` by group."""
    return {name: tensor.clone() for name, tensor in obs.items()}
