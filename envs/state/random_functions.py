"""What torch's random functions do while they draw from the streams of rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch

from holdstep.envs.state.random_kinds import Kind

if TYPE_CHECKING:
    from holdstep.envs.state.random_redirect import DrawTarget, Replacement

Original = Callable[..., Any]


def _new(
    target: DrawTarget,
    original: Original,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    size: Any,
    fill: Callable[[torch.Tensor], torch.Tensor],
    dtype: torch.dtype | None = None,
) -> Any:
    """A new tensor, filled; ``kwargs`` are those of torch's factory functions."""
    if kwargs.get("generator") is not None:
        return original(*args, **kwargs)  # the caller's own stream
    options = {name: value for name, value in kwargs.items() if name in _FACTORY_OPTIONS}
    out = kwargs.get("out")
    if out is not None:
        return fill(out.resize_(size))
    if dtype is not None and options.get("dtype") is None:
        options["dtype"] = dtype
    requires_grad = options.pop("requires_grad", False)
    empty = torch.empty(size, **options)
    if empty.is_complex() or empty.layout != torch.strided:
        target.cannot_redirect(original.__name__)
        return original(*args, **kwargs)
    filled = fill(empty)
    return filled.requires_grad_() if requires_grad else filled


_FACTORY_OPTIONS = frozenset({"dtype", "device", "layout", "pin_memory", "requires_grad"})
_PLAIN_OPTIONS = frozenset({"dtype", "device"})
_DEVICE = frozenset({"device"})


