"""``holdstep timeline``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

if TYPE_CHECKING:
    from rich.console import Console

    from holdstep.timeline import Timeline as Trace


@dataclass
class Timeline:
    """Draw the trace of a run, rows over time: what each row did, and what it waited for.

    Without --png, --html and --chrome, a picture and a page to zoom into are written next to FILE.

    Example: holdstep timeline run.jsonl --rows 0:32 --from 10 --to 20
    """

    file: Annotated[Path, tyro.conf.Positional]
    """A trace, as RecordTimeline, TimelineWriter or a runner writes it."""

    png: Path | None = None
    """Write a picture to this path."""

    html: Path | None = None
    """Write a page to zoom into to this path; it needs no network."""

    chrome: Path | None = None
    """Write a file that https://ui.perfetto.dev and chrome://tracing open to this path; one that
    ends in .gz is compressed."""

    rows: str | None = None
    """Only these rows, START:STOP or START:STOP:STEP, without STOP."""

    from_s: Annotated[float | None, tyro.conf.arg(name="from")] = None
    """Only from this time on [s since the trace began]."""

    to_s: Annotated[float | None, tyro.conf.arg(name="to")] = None
    """Only up to this time [s since the trace began]."""

    def run(self) -> int:
        """Read the trace, draw what was asked for, and print its numbers."""
        from rich.console import Console

        from holdstep.timeline import crop, read_timeline

        console = Console(emoji=False)
        rows = _parse_rows(self.rows)
        with console.status(f"reading {self.file}"):
            timeline = read_timeline(self.file)
            timeline = crop(timeline, rows=rows, from_s=self.from_s, to_s=self.to_s)
        _print_summary(timeline, console)
        self._draw(timeline, console)
        return 0

    def _draw(self, timeline: Trace, console: Console) -> None:
        from holdstep.errors import MissingExtraError
        from holdstep.timeline import draw_png, write_chrome_trace, write_html

        by_default = not (self.png or self.html or self.chrome)
        png = self.file.with_suffix(".png") if by_default else self.png
        page = self.file.with_suffix(".html") if by_default else self.html
        if png:
            try:
                with console.status("drawing"):
                    _print_path(draw_png(timeline, png, title=self.file.name), console)
            except MissingExtraError as error:
                if not by_default:
                    raise
                console.print(f"no picture: {error}", markup=False)
        if page:
            _print_path(write_html(timeline, page, title=self.file.name), console)
        if self.chrome:
            with console.status(f"writing {self.chrome}"):
                _print_path(write_chrome_trace(timeline, self.chrome), console)


def _parse_rows(text: str | None) -> slice | None:
    from holdstep.errors import ConfigError

    if text is None:
        return None
    parts = text.split(":")
    try:
        numbers = [int(part) if part else None for part in parts]
    except ValueError:
        numbers = []
    if not 2 <= len(numbers) <= 3 or any(number is not None and number < 0 for number in numbers):
        raise ConfigError(f"--rows takes START:STOP or START:STOP:STEP, as in 0:32, got {text!r}.")
    if numbers[2:] == [0]:
        raise ConfigError(f"The step of --rows must be at least 1, got {text!r}.")
    return slice(*numbers)


def _print_summary(timeline: Trace, console: Console) -> None:
    from rich.table import Table

    from holdstep.timeline import summarize
    from holdstep.timeline.text import table

    shown = Table(show_header=False)
    shown.add_column()
    shown.add_column(justify="right")
    for name, value in table(summarize(timeline)):
        shown.add_row(name, value)
    console.print(shown)
    for problem in timeline.problems:
        console.print(f"note: {problem}", markup=False, style="yellow")


def _print_path(path: Path, console: Console) -> None:
    megabytes = path.stat().st_size / 1e6
    console.print(f"{path} ({megabytes:.1f} MB)", markup=False, soft_wrap=True, highlight=False)
