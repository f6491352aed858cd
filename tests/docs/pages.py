"""The pages that users read, and the code blocks in them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

PAGES = {
    str(path.relative_to(ROOT / "docs").with_suffix("")): path
    for path in sorted((ROOT / "docs").rglob("*.md"))
    if "_build" not in path.parts
}
"""By their names, such as ``quickstart`` or ``coming_from/mjlab``."""
PAGES |= {name: ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING")}

RUN = ("python", "pycon", "console", "sh", "bash")
"""Kinds of blocks that are run. ``text`` is what a run prints; others are files and directives."""

FENCE = re.compile(
    r"(?:^<!-- (?:not run: (?P<reason>[^\n]+)|run with: (?P<place>\w+)) -->\n)?"
    r"^```(?P<kind>\w+)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes:
        page: its name.
        line: the number of the line above its first one.
        kind: ``python``, ``pycon``, ``console``, ``text``, ...
        text: what is in it.
        reason: why nothing runs it, or None.
        place: which environment's tests run it (``isaaclab``, ``lerobot``), or None for these.
        follows: whether it stands right under another block, as the output of a block does.
    """

    page: str
    line: int
    kind: str
    text: str
    reason: str | None = None
    place: str | None = None
    follows: bool = False

    @property
    def runs_here(self) -> bool:
        """Whether the tests of this folder run it."""
        return self.kind in RUN and self.reason is None and self.place is None

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks_of(page: str, *kinds: str, changed: Mapping[str, str] | None = None) -> Iterator[Block]:
    """The blocks of a page in their order.

    Args:
        page: its name.
        kinds: only these; all by default.
        changed: words to be replaced in the page before, such as numbers by smaller ones.

    Raises:
        ValueError: such words are not in the page any more.
    """
    text = PAGES[page].read_text(encoding="utf-8")
    for old, new in (changed or {}).items():
        if old not in text:
            raise ValueError(f"{page} does not say {old!r} any more, which was to be replaced.")
        text = text.replace(old, new)
    return (block for block in blocks_in(text, page) if not kinds or block.kind in kinds)


def blocks_for(place: str, changed: Mapping[str, Mapping[str, str]]) -> list[Block]:
    """The blocks of all pages that another environment's tests run.

    Args:
        place: which environment (``isaaclab``, ``lerobot``).
        changed: words to be replaced, for each page that has some.
    """
    blocks = (block for page in PAGES for block in blocks_of(page, changed=changed.get(page)))
    return [block for block in blocks if block.place == place]


def blocks_in(text: str, page: str = "page") -> Iterator[Block]:
    """The blocks of a text."""
    end = 0
    for match in FENCE.finditer(text):
        yield Block(
            page=page,
            line=text.count("\n", 0, match.start("text")),
            kind=match["kind"],
            text=match["text"],
            reason=match["reason"],
            place=match["place"],
            follows=end > 0 and not text[end : match.start()].strip(),
        )
        end = match.end()