def _size(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    if "size" in kwargs:
        return kwargs["size"]
    return args[0] if len(args) == 1 and not isinstance(args[0], int) else args


def _factory(kind: Kind) -> Replacement:
    def draw(target: DrawTarget, original: Original, *args: Any, **kwargs: Any) -> Any:
        # What simulators call in every step, with nothing that needs a closer look.
        if args and kwargs.keys() <= _PLAIN_OPTIONS:
            out = torch.empty(*args, **kwargs)
            if out.dtype is torch.float32:
                return target.fill(out, kind, 0.0, 1.0)
        size = _size(args, kwargs)
        return _new(
            target, original, args, kwargs, size, lambda out: target.fill(out, kind, 0.0, 1.0)
        )

    return draw


def _like(
    target: DrawTarget,
    original: Original,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    fill: Callable[[torch.Tensor], torch.Tensor],
) -> Any:
    if kwargs.get("generator") is not None:
        return original(*args, **kwargs)
    options = {name: value for name, value in kwargs.items() if name not in ("generator", "input")}
    tensor = kwargs["input"] if "input" in kwargs else args[0]
    for name in ("low", "high"):
        options.pop(name, None)
    requires_grad = options.pop("requires_grad", False)
    empty = torch.empty_like(tensor, **options)
    if empty.is_complex() or empty.layout != torch.strided:
        target.cannot_redirect(original.__name__)
        return original(*args, **kwargs)
    filled = fill(empty)
    return filled.requires_grad_() if requires_grad else filled


def _factory_like(kind: Kind) -> Replacement:
    def draw(target: DrawTarget, original: Original, *args: Any, **kwargs: Any) -> Any:
        if not kwargs and len(args) == 1:  # as above
            out = torch.empty_like(args[0])
            if out.dtype is torch.float32 and out.layout is torch.strided:
                return target.fill(out, kind, 0.0, 1.0)
        return _like(target, original, args, kwargs, lambda out: target.fill(out, kind, 0.0, 1.0))

    return draw


def _bounds(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[int, int]:
    """``low`` and ``high`` from ``(high)``, ``(low, high)``, by position or by name."""
    named = [kwargs[name] for name in ("low", "high") if name in kwargs]
    bounds = [int(bound) for bound in (*args, *named)]
    return (0, bounds[0]) if len(bounds) == 1 else (bounds[0], bounds[1])


def integers(target: DrawTarget, out: torch.Tensor, low: int, high: int) -> torch.Tensor:
    """Fill with integers from ``low`` to ``high - 1``."""
    return target.fill(out, Kind.INTEGER, low, high - low)


def drawable(low: int, high: int) -> bool:
    """Whether that many different integers can be drawn; torch's error follows otherwise."""
    return 1 <= high - low <= 2**63


def _randint(target: DrawTarget, original: Original, *args: Any, **kwargs: Any) -> Any:
    if len(args) == 3 and kwargs.keys() <= _DEVICE:  # as in _factory()
        low, high, size = args
        if type(low) is int and type(high) is int and drawable(low, high):
            out = torch.empty(size, dtype=torch.int64, **kwargs)
            return integers(target, out, low, high)
    positional = args if "size" in kwargs else args[:-1]
    low, high = _bounds(positional, kwargs)
    if not drawable(low, high):
        return original(*args, **kwargs)  # torch's error
    size = kwargs["size"] if "size" in kwargs else args[-1]
    return _new(
        target,
        original,
        args,
        kwargs,
        size,
        lambda out: integers(target, out, low, high),
        torch.int64,
    )


def _randint_like(target: DrawTarget, original: Original, *args: Any, **kwargs: Any) -> Any:
    low, high = _bounds(args if "input" in kwargs else args[1:], kwargs)
    if not drawable(low, high):
        return original(*args, **kwargs)
    positional = args if "input" in kwargs else args[:1]
    return _like(target, original, positional, kwargs, lambda out: integers(target, out, low, high))


def _randperm(target: DrawTarget, original: Original, n: int, **kwargs: Any) -> Any:
    def fill(out: torch.Tensor) -> torch.Tensor:
        return out.copy_(target.shared_units(n, out.device).argsort()) if n else out

    return _new(target, original, (n,), kwargs, (n,), fill, torch.int64)


def _normal(target: DrawTarget, original: Original, *args: Any, **kwargs: Any) -> Any:
    mean = args[0] if args else kwargs.get("mean", 0.0)
    std = args[1] if len(args) > 1 else kwargs.get("std", 1.0)
    if isinstance(mean, torch.Tensor) or isinstance(std, torch.Tensor):
        size: Any = torch.broadcast_shapes(  # type: ignore[no-untyped-call]
            *(value.shape for value in (mean, std) if isinstance(value, torch.Tensor))
        )
        like = mean if isinstance(mean, torch.Tensor) else std
        options = dict(kwargs)
        if options.get("out") is None:
            options |= {"dtype": like.dtype, "device": like.device}

        def fill(out: torch.Tensor) -> torch.Tensor:
            return target.fill(out, Kind.NORMAL, 0.0, 1.0).mul_(std).add_(mean)

        if kwargs.get("generator") is not None or like.is_complex():
            return original(*args, **kwargs)
        return _new(target, original, args, options, size, fill)
    size = args[2] if len(args) > 2 else kwargs["size"]
    return _new(
        target,
        original,
        args,
        kwargs,
        size,
        lambda out: target.fill(out, Kind.NORMAL, float(mean), float(std)),
    )


def bernoulli(
    target: DrawTarget, original: Original, input: torch.Tensor, p: Any = None, **kwargs: Any
) -> Any:
    """``torch.bernoulli`` and the method of that name."""
    if kwargs.get("generator") is not None:
        arguments = (input,) if p is None else (input, p)
        return original(*arguments, **kwargs)
    out = kwargs.get("out")
    result = torch.empty_like(input) if out is None else out.resize_(input.shape)
    return result.copy_(unit_numbers(target, input) < (input if p is None else p))


def multinomial(
    target: DrawTarget,
    original: Original,
    input: torch.Tensor,
    num_samples: int,
    replacement: bool = False,
    *,
    generator: torch.Generator | None = None,
    out: torch.Tensor | None = None,
) -> Any:
    """``torch.multinomial`` and the method of that name."""
    if generator is not None:
        return original(input, num_samples, replacement, generator=generator, out=out)
    weights = input.double()
    if replacement:
        units = torch.empty(
            (*input.shape[:-1], num_samples), dtype=torch.float64, device=input.device
        )
        total = weights.cumsum(-1)
        target.fill(units, Kind.UNIT, 0.0, 1.0).mul_(total[..., -1:])
        found = torch.searchsorted(total, units, right=True).clamp_(max=input.shape[-1] - 1)
    else:
        # An exponential race (as torch's own): the first num_samples to arrive.
        found = (weights / -unit_numbers(target, input).log_()).topk(num_samples, dim=-1).indices
    return found if out is None else out.resize_(found.shape).copy_(found)


def unit_numbers(target: DrawTarget, like: torch.Tensor) -> torch.Tensor:
    """Numbers in (0, 1), float64, one for each element of ``like``."""
    out = torch.empty(like.shape, dtype=torch.float64, device=like.device)
    return target.fill(out, Kind.UNIT, 0.0, 1.0)


FUNCTIONS: dict[str, Replacement] = {
    "rand": _factory(Kind.UNIFORM),
    "randn": _factory(Kind.NORMAL),
    "randint": _randint,
    "randperm": _randperm,
    "normal": _normal,
    "rand_like": _factory_like(Kind.UNIFORM),
    "randn_like": _factory_like(Kind.NORMAL),
    "randint_like": _randint_like,
    "bernoulli": bernoulli,
    "multinomial": multinomial,
}
"""What is called instead of the functions of these names in ``torch``."""
