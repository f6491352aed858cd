"""What came of an export."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdstep.wrappers.export.contract import Contract
from holdstep.wrappers.export.validation.ladder import Rung
from holdstep.wrappers.export.validation.parity import Parity

if TYPE_CHECKING:
    from rich.table import Table

    from holdstep.wrappers.export.contract import Constant

_STYLES = {"passed": "green", "failed": "red", "skipped": "yellow"}


@dataclass
class ExportReport:
    """What was exported, and how its validation went.

    Attributes:
        out_dir: the folder.
        backend: what wrote the model files, ``"leapp"`` or ``"torch"``.
        method: how.
        contract: what the model reads, keeps and writes; None until it is known.
        rungs: of the validation, in their order.
        purity: what the purity check found; None if it was left out.
        parity: how far the exported model and the live env were apart; None if that was left out.
        warnings: what whoever deploys should know, one sentence each.
        files: what was written; empty if the export failed.
    """

    out_dir: Path
    backend: str
    method: str
    contract: Contract | None = None
    rungs: list[Rung] = field(default_factory=list)
    purity: Any = None
    parity: Parity | None = None
    warnings: list[str] = field(default_factory=list)
    files: tuple[Path, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether no rung failed and none was left out."""
        return bool(self.rungs) and all(rung.status == "passed" for rung in self.rungs)

    @property
    def constants(self) -> tuple[Constant, ...]:
        """What is baked into the model."""
        return self.contract.constants if self.contract is not None else ()

    def table(self) -> Table:
        """The rungs as a table for a console."""
        from rich.table import Table

        table = Table("rung", "verdict", title=f"{self.backend} / {self.method}")
        table.add_column("time", justify="right")
        table.add_column("measured", justify="right")
        table.add_column("limit", justify="right")
        table.add_column("detail", overflow="fold")
        for rung in self.rungs:
            style = _STYLES[rung.status]
            table.add_row(
                rung.name,
                f"[{style}]{rung.status}[/{style}]",
                f"{rung.seconds:.2f} s",
                _number(rung.value),
                _number(rung.limit),
                _escaped(rung.detail),
            )
        return table

    def __str__(self) -> str:
        lines = [f"Export to {self.out_dir} ({self.backend}, {self.method})"]
        lines += [f"  {rung.name}: {rung.status}. {rung.detail}".rstrip() for rung in self.rungs]
        lines += [f"  note: {warning}" for warning in self.warnings]
        return "\n".join(lines)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)
