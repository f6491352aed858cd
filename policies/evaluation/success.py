"""Where it is written whether an episode succeeded."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import torch

from holdstep.errors import ConfigError, nearest_names

if TYPE_CHECKING:
    from holdstep.envs.contract import Info, Obs, TorchVectorEnv

DEFAULT_NAME = "success"


class EvalStep(NamedTuple):
    """What a step of the env returned; see :class:`~holdstep.envs.TorchVectorEnv`.

    Attributes:
        obs: observations by group; of the next episode, in rows that ended.
        reward: float32 ``[N]``.
        terminated: bool ``[N]``.
        truncated: bool ``[N]``.
        info: the step's info.
    """

    obs: Obs
    reward: torch.Tensor
    terminated: torch.Tensor
    truncated: torch.Tensor
    info: Info


class Reading(NamedTuple):
    """Whether rows have succeeded by this step.

    Attributes:
        value: bool ``[N]``, or numbers that are 0 or 1.
        reported_mask: rows of which it is known, bool ``[N]``.
    """

    value: torch.Tensor
    reported_mask: torch.Tensor


class SuccessSource(Protocol):
    """Something that knows whether episodes succeed.

    Attributes:
        description: what it looks at, for the result.
    """

    description: str

    def read(self, step: EvalStep) -> Reading | None:
        """What is known of the rows' success right after a step; None for nothing."""
        ...


class InfoSuccess:
    """An info entry, else a termination term of the same name.

    In a row that ended, what its last step said counts: with ``info["final_info"]``, the entry in
    there, since the others are of the reset.

    Args:
        env: the stack.
        name: of the entry, and of the term.
        required: the first episode that ends must have it.
    """

    def __init__(self, env: TorchVectorEnv, name: str, *, required: bool) -> None:
        self._name = name
        self._required = required
        self._terms = _termination_manager(env)
        self._has_term = self._terms is not None and name in self._terms.active_terms
        self._device = env.device
        self._num_envs = env.num_envs
        self._all = torch.ones(env.num_envs, dtype=torch.bool, device=env.device)
        self.description = f"info[{name!r}]"
        if self._has_term:
            self.description += f" or termination term {name!r}"

    def read(self, step: EvalStep) -> Reading | None:
        """The rows' entries of this step, or their term."""
        info = step.info
        current = self._entry(info, self._all) if self._name in info else None
        final_info = info.get("final_info")
        if isinstance(final_info, dict) and self._name in final_info:
            done = step.terminated | step.truncated
            final = self._entry(final_info, info.get("_final_info", done))
            current = final if current is None else _merged(final, current, done)
        if current is None and self._has_term:
            # Managers keep the terms of the step that ended an episode until their next step.
            current = Reading(self._terms.get_term(self._name), self._all)
        if current is not None:
            self._required = False
        elif self._required and bool((step.terminated | step.truncated).any()):
            self._refuse(info)
        return current

    def _entry(self, info: Info, default_mask: torch.Tensor) -> Reading:
        value = torch.as_tensor(info[self._name], device=self._device)
        if value.shape != (self._num_envs,):
            raise ConfigError(
                f"info[{self._name!r}] must have one entry per row, shape ({self._num_envs},), "
                f"got {tuple(value.shape)}. Give a function instead: success=lambda step: ..."
            )
        mask = info.get(f"_{self._name}")
        mask = default_mask if mask is None else torch.as_tensor(mask, device=self._device)
        return Reading(value, mask)

    def _refuse(self, info: Info) -> None:
        entries = [key for key in info if not key.startswith("_") and key != "active"]
        final = info.get("final_info")
        if isinstance(final, dict):
            entries += [key for key in final if not key.startswith("_")]
        terms = list(self._terms.active_terms) if self._terms is not None else []
        raise ConfigError(
            f"An episode ended without info[{self._name!r}], and there is no termination term of "
            f"that name. Info entries: {sorted(set(entries)) or 'none'}; terms: {terms or 'none'}."
            f"{nearest_names(self._name, [*entries, *terms])} An env that reports successes only "
            "needs a function: success=lambda step: ..."
        )


class FunctionSuccess:
    """A function of the user's, called after every step.

    Args:
        env: the stack.
        function: bool ``[N]`` from an :class:`EvalStep`.
    """

    def __init__(self, env: TorchVectorEnv, function: Callable[[EvalStep], torch.Tensor]) -> None:
        self._function = function
        self._all = torch.ones(env.num_envs, dtype=torch.bool, device=env.device)
        self.description = f"function {getattr(function, '__qualname__', repr(function))}"

    def read(self, step: EvalStep) -> Reading | None:
        """What the function returns."""
        value = self._function(step)
        if not isinstance(value, torch.Tensor) or value.shape != self._all.shape:
            got = tuple(value.shape) if isinstance(value, torch.Tensor) else repr(value)
            raise ConfigError(
                f"The success function must return a tensor of shape {tuple(self._all.shape)}, one "
                f"bool per row, got {got}."
            )
        return Reading(value.to(self._all.device), self._all)


def success_source(
    env: TorchVectorEnv, success: str | Callable[[EvalStep], torch.Tensor] | None
) -> SuccessSource:
    """What to look at.

    Args:
        env: the stack.
        success: the name of an info entry or termination term, a function, or None for
            ``"success"`` if there is such a thing.

    Raises:
        ConfigError: neither of these.
    """
    if success is None:
        return InfoSuccess(env, DEFAULT_NAME, required=False)
    if isinstance(success, str):
        return InfoSuccess(env, success, required=True)
    if callable(success):
        return FunctionSuccess(env, success)
    raise ConfigError(
        "success must be the name of an info entry or termination term, or a function that takes "
        f"a step and returns bool [N]; got {success!r}."
    )


def _termination_manager(env: TorchVectorEnv) -> Any:
    """The backend's termination manager (mjlab, Isaac Lab), or None."""
    manager = getattr(env.unwrapped.backend_env, "termination_manager", None)
    return manager if hasattr(manager, "get_term") else None


def _merged(final: Reading, current: Reading, done: torch.Tensor) -> Reading:
    return Reading(
        torch.where(done, final.value.to(current.value.dtype), current.value),
        torch.where(done, final.reported_mask, current.reported_mask),
    )
