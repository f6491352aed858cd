"""What flows from which node to which, before any of them is made."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

from holdstep.documents.problems import Place, Problem
from holdstep.errors import nearest_names

if TYPE_CHECKING:
    from holdstep.policies.teleop.graph.config import GraphConfig


def node_and_output(reference: str) -> tuple[str, str]:
    """Both parts of ``"node.output"``.

    >>> node_and_output("gripper.gripper_command")
    ('gripper', 'gripper_command')
    """
    node, _, output = reference.partition(".")
    return node, output


def nodes_in_order(graph: GraphConfig) -> list[str]:
    """Nodes behind all those that feed them; in the graph's order if some feed each other."""
    try:
        return list(TopologicalSorter(_feeders(graph)).static_order())
    except CycleError:
        return list(graph.nodes)


def wiring_problems(graph: GraphConfig) -> list[Problem]:
    """What is wrong with a graph, whatever its nodes are."""
    found = [*_name_problems(graph), *_reference_problems(graph), *_circle_problems(graph)]
    if not found:  # else a node may lead nowhere because of a name that is wrong
        found += _idle_problems(graph)
    return found


def control_references(graph: GraphConfig) -> Mapping[str, str]:
    """The control pipeline's outputs by name, none without one."""
    return {} if graph.control is None else dataclasses.asdict(graph.control)


def _references(graph: GraphConfig) -> Iterator[tuple[Place, str]]:
    for node_name, node in graph.nodes.items():
        for name, text in node.inputs.items():
            yield ("nodes", node_name, "inputs", name), text
    for name, text in graph.outputs.items():
        yield ("outputs", name), text
    for name, text in control_references(graph).items():
        yield ("control", name), text


def _name_problems(graph: GraphConfig) -> Iterator[Problem]:
    for name in graph.nodes:
        if not name or "." in name:
            yield Problem(
                ("nodes", name), "is no name of a node: give it one without dots.", at_key=True
            )
    if not graph.outputs:
        yield Problem(("outputs",), "is empty: say what the pipeline returns, as node.output.")


def _reference_problems(graph: GraphConfig) -> Iterator[Problem]:
    for place, text in _references(graph):
        node, output = node_and_output(text)
        if not (node and output):
            yield Problem(place, f"must be an output of a node, as node.output, got {text!r}.")
        elif node not in graph.nodes:
            likely = nearest_names(node, graph.nodes)
            yield Problem(
                place,
                f"there is no node {node!r}."
                + (likely or f" There are: {', '.join(graph.nodes) or 'none'}."),
            )


def _feeders(graph: GraphConfig) -> dict[str, list[str]]:
    """The nodes that feed a node, by its name."""
    feeders = {}
    for name, node in graph.nodes.items():
        sources = [node_and_output(text)[0] for text in node.inputs.values()]
        feeders[name] = [source for source in sources if source in graph.nodes]
    return feeders


def _circle_problems(graph: GraphConfig) -> Iterator[Problem]:
    try:
        TopologicalSorter(_feeders(graph)).prepare()
    except CycleError as error:
        circle: list[str] = error.args[1]
        source, target = circle[:2]
        references = graph.nodes[target].inputs.items()
        name = next(name for name, text in references if node_and_output(text)[0] == source)
        message = f"closes a circle: {' -> '.join(circle)}."
        yield Problem(("nodes", target, "inputs", name), message)


def _idle_problems(graph: GraphConfig) -> Iterator[Problem]:
    feeders = _feeders(graph)
    ends = [*graph.outputs.values(), *control_references(graph).values()]
    pending = [node_and_output(text)[0] for text in ends]
    used = set()
    while pending:
        name = pending.pop()
        if name not in used:
            used.add(name)
            pending += feeders[name]
    for name in graph.nodes:
        if name not in used:
            yield Problem(
                ("nodes", name), "leads to no output, so it would never run.", at_key=True
            )
