"""The result of an evaluation as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from holdstep.errors import ConfigError
from holdstep.extras import require
from holdstep.policies.evaluation.result import running_rates

if TYPE_CHECKING:
    from holdstep.policies.evaluation.result import EpisodeResult, EvalResult

_SUCCESS, _FAILURE, _UNKNOWN = "C0", "C1", "C7"


def plot_result(result: EvalResult, path: Path) -> Path:
    """Draw an evaluation.

    Args:
        result: with at least one episode.
        path: ends in ``.png``; folders on the way are made.

    Raises:
        ConfigError: another ending, or there are no episodes.
        MissingExtraError: matplotlib is not installed.
    """
    if path.suffix != ".png":
        raise ConfigError(f"A plot's path must end in .png, got {str(path)!r}.")
    if not result.episodes:
        raise ConfigError("There is nothing to draw: no episode has ended.")
    figure_class = require(
        "matplotlib.figure", extra="plot", purpose="Drawing an evaluation"
    ).Figure
    # A Figure of its own, not pyplot: no window system, no global state.
    figure = figure_class(figsize=(12, 4), layout="constrained")
    returns_axes, lengths_axes, order_axes = figure.subplots(1, 3)
    groups = _groups(result)
    _histogram(returns_axes, groups, lambda episode: episode.episode_return, "return")
    _histogram(lengths_axes, groups, lambda episode: episode.length, "length [env steps]")
    returns_axes.set_ylabel("episodes")
    if len(groups) > 1:
        returns_axes.legend(fontsize="small")
    if result.success_rate is None:
        _running_return(order_axes, result)
    else:
        _running_success(order_axes, result)
    order_axes.set_xlabel("episodes, in the order in which they started")
    order_axes.grid(alpha=0.3)
    title = " / ".join(
        str(result.metadata[key]) for key in ("env", "policy") if key in result.metadata
    )
    counted = f"{len(result.episodes)} episodes, {result.num_envs} rows"
    if not result.is_complete:
        counted = f"INCOMPLETE: {len(result.episodes)} of {result.num_episodes} episodes ended"
    figure.suptitle(f"{title}\n{counted}".strip(), fontsize="medium", parse_math=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    return path


def _groups(result: EvalResult) -> dict[str, tuple[str, list[EpisodeResult]]]:
    """Episodes by outcome, with the colour of each."""
    if result.success_rate is None:
        return {"all": (_UNKNOWN, list(result.episodes))}
    groups = {
        "success": (_SUCCESS, [e for e in result.episodes if e.success is True]),
        "failure": (_FAILURE, [e for e in result.episodes if e.success is not True]),
    }
    return {name: group for name, group in groups.items() if group[1]}


def _histogram(axes: Any, groups: dict[str, Any], value: Any, label: str) -> None:
    samples = [np.array([value(episode) for episode in part], float) for _, part in groups.values()]
    samples = [sample[np.isfinite(sample)] for sample in samples]
    together = np.concatenate(samples)
    if together.size:
        axes.hist(
            samples,
            bins=_bins(together),
            stacked=True,
            color=[colour for colour, _ in groups.values()],
            label=list(groups),
        )
        axes.axvline(together.mean(), color="black", lw=1, ls="--")
        axes.set_title(f"mean {together.mean():.4g}", fontsize="medium")
    axes.set_xlabel(label)
    axes.grid(alpha=0.3)


def _bins(values: np.ndarray) -> np.ndarray:
    """At most 40 bins of the same width; for whole numbers, of a whole width."""
    low, high = values.min(), values.max()
    if np.all(values == np.round(values)):
        width = max(1, int(np.ceil((high - low + 1) / 40)))
        return np.arange(low - 0.5, high + width + 0.5, width)
    return np.linspace(low, high, 31)


def _running_success(axes: Any, result: EvalResult) -> None:
    rates, intervals = zip(*running_rates(result), strict=True)
    low, high = zip(*intervals, strict=True)
    counts = np.arange(1, len(rates) + 1)
    axes.fill_between(
        counts,
        low,
        high,
        color=_SUCCESS,
        alpha=0.2,
        label=f"{100 * result.confidence:.4g} % interval",
    )
    axes.plot(counts, rates, color=_SUCCESS)
    axes.set_ylim(-0.02, 1.02)
    axes.set_ylabel("success rate so far")
    axes.set_title(f"success {rates[-1]:.3f} ({low[-1]:.3f} to {high[-1]:.3f})", fontsize="medium")
    axes.legend(fontsize="small")


def _running_return(axes: Any, result: EvalResult) -> None:
    returns = np.array([episode.episode_return for episode in result.episodes])
    counts = np.arange(1, len(returns) + 1)
    axes.plot(counts, np.cumsum(returns) / counts, color=_UNKNOWN)
    axes.set_ylabel("mean return so far")
    axes.set_title("success not reported", fontsize="medium")
