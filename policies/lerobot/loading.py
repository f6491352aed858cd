"""Pretrained lerobot policies, from a folder or the hub, of which no code is run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from holdstep.errors import CheckpointError
from holdstep.extras import require

_PROCESSORS = ("policy_preprocessor.json", "policy_postprocessor.json")
# What neither runs code that a file names nor lets a repository bring its own: lerobot loads the
# networks and tokenizers of the others with trust_remote_code, from wherever the file says.
_POLICIES = frozenset({"act", "diffusion", "pi0", "pi05", "smolvla", "tdmpc", "vqbet", "xvla"})
_STEPS = frozenset(
    {
        "device_processor",
        "normalizer_processor",
        "observation_processor",
        "pi05_prepare_state_tokenizer_processor_step",
        "pi0_new_line_processor",
        "rename_observations_processor",
        "smolvla_new_line_processor",
        "to_batch_processor",
        "to_batch_processor_action",
        "to_batch_processor_complementary_data",
        "to_batch_processor_observation",
        "tokenizer_processor",
        "unnormalizer_processor",
        "xvla_add_domain_id",
        "xvla_image_scale",
        "xvla_image_to_float",
        "xvla_imagenet_normalize",
        "xvla_rotation_6d_to_axis_angle",
    }
)


def load_pretrained(
    path: str | Path, *, device: str | None, revision: str | None, strict: bool
) -> tuple[Any, Any, Any]:
    """A policy and its pre- and postprocessor.

    Only JSON and safetensors are read. lerobot's files can name any Python class, which lerobot
    would import and call, and models whose repositories bring code of their own. A file that asks
    for more than the policies and processor steps that are known to do neither is refused.

    Args:
        path: a folder that lerobot's ``save_pretrained`` wrote, or a repository on the hub.
        device: where the policy runs; as it was saved by default.
        revision: of the repository: a branch, tag or commit.
        strict: refuse weights that do not fit the policy exactly.

    Raises:
        MissingExtraError: lerobot is not installed.
        CheckpointError: a file is missing, does not fit, or would run code.
    """
    require("lerobot", extra="lerobot", purpose="LeRobotPolicy.from_pretrained")
    from lerobot.configs.policies import PreTrainedConfig
    from lerobot.policies.factory import get_policy_class, make_pre_post_processors

    folder = _local_folder(path, revision)
    _check_files(folder)
    _check_policy(folder)
    _check_processors(folder)
    config = PreTrainedConfig.from_pretrained(str(folder))
    if device is not None:
        config.device = device
    if hasattr(config, "pretrained_backbone_weights"):
        # The weights are in the checkpoint. lerobot would fetch ImageNet's first, as a pickle.
        config.pretrained_backbone_weights = None
    try:
        policy = get_policy_class(config.type).from_pretrained(
            str(folder), config=config, strict=strict
        )
    except (RuntimeError, FileNotFoundError) as error:
        raise CheckpointError(
            f"The weights in {folder} do not fit the {config.type!r} policy that its config.json "
            f"describes: {error}"
        ) from error
    on_device = {"device_processor": {"device": str(config.device)}}
    preprocessor, postprocessor = make_pre_post_processors(
        config, pretrained_path=str(folder), preprocessor_overrides=on_device
    )
    return policy, preprocessor, postprocessor


def _local_folder(path: str | Path, revision: str | None) -> Path:
    folder = Path(path)
    if folder.is_dir():
        return folder
    if isinstance(path, Path) or path.count("/") != 1:
        raise CheckpointError(
            f"{str(path)!r} is neither a folder nor a repository on the hub (owner/name)."
        )
    hub = require("huggingface_hub", extra="lerobot", purpose="Loading from the hub")
    # Nothing but what is read, so that no pickle is even downloaded.
    patterns = ["*.json", "*.safetensors"]
    return Path(hub.snapshot_download(path, revision=revision, allow_patterns=patterns))


def _check_files(folder: Path) -> None:
    for name in ("config.json", "model.safetensors", *_PROCESSORS):
        if not (folder / name).is_file():
            raise CheckpointError(
                f"{folder} has no {name}. Checkpoints of lerobot before 0.4 have no processors; "
                "its own migration script (lerobot.processor.migrate_policy_normalization) makes "
                "them."
            )


def _check_policy(folder: Path) -> None:
    path = folder / "config.json"
    try:
        kind = json.loads(path.read_text(encoding="utf-8"))["type"]
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is no description of a policy.") from error
    if not isinstance(kind, str) or kind not in _POLICIES:
        raise CheckpointError(
            f"{path} describes a policy of type {kind!r}; those that are known to run no code but "
            f"lerobot's are {', '.join(sorted(_POLICIES))}. {_LOAD_IT_YOURSELF}"
        )


def _check_processors(folder: Path) -> None:
    for name in _PROCESSORS:
        try:
            steps = json.loads((folder / name).read_text(encoding="utf-8"))["steps"]
            # A step that has no registered name has a class, anywhere in Python's path.
            names = [step.get("registry_name", step.get("class")) for step in steps]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{folder / name} is no description of a processor.") from error
        unknown = [step for step in names if not isinstance(step, str) or step not in _STEPS]
        if unknown:
            raise CheckpointError(
                f"{folder / name} would run {unknown}, which may be, or may load, any code. "
                f"{_LOAD_IT_YOURSELF}"
            )


_LOAD_IT_YOURSELF = (
    "If you trust it, load the policy and its processors with lerobot and pass them to "
    "LeRobotPolicy(policy, preprocessor=..., postprocessor=...)."
)
