"""YAML with aliases, from files that others wrote: no more comes out than could be written."""

from __future__ import annotations

from typing import Any

import yaml

from holdstep.documents.nodes import MAX_BYTES, UnreadableError


def load_with_aliases(content: bytes) -> Any:
    """What a YAML file holds, as ``yaml.safe_load`` gives it.

    Aliases share what they stand for, until somebody turns it into text: then a few lines become
    gigabytes. So what the file would be without aliases must not be larger than files may be.

    Raises:
        UnreadableError: too large with or without its aliases, or an alias inside of what it stands
            for.
        yaml.YAMLError: no YAML.
    """
    if len(content) > MAX_BYTES:
        raise UnreadableError(f"it has more than {MAX_BYTES} bytes.")
    loader = yaml.SafeLoader(content)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _check_size(node, {}, set())
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _check_size(node: yaml.Node, sizes: dict[int, int], open_ids: set[int]) -> int:
    """Characters of a node without aliases; each node is looked at once."""
    if id(node) in sizes:
        return sizes[id(node)]
    line = node.start_mark.line + 1
    if id(node) in open_ids:
        raise UnreadableError("an alias (*) stands for something that it is part of.", line)
    open_ids.add(id(node))
    if isinstance(node, yaml.ScalarNode):
        size = 1 + len(node.value)
    else:
        parts = node.value
        if isinstance(node, yaml.MappingNode):
            parts = [part for pair in parts for part in pair]
        size = 1 + sum(_check_size(part, sizes, open_ids) for part in parts)
    if size > MAX_BYTES:
        raise UnreadableError(
            f"with its aliases (*) written out, it has more than {MAX_BYTES} characters.", line
        )
    open_ids.remove(id(node))
    sizes[id(node)] = size
    return size
