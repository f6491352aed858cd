"""One run of a pipeline on live values, as it went."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from holdstep.wrappers.export.observations import Observations
from holdstep.wrappers.export.proxies.isolation import Kept
from holdstep.wrappers.export.proxies.writes import Write
from holdstep.wrappers.export.runs import DiscoveryRun


@dataclass(frozen=True)
class Observed:
    """One run on live values, as it went.

    Attributes:
        run: the run.
        observations: the groups that the policy asked for.
        actions: the policy's, ``[N, A]``.
        before: what terms kept at the beginning.
        processed: what they kept when the action was processed.
        after: what they kept when it was applied once.
        process_writes: targets written while the action was processed.
        apply_writes: targets written before the first physics step.
        again: the same before a second physics step, on the same values.
        handed_over: what a term's tensors were computed from when the action was processed.
    """

    run: DiscoveryRun
    observations: Observations
    actions: torch.Tensor
    before: Kept
    processed: Kept
    after: Kept
    process_writes: tuple[Write, ...]
    apply_writes: tuple[Write, ...]
    again: tuple[Write, ...]
    handed_over: dict[str, frozenset[str]]
