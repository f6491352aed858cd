"""Tensors that an env returned, kept to see whether a later call writes into them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from holdstep.envs.checker_rules import same

if TYPE_CHECKING:
    from holdstep.envs.checker_rules import DataRules

_NUM_HELD = 40


class HeldTensors:
    """The last tensors that an env returned, each with a copy made at the time.

    Holding the tensors themselves keeps their memory from being handed out again, so that shared
    memory means aliasing.

    Args:
        rules: where violations are noted.
    """

    def __init__(self, rules: DataRules) -> None:
        self._rules = rules
        self._held: list[tuple[int, str, torch.Tensor, torch.Tensor]] = []

    def add(self, step: int, what: str, tensors: Mapping[str, torch.Tensor]) -> None:
        """Hold what a step returned, and compare its memory with what is held.

        Args:
            step: number of the step.
            what: what was returned, for the message.
            tensors: by name; the empty name stands for ``what`` itself.
        """
        for name, tensor in tensors.items():
            label = f"{what} {name!r}" if name else what
            for other_step, other_label, other, _ in self._held:
                shared = tensor.numel() > 0 and _storage(tensor) == _storage(other)
                if other_step != step:
                    self._rules.require(
                        not shared,
                        f"{label} shares memory with the one of an earlier step: aliasing",
                    )
                elif not (what == "info" and other_label.startswith("info")):
                    self._rules.require(
                        not shared, f"{label} shares memory with {other_label}: aliasing"
                    )
            self._held.append((step, label, tensor, tensor.clone()))
        del self._held[:-_NUM_HELD]

    def check_untouched(self) -> None:
        """Note a violation for each held tensor that is no longer what was returned."""
        for _, label, tensor, copy in self._held:
            self._rules.require(
                same(tensor, copy),
                f"a later step overwrote {label}, which belongs to the caller: aliasing",
            )


def tensors_of(info: Mapping[str, Any], prefix: str = "") -> list[tuple[str, torch.Tensor]]:
    """Tensors in an info dictionary, nested ones too, by name."""
    found: list[tuple[str, torch.Tensor]] = []
    for key, value in info.items():
        if isinstance(value, torch.Tensor):
            found.append((f"{prefix}{key}", value))
        elif isinstance(value, dict):
            found += tensors_of(value, f"{prefix}{key}/")
    return found


def _storage(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
