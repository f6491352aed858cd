"""A plot of input age against misses, from the JSON lines of ``teleop_pacing.py``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks import report

FILE = report.DOCS / "images" / "pacing.svg"
STYLES = {
    "isaacteleop, immediate": ("#9a9a9a", "s"),
    "isaacteleop, deadline 15 ms": ("#5b7db1", "o"),
    "isaacteleop, deadline 5 ms": ("#a3bfe0", "D"),
    "holdstep, Adaptive": ("#d1495b", "*"),
    "holdstep, Adaptive, process": ("#edae49", "P"),
}


def draw(lines: Sequence[dict[str, Any]], path: Path = FILE) -> Path:
    """One panel for each load; lower and further left is better.

    Args:
        lines: as the benchmark made them.
        path: of the SVG file.

    Returns:
        The path.
    """
    import matplotlib
    from matplotlib.figure import Figure

    lines = [line for line in lines if line["benchmark"].startswith("pacing")]
    loads = list(dict.fromkeys(line["load"] for line in lines))
    num_columns = min(len(loads), 4)
    num_rows = math.ceil(len(loads) / num_columns)
    # Ids in the file would else differ with each run.
    with matplotlib.rc_context({"svg.hashsalt": "pacing", "svg.fonttype": "none"}):
        figure = Figure(figsize=(3.0 * num_columns, 2.6 * num_rows + 0.6), layout="constrained")
        panels = figure.subplots(num_rows, num_columns, squeeze=False).flat
        handles: dict[str, Any] = {}
        for axes, load in zip(panels, loads, strict=False):
            mine = [line for line in lines if line["load"] == load]
            for line in mine:
                color, marker = STYLES[line["way"]]
                low, high = (float(part) for part in line["missed_spread"].split("-"))
                x, y = line["missed_percent"], line["age_p50_ms"]
                axes.plot((low, high), (y, y), color=color, linewidth=1, zorder=1)
                size = 150 if marker == "*" else 50
                handles[line["way"]] = axes.scatter(
                    x, y, size, c=color, marker=marker, edgecolors="black", linewidths=0.4
                )
            tuned = mine[0]["benchmark"] == "pacing"
            axes.set_title(f"{load}\n({'tuned on' if tuned else 'not tuned on'})", fontsize=9)
            axes.set_ylim(0, 1.25 * max(line["age_p50_ms"] for line in mine))
            # All panels span at least two per cent, or no misses at all would look like a scatter.
            most = max(float(line["missed_spread"].split("-")[1]) for line in mine)
            least = min(float(line["missed_spread"].split("-")[0]) for line in mine)
            room = 0.15 * max(most - least, 2.0)
            axes.set_xlim(least - room, max(most, least + 2.0) + room)
            axes.spines[["top", "right"]].set_visible(False)
            axes.tick_params(labelsize=8)
        for axes in list(panels):
            axes.set_visible(False)
        figure.supxlabel("missed steps [%]", fontsize=9)
        figure.supylabel("age of inputs, median [ms]", fontsize=9)
        figure.legend(
            handles.values(),
            handles,
            loc="outside upper center",
            ncols=3,
            fontsize=8,
            frameon=False,
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, format="svg", metadata={"Date": None})
    return path


def main() -> None:
    """Draw what is on disk."""
    print(f"wrote {draw(report.lines_on_disk())}")


if __name__ == "__main__":
    main()
