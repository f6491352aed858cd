"""A network of your own as a policy that returns chunks."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from holdstep.envs.device import canonical_device
from holdstep.errors import ConfigError
from holdstep.policies.chunked.check_result import checked_result
from holdstep.policies.chunked.protocol import ChunkRequest, ChunkResult, ChunkSpec
from holdstep.policies.chunked.random_ops import RandomOpsRefused
from holdstep.policies.chunked.row_batches import Batching, RowBatch, RowBatcher, infer_batches
from holdstep.policies.chunked.row_noise import per_row_noise
from holdstep.policies.chunked.row_noise_mode import RowNoiseMode
from holdstep.policies.chunked.transfers import moved


class TorchChunkedPolicy:
    """Wraps a network that maps observations to chunks of actions.

    The network is called without gradients and in evaluation mode (dropout off), whatever mode it
    is in, which it is in again afterwards: a policy can be evaluated while it is being trained.

    Whatever noise the network draws, by ``torch.randn`` and the like, comes from
    :attr:`ChunkRequest.seeds`, so that a row's noise does not depend on the rest of its batch. Its
    first inference is watched, and refused if it draws in a way that can't be made row by row.

    Attributes:
        spec: as made from the arguments; ``reproducible`` unless ``batching="subset"`` or
            ``row_noise=False``.
        network: as given.

    Args:
        network: actions ``[B, L, A]`` from observations by group, each ``[B, ...]``; or from an
            observation and noise, see ``noise_shape``. A ``torch.nn.Module`` or any callable; of a
            callable that isn't a module holdstep can't switch off the dropout.
        chunk_length: actions per chunk, L.
        action_dim: width of an action, A.
        obs_keys: the observation groups that the network reads, which are all that it gets; all by
            default. With a single name instead of several, it gets that group's tensor itself.
        batching: which rows are inferred together, see
            :data:`~holdstep.policies.chunked.row_batches.Batching`.
        max_batch: the most rows that are inferred together; for ``"pad"``, the size of each batch.
        noise_shape: call the network with standard normal noise ``[B, *noise_shape]`` as second
            argument, made row by row.
        row_noise: make what the network itself draws row by row too. It costs about 1 us per call
            of torch; a network that draws otherwise, in TorchScript for one, needs False.
        device: where the network gets its observations; that of its parameters by default, and
            where they already are if it has none.
        dtype: what floating point observations and the noise are cast to, for networks in half
            precision; None leaves them as they are. Actions come back as float32.

    Raises:
        ConfigError: an argument can't be used.

    >>> network = torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.Unflatten(1, (8, 2)))
    >>> policy = TorchChunkedPolicy(network, chunk_length=8, action_dim=2, obs_keys="policy")
    >>> policy.spec.obs_keys, policy.spec.reproducible
    (('policy',), False)
    """

    def __init__(
        self,
        network: Callable[..., torch.Tensor],
        *,
        chunk_length: int,
        action_dim: int,
        obs_keys: str | Sequence[str] | None = None,
        batching: Batching = "subset",
        max_batch: int | None = None,
        noise_shape: Sequence[int] | None = None,
        row_noise: bool = True,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        if not callable(network):
            raise ConfigError(
                f"network must be a torch.nn.Module or a callable, got {type(network).__name__}."
            )
        if dtype is not None and not dtype.is_floating_point:
            raise ConfigError(f"dtype must be a floating point type, got {dtype}.")
        if obs_keys is not None and len(obs_keys) == 0:
            raise ConfigError("obs_keys is empty: name the groups that the network reads, or None.")
        self.network = network
        self._batcher = RowBatcher(batching, max_batch)
        self._single_key = obs_keys if isinstance(obs_keys, str) else None
        self._noise_shape = None if noise_shape is None else tuple(noise_shape)
        self._draws = RowDraws(row_noise)
        self._device = None if device is None else canonical_device(device)
        self._dtype = dtype
        keys = (obs_keys,) if isinstance(obs_keys, str) else obs_keys
        self.spec = ChunkSpec(
            chunk_length=chunk_length,
            action_dim=action_dim,
            obs_keys=None if keys is None else tuple(keys),
            # What is padded is split by place here; another split would only add batches.
            max_batch=max_batch if batching == "subset" else None,
            reproducible=self._batcher.independent and row_noise,
        )

    def infer(self, request: ChunkRequest) -> ChunkResult:
        """The chunks of the rows that are asked for.

        Returns:
            Actions float32 ``[B, L, A]``, on the network's device.

        Raises:
            ConfigError: an observation group that the network reads is missing.
            PolicyError: the network returned what is no finite ``[B, L, A]``, or draws noise that
                can't be made row by row.
        """
        # Not in inference mode: what a network caches there (a table of positions) could not be
        # trained with afterwards.
        with torch.no_grad(), evaluating(self.network):
            actions = infer_batches(
                self._call,
                request,
                self._batcher,
                chunk_shape=(self.spec.chunk_length, self.spec.action_dim),
            )
        return checked_result(ChunkResult(actions=actions), request, self.spec)

    def reset(self, env_ids: torch.Tensor, episode_ids: torch.Tensor) -> None:
        """Nothing: the network has no memory."""

    def _call(self, batch: RowBatch) -> torch.Tensor:
        request = batch.request
        device = self._device or _device_of(self.network)
        keys = self.spec.obs_keys or tuple(request.obs)
        missing = [key for key in keys if key not in request.obs]
        if missing:
            raise ConfigError(
                f"The network reads the observation groups {list(keys)}, of which {missing} are "
                f"not among the env's: {sorted(request.obs)}."
            )
        obs = {key: self._prepared(request.obs[key], device) for key in keys}
        given: list[Any] = [obs if self._single_key is None else obs[self._single_key]]
        if self._noise_shape is not None:
            given.append(
                per_row_noise(
                    request.seeds,
                    self._noise_shape,
                    device=next(iter(obs.values())).device,
                    dtype=self._dtype or torch.float32,
                )
            )
        with self._draws.of(request):
            return self.network(*given)

    def _prepared(self, value: torch.Tensor, device: torch.device | None) -> torch.Tensor:
        dtype = self._dtype if value.is_floating_point() else None
        return moved(value, device or value.device, dtype)


@dataclass
class RowDraws:
    """How what a network draws is made.

    Attributes:
        enabled: row by row, from the request's seeds. If not, as torch does.
        watched: whether an inference has been looked at for other ways to draw.
    """

    enabled: bool
    watched: bool = False

    @contextlib.contextmanager
    def of(self, request: ChunkRequest) -> Iterator[None]:
        """While the network infers a batch."""
        if not self.enabled:
            yield
            return
        watch = contextlib.nullcontext() if self.watched else RandomOpsRefused()
        with watch, RowNoiseMode(request.seeds):
            yield
        self.watched = True


@contextlib.contextmanager
def evaluating(network: object) -> Iterator[None]:
    """A module and all in it in evaluation mode, and afterwards as they were before."""
    modules = network.modules() if isinstance(network, torch.nn.Module) else ()
    training = [module for module in modules if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _device_of(network: object) -> torch.device | None:
    if not isinstance(network, torch.nn.Module):
        return None
    parameter = next(network.parameters(), None)
    return None if parameter is None else parameter.device
