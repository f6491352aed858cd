"""From observation groups of an env to the features that a lerobot policy reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import torch

from holdstep.errors import ConfigError, nearest_names
from holdstep.policies.chunked.transfers import moved

if TYPE_CHECKING:
    from holdstep.envs.contract import Obs

Sources: TypeAlias = "str | Sequence[str] | None"


class FeatureMapping:
    """Which observation groups a policy's features are made of.

    Attributes:
        obs_keys: the groups that are read.

    Args:
        features: ``config.input_features`` of the policy: types and shapes, without the batch.
        mapping: for each feature the observation group that it is, or several, whose entries are
            put behind one another; or None, for a feature that is left out, where the policy
            allows that (pi0's empty cameras).

    Raises:
        ConfigError: a feature has no entry, or an entry is for none of the policy's features.
    """

    def __init__(self, features: Mapping[str, Any], mapping: Mapping[str, Sources]) -> None:
        missing = [key for key in features if key not in mapping]
        if missing:
            raise ConfigError(
                f"mapping says nothing about {missing}. For each feature that the policy reads it "
                'names the observation group of the env: {"observation.state": "policy", ...}; '
                "None leaves a feature out."
            )
        for key in mapping:
            if key not in features:
                raise ConfigError(
                    f"mapping has an entry for {key!r}, but the policy reads {sorted(features)}."
                    f"{nearest_names(key, features)}"
                )
        self._features = features
        self._sources: dict[str, tuple[str, ...]] = {}
        for key, groups in mapping.items():
            if groups is not None:
                self._sources[key] = (groups,) if isinstance(groups, str) else tuple(groups)
        self.obs_keys = tuple(dict.fromkeys(key for keys in self._sources.values() for key in keys))

    def picked(self, obs: Obs) -> Obs:
        """The groups that are read.

        Raises:
            ConfigError: one of them is not there.
        """
        for key in self.obs_keys:
            if key not in obs:
                raise ConfigError(
                    f"The policy's mapping names the observation group {key!r}, which the env does "
                    f"not have; it has {sorted(obs)}.{nearest_names(key, obs)}"
                )
        return {key: obs[key] for key in self.obs_keys}

    def __call__(self, obs: Obs, *, device: torch.device) -> dict[str, torch.Tensor]:
        """The features of B rows, float32, as lerobot's datasets have them.

        Images may be ``[B, H, W, C]`` or ``[B, C, H, W]``; if uint8 they are divided by 255.

        Raises:
            ConfigError: a group's shape is not the feature's.
        """
        return {
            key: self._feature(key, [moved(obs[group], device) for group in groups])
            for key, groups in self._sources.items()
        }

    def _feature(self, key: str, values: list[torch.Tensor]) -> torch.Tensor:
        feature = self._features[key]
        shape = tuple(feature.shape)
        value = values[0] if len(values) == 1 else torch.cat([v.flatten(1) for v in values], dim=1)
        # By value: the enum is lerobot's, which need not be importable here.
        if feature.type.value == "VISUAL":
            if tuple(value.shape[1:]) != shape and tuple(value.shape[1:]) == (*shape[1:], shape[0]):
                value = value.movedim(-1, 1)
            if value.dtype == torch.uint8:
                value = value.to(torch.float32).div_(255)
        if tuple(value.shape[1:]) != shape:
            raise ConfigError(
                f"The policy reads {key!r} of shape {shape}, but the groups "
                f"{list(self._sources[key])} have {tuple(value.shape[1:])} per row. Map it to "
                "others, or have the env make what the policy was trained on."
            )
        return value.to(torch.float32)
