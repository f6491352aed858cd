"""The nodes of a graph made and connected."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from holdstep.documents.problems import FieldsError, Place, Problem
from holdstep.errors import ConfigError, nearest_names
from holdstep.policies.teleop.graph.node_types import node_type
from holdstep.policies.teleop.graph.options import Options
from holdstep.policies.teleop.graph.wiring import (
    control_references,
    node_and_output,
    nodes_in_order,
    wiring_problems,
)
from holdstep.policies.teleop.session.config import is_graph, load_teleop

if TYPE_CHECKING:
    from holdstep.policies.teleop.graph.config import GraphConfig, NodeConfig


def build_graph(graph: GraphConfig) -> tuple[Any, Any]:
    """The pipeline, and the control pipeline or None; as calling the graph.

    Raises:
        FieldsError: all that is wrong with nodes and what flows between them.
        MissingExtraError: the extra ``teleop`` is not installed.
    """
    builder = _Builder(graph)
    pipeline = builder.combined("outputs", graph.outputs)
    control = builder.combined("control", control_references(graph))
    if builder.problems:
        raise FieldsError("The graph can't be built", builder.problems)
    return pipeline, control


class _Builder:
    """Makes nodes in the order in which they feed each other.

    A node that can't be connected is kept as it is, so that what it feeds can be looked at, too.

    Attributes:
        problems: all that were found.
    """

    def __init__(self, graph: GraphConfig) -> None:
        self._interface = load_teleop("retargeting_engine.interface")
        sources = load_teleop("retargeting_engine.deviceio_source_nodes")
        # What these have is filled in by the session.
        self._leaves = (sources.IDeviceIOSource, self._interface.ValueInput)
        self.problems = wiring_problems(graph)
        self._made: dict[str, Any] = {}
        for name in nodes_in_order(graph):
            self._made[name] = self._node(name, graph.nodes[name])

    def combined(self, section: str, references: Mapping[str, str]) -> Any:
        """Outputs of nodes as those of a pipeline; None for none."""
        selectors = {
            name: self._selector(reference, (section, name))
            for name, reference in references.items()
        }
        if not selectors or None in selectors.values():
            return None
        return self._interface.OutputCombiner(selectors)

    def _node(self, name: str, node: NodeConfig) -> Any:
        """A node with its inputs, or without them if they don't fit; None if it can't be made."""
        place = ("nodes", name)
        sources = {
            entry: self._selector(reference, (*place, "inputs", entry))
            for entry, reference in node.inputs.items()
        }
        try:
            make = node_type(node.type)
        except (ConfigError, ImportError) as error:
            self._found((*place, "type"), " ".join(str(error).split()))
            return None
        options = Options(make, without=("name", "parameter_state"))
        if inspect.isclass(make):
            retargeter = self._called(options, node, name)
            return None if retargeter is None else self._connected(retargeter, sources, node, place)
        if not self._fits(options.inputs, sources, node, place):
            return None
        num_before = len(self.problems)
        graph = self._called(options, node, name, **sources)
        if len(self.problems) == num_before and not is_graph(graph):
            made = type(graph).__name__
            self._found((*place, "type"), f"{node.type!r} made a {made}, and no node.")
            return None
        return graph

    def _called(self, options: Options, node: NodeConfig, name: str, **inputs: Any) -> Any:
        found: list[Problem] = []
        made = options.made(node.options, found, name=name, **inputs)
        self.problems += [problem.inside("nodes", name, "options") for problem in found]
        return made

    def _connected(
        self, retargeter: Any, sources: dict[str, Any], node: NodeConfig, place: Place
    ) -> Any:
        """A retargeter with its inputs, or as it is if they don't fit."""
        takes = {} if isinstance(retargeter, self._leaves) else retargeter.input_spec()
        needed = {name: not group.is_optional for name, group in takes.items()}
        if not self._fits(needed, sources, node, place) or not takes:
            return retargeter
        if not sources:
            self._found(place, f"has no inputs, and would never see any of {', '.join(takes)}.")
            return retargeter
        misfits = False
        for name, source in sources.items():
            try:
                takes[name].check_compatibility(source.module.output_types()[source.output_name])
            except ValueError as error:
                misfits = True
                self._found((*place, "inputs", name), f"does not fit: {error}.")
        return retargeter if misfits else retargeter.connect(sources)

    def _fits(
        self, takes: Mapping[str, bool], sources: dict[str, Any], node: NodeConfig, place: Place
    ) -> bool:
        """Whether a node gets the inputs that it takes.

        Args:
            takes: by name, whether they are needed.
            sources: what feeds them; None where that could not be made.
            node: whose inputs they are.
            place: of the node.
        """
        unknown = [name for name in sources if name not in takes]
        for name in unknown:
            known = f" There are: {', '.join(takes) or 'none'}."
            message = f"is no input of {node.type}.{nearest_names(name, takes) or known}"
            self._found((*place, "inputs", name), message, at_key=True)
        missing = [name for name, needed in takes.items() if needed and name not in sources]
        for name in missing:
            self._found((*place, "inputs", name), f"is missing: {node.type} needs it.")
        return not (unknown or missing or None in sources.values())

    def _selector(self, reference: str, place: Place) -> Any:
        """An output; None if there is no such, or its node is not there or couldn't be made."""
        name, output = node_and_output(reference)
        node = self._made.get(name)
        if node is None or not output:
            return None
        outputs = node.output_types()
        if output not in outputs:
            likely = nearest_names(output, outputs) or f" It has: {', '.join(outputs) or 'none'}."
            self._found(place, f"the node {name!r} has no output {output!r}.{likely}")
            return None
        return node.output(output)

    def _found(self, place: Place, message: str, *, at_key: bool = False) -> None:
        self.problems.append(Problem(place, message, at_key))
