"""How sources are run, and what is done without a fresh frame."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

import torch

from holdstep.errors import ConfigError
from holdstep.wrappers.pipeline.pacing.checks import check_count, check_number
from holdstep.wrappers.pipeline.pacing.immediate import Immediate
from holdstep.wrappers.pipeline.pacing.pacer import Pacing

Mode: TypeAlias = Literal["pipelined", "sync"]
OnStale: TypeAlias = Literal["repeat", "hold", "wait", "suspend"]
OnError: TypeAlias = Literal["raise", "suspend", "restart"]
WorkerKind: TypeAlias = Literal["thread", "process"]
HoldAction: TypeAlias = "torch.Tensor | Callable[[dict[str, torch.Tensor]], torch.Tensor]"
ExternalInputs: TypeAlias = "Mapping[str, Any] | Callable[[tuple[int, ...]], Mapping[str, Any]]"


@dataclass(frozen=True, kw_only=True)
class PipelineOptions:
    """Options of :class:`~holdstep.wrappers.PipelinedActions`, which describes them.

    Raises:
        ConfigError: one of them can't be used.
    """

    mode: Mode = "pipelined"
    pacing: Pacing = field(default_factory=Immediate)
    on_stale: OnStale = "repeat"
    max_age_frames: int = 1
    wait_budget_s: float | None = None
    hold_action: HoldAction | None = None
    on_error: OnError = "raise"
    max_restarts: int = 3
    stop_timeout_s: float = 5.0
    worker: WorkerKind = "thread"
    external_inputs: ExternalInputs | None = None

    def __post_init__(self) -> None:
        _check_choice("mode", self.mode, get_args(Mode))
        _check_choice("on_stale", self.on_stale, get_args(OnStale))
        _check_choice("on_error", self.on_error, get_args(OnError))
        _check_choice("worker", self.worker, get_args(WorkerKind))
        check_count("max_age_frames", self.max_age_frames, least=0)
        check_count("max_restarts", self.max_restarts, least=0)
        if self.wait_budget_s is not None:
            check_number("wait_budget_s", self.wait_budget_s, least=0, most=math.inf)
        check_number("stop_timeout_s", self.stop_timeout_s, least=0, most=math.inf)
        if not isinstance(self.pacing, Pacing):
            raise ConfigError(
                "pacing must be one of holdstep.wrappers.pipeline.pacing, such as Immediate(); "
                f"got {self.pacing!r}."
            )
        if self.on_stale == "hold" and self.hold_action is None:
            raise ConfigError(
                'on_stale="hold" needs hold_action: an action [A], or a function of observations.'
            )
        inputs = self.external_inputs
        if inputs is not None and not isinstance(inputs, Mapping) and not callable(inputs):
            raise ConfigError(
                f"external_inputs must be a mapping, or a function of env_ids; got {inputs!r}."
            )

    @property
    def stale_budget_s(self) -> float:
        """How long a step waits for a frame that is fresh enough [s]."""
        if self.wait_budget_s is not None:
            return self.wait_budget_s
        return math.inf if self.on_stale == "wait" else 0.0


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        valid = ", ".join(map(repr, choices))
        raise ConfigError(f"{name} must be one of {valid}, got {value!r}.")
