"""Unbiased evaluation: the first n episodes that are started, all of them finished."""

from holdstep.policies.evaluation.evaluator import evaluate
from holdstep.policies.evaluation.intervals import bootstrap_interval, wilson_interval
from holdstep.policies.evaluation.result import EpisodeResult, EvalResult
from holdstep.policies.evaluation.success import EvalStep

__all__ = [
    "EpisodeResult",
    "EvalResult",
    "EvalStep",
    "bootstrap_interval",
    "evaluate",
    "wilson_interval",
]
