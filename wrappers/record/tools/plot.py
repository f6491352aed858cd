"""A dataset as a picture."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from holdstep.errors import DatasetError
from holdstep.extras import require
from holdstep.wrappers.record.tools.summary import Summary, summarize

if TYPE_CHECKING:
    import os

    from holdstep.wrappers.record.columns import Array
    from holdstep.wrappers.record.dataset import Dataset

_OUTCOMES = {1: ("success", "C0"), 0: ("failure", "C1"), -1: ("not known", "C7")}
_MAX_ACTIONS = 8
_MAX_EPISODES = 500
"""Of the actions' panels: so many of them, drawn from so many episodes."""


def plot_dataset(
    dataset: Dataset,
    path: str | os.PathLike[str],
    *,
    on_episode: Callable[[], None] = lambda: None,
) -> Path:
    """Draw lengths, returns and successes of the episodes, and their actions over time.

    Of each action it is drawn what half and what nine tenths of the episodes lie between, and the
    median, at each step, over the episodes that are still going on.

    Args:
        dataset: with at least one episode.
        path: ends in ``.png``; folders on the way are made.
        on_episode: called after each episode.

    Returns:
        The picture's path.

    Raises:
        DatasetError: there are no episodes, or the path ends otherwise.
        MissingExtraError: matplotlib is not installed.
    """
    path = Path(path)
    if path.suffix != ".png":
        raise DatasetError(f"A plot's path must end in .png, got {str(path)!r}.")
    if not len(dataset):
        raise DatasetError(f"There is nothing to draw: {dataset.path} has no episodes.")
    figure_class = require("matplotlib.figure", extra="plot", purpose="Drawing a dataset").Figure
    summary = summarize(dataset, on_episode=on_episode)
    actions = _actions(dataset)
    num_rows = -(-actions.shape[2] // 4)
    # A Figure of its own, not pyplot: no window system, no global state.
    figure = figure_class(figsize=(13, 3.4 + 2.0 * num_rows), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=(3.4, max(2.0 * num_rows, 0.1)))
    _draw_episodes(top, summary)
    _draw_actions(bottom, actions, num_rows)
    figure.suptitle(_title(dataset, summary), fontsize="medium", parse_math=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    return path


def _title(dataset: Dataset, summary: Summary) -> str:
    name = dataset.env_args.get("env_name") or "env not known"
    return f"{name}: {len(summary.lengths)} episodes, {summary.lengths.sum()} steps\n{dataset.path}"


def _draw_episodes(figure: Any, summary: Summary) -> None:
    lengths_axes, returns_axes, order_axes = figure.subplots(1, 3)
    _histogram(lengths_axes, summary.lengths, summary.success, "length [steps]")
    lengths_axes.set_ylabel("episodes")
    _histogram(returns_axes, summary.returns, summary.success, "return")
    known = summary.success >= 0
    if known.any():
        outcomes = summary.success[known]
        counts = np.arange(1, len(outcomes) + 1)
        order_axes.plot(counts, np.cumsum(outcomes) / counts, color="C0")
        order_axes.set_ylim(-0.02, 1.02)
        order_axes.set_ylabel("share of successes so far")
        order_axes.set_title(f"success {outcomes.mean():.3f}", fontsize="medium")
        order_axes.set_xlabel("episodes of which it is known")
    else:
        order_axes.plot(np.arange(1, len(summary.lengths) + 1), np.cumsum(summary.lengths), "C7")
        order_axes.set_ylabel("steps so far")
        order_axes.set_title("success not recorded", fontsize="medium")
        order_axes.set_xlabel("episodes")
    order_axes.grid(alpha=0.3)


def _histogram(
    axes: Any, values: npt.NDArray[Any], success: npt.NDArray[np.int8], label: str
) -> None:
    axes.set_xlabel(label)
    axes.grid(alpha=0.3)
    finite = np.isfinite(values)
    if not finite.any():
        axes.set_title(f"no {label.partition(' ')[0]}s recorded", fontsize="medium")
        return
    shown = {o: values[finite & (success == o)] for o in _OUTCOMES}
    shown = {outcome: sample for outcome, sample in shown.items() if sample.size}
    axes.hist(
        list(shown.values()),
        bins=_bins(values[finite]),
        stacked=True,
        label=[_OUTCOMES[outcome][0] for outcome in shown],
        color=[_OUTCOMES[outcome][1] for outcome in shown],
    )
    mean = values[finite].mean()
    axes.axvline(mean, color="black", lw=1, ls="--")
    axes.set_title(f"mean {mean:.4g}", fontsize="medium")
    if len(shown) > 1:
        axes.legend(fontsize="small")


def _bins(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """At most 40 bins of the same width; for whole numbers, of a whole width."""
    low, high = float(values.min()), float(values.max())
    if np.all(values == np.round(values)):
        width = max(1, int(np.ceil((high - low + 1) / 40)))
        return np.arange(low - 0.5, high + width + 0.5, width)
    return np.linspace(low, high, 31)


def _actions(dataset: Dataset) -> Array:
    """Of some episodes, spread over the dataset: ``[episodes, steps, actions]``, padded by NaN."""
    chosen = np.linspace(0, len(dataset) - 1, min(len(dataset), _MAX_EPISODES)).astype(int)
    actions = [dataset[int(index)].arrays.get("actions") for index in np.unique(chosen)]
    flat = [a.reshape(len(a), -1)[:, :_MAX_ACTIONS] for a in actions if a is not None]
    if not flat:
        return np.empty((0, 0, 0))
    width = min(a.shape[1] for a in flat)
    padded = np.full((len(flat), max(map(len, flat)), width), np.nan)
    for row, values in zip(padded, flat, strict=True):
        row[: len(values)] = values[:, :width]
    return padded


def _draw_actions(figure: Any, actions: Array, num_rows: int) -> None:
    if not num_rows:
        return
    figure.suptitle(
        "actions: median, half and nine tenths of the episodes that go on", fontsize="medium"
    )
    axes = figure.subplots(num_rows, 4, sharex=True, squeeze=False).ravel()
    steps = np.arange(actions.shape[1])
    quantiles = np.nanquantile(actions, [0.05, 0.25, 0.5, 0.75, 0.95], axis=0)
    for index, panel in enumerate(axes):
        if index >= actions.shape[2]:
            panel.set_visible(False)
            continue
        low, lower, middle, upper, high = quantiles[:, :, index]
        panel.fill_between(steps, low, high, color="C0", alpha=0.15, lw=0)
        panel.fill_between(steps, lower, upper, color="C0", alpha=0.35, lw=0)
        panel.plot(steps, middle, color="C0", lw=1.2)
        panel.set_title(f"action {index}", fontsize="small")
        panel.grid(alpha=0.3)
        panel.tick_params(labelbottom=index + 4 >= actions.shape[2])
        if index + 4 >= actions.shape[2]:
            panel.set_xlabel("step")
