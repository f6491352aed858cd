"""One batch through a lerobot policy: in by its preprocessor, out by its postprocessor."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import torch

from holdstep.errors import CapabilityError

if TYPE_CHECKING:
    from collections import deque

    from holdstep.envs.contract import Obs
    from holdstep.policies.chunked.protocol import ChunkRequest, ChunkSpec
    from holdstep.policies.chunked.row_batches import RowBatch
    from holdstep.policies.lerobot.features import FeatureMapping
    from holdstep.policies.torch_policy import RowDraws

Processor: TypeAlias = Callable[[Any], Any]

# lerobot's names.
_ACTION = "action"
_IMAGES = "observation.images"


class Predictor:
    """Calls ``predict_action_chunk`` as if each batch were the first one ever.

    Args:
        policy: lerobot's.
        mapping: makes its features of observations.
        preprocessor: of what it gets, or None.
        postprocessor: of what it returns, or None.
        num_frames: observations that it looks at, T; with more than one, the observations of a
            batch are ``[B, T, ...]``, the newest last.
        draws: how the noise is made that it draws.
        spec: what is promised.

    Raises:
        CapabilityError: the policy looks at several observations, and keeps them out of reach.
    """

    def __init__(
        self,
        policy: Any,
        mapping: FeatureMapping,
        *,
        preprocessor: Processor | None,
        postprocessor: Processor | None,
        num_frames: int,
        draws: RowDraws,
        spec: ChunkSpec,
    ) -> None:
        self._policy = policy
        self._mapping = mapping
        self._preprocessor = preprocessor
        self._postprocessor = postprocessor
        self._num_frames = num_frames
        self._draws = draws
        self._spec = spec
        if num_frames > 1 and not self._emptied_queues():
            raise CapabilityError(
                f"{type(policy).__name__} looks at {num_frames} observations, but has no queues "
                "that they can be put into."
            )

    def __call__(self, batch: RowBatch) -> torch.Tensor:
        """The chunks of a batch, ``[b, L, A]``."""
        request = batch.request
        if not self._spec.uses_prefix or request.prefix is None:
            return self._predict(request, delay=0, prefix_length=0)
        assert request.prefix_lengths is not None
        assert request.delays is not None
        # lerobot takes one delay for a whole batch. It is asked once for each that rows have,
        # with the batch as it is, so that its size doesn't depend on the others' delays.
        pairs = torch.stack([request.delays, request.prefix_lengths], dim=1)
        actions: torch.Tensor | None = None
        for delay, length in sorted({(int(d), int(n)) for d, n in pairs[batch.places].tolist()}):
            chunks = self._predict(request, delay=delay, prefix_length=length)
            rows = (pairs == torch.tensor([delay, length])).all(dim=1).to(chunks.device)
            actions = chunks if actions is None else actions
            actions = torch.where(rows[:, None, None], chunks, actions)
        assert actions is not None
        return actions

    def _predict(self, request: ChunkRequest, *, delay: int, prefix_length: int) -> torch.Tensor:
        policy = self._policy
        device = next(policy.parameters()).device
        use_amp = getattr(policy.config, "use_amp", False)
        autocast = torch.autocast(device.type) if use_amp else contextlib.nullcontext()
        queues = self._emptied_queues()
        keywords: dict[str, Any] = {}
        with autocast, self._draws.of(request):
            for obs in self._frames(request.obs):
                features = self._mapping(obs, device=device)
                inputs = self._preprocessed(features, request)
                if _IMAGES in queues:
                    images = [inputs[key] for key in policy.config.image_features]
                    inputs[_IMAGES] = torch.stack(images, dim=-4)
                for key, queue in queues.items():
                    queue.append(inputs[key])
            if prefix_length > 0 and request.prefix is not None:
                prefix = request.prefix[:, :prefix_length].to(device)
                # As the policy itself predicts actions, which is what its preprocessor makes of
                # those that it is trained on.
                features[_ACTION] = prefix
                leftover = self._preprocessed(features, request)[_ACTION]
                keywords = {"inference_delay": delay, "prev_chunk_left_over": leftover}
            actions = policy.predict_action_chunk(inputs, **keywords)
        policy.reset()

        post = self._postprocessor
        chunks: torch.Tensor = actions if post is None else post(actions)
        return chunks

    def _preprocessed(self, features: dict[str, Any], request: ChunkRequest) -> dict[str, Any]:
        if self._spec.uses_instructions:
            features = features | {"task": list(request.instructions)}
        return dict(features if self._preprocessor is None else self._preprocessor(features))

    def _frames(self, obs: Obs) -> list[Obs]:
        """Observations of T ticks, the oldest first."""
        if self._num_frames == 1:
            return [obs]
        return [
            {key: value[:, frame] for key, value in obs.items()}
            for frame in range(self._num_frames)
        ]

    def _emptied_queues(self) -> dict[str, deque[torch.Tensor]]:
        """The queues that the policy has for observations, after a reset."""
        self._policy.reset()
        queues = getattr(self._policy, "_queues", None) or {}
        return {key: queue for key, queue in queues.items() if key != _ACTION}
