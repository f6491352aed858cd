"""What a network draws is drawn for each row of its batch on its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from torch.overrides import TorchFunctionMode

from holdstep.errors import PolicyError
from holdstep.policies.chunked.random_ops import WHAT_TO_DO
from holdstep.policies.chunked.row_noise import RowStreams

Device: TypeAlias = "str | torch.device | int | None"
Dtype: TypeAlias = "torch.dtype | None"


class RowNoiseMode(TorchFunctionMode):
    """While it is active, what a network draws comes from the streams of its batch's rows.

    A diffusion or flow policy calls ``torch.randn`` somewhere inside, and gets noise that depends
    on how often it was called before and on who else is in the batch. In this mode it gets each
    row's own, without having to know. Reached are the calls of this thread that the network makes
    itself; :class:`~holdstep.policies.chunked.random_ops.RandomOpsRefused` finds the others.

    Args:
        seeds: int64 ``[B]``, a seed for each row of the batch.

    >>> with RowNoiseMode(torch.tensor([1, 2])):
    ...     both = torch.randn(2, 3)
    >>> with RowNoiseMode(torch.tensor([2])):
    ...     second = torch.randn(1, 3)
    >>> bool((both[1:] == second).all())
    True
    """

    def __init__(self, seeds: torch.Tensor) -> None:
        super().__init__()
        self._num_rows = len(seeds)
        self._streams = RowStreams(seeds)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Make what ``func`` draws, or let it do what it does."""
        kwargs = kwargs or {}
        draw = _DRAWS.get(func)
        if draw is None:
            return func(*args, **kwargs)
        out = kwargs.get("out")
        if out is None:
            return draw(self, *args, **kwargs)
        noise = draw(self, *args, **{"device": out.device, "dtype": out.dtype} | kwargs)
        if out.shape != noise.shape:  # most often torch.empty(0), to be made as large as it takes
            out.resize_(noise.shape)
        return out.copy_(noise)

    def normal(self, shape: Sequence[int], device: Device, dtype: Dtype) -> torch.Tensor:
        """What ``torch.randn`` returns instead."""
        noise = self._streams.normal(self._row_shape(shape), _device(device))
        return noise.to(dtype or torch.get_default_dtype())

    def uniform(self, shape: Sequence[int], device: Device, dtype: Dtype) -> torch.Tensor:
        """What ``torch.rand`` returns instead, in [0, 1)."""
        dtype = dtype or torch.get_default_dtype()
        # Rounded down to what the dtype can hold below 1; to nearest would reach 1.
        spacing = torch.finfo(dtype).eps / 2
        numbers = self._streams.uniform(self._row_shape(shape), _device(device))
        return numbers.div_(spacing).floor_().mul_(spacing).to(dtype)

    def _row_shape(self, shape: Sequence[int]) -> Sequence[int]:
        if len(shape) == 0 or shape[0] != self._num_rows:
            raise PolicyError(
                f"The network draws random numbers of shape {tuple(shape)} for a batch of "
                f"{self._num_rows} rows; they can be made row by row only if their first "
                f"dimension is the batch. {WHAT_TO_DO}"
            )
        return shape[1:]


def _device(device: Device) -> torch.device:
    return torch.get_default_device() if device is None else torch.device(device)


def _size(args: tuple[Any, ...], size: Sequence[int] | None) -> Sequence[int]:
    """The shape in ``randn(2, 3)``, ``randn((2, 3))`` and ``randn(size=(2, 3))``."""
    if size is not None:
        return size
    return args[0] if len(args) == 1 and not isinstance(args[0], int) else args


def _randn(
    mode: RowNoiseMode,
    *args: Any,
    size: Sequence[int] | None = None,
    device: Device = None,
    dtype: Dtype = None,
    **_: Any,
) -> torch.Tensor:
    return mode.normal(_size(args, size), device, dtype)


def _rand(
    mode: RowNoiseMode,
    *args: Any,
    size: Sequence[int] | None = None,
    device: Device = None,
    dtype: Dtype = None,
    **_: Any,
) -> torch.Tensor:
    return mode.uniform(_size(args, size), device, dtype)


def _randn_like(
    mode: RowNoiseMode, like: torch.Tensor, *, device: Device = None, dtype: Dtype = None, **_: Any
) -> torch.Tensor:
    return mode.normal(like.shape, device or like.device, dtype or like.dtype)


def _rand_like(
    mode: RowNoiseMode, like: torch.Tensor, *, device: Device = None, dtype: Dtype = None, **_: Any
) -> torch.Tensor:
    return mode.uniform(like.shape, device or like.device, dtype or like.dtype)


def _normal(
    mode: RowNoiseMode,
    mean: float | torch.Tensor = 0.0,
    std: float | torch.Tensor = 1.0,
    size: Sequence[int] | None = None,
    *,
    device: Device = None,
    dtype: Dtype = None,
    **_: Any,
) -> torch.Tensor:
    given = [value for value in (mean, std) if isinstance(value, torch.Tensor)]
    if given:
        size = torch.add(mean, std).shape if len(given) == 2 else given[0].shape
        device, dtype = given[0].device, given[0].dtype
    return mode.normal(size or (), device, dtype) * std + mean


def _normal_(
    mode: RowNoiseMode, tensor: torch.Tensor, mean: float = 0.0, std: float = 1.0, **_: Any
) -> torch.Tensor:
    return tensor.copy_(mode.normal(tensor.shape, tensor.device, tensor.dtype) * std + mean)


def _uniform_(
    mode: RowNoiseMode, tensor: torch.Tensor, low: float = 0.0, high: float = 1.0, **_: Any
) -> torch.Tensor:
    noise = mode.uniform(tensor.shape, tensor.device, tensor.dtype)
    return tensor.copy_(noise * (high - low) + low)


_DRAWS: dict[Callable[..., Any], Callable[..., torch.Tensor]] = {
    torch.randn: _randn,
    torch.rand: _rand,
    torch.randn_like: _randn_like,
    torch.rand_like: _rand_like,
    torch.normal: _normal,
    torch.Tensor.normal_: _normal_,
    torch.Tensor.uniform_: _uniform_,
}
