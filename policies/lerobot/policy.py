"""lerobot's policies, asked for chunks row by row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import torch

from holdstep.errors import ConfigError
from holdstep.policies.chunked.check_result import checked_result
from holdstep.policies.chunked.protocol import ChunkRequest, ChunkResult, ChunkSpec
from holdstep.policies.chunked.row_batches import Batching, RowBatcher, infer_batches
from holdstep.policies.lerobot.features import FeatureMapping, Sources
from holdstep.policies.lerobot.history import ObsHistory
from holdstep.policies.lerobot.loading import load_pretrained
from holdstep.policies.lerobot.predictor import Predictor, Processor
from holdstep.policies.torch_policy import RowDraws, evaluating

if TYPE_CHECKING:
    from holdstep.envs.contract import Obs

Frames: TypeAlias = Literal["ticks", "inferences"]


class LeRobotPolicy:
    """A policy of lerobot (ACT, diffusion, pi0, SmolVLA, ...) as a :class:`ChunkedPolicy`.

    Only lerobot's ``predict_action_chunk`` is used. The queues that its policies keep are for one
    batch whose rows all begin, act and end together; here every row has its own time, so they are
    emptied before each inference, and who has seen what is kept by this class.

    A policy that looks at several observations (``config.n_obs_steps`` > 1, as diffusion policies
    do) needs those of the ticks between its inferences too: call :meth:`observe` after each step.

    Noise that a policy draws comes from :attr:`ChunkRequest.seeds`, row by row.

    Attributes:
        policy: lerobot's.
        spec: ``reproducible`` unless ``batching="subset"`` or ``row_noise=False``; ``uses_prefix``
            if the policy has real-time chunking switched on (``config.rtc_config``).
        num_frames: observations that the policy looks at, T.
        execute: how many actions of a chunk lerobot itself would execute
            (``config.n_action_steps``).

    Args:
        policy: a ``lerobot.policies.pretrained.PreTrainedPolicy``.
        mapping: for each of the policy's input features the observation group of the env that it
            is; see :class:`~holdstep.policies.lerobot.features.FeatureMapping`.
        preprocessor: lerobot's pipeline, which normalises (and tokenises) what the policy gets;
            None if there is nothing to do.
        postprocessor: lerobot's pipeline, which makes actions of what the policy returns, or None.
        num_envs: rows of the env; needed if ``num_frames`` > 1.
        frames: of which moments a policy with several frames gets observations: of the last ticks,
            or of the last inferences, for those who infer at every tick and don't ``observe``.
        uses_instructions: hand :attr:`ChunkRequest.instructions` to the preprocessor as ``"task"``.
        chunk_length: actions per chunk; by default what the policy's configuration says.
        batching: see :data:`~holdstep.policies.chunked.row_batches.Batching`.
        max_batch: see :class:`~holdstep.policies.TorchChunkedPolicy`.
        row_noise: see :class:`~holdstep.policies.TorchChunkedPolicy`; False for policies that
            sample tokens (VQ-BeT, pi0-FAST with a temperature).

    Raises:
        ConfigError: an argument can't be used, or the mapping does not fit the policy.
        CapabilityError: the policy can't be asked for chunks this way.
    """

    def __init__(
        self,
        policy: Any,
        *,
        mapping: Mapping[str, Sources],
        preprocessor: Processor | None = None,
        postprocessor: Processor | None = None,
        num_envs: int | None = None,
        frames: Frames = "ticks",
        uses_instructions: bool = False,
        chunk_length: int | None = None,
        batching: Batching = "subset",
        max_batch: int | None = None,
        row_noise: bool = True,
    ) -> None:
        config = _config_of(policy)
        if frames not in get_args(Frames):
            raise ConfigError(f"frames must be one of {get_args(Frames)}, got {frames!r}.")
        self.policy = policy
        self.num_frames: int = getattr(config, "n_obs_steps", 1)
        self.execute: int = getattr(config, "n_action_steps", 1)
        self._mapping = FeatureMapping(config.input_features, mapping)
        self._frames = frames
        self._history = self._make_history(num_envs)
        self._batcher = RowBatcher(batching, max_batch)
        self.spec = ChunkSpec(
            chunk_length=_chunk_length(config) if chunk_length is None else chunk_length,
            action_dim=config.output_features["action"].shape[0],
            obs_keys=self._mapping.obs_keys,
            max_batch=max_batch if batching == "subset" else None,
            uses_instructions=uses_instructions,
            uses_history=self._history is not None and frames == "ticks",
            uses_prefix=bool(getattr(getattr(config, "rtc_config", None), "enabled", False)),
            reproducible=self._batcher.independent and row_noise,
        )
        self._predictor = Predictor(
            policy,
            self._mapping,
            preprocessor=preprocessor,
            postprocessor=postprocessor,
            num_frames=self.num_frames,
            draws=RowDraws(row_noise),
            spec=self.spec,
        )

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path,
        *,
        mapping: Mapping[str, Sources],
        device: str | None = None,
        revision: str | None = None,
        strict: bool = True,
        **options: Any,
    ) -> LeRobotPolicy:
        """Load a policy with its processors.

        Reads JSON and safetensors only, and refuses files that would run code of their own.

        Args:
            path: a folder that lerobot wrote, or a repository on the Hugging Face hub.
            mapping: as above.
            device: where the policy runs; as it was saved by default.
            revision: of the repository: a branch, tag or commit.
            strict: refuse weights that do not fit the policy exactly.
            **options: the others of the class.

        Raises:
            MissingExtraError: lerobot is not installed.
            CheckpointError: a file is missing, does not fit, or would run code.
        """
        policy, preprocessor, postprocessor = load_pretrained(
            path, device=device, revision=revision, strict=strict
        )
        return cls(
            policy,
            mapping=mapping,
            preprocessor=preprocessor,
            postprocessor=postprocessor,
            **options,
        )

    def observe(self, obs: Obs, active_mask: torch.Tensor) -> None:
        """What rows see after a step; :class:`~holdstep.policies.ChunkRunner` tells it.

        Needed after each step if :attr:`num_frames` > 1; does nothing otherwise. For rows whose
        episode ended in the step, call :meth:`reset` first. Call it from the thread that calls
        :meth:`infer`. Never waits for a GPU.

        Args:
            obs: of all rows, each ``[N, ...]``, as the env's ``step`` returned it.
            active_mask: the rows that advanced, bool ``[N]`` on the observations' device.
        """
        if self._history is not None and self._frames == "ticks":
            self._history.record(self._mapping.picked(obs), active_mask)

    def infer(self, request: ChunkRequest) -> ChunkResult:
        """The chunks of the rows that are asked for.

        Returns:
            Actions float32 ``[B, L, A]``, where the postprocessor puts them (lerobot's: the CPU).

        Raises:
            ConfigError: an observation is missing or has the wrong shape, or :attr:`num_frames` > 1
                and :meth:`observe` was not told of it.
            PolicyError: the policy returned no finite ``[B, L, A]``.
        """
        obs = self._mapping.picked(request.obs)
        if self._history is not None:
            obs = self._with_history(self._history, obs, request.env_ids)
        # no_grad, not inference mode: real-time chunking differentiates through the policy.
        with torch.no_grad(), evaluating(self.policy):
            actions = infer_batches(
                self._predictor,
                replace(request, obs=obs),
                self._batcher,
                chunk_shape=(self.spec.chunk_length, self.spec.action_dim),
            )
        return checked_result(ChunkResult(actions=actions), request, self.spec)

    def reset(self, env_ids: torch.Tensor, episode_ids: torch.Tensor) -> None:
        """Rows begin new episodes: forget what they saw."""
        if self._history is not None:
            self._history.reset(env_ids)

    def _make_history(self, num_envs: int | None) -> ObsHistory | None:
        if self.num_frames == 1:
            return None
        if num_envs is None:
            raise ConfigError(
                f"This policy looks at {self.num_frames} observations of each row, which are kept "
                "here: pass num_envs=env.num_envs."
            )
        return ObsHistory(num_envs, self.num_frames)

    def _with_history(self, history: ObsHistory, obs: Obs, env_ids: torch.Tensor) -> Obs:
        """What rows saw up to this observation, each ``[B, T, ...]``."""
        if self._frames == "inferences":
            history.append(obs, env_ids)
            return history.frames(env_ids)
        first = history.empty_mask(env_ids)
        history.append({key: value[first] for key, value in obs.items()}, env_ids[first.cpu()])
        frames = history.frames(env_ids)
        differs = [_differs(frames[key][:, -1], obs[key]).flatten(1).any(dim=1) for key in obs]
        untold = torch.stack(differs).any(dim=0).cpu()
        if bool(untold.any()):
            raise ConfigError(
                f"This policy looks at the observations of {self.num_frames} ticks in a row, but "
                f"the last one that it was told of for rows {env_ids[untold].tolist()} is "
                "not the one that it is asked about. Call observe(obs, info['active']) after each "
                'step, or pass frames="inferences" if it infers at every tick.'
            )
        return frames


def _differs(last: torch.Tensor, obs: torch.Tensor) -> torch.Tensor:
    # NaN is not equal to itself; that a row has diverged is said elsewhere, and by its name.
    return (last != obs) & ~(last.isnan() & obs.isnan())


def _config_of(policy: Any) -> Any:
    """The configuration of what should be a lerobot policy."""
    config: Any = getattr(policy, "config", None)
    if not hasattr(policy, "predict_action_chunk") or not hasattr(config, "input_features"):
        raise ConfigError(
            "policy must be one of lerobot's, with predict_action_chunk() and a config, got "
            f"{type(policy).__name__}."
        )
    if "action" not in (config.output_features or {}) or not config.input_features:
        raise ConfigError(
            "The policy's config has no input_features, or no output feature 'action': its shapes "
            "are unknown."
        )
    return config


def _chunk_length(config: Any) -> int:
    """How many actions ``predict_action_chunk`` returns, by the names that lerobot has for it."""
    for name in ("chunk_size", "action_chunk_size", "n_action_steps"):
        length = getattr(config, name, None)
        if isinstance(length, int):
            return length
    raise ConfigError(
        f"{type(config).__name__} doesn't say how long its chunks are: pass chunk_length=..."
    )
