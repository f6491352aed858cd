"""YAML text as nodes with line numbers; nothing in it can run code, loop or explode."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import yaml

from holdstep.documents.problems import Problem

MAX_BYTES = 2 << 20
"""The largest file that is read."""

MAX_DEPTH = 12
"""How deep lists and mappings may be nested."""


@dataclass(frozen=True)
class LocatedProblem:
    """A problem, and where it was found.

    Attributes:
        line: counted from 1; 0 if that is nowhere.
        problem: what is wrong.
        column: counted from 1; 0 if it is not known.
    """

    line: int
    problem: Problem
    column: int = 0


class UnreadableError(Exception):
    """The text has no nodes worth looking at; its problem says why."""

    def __init__(self, message: str, line: int = 0) -> None:
        super().__init__(message)
        self.located = LocatedProblem(line, Problem((), message))


def compose(content: bytes) -> yaml.Node:
    """The root node of a YAML file's content.

    Aliases are refused: they are how a small file becomes a huge or an endless one. So are tags,
    which are how YAML names Python objects.

    Raises:
        UnreadableError: too large, no UTF-8, no YAML, or with aliases, tags or several documents.
    """
    if len(content) > MAX_BYTES:
        raise UnreadableError(f"the file has {len(content)} bytes; at most {MAX_BYTES} are read.")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UnreadableError(f"not UTF-8: {error.reason}.", line) from error
    try:
        _check_events(text)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise UnreadableError(
            f"not YAML: {error.problem or error.context}.", mark.line + 1 if mark else 0
        ) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise UnreadableError(f"not YAML: {error.reason}.", line) from error
    if node is None:
        raise UnreadableError("the file is empty.")
    return node


def _check_events(text: str) -> None:
    """Look at the events before nodes are made of them: making nodes is recursive."""
    depth = num_documents = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line = event.start_mark.line + 1 if event.start_mark else 0
        if isinstance(event, yaml.DocumentStartEvent):
            num_documents += 1
            if num_documents > 1:
                raise UnreadableError("a second document begins; there must be one.", line)
        elif isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise UnreadableError("anchors and aliases (& and *) are not allowed.", line)
        elif tag := getattr(event, "tag", None):
            raise UnreadableError(f"tags are not allowed, got {tag!r}.", line)
        elif isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise UnreadableError(f"nested more than {MAX_DEPTH} deep.", line)
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


_TAG = "tag:yaml.org,2002:"
_INFINITIES = {"inf": float("inf"), "+inf": float("inf"), "-inf": float("-inf")}


def scalar_value(node: yaml.ScalarNode) -> Any:
    """The value of a scalar: None, a bool, an int, a float or a text.

    YAML knows more (dates, numbers to base 2, 8, 16 and 60); those stay texts, so that what expects
    a number names them.
    """
    text: str = node.value
    kind = node.tag.removeprefix(_TAG)
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() in ("true", "yes", "on")
    try:
        if kind == "int" and len(text) <= 20:
            return int(text, 10)
        if kind == "float":
            plain = text.lower().replace(".inf", "inf").replace(".nan", "nan")
            return _INFINITIES[plain] if plain in _INFINITIES else float(plain)
    except ValueError:
        pass
    return text
