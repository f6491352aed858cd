"""What tensors' random methods do while they draw from the streams of rows, and what finds rows."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch

from holdstep.envs.state.random_functions import (
    Original,
    bernoulli,
    drawable,
    integers,
    multinomial,
    unit_numbers,
)
from holdstep.envs.state.random_kinds import Kind

if TYPE_CHECKING:
    from holdstep.envs.state.random_redirect import DrawTarget, Replacement


def _in_place(transform: Callable[..., torch.Tensor], *names: str) -> Replacement:
    """A method that fills its tensor with numbers made of units in (0, 1)."""

    def draw(
        target: DrawTarget, original: Original, self: torch.Tensor, *args: Any, **kwargs: Any
    ) -> Any:
        generator = kwargs.pop("generator", None)
        if generator is not None or self.is_complex():
            return original(self, *args, **kwargs, generator=generator)
        parameters = dict(zip(names, args, strict=False)) | kwargs
        return self.copy_(transform(unit_numbers(target, self), **parameters))

    return draw


def _uniform_(
    target: DrawTarget, original: Original, self: torch.Tensor, *args: Any, **kwargs: Any
) -> Any:
    low = float(args[0] if args else kwargs.get("from", 0.0))
    high = float(args[1] if len(args) > 1 else kwargs.get("to", 1.0))
    if kwargs.get("generator") is not None or not self.is_floating_point() or low > high:
        return original(self, *args, **kwargs)
    return target.fill(self, Kind.UNIFORM, low, high - low)


def _normal_(
    target: DrawTarget, original: Original, self: torch.Tensor, *args: Any, **kwargs: Any
) -> Any:
    mean = float(args[0] if args else kwargs.get("mean", 0.0))
    std = float(args[1] if len(args) > 1 else kwargs.get("std", 1.0))
    if kwargs.get("generator") is not None or not self.is_floating_point() or std < 0:
        return original(self, *args, **kwargs)
    return target.fill(self, Kind.NORMAL, mean, std)


def _random_(
    target: DrawTarget, original: Original, self: torch.Tensor, *args: Any, **kwargs: Any
) -> Any:
    bounds = [*args, *(kwargs[name] for name in ("from", "to") if name in kwargs)]
    low, high = 0, _largest_random(self.dtype) + 1
    if len(bounds) == 1:
        high = bounds[0]
    elif bounds:
        low, high = bounds[0], high if bounds[1] is None else bounds[1]
    if kwargs.get("generator") is not None or self.is_complex() or not drawable(low, high):
        return original(self, *args, **kwargs)
    return integers(target, self, low, high)


def _largest_random(dtype: torch.dtype) -> int:
    if dtype.is_floating_point:  # up to which all integers exist
        return round(2 / torch.finfo(dtype).eps)
    return 1 if dtype == torch.bool else torch.iinfo(dtype).max


def _nonzero(
    target: DrawTarget, original: Original, input: torch.Tensor, *args: Any, **kwargs: Any
) -> Any:
    found = original(input, *args, **kwargs)
    if input.ndim == 1:
        target.follow(input, found[0] if type(found) is tuple else found, sys._getframe(2))
    return found


def _where(target: DrawTarget, original: Original, *args: Any, **kwargs: Any) -> Any:
    found = original(*args, **kwargs)
    # A tensor most often: where() that chooses between two is called many times in a step.
    if type(found) is tuple and len(found) == 1:
        condition = args[0] if args else kwargs["condition"]
        target.follow(condition, found[0], sys._getframe(2))
    return found


def _bernoulli_(
    target: DrawTarget, original: Original, self: torch.Tensor, p: Any = 0.5, **kwargs: Any
) -> Any:
    if kwargs.get("generator") is not None:
        return original(self, p, **kwargs)
    return self.copy_(unit_numbers(target, self) < p)


def _exponential(units: torch.Tensor, lambd: float = 1.0) -> torch.Tensor:
    return units.log_().div_(-lambd)


def _cauchy(units: torch.Tensor, median: float = 0.0, sigma: float = 1.0) -> torch.Tensor:
    return units.sub_(0.5).mul_(math.pi).tan_().mul_(sigma).add_(median)


def _geometric(units: torch.Tensor, p: float) -> torch.Tensor:
    return units.log_().div_(math.log1p(-p)).ceil_()


def _log_normal_(
    target: DrawTarget,
    original: Original,
    self: torch.Tensor,
    mean: float = 1.0,
    std: float = 2.0,
    *,
    generator: torch.Generator | None = None,
) -> Any:
    if generator is not None:
        return original(self, mean, std, generator=generator)
    return target.fill(self, Kind.NORMAL, float(mean), float(std)).exp_()


METHODS: dict[str, Replacement] = {
    "uniform_": _uniform_,
    "normal_": _normal_,
    "random_": _random_,
    "bernoulli_": _bernoulli_,
    "bernoulli": bernoulli,
    "multinomial": multinomial,
    "exponential_": _in_place(_exponential, "lambd"),
    "cauchy_": _in_place(_cauchy, "median", "sigma"),
    "geometric_": _in_place(_geometric, "p"),
    "log_normal_": _log_normal_,
    "nonzero": _nonzero,
}
"""What is called instead of the methods of these names of ``torch.Tensor``."""

LOOKUPS: dict[str, Replacement] = {"nonzero": _nonzero, "where": _where}
"""Functions of ``torch`` that draw nothing: they show which rows the code is about to draw for."""

SCRIPTED_MODULES = ("mjlab.utils.lab_api.math", "isaaclab.utils.math")
"""Modules in which functions that draw are compiled by TorchScript, out of Python's sight."""


def scripted_functions(module: ModuleType) -> dict[str, Replacement]:
    """Python equals of the functions of a module of :data:`SCRIPTED_MODULES` that draw."""

    def random_orientation(
        target: DrawTarget, original: Original, num: int, device: Any
    ) -> torch.Tensor:
        quat = torch.randn((num, 4), dtype=torch.float, device=device)
        return torch.nn.functional.normalize(quat, p=2.0, dim=-1, eps=1e-12)

    def random_yaw_orientation(
        target: DrawTarget, original: Original, num: int, device: Any
    ) -> torch.Tensor:
        yaw = 2 * torch.pi * torch.rand(num, dtype=torch.float, device=device)
        zeros = torch.zeros_like(yaw)
        # The module's own, since versions differ in the order of a quaternion's parts.
        quat: torch.Tensor = module.quat_from_euler_xyz(zeros, zeros, yaw)
        return quat

    return {
        "random_orientation": random_orientation,
        "random_yaw_orientation": random_yaw_orientation,
    }
