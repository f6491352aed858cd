"""The targets of a deployment over time, and a picture of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from holdstep.extras import require

if TYPE_CHECKING:
    from holdstep.wrappers.export.contract import Contract

_MAX_NAMED = 16
"""The most elements that are named; more would leave no room for the picture."""


class TargetLog:
    """Keeps the last targets of one row.

    Args:
        contract: whose writes are kept.
        row: which row.
        max_steps: how many control steps are kept; older ones are forgotten.
    """

    def __init__(self, contract: Contract, *, row: int = 0, max_steps: int = 3000) -> None:
        self._specs = contract.writes
        self._step_dt = contract.step_dt
        self._task = contract.task
        self._row = row
        self._num_steps = 0
        self._values: dict[str, deque[npt.NDArray[np.float32]]] = {
            spec.connection: deque(maxlen=max_steps) for spec in self._specs
        }

    def add(self, outputs: Mapping[str, torch.Tensor]) -> None:
        """Keep the targets of a control step, as :meth:`DeploymentEnv.step` returned them."""
        self._num_steps += 1
        for connection, values in self._values.items():
            row = outputs[connection][self._row].detach().to("cpu", torch.float32)
            values.append(row.flatten().numpy().copy())

    def draw(self, path: str | Path) -> Path:
        """Draw the targets as a PNG, one panel for each write.

        A picture that is already there is replaced in one go, so that a viewer that reloads it
        never sees half of one.

        Raises:
            MissingExtraError: matplotlib is not installed.
        """
        require("matplotlib", extra="plot", purpose="A plot of targets")
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=(11, 1 + 3.2 * len(self._specs)), layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(len(self._specs), 1, squeeze=False, sharex=True)[:, 0]
        for panel, spec in zip(panels, self._specs, strict=True):
            values = np.array(self._values[spec.connection]).reshape(-1, max(spec.size, 1))
            first = self._num_steps - len(values)
            times = (first + np.arange(len(values))) * self._step_dt
            names = spec.element_names or tuple(str(index) for index in range(values.shape[1]))
            for index in range(values.shape[1]):
                label = names[index] if index < min(len(names), _MAX_NAMED) else None
                panel.step(times, values[:, index], where="post", linewidth=0.9, label=label)
            panel.set_ylabel(f"[{spec.unit}]" if spec.unit else "target")
            panel.set_title(spec.connection, fontsize="small", loc="left")
            panel.grid(alpha=0.3)
            if values.size:
                panel.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize="x-small")
        panels[-1].set_xlabel("time [s]")
        figure.suptitle(f"targets of {self._task}", fontsize="medium")
        path = Path(path)
        beside = path.with_name(f".{path.name}.part")
        try:
            figure.savefig(beside, format="png", dpi=110)
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
        return path
